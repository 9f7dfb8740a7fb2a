//! Calls the function of the backend, and says why a call failed.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_lambda::operation::invoke::{InvokeError, InvokeOutput};
use aws_sdk_lambda::primitives::Blob;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::options::To;

/// The longest time for which a function may run; the function admin runs for a shorter one.
const LONGEST: Duration = Duration::from_secs(120);

/// The number of tries of a call that fails for a time.
const TRIES: u32 = 3;

/// The wait before the next try, where the service names none.
const WAIT_MS: u64 = 1000;

/// The longest wait before the next try.
const LONGEST_WAIT_MS: u64 = 30_000;

/// The kind of a failure; its number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The service refuses the call.
    Refused = 1,
    /// Something is missing: a right, credentials, the function, an argument.
    Setup = 2,
    /// The same call may succeed later.
    Temporary = 3,
}

/// The reason why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// The name, for programs.
    pub(crate) name: String,
    /// One sentence, for people.
    pub(crate) message: String,
    /// The `error` frame of the service, if it sent one.
    pub(crate) frame: Option<String>,
}

impl Failure {
    pub(crate) fn setup(name: &str, message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Setup,
            name: name.to_owned(),
            message: message.into(),
            frame: None,
        }
    }

    fn temporary(name: &str, message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Temporary,
            ..Self::setup(name, message)
        }
    }
}

/// The fields of a frame that tell an error from an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    r#type: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    temporary: bool,
    retry_after_ms: Option<u64>,
}

/// A call: the fields of the frame. Their JSON is sent as it was written.
pub(crate) type Call = BTreeMap<&'static str, Box<RawValue>>;

/// A caller of the function.
#[derive(Debug)]
pub(crate) struct Caller {
    client: Client,
    function: String,
    place: String,
    is_local: bool,
}

