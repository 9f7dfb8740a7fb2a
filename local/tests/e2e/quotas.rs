//! AWS's quotas, enforced with `--quota`.

use serde_json::json;

use crate::faults;
use kit::{Gateway, eventually, root};

/// A clock that hardly moves, so that no bucket refills.
const STANDSTILL: [&str; 4] = ["--timeout-scale", "0.000001", "--admin-port", "0"];

fn probe(flags: &[&str]) -> Gateway {
    let flags = [&STANDSTILL, flags].concat();
    Gateway::start_with(&root().join("local/tests/probe"), &flags)
}

fn pass_a_second(gateway: &Gateway) {
    gateway.admin("POST", "/clock", &json!({"advance": 1}));
}

#[test]
fn new_connections_a_second() {
    let gateway = probe(&["--quota", "connections=2"]);
    let _first = gateway.connect("/prod");
    let _second = gateway.connect("/prod");
    assert_eq!(gateway.try_connect("/prod").err(), Some(429));
    pass_a_second(&gateway);
    let _third = gateway.connect("/prod");
}

#[test]
fn messages_and_callbacks_share_the_accounts_bucket() {
    let gateway = probe(&["--quota", "account=1/3"]);
    let mut client = gateway.connect("/prod");
    let event = client.ask(&json!({"action": "probe"}));
    let id = event["requestContext"]["connectionId"].as_str().unwrap();
    assert_eq!(gateway.management("POST", id, "last").0, 200);
    assert_eq!(client.receive_text(), "last");
    // The handshake, the message and the callback were three requests.
    let (status, error_type, _) = gateway.management("POST", id, "too much");
    assert_eq!(
        (status, error_type.as_str()),
        (429, "LimitExceededException")
    );
    client.send(&json!({"action": "probe"}));
    let frame = client.receive_text();
    let start =
        format!(r#"{{"message": "Too Many Requests", "connectionId":"{id}", "requestId":""#);
    assert!(frame.starts_with(&start), "{frame}");
    assert_eq!(gateway.try_connect("/prod").err(), Some(429));
    pass_a_second(&gateway);
    assert_eq!(gateway.management("POST", id, "again").0, 200);
}

#[test]
fn a_route_is_throttled_as_terraform_declares() {
    let declared = ["--var", "probe_rate=1", "--var", "probe_burst=1"];
    let gateway = probe(&[&declared[..], &["--quota", "routes"]].concat());
    let mut client = gateway.connect("/prod");
    client.ask(&json!({"action": "probe"}));
    let frame = client.ask(&json!({"action": "probe"}));
    assert_eq!(frame["message"], "Too Many Requests", "{frame}");
    // Other routes have their own buckets.
    client.send(&json!({"action": "oneway"}));
    gateway.wait_for_line("ONEWAY");
    pass_a_second(&gateway);
    client.ask(&json!({"action": "probe"}));

    // Declared, but not enforced without the flag.
    let gateway = probe(&declared);
    let mut client = gateway.connect("/prod");
    for _ in 0..3 {
        let event = client.ask(&json!({"action": "probe"}));
        assert!(event["requestContext"].is_object(), "{event}");
    }
}

#[test]
fn a_throttled_message_spends_no_fault_rule() {
    let rule = json!([{"on": "message", "do": "drop", "nth": 2}]);
    let throttle = [
        "--var",
        "probe_rate=1",
        "--var",
        "probe_burst=1",
        "--quota",
        "routes",
    ];
    let flags = [&STANDSTILL[..], &throttle].concat();
    let gateway = faults::start("local/tests/probe", &rule, &flags);
    let mut client = gateway.connect("/prod");
    client.ask(&json!({"action": "probe"}));
    for _ in 0..2 {
        let frame = client.ask(&json!({"action": "probe"}));
        assert_eq!(frame["message"], "Too Many Requests", "{frame}");
    }
    pass_a_second(&gateway);
    // The second message that is admitted is dropped, and the third is answered.
    client.send(&json!({"action": "probe", "n": 2}));
    gateway.wait_for_line("do=drop");
    pass_a_second(&gateway);
    let answered = client.ask(&json!({"action": "probe", "n": 3}));
    assert!(
        answered["body"].as_str().unwrap().contains("3"),
        "{answered}"
    );
    let dropped = gateway
        .output()
        .into_iter()
        .filter(|line| line.contains("do=drop"));
    assert_eq!(dropped.count(), 1);
}

#[test]
fn a_client_that_does_not_stop_is_cut_off() {
    let gateway = probe(&["--quota", "account=1/1"]);
    let mut client = gateway.connect("/prod");
    for _ in 0..100 {
        client.send(&json!({"action": "probe"}));
    }
    assert_eq!(u16::from(client.closed().unwrap().code), 1008);
    gateway.wait_for_line("DISCONNECTED 1008 ''");
}

#[test]
fn concurrent_invocations_of_all_functions() {
    let gateway = probe(&["--quota", "concurrency=1", "--var", "probe_timeout=60"]);
    let mut client = gateway.connect("/prod");
    // The invocation of $connect may still run: its process has not asked for the next event yet.
    eventually("the function hangs", || {
        let hangs = gateway.output().iter().any(|line| line.contains("HANGING"));
        if !hangs {
            client.send(&json!({"action": "oneway", "do": "hang"}));
        }
        hangs.then_some(())
    });
    let frame = client.ask(&json!({"action": "probe"}));
    assert_eq!(frame["message"], "Internal server error", "{frame}");
    assert_eq!(gateway.try_connect("/prod").err(), Some(500));
    gateway.end_at_once();
}
