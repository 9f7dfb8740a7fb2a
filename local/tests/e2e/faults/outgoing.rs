//! Faults on the way to a client, and of calls to `@connections`.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{fault, id_of, is_cut, probe, unanswered};
use kit::{Client, Gateway};

/// Opens a client whose id is known before any rule has counted.
fn open(gateway: &Gateway, name: &str) -> (Client, String) {
    let mut client = gateway.connect(&format!("/prod?name={name}"));
    let id = id_of(&mut client);
    (client, id)
}

fn post(gateway: &Gateway, id: &str, message: &str) -> (u16, String) {
    let (status, error, _) = gateway.management("POST", id, message);
    (status, error)
}

fn accepted() -> (u16, String) {
    (200, String::new())
}

fn gone() -> (u16, String) {
    (410, "GoneException".to_owned())
}

#[test]
fn frames() {
    // The first frame of each is the answer that contains its id.
    let gateway = probe(&json!([
        ["frame", "lossy", {"do": "drop", "nth": 3}],
        ["frame", "twice", {"do": "duplicate", "nth": 2}],
        ["frame", "slow", {"do": "delay", "ms": 60, "nth": 2}],
        ["frame", "held", {"do": "reorder", "by": 2, "nth": 2, "ms": 3_600_000}],
        ["frame", "cut", {"do": "cut", "nth": 2}],
        ["frame", "cut1012", {"do": "cut", "close": 1012, "nth": 2}],
        ["frame", "replies", {"do": "drop", "route": "probe", "nth": 2}],
    ]));
    let (mut client, id) = open(&gateway, "lossy");
    for text in ["one", "two", "three"] {
        assert_eq!(post(&gateway, &id, text), accepted());
    }
    assert_eq!(
        [client.receive_text(), client.receive_text()],
        ["one", "three"]
    );

    let (mut client, id) = open(&gateway, "twice");
    for text in ["one", "two"] {
        assert_eq!(post(&gateway, &id, text), accepted());
    }
    let seen = [(); 3].map(|()| client.receive_text());
    assert_eq!(seen, ["one", "one", "two"]);

    let (mut client, id) = open(&gateway, "slow");
    let started = Instant::now();
    assert_eq!(post(&gateway, &id, "slow"), accepted());
    assert_eq!(client.receive_text(), "slow");
    assert!(started.elapsed() >= Duration::from_millis(60));

    let (mut client, id) = open(&gateway, "held");
    for text in ["one", "two", "three"] {
        assert_eq!(post(&gateway, &id, text), accepted());
    }
    let seen = [(); 3].map(|()| client.receive_text());
    assert_eq!(seen, ["two", "three", "one"]);

    let (mut client, id) = open(&gateway, "cut");
    assert_eq!(post(&gateway, &id, "never seen"), accepted());
    is_cut(&mut client);
    let (mut client, id) = open(&gateway, "cut1012");
    assert_eq!(post(&gateway, &id, "never seen"), accepted());
    assert_eq!(u16::from(client.closed().unwrap().code), 1012);

    // Only answers to messages of that route.
    let (mut client, id) = open(&gateway, "replies");
    client.send(&json!({"action": "probe"}));
    gateway.wait_for_line(" on=frame route=probe ");
    assert_eq!(post(&gateway, &id, "posted"), accepted());
    assert_eq!(client.receive_text(), "posted");
}

