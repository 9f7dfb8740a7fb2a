//! A deleted text is searched for in everything that the service keeps and writes.

use kit::{Client, Gateway};
use serde_json::{Value, json};

/// A text that nothing else holds.
const SECRET: &str = "xylophone-7f3a";

fn acked(client: &mut Client, frame: &Value) -> Value {
    client.send(frame);
    let ack = client.receive();
    assert_eq!(ack["type"], "ack", "{ack}");
    ack
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
    let gateway = Gateway::start(&["--verbose", "--admin-port", "0"]);
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    bob.send(&json!({"action": "join", "room": "lobby"}));
    let joined = bob.receive();
    let publish = json!({"action": "publish", "data": {"text": SECRET}, "id": "m"});
    let target = acked(&mut alice, &publish)["seq"].clone();
    let edit =
        json!({"action": "edit", "target": target, "data": format!("{SECRET} again"), "id": "e"});
    acked(&mut alice, &edit);
    for _ in 0..2 {
        assert!(bob.receive().to_string().contains(SECRET));
    }
    assert!(tables(&gateway).matches(SECRET).count() == 2);
    let delete = json!({"action": "delete", "target": target, "id": "d"});
    acked(&mut alice, &delete);

    assert!(!tables(&gateway).contains(SECRET));
    assert_eq!(bob.receive()["kind"], "delete");
    // Each way to read the log, and the retries of all three frames.
    let since = json!({"epoch": joined["epoch"], "seq": joined["head"]});
    for frame in [
        json!({"action": "history", "limit": 100}),
        json!({"action": "history", "after": 0}),
        json!({"action": "join", "room": "lobby", "since": since}),
        json!({"action": "join", "room": "lobby", "history": 100}),
        publish,
        edit,
        delete,
    ] {
        alice.send(&frame);
        let answer = alice.receive().to_string();
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
