//! Faults on the way to a function.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{applied, fault, id_of, is_cut, path, probe, said, say, unanswered};
use kit::{Client, eventually};

/// Closes the connection with the client's own code, which `$disconnect` gets.
fn leave(client: &mut Client, code: u16) {
    let frame = CloseFrame {
        code: CloseCode::from(code),
        reason: "".into(),
    };
    client.socket.close(Some(frame)).unwrap();
    while client.read().is_ok() {}
}

#[test]
fn handshakes() {
    let gateway = probe(&json!([
        ["connect", "s429", {"do": "status", "status": 429}],
        ["connect", "s500", {"do": "status", "status": 500}],
        ["connect", "s502", {"do": "status", "status": 502}],
        ["connect", "s503", {"do": "status", "status": 503}],
        ["connect", "s504", {"do": "status", "status": 504}],
        ["connect", "delivered", {"do": "status", "status": 503, "deliver": true}],
        ["connect", "hang", {"do": "hang"}],
        ["connect", "cut", {"do": "cut"}],
        ["connect", "cut1001", {"do": "cut", "close": 1001}],
        ["connect", "twice", {"do": "duplicate"}],
        ["connect", "slow", {"do": "delay", "ms": 60}],
    ]));
    for status in [429, 500, 502, 503, 504] {
        let refused = gateway.try_connect(&path(&format!("s{status}")));
        assert_eq!(refused.err(), Some(status));
    }
    // The function has run, and the client cannot know it.
    assert_eq!(gateway.try_connect(&path("delivered")).err(), Some(503));

    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2FtcGxlLXNhbXBsZS0xNg==\r\n\r\n",
        path("hang")
    );
    drop(unanswered(&gateway, &request));

    is_cut(&mut gateway.connect(&path("cut")));
    gateway.wait_for_line("DISCONNECTED 1006 ''");
    let close = gateway.connect(&path("cut1001")).closed().unwrap();
    assert_eq!(u16::from(close.code), 1001);
    gateway.wait_for_line("DISCONNECTED 1001 'Going away'");

    id_of(&mut gateway.connect(&path("twice")));
    let started = Instant::now();
    gateway.connect(&path("slow"));
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert!(fault(&gateway, "delay").contains(" ms=60 "));

    // Exactly the admitted $connects have run.
    let expected = ["cut", "cut1001", "delivered", "slow", "twice", "twice"];
    eventually("what was said", || {
        let mut said = said(&gateway);
        said.sort();
        (said == expected).then_some(())
    });
    assert_eq!(applied(&gateway).len(), 11);
}

#[test]
fn disconnect_before_connect() {
    let gateway = probe(&json!([
        ["connect", "early", {"do": "early"}],
        // Its $connect does not begin before that of the next client has ended.
        ["connect", "early", {"do": "reorder", "first": 1, "ms": 3_600_000}],
    ]));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| gateway.connect(&path("early")));
        gateway.wait_for_line("DISCONNECTED 1006 ''");
        assert_eq!(said(&gateway), Vec::<String>::new());
        assert!(!first.is_finished());
        is_cut(&mut gateway.connect(&path("early")));
        is_cut(&mut first.join().unwrap());
    });
    let disconnected = || {
        let lines = gateway.output().into_iter();
        lines.filter(|line| line.contains("DISCONNECTED")).count()
    };
    eventually("two $connect", || (said(&gateway).len() == 2).then_some(()));
    assert_eq!(disconnected(), 2);
    // No function of another connection notices it.
    let line = fault(&gateway, "early");
    let id = line.split_whitespace().nth(1).unwrap();
    assert_eq!(gateway.management("GET", id, "").0, 410);
}

#[test]
fn handshakes_that_overtake() {
    let gateway = probe(&json!([
        ["connect", "held", {"do": "reorder", "first": 1, "ms": 3_600_000}],
    ]));
    let connect = |text: &str| gateway.connect(&format!("/prod?name=held&do=say&text={text}"));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| connect("first"));
        fault(&gateway, "reorder");
        connect("second");
        first.join().unwrap();
    });
    eventually("both", || (said(&gateway).len() == 2).then_some(()));
    assert_eq!(said(&gateway), ["second", "first"]);
}

