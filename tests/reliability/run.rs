//! A gateway, the proxy between its functions and their services, and the record of its clients' frames.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::checker::{self, Entry, Promises};
use crate::record::{Record, What};
use kit::proxy::Proxy;
use kit::{Gateway, root};

pub(crate) const MESSAGES: &str = "roomchat-prod-messages";

const CONNECTIONS: &str = "roomchat-prod-connections";

pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) record: Record,
    // In this order: while the gateway stops, its functions still call.
    pub(crate) gateway: Gateway,
    pub(crate) proxy: Proxy,
}

impl Run {
    pub(crate) fn start(seed: u64, flags: &[&str]) -> Run {
        Run::start_with(&root().join("terraform"), seed, true, flags)
    }

    /// Starts without a proxy for posts, for tests of something else that make thousands of posts.
    pub(crate) fn start_without_posts(seed: u64, flags: &[&str]) -> Run {
        Run::start_with(&root().join("terraform"), seed, false, flags)
    }

    pub(crate) fn start_with(terraform: &Path, seed: u64, with_posts: bool, flags: &[&str]) -> Run {
        let proxy = Proxy::start(seed);
        let proxied = proxy.flags(with_posts);
        let flags: Vec<&str> = proxied
            .iter()
            .map(String::as_str)
            .chain(flags.iter().copied())
            .collect();
        let gateway = Gateway::start_with(terraform, &flags);
        proxy.forward_to(&gateway.dynamodb, gateway.port);
        Run {
            seed,
            record: Record::default(),
            gateway,
            proxy,
        }
    }

    /// Starts with an index of members that lags behind its table by up to `most`: the gateway's own fault.
    pub(crate) fn start_lagging(seed: u64, most: Duration, flags: &[&str]) -> Run {
        let rule = json!({
            "seed": seed,
            "rules": [{"on": "table", "do": "lag", "ms": [0, most.as_millis() as u64], "table": CONNECTIONS}],
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("faults.json");
        std::fs::write(&file, rule.to_string()).unwrap();
        let flags = [&["--faults", file.to_str().unwrap()], flags].concat();
        Run::start(seed, &flags)
    }

    /// Reads the stored log of a room, without the proxy.
    pub(crate) fn log(&self, room: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut start = Value::Null;
        loop {
            let mut query = json!({
                "TableName": MESSAGES,
                "KeyConditionExpression": "room = :room",
                "ExpressionAttributeValues": {":room": {"S": room}},
                "ConsistentRead": true,
            });
            if !start.is_null() {
                query["ExclusiveStartKey"] = start;
            }
            let page = self.gateway.dynamodb("Query", &query);
            items.extend(page["Items"].as_array().unwrap().iter().cloned());
            start = page["LastEvaluatedKey"].clone();
            if start.is_null() {
                return items;
            }
        }
    }

    /// Deletes an entry, as its expiry does.
    pub(crate) fn delete(&self, room: &str, seq: u64) {
        self.gateway.dynamodb(
            "DeleteItem",
            &json!({"TableName": MESSAGES, "Key": {"room": {"S": room}, "seq": {"N": seq.to_string()}}}),
        );
    }

    /// Makes an entry expired without deleting it.
    pub(crate) fn expire(&self, room: &str, seq: u64) {
        self.gateway.dynamodb(
            "UpdateItem",
            &json!({
                "TableName": MESSAGES,
                "Key": {"room": {"S": room}, "seq": {"N": seq.to_string()}},
                "UpdateExpression": "SET expiresAt = :past",
                "ExpressionAttributeValues": {":past": {"N": "1000000000"}},
            }),
        );
    }

    /// Compares the frames of the clients with the stored log.
    pub(crate) fn check(&self, promises: &Promises) {
        assert!(
            !self.proxy.is_puzzled(),
            "the functions call something that the proxy cannot follow"
        );
        let events = self.record.events();
        let logs = checker::rooms(&events)
            .into_iter()
            .map(|room| {
                let stored = self.log(&room);
                let counts = |item: &&Value| !is_expired(item);
                let entries = stored.iter().filter(counts).map(Entry::stored).collect();
                (room, entries)
            })
            .collect();
        let mut broken = checker::violations(&events, &logs, promises);
        for room in logs.keys() {
            broken.extend(checker::replay(&self.log(room)));
        }
        if broken.is_empty() {
            return;
        }
        let shown = broken.len().min(10);
        panic!(
            "{} promises broken with seed {}; again: ROOMCHAT_SEED={} cargo test -p roomchat-tests --test reliability\n  {}\n",
            broken.len(),
            self.seed,
            self.seed,
            broken[..shown].join("\n  "),
        );
    }

    /// Counts the received frames of a type, to see that a test exercises what it claims.
    pub(crate) fn received(&self, kind: &str) -> usize {
        let events = self.record.events();
        let is_it = |what: &What| matches!(what, What::Received(frame) if frame["type"] == kind);
        events.iter().filter(|event| is_it(&event.what)).count()
    }
}

/// Tells if an entry has expired. An expired entry counts as trimmed, deleted or not.
fn is_expired(item: &Value) -> bool {
    let expires: u64 = item["expiresAt"]["N"].as_str().unwrap().parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    expires <= now.as_secs()
}

impl Drop for Run {
    fn drop(&mut self) {
        // The calls that the functions make while the gateway stops are not part of the test.
        self.proxy.heal();
        if std::thread::panicking() {
            eprintln!("--- seed {} ---", self.seed);
        }
    }
}
