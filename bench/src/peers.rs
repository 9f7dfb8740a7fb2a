//! Section `peers`: the services that roomchat is compared with.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::dynamodb;
use crate::service::{Engine, Places, Service, free_port};

/// The peer's table. Its name is in bench/peers/serverless-offline/serverless.yml too.
const TABLE: &str = "bench-peer";

/// Starts serverless-offline with a small chat, and an engine with its table.
///
/// # Errors
/// Fails if one of them does not start.
pub(crate) async fn serverless_offline(places: &Places) -> Result<(Service, Engine)> {
    let engine = Engine::start(places, "serverless-offline-engine", false).await?;
    dynamodb::call(
        &engine.endpoint,
        "CreateTable",
        &json!({
            "TableName": TABLE,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "connectionId", "KeyType": "HASH"}],
            "AttributeDefinitions": [
                {"AttributeName": "connectionId", "AttributeType": "S"},
                {"AttributeName": "room", "AttributeType": "S"},
            ],
            "GlobalSecondaryIndexes": [{
                "IndexName": "room-index",
                "KeySchema": [{"AttributeName": "room", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }],
        }),
    )
    .await?;
    let port = free_port()?;
    let peers = places.root.join("bench/peers");
    let mut command = Command::new("node");
    command
        .arg(peers.join("node_modules/serverless/bin/serverless.js"))
        .args(["offline", "start"])
        .current_dir(peers.join("serverless-offline"))
        .env("AWS_ENDPOINT_URL_DYNAMODB", &engine.endpoint)
        .env("AWS_ACCESS_KEY_ID", "local")
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("PEER_PORT", port.to_string())
        .env("PEER_HTTP_PORT", free_port()?.to_string())
        .env("PEER_LAMBDA_PORT", free_port()?.to_string())
        // Otherwise it would check for updates and send telemetry.
        .env("SLS_TELEMETRY_DISABLED", "1")
        .env("SLS_NOTIFICATIONS_MODE", "off");
    let service = Service::start(places, "serverless-offline", (port, "/"), &mut command).await?;
    Ok((service, engine))
}

/// Starts our gateway with a simple chat, as many first versions are. `way` selects how it publishes.
///
/// # Errors
/// Fails if the gateway does not start.
pub(crate) async fn first_try(places: &Places, way: &str) -> Result<Service> {
    let functions = places.scratch.join("first-try");
    fs::create_dir_all(&functions)?;
    for name in ["connect", "disconnect", "publish"] {
        let link = functions.join(name);
        let _ = fs::remove_file(&link);
        symlink(places.functions.join("first-try"), &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    let terraform = places.root.join("bench/peers/first-try");
    Service::gateway(
        places,
        way,
        &terraform,
        &functions,
        &["--var".to_owned(), format!("publish={way}")],
    )
    .await
}
