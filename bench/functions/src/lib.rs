//! The start that the compared functions share, written as in many handlers.

use std::process::ExitCode;

use aws_config::{BehaviorVersion, SdkConfig};
use lambda_runtime::Error;

/// Runs the body of a function's `main`, which gets the configuration of its SDK clients. An error is printed.
pub async fn main(body: impl AsyncFnOnce(&SdkConfig) -> Result<(), Error>) -> ExitCode {
    let config = Box::pin(aws_config::load_defaults(BehaviorVersion::v2026_01_12())).await;
    match body(&config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
