//! The admin endpoint of a running gateway, its clock, and its log.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use kit::{Gateway, eventually, root};

fn probe(flags: &[&str]) -> Gateway {
    let flags = [&["--admin-port", "0"], flags].concat();
    Gateway::start_with(&root().join("local/tests/probe"), &flags)
}

fn with_admin(flags: &[&str]) -> Gateway {
    Gateway::start(&[&["--admin-port", "0"], flags].concat())
}

#[test]
fn the_status_shows_connections_rooms_and_functions() {
    let gateway = with_admin(&["--quota", "account=1000/500"]);
    let mut alice = gateway.join("lobby", "alice");
    let _bob = gateway.join("lobby", "bob");
    let _carol = gateway.join("kitchen", "carol");
    alice.publish(&json!("hi"));
    let status = gateway.admin("GET", "/status", &Value::Null);
    assert_eq!(status["openConnections"], 3, "{status}");
    assert_eq!(
        status["indexes"]["roomchat-prod-connections/room-index"]["partitions"],
        json!([["lobby", 2], ["kitchen", 1]])
    );
    let functions = &status["functions"];
    assert_eq!(functions["roomchat-prod-connect"]["invocations"], 3);
    assert_eq!(functions["roomchat-prod-publish"]["coldStarts"], 1);
    assert_eq!(functions["roomchat-prod-publish"]["errors"], 0);
    assert_eq!(
        status["quotas"]["account"],
        json!({"rate": 1000.0, "burst": 500.0, "refused": 0})
    );
    assert_eq!(status["posts"], json!({"answered": 1, "throttled": 0}));

    let port = gateway.admin_port();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_roomchat-local"))
        .args(["--status", "--admin-port", &port])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in ["3 connections", "lobby", "roomchat-prod-publish"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_web_page_cannot_use_the_admin_endpoint() {
    let gateway = probe(&[]);
    let url = format!("http://127.0.0.1:{}/status", gateway.admin_port());
    for (header, value) in [("Origin", "https://example.com"), ("Host", "example.com")] {
        let error = ureq::get(&url).header(header, value).call().unwrap_err();
        assert!(matches!(error, ureq::Error::StatusCode(403)), "{error}");
    }
}

#[test]
fn hours_pass_in_a_moment() {
    let gateway = probe(&[]);
    let mut idle = gateway.connect("/prod");
    let mut busy = gateway.connect("/prod");
    // Ten minutes without traffic end a connection, two hours end any.
    let pass = |seconds: u32| gateway.admin("POST", "/clock", &json!({ "advance": seconds }));
    pass(599);
    busy.ask(&json!({"action": "probe"}));
    pass(2);
    assert_eq!(idle.closed().unwrap().code, CloseCode::Away);
    gateway.wait_for_line("DISCONNECTED 1001 'Going away'");
    for _ in 0..12 {
        busy.ask(&json!({"action": "probe"}));
        pass(550);
    }
    // Traffic does not extend it beyond that.
    assert_eq!(busy.closed().unwrap().code, CloseCode::Away);
    // Five minutes without work end a process. The last one may still run $disconnect.
    eventually("no process is left", || {
        pass(301);
        gateway.children().is_empty().then_some(())
    });
}

#[test]
fn a_day_passes_in_seconds() {
    let gateway = probe(&["--time-scale", "20000"]);
    let mut client = gateway.connect("/prod");
    assert_eq!(client.closed().unwrap().code, CloseCode::Away);
    let answer = gateway.admin("POST", "/clock", &json!({"timeScale": 1}));
    assert_eq!(answer["timeScale"], 1.0);
    let mut client = gateway.connect("/prod");
    client.ask(&json!({"action": "probe"}));
}

#[test]
fn a_functions_time_can_be_moved() {
    let gateway = probe(&["--var", "probe_timeout=900"]);
    let mut client = gateway.connect("/prod");
    client.send(&json!({"action": "probe", "do": "hang"}));
    gateway.wait_for_line("HANGING");
    // The timeout of the integration, then that of the function.
    gateway.admin("POST", "/clock", &json!({"advance": 30}));
    let frame = client.receive();
    assert_eq!(frame["message"], "Endpoint request timed out", "{frame}");
    gateway.admin("POST", "/clock", &json!({"advance": 900}));
    gateway.wait_for_line("Task timed out after 900.00 seconds");
}

#[test]
fn a_wrong_move_of_time_is_explained() {
    let gateway = probe(&[]);
    for (body, expected) in [
        (json!({"advance": -1}), "cannot run backwards"),
        (json!({"timeScale": 0}), "0.000001 to 1000000"),
        (json!({"faster": 2}), "unknown field"),
        (json!([]), "invalid"),
    ] {
        let answer = gateway.admin("POST", "/clock", &body);
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.contains(expected), "{body}: {answer}");
    }
}

#[test]
fn a_process_without_work_stands_still_when_asked_to() {
    let states = |gateway: &Gateway| {
        let states = gateway.children().into_iter().map(|pid| {
            let pid = pid.to_string();
            let ps = std::process::Command::new("ps")
                .args(["-o", "stat=", "-p", &pid])
                .output();
            String::from_utf8(ps.unwrap().stdout).unwrap()
        });
        states.collect::<Vec<_>>()
    };
    let gateway = probe(&["--freeze"]);
    let mut client = gateway.connect("/prod");
    for _ in 0..3 {
        client.ask(&json!({"action": "probe"}));
        eventually("it stands still", || {
            let states = states(&gateway);
            (!states.is_empty() && states.iter().all(|state| state.starts_with('T'))).then_some(())
        });
    }
    let gateway = probe(&[]);
    gateway.connect("/prod").ask(&json!({"action": "probe"}));
    assert!(states(&gateway).iter().all(|state| !state.starts_with('T')));
}

#[test]
fn json_lines_for_a_program() {
    let gateway = Gateway::start(&["--log", "json"]);
    let mut alice = gateway.join("lobby", "alice");
    alice.publish(&json!("a secret"));
    alice.leave();
    gateway.wait_for_line(r#""event":"close""#);
    let events: Vec<Value> = gateway
        .output()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    let of = |kind: &str| events.iter().find(|event| event["event"] == kind).unwrap();
    assert!(
        of("ready")["dynamodb"]
            .as_str()
            .unwrap()
            .starts_with("http://")
    );
    assert_eq!(of("message")["route"], "publish");
    assert_eq!(of("close")["code"], 1005);
    assert_eq!(of("open")["connectionId"], of("close")["connectionId"]);
    assert!(!gateway.output().concat().contains("a secret"));
}

#[test]
fn events_are_shown_when_asked_for_and_bodies_when_asked_for_too() {
    for (flag, shown) in [("--verbose", false), ("--show-bodies", true)] {
        let gateway = Gateway::start(&[flag]);
        let mut alice = gateway.connect("/prod?room=lobby&token=hidden1");
        let _bob = gateway.join("lobby", "bob");
        alice.publish(&json!("hidden2"));
        gateway.wait_for_line("routeKey\":\"publish");
        gateway.wait_for_line("method=POST status=200");
        let output = gateway.output().concat();
        for hidden in ["hidden1", "hidden2"] {
            assert_eq!(output.contains(hidden), shown, "{flag} {hidden}");
        }
    }
}
