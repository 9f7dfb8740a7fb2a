//! Errors of AWS's services: their causes as text, and what a failed request to a table tells the client.

use std::error::Error as StdError;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

use crate::protocol::{ErrorName, Failure};

/// The wait for a client when DynamoDB throttles, in milliseconds: by then a key that a burst has hit is most likely free
/// again. The SDK has tried three times already.
const THROTTLED_RETRY_MS: u64 = 1_000;

/// A request to a table that failed, after the SDK's own tries.
#[derive(Debug, Error)]
#[error("{doing} failed: {cause}")]
pub struct TableError {
    doing: &'static str,
    cause: String,
    throttled: bool,
}

impl TableError {
    pub(crate) fn new<E>(doing: &'static str, error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let throttled = matches!(
            error.code(),
            Some(
                "ProvisionedThroughputExceededException"
                    | "RequestLimitExceeded"
                    | "ThrottledException"
                    | "ThrottlingException"
            )
        );
        Self {
            doing,
            cause: causes(error),
            throttled,
        }
    }

    /// An item of another form than the service writes.
    pub(crate) fn unreadable(doing: &'static str, error: &serde_dynamo::Error) -> Self {
        Self::odd(doing, error)
    }

    /// A table whose content contradicts itself.
    pub(crate) fn odd(doing: &'static str, cause: &impl ToString) -> Self {
        Self {
            doing,
            cause: cause.to_string(),
            throttled: false,
        }
    }
}

impl From<TableError> for Failure {
    /// `slow_down` for a throttle, `internal` for the rest.
    fn from(error: TableError) -> Self {
        let name = if error.throttled {
            ErrorName::SlowDown
        } else {
            ErrorName::Internal
        };
        let message = match name {
            ErrorName::SlowDown => "the service is busy; try again in a moment",
            _ => "the service failed; try again",
        };
        Failure {
            retry_after_ms: error.throttled.then_some(THROTTLED_RETRY_MS),
            cause: Some(error.into()),
            ..Failure::new(name, message)
        }
    }
}

/// An error of the SDK with all its causes. Its own text is only the outermost: "service error", "dispatch failure".
pub fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
