//! A bare loop over the SDK's post: what a fan-out costs at least. It speaks the Runtime API as `publish` does, so that
//! both are measured in the same way.
//!
//! The event names the members by their count, and nothing is read from a table.

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
        // One alone first: a burst would open a TLS connection each.
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
