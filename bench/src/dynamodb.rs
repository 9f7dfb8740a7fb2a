//! Calls of the DynamoDB engine, which checks no signature.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Calls an operation of the engine at `endpoint`, `http://address`.
///
/// # Errors
/// When it cannot be reached or answers with an error.
pub(crate) async fn call(endpoint: &str, operation: &str, request: &Value) -> Result<Value> {
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let body = request.to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\n\
         X-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| endpoint.to_owned())?;
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the engine's answer is no HTTP")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{operation}: {body}");
    serde_json::from_str(body).with_context(|| format!("{operation}: {body}"))
}
