//! The tables of terraform/tables.tf, and members in them, in an engine that nothing else has filled.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::{Value, json};

use crate::dynamodb::call;

const CONNECTIONS: &str = "bench-connections";
const MESSAGES: &str = "bench-messages";

/// Rows of one BatchWriteItem at most.
const BATCH: usize = 25;

/// What tells a function of the tables and of its settings, as terraform/functions.tf does.
pub(crate) fn environment() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("CONNECTIONS_TABLE", CONNECTIONS.to_owned()),
        ("MESSAGES_TABLE", MESSAGES.to_owned()),
        ("HISTORY_DAYS", "7".to_owned()),
        (
            "ACTIONS",
            "history,join,leave,members,ping,publish,sendmessage".to_owned(),
        ),
        ("FAN_OUT_CONCURRENCY", CONCURRENCY.to_string()),
    ])
}

/// Posts in flight: Terraform's default.
pub(crate) const CONCURRENCY: usize = 128;

/// Makes the tables.
///
/// # Errors
/// When the engine refuses. So for every function of this file.
pub(crate) async fn create(engine: &str) -> Result<()> {
    let key = |hash: &str, range: &str| json!([{"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": range, "KeyType": "RANGE"}]);
    let attribute = |name: &str, kind: &str| json!({"AttributeName": name, "AttributeType": kind});
    let connections = json!({
        "TableName": CONNECTIONS,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": key("connectionId", "room"),
        "AttributeDefinitions": [attribute("connectionId", "S"), attribute("room", "S")],
        "GlobalSecondaryIndexes": [{
            "IndexName": "room-index",
            "KeySchema": key("room", "connectionId"),
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["user", "expiresAt"]},
        }],
    });
    let messages = json!({
        "TableName": MESSAGES,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": key("room", "seq"),
        "AttributeDefinitions": [attribute("room", "S"), attribute("seq", "N")],
    });
    for table in [connections, messages] {
        call(engine, "CreateTable", &table).await?;
    }
    Ok(())
}

/// The connection id of a member; bench/functions makes the same.
pub(crate) fn member(number: usize) -> String {
    format!("{number:015}=")
}

/// Puts `count` members and a sender into a room.
pub(crate) async fn fill(engine: &str, room: &str, sender: &str, count: usize) -> Result<()> {
    let ids: Vec<String> = (0..count).map(member).chain([sender.to_owned()]).collect();
    for batch in ids.chunks(BATCH) {
        let puts: Vec<Value> = batch
            .iter()
            .map(|id| json!({"PutRequest": {"Item": row(room, id)}}))
            .collect();
        call(
            engine,
            "BatchWriteItem",
            &json!({"RequestItems": {CONNECTIONS: puts}}),
        )
        .await?;
    }
    Ok(())
}

fn row(room: &str, id: &str) -> Value {
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    json!({
        "connectionId": {"S": id},
        "room": {"S": room},
        "user": {"S": format!("user-{}", id.trim_end_matches('='))},
        "connectedAt": {"N": (now_s * 1000).to_string()},
        "expiresAt": {"N": (now_s + 7800).to_string()},
    })
}
