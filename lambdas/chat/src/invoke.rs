//! Invokes a Lambda function: a signed POST with the HTTP client of the SDK, which is linked anyway. The SDK's client for
//! Lambda would make each function larger by half a megabyte.

use std::time::{Duration, SystemTime};

use aws_config::Region;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt as _, Limited};
use thiserror::Error;
use tokio::time::{sleep, timeout};

use crate::errors::causes;

/// The largest response of a function: 6 MB, Lambda's own limit of a synchronous invocation.
const MAX_BYTES: usize = 6 * 1024 * 1024;

/// The pause before the second try of an invocation that Lambda has not begun.
const PAUSE: Duration = Duration::from_millis(50);

/// The type of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invocation {
    /// The answer is the function's response.
    RequestResponse,
    /// Lambda queues the event and answers at once, without a text.
    Event,
}

impl Invocation {
    fn as_str(self) -> &'static str {
        match self {
            Self::RequestResponse => "RequestResponse",
            Self::Event => "Event",
        }
    }
}

/// An invocation without a response.
#[derive(Debug, Error)]
pub enum InvokeError {
    /// The request could not be made.
    #[error("the invocation could not be signed: {0}")]
    Unsigned(String),
    /// No answer of Lambda.
    #[error("no answer of Lambda: {0}")]
    Unreachable(String),
    /// Lambda has refused the invocation.
    #[error("Lambda answered {status}: {error}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The name of the error, such as `AccessDeniedException`.
        error: String,
    },
    /// The function has failed. Its error is in its own log.
    #[error("the function failed ({0})")]
    Function(String),
    /// The time was over.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

impl InvokeError {
    /// True if the function has most likely not run: a pooled connection that has ended while this process was frozen, a
    /// throttle, a failure of Lambda.
    fn is_worth_a_second_try(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

/// Lambda's API for invocations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Invoker {
    connector: SharedHttpConnector,
    credentials: SharedCredentialsProvider,
    region: Region,
    endpoint: String,
}

impl Invoker {
    /// The API at `endpoint`, without a slash at its end.
    pub fn new(
        connector: SharedHttpConnector,
        credentials: SharedCredentialsProvider,
        region: Region,
        endpoint: String,
    ) -> Self {
        Self {
            connector,
            credentials,
            region,
            endpoint,
        }
    }

    /// Invokes `function`, a name or an ARN, with `payload`, JSON text. Returns the function's response, which is empty
    /// for [`Invocation::Event`]. Lambda may run the function twice.
    ///
    /// # Errors
    ///
    /// See [`InvokeError`]. After `within` the invocation is given up. The function may run nevertheless.
    pub async fn invoke(
        &self,
        function: &str,
        payload: &str,
        invocation: Invocation,
        within: Duration,
    ) -> Result<String, InvokeError> {
        let tries = async {
            match self.post(function, payload, invocation).await {
                Err(error) if error.is_worth_a_second_try() => {
                    sleep(PAUSE).await;
                    self.post(function, payload, invocation).await
                }
                done => done,
            }
        };
        let done = timeout(within, tries).await;
        done.unwrap_or(Err(InvokeError::TimedOut(within)))
    }

    async fn post(
        &self,
        function: &str,
        payload: &str,
        invocation: Invocation,
    ) -> Result<String, InvokeError> {
        let request = self.signed(function, payload, invocation).await?;
        let unreachable = |error: &(dyn std::error::Error + 'static)| causes(error);
        let response = self.connector.call(request).await;
        let response = response.map_err(|error| InvokeError::Unreachable(unreachable(&error)))?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).map(str::to_owned);
        let (refused, failed) = (header("x-amzn-errortype"), header("x-amz-function-error"));
        if !(200..300).contains(&status) {
            // The name may have the address of its documentation behind a colon.
            let error = refused.unwrap_or_default();
            let error = error.split(':').next().unwrap_or_default().to_owned();
            return Err(InvokeError::Refused { status, error });
        }
        if let Some(failed) = failed {
            return Err(InvokeError::Function(failed));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect();
        let body = body
            .await
            .map_err(|error| InvokeError::Unreachable(error.to_string()))?;
        String::from_utf8(body.to_bytes().into())
            .map_err(|error| InvokeError::Unreachable(error.to_string()))
    }

    async fn signed(
        &self,
        function: &str,
        payload: &str,
        invocation: Invocation,
    ) -> Result<HttpRequest, InvokeError> {
        let unsigned = |error: String| InvokeError::Unsigned(error);
        let credentials = self.credentials.provide_credentials().await;
        let credentials = credentials.map_err(|error| unsigned(causes(&error)))?;
        // The colons of an ARN are the only characters of a function's name that a path encodes.
        let url = format!(
            "{}/2015-03-31/functions/{}/invocations",
            self.endpoint,
            function.replace(':', "%3A")
        );
        let headers = [
            ("content-type", "application/json"),
            ("x-amz-invocation-type", invocation.as_str()),
        ];
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_ref())
            .name("lambda")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(error.to_string()))?;
        let body = SignableBody::Bytes(payload.as_bytes());
        let signable = SignableRequest::new("POST", &url, headers.into_iter(), body)
            .map_err(|error| unsigned(causes(&error)))?;
        let (signature, _) = sign(signable, &params.into())
            .map_err(|error| unsigned(causes(&error)))?
            .into_parts();
        let mut request = HttpRequest::new(SdkBody::from(payload));
        request
            .set_method("POST")
            .and_then(|()| request.set_uri(url.as_str()))
            .map_err(|error| unsigned(causes(&error)))?;
        for (name, value) in headers {
            request.headers_mut().insert(name, value);
        }
        for (name, value) in signature.headers() {
            request
                .headers_mut()
                .insert(name.to_owned(), value.to_owned());
        }
        Ok(request)
    }
}
