//! API Gateway's management API: posts to a connection, and asks whether the connection is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::error::SdkError;
use aws_sdk_apigatewaymanagement::primitives::Blob;

use crate::errors::causes;

/// A connection to the endpoint counts as open for this time after the last answer. The SDK's pool keeps an idle
/// connection for 90 s.
const WARM_FOR: Duration = Duration::from_secs(60);

/// The status for a connection that is gone. The error's type comes in a header that an emulator may leave out, and
/// GoneException is the only error with this status.
const GONE: u16 = 410;

/// The status for a text that is not the id of a connection.
const NO_ID: u16 = 400;

/// The result of a post.
#[derive(Debug)]
pub enum Posted {
    /// API Gateway accepted the frame for the connection.
    Delivered,
    /// API Gateway answers that there is no such connection.
    Gone,
    /// Any other answer or none, after all tries; the text is for the log. The client may have got the frame nevertheless.
    Failed(String),
}

/// The management API of our WebSocket API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ManagementApi {
    client: Client,
    /// The time of the endpoint's last answer, in milliseconds since 1970; 0 for never.
    answered_ms: Arc<AtomicI64>,
}

impl ManagementApi {
    /// The API at the endpoint of `client`.
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

    /// Asks whether the connection is open: one GetConnection.
    ///
    /// # Errors
    ///
    /// Any answer other than "open" (true) and "gone" (false), as text for the log.
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

    /// Closes a connection. Returns false if it is closed already, or if there was no such connection.
    ///
    /// # Errors
    ///
    /// Any other failure, as text for the log. The connection may be open.
    pub async fn close(&self, connection_id: &str) -> Result<bool, String> {
        match self
            .client
            .delete_connection()
            .connection_id(connection_id)
            .send()
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if matches!(status(&error), Some(GONE | NO_ID)) => Ok(false),
            Err(error) => Err(describe(&error)),
        }
    }

    /// True if a network connection to the endpoint is likely to be open.
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

/// The text for the log, with the status: the SDK leaves it out, and some errors have nothing else.
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
