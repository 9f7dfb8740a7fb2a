//! An index that lags behind its table, as every global index of DynamoDB does.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Each row has a lag of its own; its changes show in their order.
pub(crate) struct Lag {
    seed: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    most: Duration,
    /// By room and connection.
    rows: BTreeMap<(String, String), Vec<Change>>,
}

/// What a row was from when on; nothing once it was deleted.
type Change = (Instant, Option<Value>);

impl Lag {
    pub(crate) fn new(seed: u64) -> Lag {
        Lag {
            seed,
            state: Mutex::default(),
        }
    }

    pub(crate) fn set(&self, most: Duration) {
        self.state.lock().unwrap().most = most;
    }

    /// What a write has left of the row of `key`.
    pub(crate) fn note(&self, key: &Value, row: Option<Value>) {
        let text = |name: &str| key[name]["S"].as_str().unwrap_or_default().to_owned();
        let mut state = self.state.lock().unwrap();
        state
            .rows
            .entry((text("room"), text("connectionId")))
            .or_default()
            .push((Instant::now(), row));
    }

    /// What the index says to a Query; nothing when it does not lag.
    pub(crate) fn answer(&self, query: &Value) -> Option<Value> {
        let state = self.state.lock().unwrap();
        if state.most.is_zero() {
            return None;
        }
        // The only value of the condition that is a text.
        let room = query["ExpressionAttributeValues"]
            .as_object()?
            .values()
            .find_map(|value| value["S"].as_str())?;
        let after = query["ExclusiveStartKey"]["connectionId"]["S"]
            .as_str()
            .unwrap_or_default();
        let limit = query["Limit"].as_u64().unwrap_or(u64::MAX);
        let now = Instant::now();
        let mut items = Vec::new();
        let mut last = Value::Null;
        for ((row_room, connection), changes) in &state.rows {
            if row_room != room || connection.as_str() <= after {
                continue;
            }
            let mut hasher = DefaultHasher::new();
            (self.seed, row_room, connection).hash(&mut hasher);
            // From none at all to the most there is.
            let lag = state.most * u32::try_from(hasher.finish() % 101).ok()? / 100;
            let seen = changes
                .iter()
                .rev()
                .find(|(at, _)| now.duration_since(*at) >= lag);
            let Some((_, Some(row))) = seen else { continue };
            if items.len() as u64 >= limit {
                let previous: &Value = items.last()?;
                last = json!({"room": previous["room"], "connectionId": previous["connectionId"]});
                break;
            }
            items.push(json!({
                "room": row["room"],
                "connectionId": row["connectionId"],
                "user": row["user"],
                "expiresAt": row["expiresAt"],
            }));
        }
        let mut answer = json!({"Count": items.len(), "ScannedCount": items.len()});
        if query["Select"] != "COUNT" {
            answer["Items"] = Value::from(items);
        }
        if !last.is_null() {
            answer["LastEvaluatedKey"] = last;
        }
        Some(answer)
    }
}
