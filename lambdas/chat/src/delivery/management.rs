//! API Gateway's management API: posting to a connection, and asking whether it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::error::SdkError;
use aws_sdk_apigatewaymanagement::primitives::Blob;

use crate::errors::causes;

/// How long after the last answer a connection to the endpoint is taken for open. The SDK's pool keeps an idle one
/// for 90 s.
const WARM_FOR: Duration = Duration::from_secs(60);

/// What a connection that is gone is answered with. The status tells, not the error's type: the type comes in a header
/// that an emulator may leave out, and GoneException is the only 410 there is.
const GONE: u16 = 410;

/// What became of a post.
#[derive(Debug)]
pub enum Posted {
    /// API Gateway accepted it for the connection.
    Delivered,
    /// API Gateway says there is no such connection.
    Gone,
    /// Anything else, after all tries; the text is for the log. The client may have got it all the same.
    Failed(String),
}

/// The management API of our WebSocket API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ManagementApi {
    client: Client,
    /// When the endpoint last answered, in milliseconds since 1970; 0 for never.
    answered_ms: Arc<AtomicI64>,
}

impl ManagementApi {
    /// The API that `client`'s endpoint names.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            answered_ms: Arc::default(),
        }
    }

    /// Posts a frame to a connection, with the timeouts and tries of the client.
    pub async fn post(&self, connection_id: &str, body: Blob) -> Posted {
        let post = self
            .client
            .post_to_connection()
            .connection_id(connection_id)
            .data(body);
        let posted = match post.send().await {
            Ok(_) => Posted::Delivered,
            Err(error) if status(&error) == Some(GONE) => Posted::Gone,
            Err(error) => return Posted::Failed(describe(&error)),
        };
        self.answered_ms.store(now_ms(), Ordering::Relaxed);
        posted
    }

    /// Asks for the connection itself.
    ///
    /// # Errors
    ///
    /// Whatever is neither "it lives" (true) nor "it is gone" (false), as text for the log.
    pub async fn is_alive(&self, connection_id: &str) -> Result<bool, String> {
        match self
            .client
            .get_connection()
            .connection_id(connection_id)
            .send()
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(GONE) => Ok(false),
            Err(error) => Err(describe(&error)),
        }
    }

    /// Closes a connection. One that is gone already is no error.
    ///
    /// # Errors
    ///
    /// Any other failure, as text for the log. The connection may be open.
    pub async fn close(&self, connection_id: &str) -> Result<(), String> {
        match self
            .client
            .delete_connection()
            .connection_id(connection_id)
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(GONE) => Ok(()),
            Err(error) => Err(describe(&error)),
        }
    }

    /// Whether a connection to the endpoint is likely to be open.
    pub fn is_warm(&self) -> bool {
        let idle_ms = now_ms() - self.answered_ms.load(Ordering::Relaxed);
        u128::try_from(idle_ms).is_ok_and(|idle| idle < WARM_FOR.as_millis())
    }
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

/// What the log needs: the SDK names no status, and some errors have nothing else.
fn describe<E: std::error::Error + 'static>(error: &SdkError<E>) -> String {
    match status(error) {
        Some(status) => format!("status {status}: {}", causes(error)),
        None => causes(error),
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
