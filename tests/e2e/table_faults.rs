//! The chat's functions with tables that fail, and with an index that lags.

use serde_json::{Value, json};

use kit::{Gateway, eventually};

/// The repository's own deployment with these fault rules.
fn gateway(rules: &Value) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.json");
    std::fs::write(&file, rules.to_string()).unwrap();
    Gateway::start(&["--faults", file.to_str().unwrap()])
}

/// Counts the log lines that report a rule.
fn applied(gateway: &Gateway, rule: &str) -> usize {
    let output = gateway.output();
    output.iter().filter(|line| line.contains(rule)).count()
}

/// The texts that are stored.
fn messages(gateway: &Gateway) -> Vec<String> {
    let rows = gateway.dynamodb("Scan", &json!({"TableName": "roomchat-prod-messages"}));
    let rows = rows["Items"].as_array().unwrap();
    rows.iter()
        .filter_map(|row| Some(row["data"]["S"].as_str()?.to_owned()))
        .collect()
}

/// The members of a room in the index.
fn indexed(gateway: &Gateway, room: &str) -> Vec<String> {
    let page = gateway.dynamodb(
        "Query",
        &json!({
            "TableName": "roomchat-prod-connections",
            "IndexName": "room-index",
            "KeyConditionExpression": "room = :room",
            "ExpressionAttributeValues": {":room": {"S": room}},
        }),
    );
    let rows = page["Items"].as_array().unwrap();
    rows.iter()
        .map(|row| row["user"]["S"].as_str().unwrap().to_owned())
        .collect()
}

fn stored(gateway: &Gateway) -> Vec<String> {
    let rows = gateway.rows();
    rows.iter()
        .map(|row| row["user"]["S"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_table_without_capacity_means_slow_down() {
    let gateway = gateway(&json!([{
        "name": "no-capacity", "on": "table", "function": "publish", "operation": "PutItem", "do": "throttle",
    }]));
    let mut alice = gateway.join("lobby", "alice");
    let error = alice.ask(&json!({"action": "publish", "data": "hi"}));
    assert_eq!(
        (&error["type"], &error["name"], &error["temporary"]),
        (&json!("error"), &json!("slow_down"), &json!(true)),
        "{error}"
    );
    assert_eq!(messages(&gateway), [""; 0]);
    // The SDK recognises the error and retries.
    eventually("three tries in the log", || {
        (applied(&gateway, "no-capacity") >= 3).then_some(())
    });
}

#[test]
fn what_passes_is_noticed_by_nobody() {
    for rule in [
        json!({"do": "throttle"}),
        json!({"do": "status", "status": 503, "deliver": true}),
        json!({"do": "hang", "deliver": true}),
    ] {
        let mut rule = rule;
        rule["name"] = json!("once");
        rule["on"] = json!("table");
        rule["function"] = json!("publish");
        rule["operation"] = json!("PutItem");
        // The first write begins the log.
        rule["nth"] = json!(2);
        let gateway = gateway(&json!([rule]));
        let mut alice = gateway.join("lobby", "alice");
        let ack = alice.publish(&json!("hi"));
        assert_eq!(ack["seq"], 1, "{rule}");
        assert_eq!(messages(&gateway), ["\"hi\""], "{rule}");
        eventually("the fault in the log", || {
            (applied(&gateway, "once") == 1).then_some(())
        });
    }
}

#[test]
fn a_process_dies_before_or_after_its_write() {
    // The first message makes two writes, as it begins the log. The third write is the second message.
    for (when, stored) in [("before", 1), ("after", 2)] {
        let gateway = gateway(&json!([{
            "on": "call", "function": "publish", "operation": "PutItem", "do": "kill", "when": when, "nth": 3,
        }]));
        let mut alice = gateway.join("lobby", "alice");
        alice.publish(&json!("zero"));
        let error = alice.ask(&json!({"action": "publish", "data": "one"}));
        assert_eq!(error["message"], "Internal server error", "{error}");
        assert_eq!(messages(&gateway).len(), stored, "{when}");
        // The next message runs in a new process.
        alice.publish(&json!("two"));
        assert_eq!(messages(&gateway).len(), stored + 1, "{when}");
    }
}

#[test]
fn who_has_just_joined_is_missed() {
    let gateway = gateway(&json!([{
        "on": "table", "function": "connect", "table": "roomchat-prod-connections", "do": "lag", "ms": 3_600_000,
        "nth": 2,
    }]));
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    let mut carol = gateway.join("lobby", "carol");
    let ack = alice.publish(&json!("hi"));
    assert_eq!(ack["delivered"], 1);
    assert_eq!(carol.receive()["data"], "hi");
    bob.has_received_all();
    assert_eq!(stored(&gateway).len(), 3);
}

#[test]
fn who_has_joined_is_seen_later() {
    let gateway = gateway(&json!([{
        "on": "table", "function": "connect", "do": "lag", "ms": [100, 300],
    }]));
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    eventually("bob in the index", || {
        (alice.publish(&json!("hi"))["delivered"] == 1).then_some(())
    });
    assert_eq!(bob.receive()["data"], "hi");
}

#[test]
fn who_has_left_is_still_listed() {
    let gateway = gateway(&json!([{
        "on": "table", "function": "disconnect", "do": "lag", "ms": 3_600_000,
    }]));
    let mut alice = gateway.join("lobby", "alice");
    let bob = gateway.join("lobby", "bob");
    bob.leave();
    eventually("bob's row deleted", || {
        (stored(&gateway) == ["alice"]).then_some(())
    });
    let mut listed = indexed(&gateway, "lobby");
    listed.sort();
    assert_eq!(listed, ["alice", "bob"]);
    let ack = alice.publish(&json!("anybody?"));
    let missed = ack["gone"].as_u64().unwrap() + ack["failed"].as_u64().unwrap();
    assert_eq!((&ack["delivered"], missed), (&json!(0), 1), "{ack}");
    // Deleting the row again changes nothing: the index sees the writes in their order.
    assert_eq!(indexed(&gateway, "lobby").len(), 2);
}

#[test]
fn rules_can_change_while_the_gateway_runs() {
    let gateway = Gateway::start(&["--admin-port", "0"]);
    let lag = json!({"on": "table", "function": "connect", "do": "lag", "ms": 3_600_000});
    let mut alice = gateway.join("lobby", "alice");
    gateway.admin("PUT", "/faults", &lag);
    let mut bob = gateway.join("lobby", "bob");
    assert_eq!(indexed(&gateway, "lobby"), ["alice"]);
    assert_eq!(alice.publish(&json!("one"))["delivered"], 0);
    gateway.admin("DELETE", "/faults", &Value::Null);
    assert_eq!(alice.publish(&json!("two"))["delivered"], 1);
    assert_eq!(bob.receive()["data"], "two");

    let calls = |gateway: &Gateway| {
        gateway.admin("GET", "/status", &Value::Null)["tables"]["roomchat-prod-messages"].clone()
    };
    let before = calls(&gateway);
    assert!(before["reads"].as_u64() > Some(0) && before["writes"].as_u64() > Some(0));
    assert_eq!(before["throttles"], 0);
    let throttle = json!({"on": "table", "operation": "PutItem", "do": "throttle"});
    gateway.admin("PUT", "/faults", &throttle);
    assert_eq!(
        alice.ask(&json!({"action": "publish", "data": "three"}))["name"],
        "slow_down"
    );
    let after = calls(&gateway);
    assert!(after["throttles"].as_u64() >= Some(3), "{after}");
    assert_eq!(after["writes"], before["writes"]);
}
