//! Lambda's Invoke API: synchronous and asynchronous invocations, and the retries of the latter. The tests with boto3 and
//! the AWS CLI are in `local/tests/examples/test_invoke.py`.

use serde_json::{Value, json};

use kit::{Gateway, eventually, root};

fn start() -> Gateway {
    let folder = root().join("local/tests/invoked");
    Gateway::start_with(&folder, &["--admin-port", "0"])
}

/// Sends an event to a function, and returns the status.
fn send(gateway: &Gateway, function: &str, kind: &str, event: &Value) -> u16 {
    let path = format!("/2015-03-31/functions/{function}/invocations");
    let url = format!("http://127.0.0.1:{}{path}", gateway.port);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let request = agent.post(url).header("x-amz-invocation-type", kind);
    request.send(event.to_string()).unwrap().status().as_u16()
}

/// The request ids of the attempts of an event.
fn attempts(gateway: &Gateway, name: &str) -> Vec<String> {
    let lines = gateway.output();
    let marked = format!("ATTEMPT {name} ");
    let ids = lines.iter().filter_map(|line| line.split_once(&marked));
    ids.map(|(_, id)| id.to_owned()).collect()
}

/// Waits until an event of the function waits for its next attempt, after so many.
fn waits(gateway: &Gateway, function: &str, name: &str, after: usize) {
    eventually("the event waits for its next attempt", || {
        let status = gateway.admin("GET", "/status", &Value::Null);
        let is_waiting = status["functions"][function]["retrying"] == 1;
        (is_waiting && attempts(gateway, name).len() == after).then_some(())
    });
}

#[test]
fn a_failed_event_is_tried_twice_more() {
    let gateway = start();
    let event = json!({ "do": "fail", "name": "x" });
    assert_eq!(send(&gateway, "usual", "Event", &event), 202);
    waits(&gateway, "usual", "x", 1);
    // The first wait is a minute, the second is two.
    gateway.pass(30);
    waits(&gateway, "usual", "x", 1);
    gateway.pass(30);
    waits(&gateway, "usual", "x", 2);
    gateway.pass(90);
    waits(&gateway, "usual", "x", 2);
    gateway.pass(30);
    gateway.wait_for_line("The asynchronous event failed after 3 tries and is given up");
    let ids = attempts(&gateway, "x");
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // A process that dies fails like any other, and an event that succeeds is not repeated.
    let event = json!({ "do": "exit", "name": "y" });
    assert_eq!(send(&gateway, "usual", "Event", &event), 202);
    waits(&gateway, "usual", "y", 1);
    assert_eq!(
        send(&gateway, "usual", "Event", &json!({ "name": "z" })),
        202
    );
    eventually("z succeeds", || {
        (attempts(&gateway, "z").len() == 1).then_some(())
    });
    gateway.at_rest();
    gateway.pass(60);
    waits(&gateway, "usual", "y", 2);
    assert_eq!(attempts(&gateway, "z").len(), 1);
}

#[test]
fn the_settings_of_asynchronous_events_hold() {
    let gateway = start();
    let event = |name: &str| json!({ "do": "fail", "name": name });
    assert_eq!(send(&gateway, "once", "Event", &event("once")), 202);
    gateway.wait_for_line("The asynchronous event failed after 1 try and is given up");
    gateway.wait_for_line(
        "the destinations of aws_lambda_function_event_invoke_config.once do not run here",
    );
    // The second retry would be three minutes after the event, which may be 90 seconds old.
    assert_eq!(send(&gateway, "young", "Event", &event("young")), 202);
    waits(&gateway, "young", "young", 1);
    gateway.pass(60);
    gateway.wait_for_line("The asynchronous event is older than 90 seconds and is given up");
    assert_eq!(attempts(&gateway, "young").len(), 2);
    // An alias has settings of its own.
    assert_eq!(send(&gateway, "young:live", "Event", &event("live")), 202);
    waits(&gateway, "young", "live", 1);
    gateway.pass(60);
    gateway.wait_for_line("The asynchronous event failed after 2 tries and is given up");
}

#[test]
fn a_throttled_event_is_tried_until_it_is_too_old() {
    let gateway = start();
    assert_eq!(
        send(&gateway, "throttled", "RequestResponse", &json!({})),
        429
    );
    assert_eq!(send(&gateway, "throttled", "Event", &json!({})), 202);
    let throttled = || {
        let status = gateway.admin("GET", "/status", &Value::Null);
        status["functions"]["throttled"]["throttled"]
            .as_u64()
            .unwrap()
    };
    // Waits of 1, 2, 4, 8, 16 seconds; 32 more would be too many.
    eventually("six attempts", || {
        gateway.pass(1);
        (throttled() == 7).then_some(())
    });
    gateway.wait_for_line("The asynchronous event is older than 60 seconds and is given up");
    assert_eq!(throttled(), 7);
}

#[test]
fn the_form_of_an_invocation_is_checked() {
    let gateway = start();
    assert_eq!(
        send(&gateway, "usual", "DryRun", &json!({ "name": "dry" })),
        204
    );
    assert_eq!(send(&gateway, "usual", "Later", &json!({})), 400);
    let large = json!({ "name": "large", "text": "x".repeat(1024 * 1024) });
    assert_eq!(send(&gateway, "usual", "Event", &large), 413);
    assert_eq!(send(&gateway, "usual", "RequestResponse", &large), 200);
    assert!(attempts(&gateway, "dry").is_empty());
    assert_eq!(attempts(&gateway, "large").len(), 1);
}
