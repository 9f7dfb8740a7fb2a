//! Calls of the DynamoDB engine, which checks no signature.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::task::spawn_blocking;

/// Calls an operation of the engine at `endpoint`, `http://address`.
///
/// # Errors
/// Fails if the engine cannot be reached or answers with an error.
pub(crate) async fn call(endpoint: &str, operation: &str, request: &Value) -> Result<Value> {
    let (url, target) = (
        endpoint.to_owned(),
        format!("DynamoDB_20120810.{operation}"),
    );
    let body = request.to_string();
    let answer = spawn_blocking(move || -> Result<(u16, String)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut answer = agent
            .post(&url)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .header("x-amz-date", "20260101T000000Z")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x",
            )
            .send(body)
            .with_context(|| format!("cannot reach {url}"))?;
        Ok((
            answer.status().as_u16(),
            answer.body_mut().read_to_string()?,
        ))
    });
    let (status, body) = answer.await?.with_context(|| operation.to_owned())?;
    ensure!(status == 200, "{operation}: {status} {body}");
    serde_json::from_str(&body).with_context(|| format!("{operation}: {body}"))
}
