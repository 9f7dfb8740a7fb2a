//! The edge to the Lambda runtime: start-up errors, logs, the invocation loop.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{anyhow, bail};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};

use crate::lambda::{Event, Reply, Request, Response};
use crate::{settings, trace};

/// Runs the body of a function's `main`.
///
/// A failure to start is printed as one sentence, and the process ends: Lambda reports a failed Init.
pub async fn main(body: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    // Reads AWS_LAMBDA_LOG_FORMAT and AWS_LAMBDA_LOG_LEVEL, which Lambda sets from the function's logging settings.
    lambda_runtime::tracing::init_default_subscriber();
    let ran = match check_runtime() {
        Ok(()) => body.await,
        Err(error) => Err(error),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Takes events until the process ends, one at a time. Nothing runs between two events.
///
/// # Errors
///
/// The Runtime API cannot be reached, or `AUTH_MODE` is wrong.
pub async fn serve(function: impl AsyncFn(Request) -> Reply) -> anyhow::Result<()> {
    let auth = settings::auth(&settings::process)?;
    let handler = service_fn(async |event: LambdaEvent<Event>| {
        let request = Request::new(event.payload, event.context.deadline, auth)
            .map_err(|error| diagnostic(&error))?;
        let (started, request_id) = (SystemTime::now(), request.request_id.clone());
        // Boxed, so that the SDK's deeply nested futures are not part of the type of `main`.
        let reply = Box::pin(function(request)).await;
        trace::ended("frame", started, &request_id, &[]);
        Ok::<Response, Diagnostic>(reply.into())
    });
    lambda_runtime::run(handler)
        .await
        .map_err(|error| anyhow!(error))
}

/// An error as Lambda reports it, with all its causes: the runtime's own conversions keep only the outermost.
fn diagnostic(error: &anyhow::Error) -> Diagnostic {
    Diagnostic {
        error_type: "BadEvent".to_owned(),
        error_message: format!("{error:#}"),
    }
}

/// Checks that Lambda has started the binary: the runtime would panic otherwise.
fn check_runtime() -> anyhow::Result<()> {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        bail!(
            "AWS_LAMBDA_RUNTIME_API is not set: this is a Lambda function, scripts/local.sh runs it on this machine"
        );
    }
    Ok(())
}
