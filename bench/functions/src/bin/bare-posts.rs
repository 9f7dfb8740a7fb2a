//! A loop that only posts with the SDK: the least that a fan-out can cost. It uses the Runtime API as `publish` does, so
//! that both are measured in the same way.
//!
//! The event holds the number of members, and no table is read.

use std::process::ExitCode;

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::StreamExt as _;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    bench_functions::main(run).await
}

async fn run(config: &SdkConfig) -> Result<(), Error> {
    let client = &Client::new(config);
    let handler = async |event: LambdaEvent<Value>| {
        let number = |name: &str| event.payload[name].as_u64().context("a number is missing");
        let (members, concurrency) = (number("members")?, number("concurrency")?);
        let body = event.payload["body"].as_str().context("body is missing")?;
        let body = &Blob::new(body);
        let post = async |member: u64| {
            let id = format!("{member:015}=");
            let post = client
                .post_to_connection()
                .connection_id(id)
                .data(body.clone());
            post.send().await.is_ok()
        };
        // One post alone first: in a burst each post would open its own TLS connection.
        let mut delivered = usize::from(post(0).await);
        let mut posts = futures::stream::iter(1..members)
            .map(post)
            .buffer_unordered(usize::try_from(concurrency)?);
        while let Some(accepted) = posts.next().await {
            delivered += usize::from(accepted);
        }
        Ok::<Value, Error>(json!({"delivered": delivered}))
    };
    lambda_runtime::run(service_fn(handler)).await
}