#[test]
fn messages() {
    let gateway = probe(&json!([
        ["message", "lossy", {"do": "drop", "nth": 2, "route": "probe"}],
        ["message", "twice", {"do": "duplicate"}],
        ["message", "s429", {"do": "status", "status": 429}],
        ["message", "s500", {"do": "status", "status": 500}],
        ["message", "s502", {"do": "status", "status": 502}],
        ["message", "s503", {"do": "status", "status": 503}],
        ["message", "s504", {"do": "status", "status": 504, "deliver": true}],
        ["message", "cut", {"do": "cut"}],
        ["message", "cut3000", {"do": "cut", "close": 3000, "deliver": true}],
        ["message", "slow", {"do": "delay", "ms": 60}],
        ["message", "held", {"do": "reorder", "by": 2, "first": 1, "ms": 3_600_000}],
    ]));
    let connect = |name: &str| gateway.connect(&format!("/prod?name={name}"));

    let mut client = connect("lossy");
    for text in ["one", "two", "three"] {
        say(&mut client, text);
        if text != "two" {
            assert_eq!(client.receive_text(), text);
        }
    }

    let mut client = connect("twice");
    client.send(&json!({"action": "probe"}));
    let (first, second) = (client.receive(), client.receive());
    assert_eq!(first, second);
    assert_eq!(first["requestContext"]["eventType"], "MESSAGE");

    for (status, message) in [
        (429, "Too Many Requests"),
        (500, "Internal server error"),
        (502, "Internal server error"),
        (503, "Service Unavailable"),
        (504, "Endpoint request timed out"),
    ] {
        let mut client = connect(&format!("s{status}"));
        say(&mut client, &status.to_string());
        assert_eq!(client.receive()["message"], message);
    }

    let mut client = connect("cut");
    say(&mut client, "cut");
    is_cut(&mut client);
    gateway.wait_for_line("DISCONNECTED 1006");
    let mut client = connect("cut3000");
    say(&mut client, "cut3000");
    assert_eq!(u16::from(client.closed().unwrap().code), 3000);
    gateway.wait_for_line("DISCONNECTED 3000");

    let mut client = connect("slow");
    let started = Instant::now();
    say(&mut client, "slow");
    assert_eq!(client.receive_text(), "slow");
    assert!(started.elapsed() >= Duration::from_millis(60));

    let mut client = connect("held");
    say(&mut client, "first");
    for text in ["second", "third"] {
        say(&mut client, text);
        assert_eq!(client.receive_text(), text);
    }
    assert_eq!(client.receive_text(), "first");

    // Exactly the messages that no rule dropped have reached a function.
    let expected = [
        "504", "cut3000", "first", "one", "second", "slow", "third", "three",
    ];
    eventually("what was said", || {
        let mut said = said(&gateway);
        said.sort();
        (said == expected).then_some(())
    });
}

#[test]
fn disconnects() {
    let gateway = probe(&json!([
        ["disconnect", "lost", {"do": "lose"}],
        ["disconnect", "twice", {"do": "duplicate"}],
        ["disconnect", "slow", {"do": "delay", "ms": 60}],
        ["disconnect", "held", {"do": "reorder", "first": 1, "ms": 3_600_000}],
    ]));
    for (name, code) in [
        ("lost", 3001),
        ("twice", 3002),
        ("slow", 3003),
        ("held", 3004),
    ] {
        leave(&mut gateway.connect(&path(name)), code);
    }
    fault(&gateway, "lose");
    fault(&gateway, "reorder");
    leave(&mut gateway.connect(&path("held")), 3005);
    let expected = ["3002", "3002", "3003", "3004", "3005"];
    let codes = || -> Vec<String> {
        let lines = gateway.output().into_iter();
        lines
            .filter_map(|line| Some(line.split_once("DISCONNECTED ")?.1[..4].to_owned()))
            .collect()
    };
    eventually("the others' $disconnect", || {
        let mut codes = codes();
        codes.sort();
        (codes == expected).then_some(())
    });
    let place = |code: &str| codes().iter().position(|seen| seen == code);
    assert!(place("3005") < place("3004"), "{:?}", codes());
}