impl Caller {
    pub(crate) async fn new(to: &To) -> Result<Self, Failure> {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(LONGEST);
        let mut loader =
            aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts.build());
        if let Some(url) = &to.local {
            // The local gateway accepts any credentials, and with --check-signatures these.
            loader = loader
                .endpoint_url(url)
                .region(Region::from_static("us-east-1"))
                .credentials_provider(Credentials::new("local", "local", None, None, "local"));
        }
        if let Some(region) = &to.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &to.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        let Some(region) = config.region() else {
            return Err(Failure::setup(
                "no_region",
                "No region is set: give --region, or set AWS_REGION, or name a profile that has one. For the service \
                 on this machine give --local.",
            ));
        };
        let place = to.local.clone().unwrap_or_else(|| region.to_string());
        if let Some(provider) = config.credentials_provider() {
            provider
                .provide_credentials()
                .await
                .map_err(|error| no_credentials(&causes(&error)))?;
        }
        Ok(Self {
            client: Client::new(&config),
            function: format!("{}-admin", to.stack),
            place,
            is_local: to.local.is_some(),
        })
    }

    /// Sends a call until it is answered, and returns the answer. A call has an `id`, so a further try does nothing twice.
    pub(crate) async fn call(&self, call: &Call) -> Result<Box<RawValue>, Failure> {
        let text = serde_json::to_string(call).map_err(|error| {
            Failure::setup(
                "bad_request",
                format!("The call cannot be written: {error}"),
            )
        })?;
        let mut tries = 1;
        loop {
            let (answer, head) = self.invoke(&text).await?;
            if head.r#type != "error" {
                return Ok(answer);
            }
            if !head.temporary || tries == TRIES {
                let kind = if head.temporary {
                    Kind::Temporary
                } else {
                    Kind::Refused
                };
                return Err(Failure {
                    kind,
                    name: head.name,
                    message: head.message,
                    frame: Some(answer.get().to_owned()),
                });
            }
            tries += 1;
            let wait = head.retry_after_ms.unwrap_or(WAIT_MS).min(LONGEST_WAIT_MS);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    async fn invoke(&self, call: &str) -> Result<(Box<RawValue>, Head), Failure> {
        let request = self.client.invoke().function_name(&self.function);
        let sent = request.payload(Blob::new(call)).send().await;
        let output = sent.map_err(|error| self.failure(&error))?;
        read(&output).map_err(|reason| {
            let function = &self.function;
            Failure::temporary(
                "function_failed",
                format!("The function {function} failed: {reason}. Its log group is /aws/lambda/{function}."),
            )
        })
    }

    fn failure(&self, error: &SdkError<InvokeError>) -> Failure {
        let (function, place) = (&self.function, &self.place);
        let detail = error.message().unwrap_or_default();
        match error.code().unwrap_or_default() {
            "AccessDeniedException" | "AccessDenied" => Failure::setup(
                "access_denied",
                format!(
                    "You may not call {function}: the right lambda:InvokeFunction on it is missing. `terraform output -raw \
                     backend_policy` prints the policy that grants it. ({detail})"
                ),
            ),
            "ResourceNotFoundException" => Failure::setup(
                "no_function",
                format!(
                    "There is no function {function} in {place}. --stack is Terraform's variables name and stage, such as \
                     roomchat-prod, and --region their region; scripts/deploy.sh deploys a stack, with this function. ({detail})"
                ),
            ),
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "InvalidClientTokenId"
            | "IncompleteSignatureException"
            | "ExpiredTokenException" => Failure::setup(
                "bad_credentials",
                format!(
                    "AWS does not accept the credentials: they are wrong or have expired. ({detail})"
                ),
            ),
            "RequestTooLargeException" | "RequestEntityTooLargeException" => Failure::setup(
                "payload_too_large",
                format!("The call is too large. ({detail})"),
            ),
            "TooManyRequestsException" => Failure::temporary(
                "throttled",
                format!(
                    "Lambda throttles {function}: it runs as often at a time as it may. ({detail})"
                ),
            ),
            "" if self.is_local => Failure::temporary(
                "unreachable",
                format!("Nothing answers at {place}: start scripts/local.sh in another terminal."),
            ),
            _ => Failure::temporary(
                "unreachable",
                format!("{function} in {place} cannot be called: {}", causes(error)),
            ),
        }
    }
}

/// Returns an error and its causes, the first line of each.
fn causes(error: &dyn Error) -> String {
    let mut lines = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        lines.extend(cause.to_string().lines().next().map(str::to_owned));
        next = cause.source();
    }
    lines.join(": ").trim_end_matches(". Attempted:").to_owned()
}

fn no_credentials(detail: &str) -> Failure {
    // The crate's own words name its feature.
    let message = if detail.contains("feature(s) enabled: sso") {
        "The profile signs in by SSO, which this program leaves to the AWS CLI: name a profile with the line \
         credential_process = aws configure export-credentials --profile NAME, where NAME is the one that signs in."
            .to_owned()
    } else {
        format!(
            "There are no AWS credentials: set AWS_PROFILE or give --profile, or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY. For the service on this machine give --local. ({detail})"
        )
    };
    Failure::setup("no_credentials", message)
}

/// Reads the answer of the function, or its error.
fn read(output: &InvokeOutput) -> Result<(Box<RawValue>, Head), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Failed {
        error_message: String,
    }
    let bytes = output.payload().map_or(&[][..], AsRef::as_ref);
    if let Some(kind) = output.function_error() {
        let failed: Option<Failed> = serde_json::from_slice(bytes).ok();
        return Err(failed.map_or_else(|| kind.to_owned(), |failed| failed.error_message));
    }
    let wrong = |_| "its answer is not a frame".to_owned();
    let answer: Box<RawValue> = serde_json::from_slice(bytes).map_err(wrong)?;
    let head = serde_json::from_str(answer.get()).map_err(wrong)?;
    Ok((answer, head))
}
