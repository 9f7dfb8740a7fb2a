//! The answers to a client at each cap that Terraform declares: the stage's throttle, the reserved concurrency of a
//! function, the throughput of a table.

use serde_json::{Value, json};

use kit::{Gateway, eventually};

#[test]
fn the_throttle_of_the_stage() {
    let declared = ["throttle_rate=1", "throttle_burst=1"];
    let flags: Vec<&str> = declared.iter().flat_map(|value| ["--var", value]).collect();
    let gateway = Gateway::start(&[&flags[..], &["--quota", "routes"]].concat());
    let mut alice = gateway.join("lobby", "alice");
    let publish = json!({"action": "publish", "data": "hi"});
    alice.ask(&publish);
    let frame = alice.ask(&publish);
    assert_eq!(frame["message"], "Too Many Requests", "{frame}");
    assert!(frame["requestId"].is_string(), "{frame}");
}

#[test]
fn the_reserved_concurrency_of_a_function() {
    let gateway = Gateway::start(&["--admin-port", "0", "--var", "reserved_concurrency=1"]);
    let mut alice = gateway.join("lobby", "alice");
    // The only process of connect may not have asked for its next event yet.
    let mut bob = eventually("bob is connected", || {
        gateway.try_connect("/prod?room=lobby&user=bob").ok()
    });
    alice.publish(&json!("before"));
    assert_eq!(bob.receive()["data"], "before");
    let hang = json!([{
        "name": "hold", "on": "table", "function": "publish", "operation": "PutItem", "do": "hang", "nth": 1,
    }]);
    gateway.admin("PUT", "/faults", &hang);
    eventually("the only process is busy", || {
        // It may not have asked for its next event yet, and what comes in between is refused.
        alice.send(&json!({"action": "publish", "data": "held"}));
        gateway
            .output()
            .iter()
            .any(|line| line.contains("hold"))
            .then_some(())
    });
    let frame = bob.ask(&json!({"action": "publish", "data": "refused"}));
    assert_eq!(frame["message"], "Internal server error", "{frame}");
    // Other functions have a concurrency of their own.
    assert_eq!(bob.ask(&json!({"action": "members"}))["type"], "members");
    gateway.admin("DELETE", "/faults", &Value::Null);
    gateway.end_at_once();
}

#[test]
fn the_throughput_of_a_table() {
    let gateway = Gateway::start(&["--admin-port", "0"]);
    let mut alice = gateway.join("lobby", "alice");
    alice.publish(&json!("before"));
    for (operation, frame) in [
        ("PutItem", json!({"action": "publish", "data": "hi"})),
        ("Query", json!({"action": "history"})),
        ("Query", json!({"action": "members", "room": "lobby"})),
        ("PutItem", json!({"action": "join", "room": "another"})),
        ("DeleteItem", json!({"action": "leave", "room": "lobby"})),
    ] {
        let throttle = json!({"on": "table", "operation": operation, "do": "throttle"});
        gateway.admin("PUT", "/faults", &throttle);
        let error = alice.ask(&frame);
        assert_eq!(
            (&error["name"], &error["temporary"], &error["retryAfterMs"]),
            (&json!("slow_down"), &json!(true), &json!(1000)),
            "{frame}: {error}"
        );
        gateway.admin("DELETE", "/faults", &Value::Null);
    }
    // A handshake has a status and no frame. 500 is our failure, and 429 a limit of the user.
    gateway.admin(
        "PUT",
        "/faults",
        &json!({"on": "table", "operation": "PutItem", "do": "throttle"}),
    );
    let refused = gateway.try_connect("/prod?room=lobby&user=bob");
    assert_eq!(refused.err(), Some(500));
}
