//! A deleted text is searched for in everything that the service keeps and writes.

use kit::{Client, Gateway};
use serde_json::{Value, json};

/// A text that nothing else holds.
const SECRET: &str = "xylophone-7f3a";

/// Sends a frame and returns its answer. Messages that come before the answer are passed over.
fn ask(client: &mut Client, frame: &Value) -> Value {
    client.send(frame);
    loop {
        let answer = client.receive();
        if !["message", "messages"]
            .map(Value::from)
            .contains(&answer["type"])
        {
            return answer;
        }
    }
}

fn acked(client: &mut Client, frame: &Value) -> Value {
    let ack = ask(client, frame);
    assert_eq!(ack["type"], "ack", "{ack}");
    ack
}

/// Receives frames until one of them contains this text.
fn hears(client: &mut Client, part: &str) {
    while !client.receive().to_string().contains(part) {}
}

/// All rows of all tables.
fn tables(gateway: &Gateway) -> String {
    let names = gateway.dynamodb("ListTables", &json!({}));
    let names = names["TableNames"].as_array().unwrap();
    assert_eq!(names.len(), 3, "{names:?}");
    let scans = names.iter().map(|name| {
        let scan = gateway.dynamodb("Scan", &json!({"TableName": name, "ConsistentRead": true}));
        assert_eq!(scan["LastEvaluatedKey"], Value::Null);
        scan["Items"].to_string()
    });
    scans.collect()
}

#[test]
fn a_deleted_text_is_in_no_table_no_frame_and_no_log() {
    searched(&[]);
}

/// In a busy room, messages are delivered in batches, with a lease and a pump.
#[test]
fn a_deleted_text_is_nowhere_in_a_busy_room() {
    searched(&["--var", "paced={from_members=2,posts_per_second=20}"]);
}

fn searched(more: &[&str]) {
    let flags = [&["--verbose", "--admin-port", "0"], more].concat();
    let gateway = Gateway::start(&flags);
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    let joined = ask(
        &mut bob,
        &json!({"action": "join", "room": "lobby", "batch": true}),
    );
    let publish = json!({"action": "publish", "data": {"text": SECRET}, "id": "m"});
    let target = acked(&mut alice, &publish)["seq"].clone();
    let edit =
        json!({"action": "edit", "target": target, "data": format!("{SECRET} again"), "id": "e"});
    acked(&mut alice, &edit);
    hears(&mut bob, &format!("{SECRET} again"));
    assert!(tables(&gateway).matches(SECRET).count() == 2);
    let delete = json!({"action": "delete", "target": target, "id": "d"});
    acked(&mut alice, &delete);

    assert!(!tables(&gateway).contains(SECRET));
    hears(&mut bob, r#""kind":"delete""#);
    // Each way to read the log, and the retries of all three frames.
    let since = json!({"epoch": joined["epoch"], "seq": joined["head"]});
    for frame in [
        json!({"action": "history", "limit": 100}),
        json!({"action": "history", "after": 0}),
        json!({"action": "join", "room": "lobby", "since": since}),
        json!({"action": "join", "room": "lobby", "history": 100}),
        json!({"action": "join", "room": "lobby", "since": since, "batch": true}),
        publish,
        edit,
        delete,
    ] {
        let answer = ask(&mut alice, &frame).to_string();
        assert!(!answer.contains(SECRET), "{frame}: {answer}");
    }
    bob.send(&json!({"action": "ping"}));
    let mut heard = bob.receive();
    while heard["type"] != "pong" {
        assert!(!heard.to_string().contains(SECRET), "{heard}");
        heard = bob.receive();
    }
    gateway.at_rest();
    let mut lines = gateway.output();
    lines.extend(gateway.errors());
    assert!(lines.iter().any(|line| line.contains("published")));
    let found: Vec<&String> = lines.iter().filter(|line| line.contains(SECRET)).collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(!tables(&gateway).contains(SECRET));
}
