//! The review of messages by a function of the deployer, which runs as on Lambda.

use std::time::{Duration, Instant};

use kit::{Client, Gateway, root};
use serde_json::{Value, json};

fn start(variables: &[&str]) -> Gateway {
    let flags: Vec<&str> = variables
        .iter()
        .flat_map(|variable| ["--var", *variable])
        .collect();
    Gateway::start_with(&root().join("tests/e2e/review"), &flags)
}

fn says(client: &mut Client, data: &str) -> Value {
    client.send_text(&json!({"action": "publish", "data": data, "id": data}).to_string());
    client.receive()
}

fn reviews(runtime: &str) {
    let gateway = start(&[&format!("runtime={runtime}")]);
    let (mut alice, mut bob) = (gateway.join("lobby", "alice"), gateway.join("lobby", "bob"));
    for (data, name) in [
        ("spam", "rejected"),
        ("lie", "unavailable"),
        ("huge", "unavailable"),
        ("surrogate", "unavailable"),
        ("throw", "unavailable"),
        ("crash", "unavailable"),
    ] {
        let error = says(&mut alice, data);
        assert_eq!(error["name"], name, "{data}: {error}");
    }
    let ack = says(&mut alice, "oh darn");
    assert_eq!((&ack["seq"], &ack["data"]), (&1.into(), &"oh ****".into()));
    assert_eq!(bob.receive()["data"], "oh ****");
    let ack = says(&mut alice, "hi");
    assert_eq!((&ack["seq"], ack.get("data")), (&2.into(), None));
    assert_eq!(bob.receive()["data"], "hi");
    // No log of the chat's functions holds a text; the function's own log may.
    let lines = gateway.output();
    let own = lines.iter().filter(|line| !line.contains("filter"));
    let mut texts = own.filter(|line| line.contains("darn") || line.contains("cannot read"));
    assert_eq!(texts.next(), None);
}

#[test]
fn a_function_in_javascript_reviews_messages() {
    reviews("nodejs22.x");
}

#[test]
fn a_function_in_python_reviews_messages() {
    reviews("python3.12");
}

#[test]
fn a_message_is_stored_without_a_review_that_takes_too_long_where_the_deployer_wants_that() {
    let gateway = start(&["on_failure=allow", "timeout_ms=100"]);
    let mut alice = gateway.join("lobby", "alice");
    let begun = Instant::now();
    assert_eq!(says(&mut alice, "sleep")["type"], "ack");
    // The function answers after 25 s.
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn the_backend_may_pass_the_review_by() {
    let gateway = start(&[]);
    let call = |review: &str| {
        let call =
            format!(r#"{{"action":"publish","room":"lobby","data":"spam","review":{review}}}"#);
        let path = "/2015-03-31/functions/roomchat-prod-admin/invocations";
        let (status, _, answer) = gateway.http("POST", path, &call);
        assert_eq!(status, 200);
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    assert_eq!(call("true")["reason"], "no advertising");
    assert_eq!(call("false")["type"], "ack");
}
