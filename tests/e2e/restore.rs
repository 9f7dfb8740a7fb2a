//! The restore of docs/deploy.md: the table at an earlier moment, a new epoch in each of its rooms, and clients that come back.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use kit::{Client, Gateway, eventually, terminal};

/// The rows of a table.
fn scan(gateway: &Gateway, table: &str) -> Vec<Value> {
    let scanned = gateway.dynamodb("Scan", &json!({"TableName": table, "ConsistentRead": true}));
    scanned["Items"].as_array().unwrap().clone()
}

/// The terminal client with what it says.
struct Terminal(Child, Arc<Mutex<Vec<Value>>>);

impl Terminal {
    fn start(gateway: &Gateway, user: &str) -> Terminal {
        let mut process = Command::new(terminal())
            .args([
                "--json",
                "--room",
                "lobby",
                "--user",
                user,
                &gateway.url("/prod"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let (output, said) = (process.stdout.take().unwrap(), Arc::clone(&events));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                said.lock()
                    .unwrap()
                    .push(serde_json::from_str(&line).unwrap());
            }
        });
        Terminal(process, events)
    }

    fn wait(&self, what: &str, found: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            self.1
                .lock()
                .unwrap()
                .iter()
                .find(|event| found(event))
                .cloned()
        })
    }

    fn says(&self, data: &str) -> bool {
        let events = self.1.lock().unwrap();
        events
            .iter()
            .any(|event| event["type"] == "message" && event["data"] == data)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn resume(client: &mut Client, room: &str, epoch: &Value, seq: u64) -> Value {
    let joined =
        client.ask(&json!({"action": "join", "room": room, "since": {"epoch": epoch, "seq": seq}}));
    assert_eq!(joined["type"], "joined", "{joined}");
    joined
}

#[test]
fn clients_of_a_restored_table_are_told_and_lose_nothing_in_silence() {
    let old = Gateway::start(&[]);
    let mut alice = old.join("lobby", "alice");
    for room in ["tea", "forgotten"] {
        alice.ask(&json!({"action": "join", "room": room}));
    }
    let say = |alice: &mut Client, room: &str, data: String| {
        let ack = alice.ask(&json!({"action": "publish", "room": room, "data": data}));
        assert_eq!(ack["type"], "ack", "{ack}");
        ack
    };
    for n in 1..=3 {
        for room in ["lobby", "tea", "forgotten"] {
            say(&mut alice, room, format!("before {n}"));
        }
    }
    let moment = scan(&old, "roomchat-prod-messages");
    let watcher = Terminal::start(&old, "watcher");
    watcher.wait("joined", |event| event["type"] == "joined");
    let mut epochs = Vec::new();
    for n in 4..=6 {
        epochs = ["lobby", "tea", "forgotten"]
            .map(|room| say(&mut alice, room, format!("undone {n}"))["epoch"].clone())
            .to_vec();
    }
    alice.ask(&json!({"action": "join", "room": "late"}));
    let late = say(&mut alice, "late", "undone".to_owned())["epoch"].clone();
    watcher.wait("the last message", |event| event["data"] == "undone 6");

    let port = old.port.to_string();
    drop(old);
    let table = "roomchat-prod-messages-2";
    let names = format!("table_names={{ messages = \"{table}\" }}");
    let new = Gateway::start(&["--port", &port, "--var", &names]);
    for row in &moment {
        new.dynamodb("PutItem", &json!({"TableName": table, "Item": row}));
    }
    let rooms: BTreeSet<String> = scan(&new, table)
        .iter()
        .map(|row| row["room"]["S"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(rooms.len(), 3, "{rooms:?}");
    for room in rooms.iter().filter(|room| *room != "forgotten") {
        let call = json!({"action": "new_epoch", "room": room}).to_string();
        let path = "/2015-03-31/functions/roomchat-prod-admin/invocations";
        let first = new.http("POST", path, &call);
        assert_eq!(first.0, 200, "{first:?}");
        let answer: Value = serde_json::from_str(&first.2).unwrap();
        assert_eq!(
            (&answer["type"], &answer["head"]),
            (&json!("epoch"), &json!(4)),
            "{answer}"
        );
        let again: Value = serde_json::from_str(&new.http("POST", path, &call).2).unwrap();
        assert_eq!(
            again["epoch"], answer["epoch"],
            "a second call does no harm"
        );
    }

    // The new log grows past the positions of the clients.
    let mut carol = new.join("lobby", "carol");
    for room in ["tea", "forgotten", "late"] {
        carol.ask(&json!({"action": "join", "room": room}));
    }
    for n in 1..=6 {
        for room in ["lobby", "tea", "forgotten", "late"] {
            say(&mut carol, room, format!("after {n}"));
        }
    }
    let mut bob = new.join("lobby", "bob");
    for (room, epoch, seq) in [
        ("lobby", &epochs[0], 6),
        ("tea", &epochs[1], 6),
        ("late", &late, 1),
    ] {
        let joined = resume(&mut bob, room, epoch, seq);
        assert_eq!(joined["recovered"], false, "{joined}");
        assert_ne!(joined["epoch"], *epoch);
    }
    // The reason for the new epochs: here "after 1" to "after 3" have the numbers of what bob has seen.
    let spliced = resume(&mut bob, "forgotten", &epochs[2], 6);
    assert_eq!(spliced["recovered"], true, "{spliced}");

    // The terminal client has come back by itself, and says so.
    let lost = watcher.wait("lost", |event| event["type"] == "lost");
    assert_eq!(
        (&lost["room"], &lost["after"]["epoch"]),
        (&json!("lobby"), &epochs[0]),
        "{lost}"
    );
    say(&mut carol, "lobby", "the end".to_owned());
    eventually("the end", || watcher.says("the end").then_some(()));
}
