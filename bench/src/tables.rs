//! Creates the declared tables in an empty engine, and fills a room with members.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use roomchat_local::deployment::{Deployment, Wanted};
use serde_json::{Value, json};

use crate::dynamodb::call;
use crate::service::Places;

const CONNECTIONS: &str = "roomchat-prod-connections";
const MESSAGES: &str = "roomchat-prod-messages";

/// The most rows of one BatchWriteItem.
const BATCH: usize = 25;

/// The variables of a function, as in terraform/functions.tf.
pub(crate) fn environment() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("CONNECTIONS_TABLE", CONNECTIONS.to_owned()),
        ("MESSAGES_TABLE", MESSAGES.to_owned()),
        ("HISTORY_DAYS", "7".to_owned()),
        ("AUDIT_DAYS", "7".to_owned()),
        (
            "ACTIONS",
            "history,join,leave,members,ping,presence,publish,sendmessage,signal".to_owned(),
        ),
        ("FAN_OUT_CONCURRENCY", CONCURRENCY.to_string()),
    ])
}

/// The number of parallel posts: Terraform's default.
pub(crate) const CONCURRENCY: usize = 128;

/// Makes the tables that Terraform declares, in the engine.
///
/// # Errors
/// Fails if the declaration cannot be read, or the engine refuses.
pub(crate) async fn create(places: &Places, engine: &str) -> Result<()> {
    let declared = Deployment::load(&places.root.join("terraform"), Wanted::default())?;
    for table in declared.tables {
        call(engine, "CreateTable", &table.create).await?;
    }
    Ok(())
}

/// The connection id of a member, the same as in bench/functions.
pub(crate) fn member(number: usize) -> String {
    format!("{number:015}=")
}

/// Puts `count` members and a sender into a room.
///
/// # Errors
/// Fails if the engine refuses.
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