#[test]
fn posts() {
    let gateway = probe(&json!([
        ["post", "lossy", {"do": "drop", "nth": 1}],
        ["post", "twice", {"do": "duplicate", "nth": 1}],
        ["post", "gone", {"do": "gone", "nth": 2}],
        ["post", "false", {"do": "gone", "false": true, "nth": 1}],
        ["post", "falser", {"do": "gone", "false": true, "deliver": true, "nth": 1}],
        ["post", "slow", {"do": "delay", "ms": 60}],
        ["post", "held", {"do": "reorder", "first": 1, "ms": 3_600_000}],
        ["post", "s429", {"do": "status", "status": 429, "nth": 1}],
        ["post", "s500", {"do": "status", "status": 500, "nth": 1}],
        ["post", "s502", {"do": "status", "status": 502, "nth": 1}],
        ["post", "s503", {"do": "status", "status": 503, "nth": 1}],
        ["post", "s504", {"do": "status", "status": 504, "deliver": true, "nth": 1}],
    ]));
    // The answer to the first post, and the frames that the client has received after a second one.
    for (name, answer, received) in [
        ("lossy", accepted(), vec!["two"]),
        ("twice", accepted(), vec!["one", "one", "two"]),
        ("false", gone(), vec!["two"]),
        ("falser", gone(), vec!["one", "two"]),
        (
            "s429",
            (429, "LimitExceededException".to_owned()),
            vec!["two"],
        ),
        ("s500", (500, String::new()), vec!["two"]),
        ("s502", (502, String::new()), vec!["two"]),
        ("s503", (503, String::new()), vec!["two"]),
        ("s504", (504, String::new()), vec!["one", "two"]),
    ] {
        let (mut client, id) = open(&gateway, name);
        assert_eq!(post(&gateway, &id, "one"), answer, "{name}");
        assert_eq!(post(&gateway, &id, "two"), accepted(), "{name}");
        for text in received {
            assert_eq!(client.receive_text(), text, "{name}");
        }
    }

    let (mut client, id) = open(&gateway, "gone");
    assert_eq!(post(&gateway, &id, "one"), accepted());
    assert_eq!(post(&gateway, &id, "two"), gone());
    assert_eq!(client.receive_text(), "one");
    is_cut(&mut client);
    gateway.wait_for_line("DISCONNECTED 1006 ''");
    assert_eq!(gateway.management("GET", &id, "").0, 410);

    let (mut client, id) = open(&gateway, "slow");
    let started = Instant::now();
    assert_eq!(post(&gateway, &id, "slow"), accepted());
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert_eq!(client.receive_text(), "slow");

    let (mut client, id) = open(&gateway, "held");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| post(&gateway, &id, "one"));
        fault(&gateway, "reorder");
        assert_eq!(post(&gateway, &id, "two"), accepted());
        assert_eq!(first.join().unwrap(), accepted());
    });
    assert_eq!(
        [client.receive_text(), client.receive_text()],
        ["two", "one"]
    );
}

#[test]
fn calls_that_are_never_answered() {
    for (method, deliver) in [
        ("POST", false),
        ("POST", true),
        ("GET", false),
        ("DELETE", false),
        ("DELETE", true),
    ] {
        let mut rule = json!({"do": "hang", "nth": 1});
        if method != "GET" {
            rule["deliver"] = deliver.into();
        }
        let gateway = probe(&json!([[method.to_lowercase(), "hang", rule]]));
        let (mut client, id) = open(&gateway, "hang");
        let id_in_path = id.replace('=', "%3D");
        let request = format!(
            "{method} /prod/@connections/{id_in_path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\none"
        );
        drop(unanswered(&gateway, &request));
        if method == "DELETE" && deliver {
            assert_eq!(u16::from(client.closed().unwrap().code), 1000);
            continue;
        }
        assert_eq!(post(&gateway, &id, "two"), accepted());
        if deliver {
            assert_eq!(client.receive_text(), "one", "{method}");
        }
        assert_eq!(client.receive_text(), "two", "{method}");
    }
}

#[test]
fn gets_and_deletes() {
    let gateway = probe(&json!([
        ["get", "gone", {"do": "gone"}],
        ["get", "false", {"do": "gone", "false": true, "nth": 1}],
        ["get", "status", {"do": "status", "status": 503, "nth": 1}],
        ["get", "slow", {"do": "delay", "ms": 60}],
        ["delete", "dgone", {"do": "gone"}],
        ["delete", "dfalse", {"do": "gone", "false": true}],
        ["delete", "dstatus", {"do": "status", "status": 500}],
        ["delete", "ddone", {"do": "status", "status": 500, "deliver": true}],
        ["delete", "dslow", {"do": "delay", "ms": 60}],
    ]));
    let status = |method: &str, id: &str| gateway.management(method, id, "").0;

    let (mut client, id) = open(&gateway, "gone");
    assert_eq!(status("GET", &id), 410);
    is_cut(&mut client);
    for (name, expected) in [("false", 410), ("status", 503)] {
        let (_client, id) = open(&gateway, name);
        assert_eq!([status("GET", &id), status("GET", &id)], [expected, 200]);
    }
    let (_client, id) = open(&gateway, "slow");
    let started = Instant::now();
    assert_eq!(status("GET", &id), 200);
    assert!(started.elapsed() >= Duration::from_millis(60));

    let (mut client, id) = open(&gateway, "dgone");
    assert_eq!(status("DELETE", &id), 410);
    is_cut(&mut client);
    for (name, expected) in [("dfalse", 410), ("dstatus", 500)] {
        let (mut client, id) = open(&gateway, name);
        assert_eq!(status("DELETE", &id), expected, "{name}");
        assert_eq!(post(&gateway, &id, "alive"), accepted(), "{name}");
        assert_eq!(client.receive_text(), "alive", "{name}");
    }
    let (mut client, id) = open(&gateway, "ddone");
    assert_eq!(status("DELETE", &id), 500);
    assert_eq!(u16::from(client.closed().unwrap().code), 1000);
    let (mut client, id) = open(&gateway, "dslow");
    let started = Instant::now();
    assert_eq!(status("DELETE", &id), 204);
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert_eq!(u16::from(client.closed().unwrap().code), 1000);
}
