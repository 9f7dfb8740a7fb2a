//! The answer to a handshake.

use serde_json::{Value, json};

use super::{KEY, bare, probe, raw, upgrade};
use kit::eventually;

#[test]
fn handshake_statuses() {
    let gateway = probe(&[]);
    for (query, status) in [
        ("do=status&status=200", None),
        ("do=status&status=204", None),
        ("do=status&status=299", None),
        ("do=status&status=301", Some(301)),
        ("do=status&status=400", Some(400)),
        ("do=status&status=401", Some(401)),
        ("do=status&status=500", Some(500)),
        // A status that cannot end an exchange.
        ("do=status&status=100", Some(502)),
        ("do=status&status=1000", Some(502)),
        ("do=fail", Some(502)),
        ("do=exit", Some(502)),
        ("do=abandon", Some(502)),
        ("do=raw&raw=null", Some(502)),
        ("do=raw&raw={}", Some(502)),
        ("do=raw&raw=%7B%22statusCode%22%3A%22200%22%7D", Some(502)),
        ("do=raw&raw=not%20JSON", Some(502)),
        (
            "do=raw&raw=%7B%22statusCode%22%3A200%2C%22cookies%22%3A%5B%5D%7D",
            Some(502),
        ),
    ] {
        let path = format!("/prod?{query}");
        assert_eq!(gateway.try_connect(&path).err(), status, "{query}");
    }
}

#[test]
fn a_refusal_says_no_more_than_aws() {
    let gateway = probe(&["--admin-port", "0", "--var", "probe_timeout=900"]);
    let refused = |path: &str| {
        let answer = raw(&gateway, &upgrade(path, KEY));
        (answer.status, answer.body)
    };
    let json = |message: &str| format!(r#"{{"message":"{message}"}}"#);
    // The body of the function is not sent to the client.
    assert_eq!(refused("/prod?do=status&status=403"), (403, String::new()));
    assert_eq!(refused("/wrong"), (403, json("Forbidden")));
    assert_eq!(
        refused("/prod?do=fail"),
        (502, json("Internal server error"))
    );
    std::thread::scope(|scope| {
        let hanging = scope.spawn(|| refused("/prod?do=hang"));
        gateway.wait_for_line("HANGING");
        gateway.pass(30);
        let expected = (504, json("Endpoint request timed out"));
        assert_eq!(hanging.join().unwrap(), expected);
    });
    gateway.end_at_once();
}

#[test]
fn without_a_connect_route_everybody_is_accepted() {
    let gateway = bare(&["--admin-port", "0"]);
    let mut client = gateway.connect("/prod");
    assert_eq!(client.ask(&json!({}))["requestContext"]["stage"], "prod");
    // No function is told of its end either.
    client.leave();
    eventually("it is gone", || {
        let status = gateway.admin("GET", "/status", &Value::Null);
        (status["openConnections"] == 0).then_some(())
    });
    assert_eq!(gateway.http("GET", "/prod", "").0, 426);
}

#[test]
fn requests_that_are_no_handshake() {
    let gateway = probe(&[]);
    let get = |path: &str| {
        let answer = raw(
            &gateway,
            &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        );
        answer.status
    };
    for path in ["/prod", "/prod/", "/prod/deeper", "/wrong"] {
        assert_eq!(get(path), 426, "{path}");
    }
    let answered = |path: &str, headers: &str| raw(&gateway, &upgrade(path, headers));
    for path in ["/prod", "/prod/", "/prod/?x=1", "/%70rod"] {
        let answer = answered(path, KEY);
        assert_eq!(answer.status, 101, "{path}");
        // The accept value for this key: RFC 6455, 4.2.2.
        for header in [
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-accept: pr2twutz9o8vjbq35lcshusfvt4=",
        ] {
            assert!(
                answer.head.contains(&format!("\r\n{header}\r\n")),
                "{}",
                answer.head
            );
        }
        assert!(!answer.head.contains("extensions"), "{}", answer.head);
    }
    for path in ["/wrong", "/", "/prod/deeper", "/PROD", "/prod//"] {
        assert_eq!(answered(path, KEY).status, 403, "{path}");
    }
    let status = |path: &str, headers: &str| answered(path, headers).status;
    assert_eq!(status("/prod", "Sec-WebSocket-Version: 13\r\n"), 400);
    assert_eq!(
        status(
            "/prod",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"
        ),
        400
    );
    let old = answered("/prod", &KEY.replace("13", "8"));
    assert_eq!(old.status, 426);
    assert!(
        old.head.contains("sec-websocket-version: 13"),
        "{}",
        old.head
    );
    let handshake = upgrade("/prod", KEY);
    for (part, instead) in [
        ("GET", "POST"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Host: localhost\r\n", ""),
        (
            "Host: localhost\r\n",
            "Host: localhost\r\nHost: elsewhere\r\n",
        ),
        (
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version",
        ),
    ] {
        let wrong = handshake.replacen(part, instead, 1);
        assert_eq!(raw(&gateway, &wrong).status, 400, "{wrong}");
    }
    // The longest URL and the largest headers, and ones that are a byte larger.
    let long = |bytes: usize| format!("/prod?x={}", "y".repeat(bytes - "/prod?x=".len()));
    assert_eq!(status(&long(4096), KEY), 101);
    assert_eq!(status(&long(4097), KEY), 414);
    let large = |bytes: usize| format!("{KEY}X-Large: {}\r\n", "y".repeat(bytes));
    assert_eq!(status("/prod", &large(10_000)), 101);
    assert_eq!(status("/prod", &large(10_240)), 431);
}

#[test]
fn only_the_subprotocol_of_the_functions_headers_reaches_the_client() {
    let gateway = probe(&[]);
    let handshake = |query: &str| {
        let offer = format!("{KEY}Sec-WebSocket-Protocol: chat, other\r\n");
        let answer = raw(&gateway, &upgrade(&format!("/prod?{query}"), &offer));
        assert_eq!(answer.status, 101);
        answer.head
    };
    let silent = handshake("");
    assert!(!silent.contains("sec-websocket-protocol"), "{silent}");
    let spoken = handshake("do=subprotocol&protocol=chat");
    assert!(
        spoken.contains("sec-websocket-protocol: chat\r\n"),
        "{spoken}"
    );
    assert!(!spoken.contains("set-cookie"), "{spoken}");
    // The gateway does not check that the client offered it.
    let unasked = handshake("do=subprotocol&protocol=unasked");
    assert!(unasked.contains("protocol: unasked\r\n"), "{unasked}");
}

#[test]
fn a_refused_connection_has_no_disconnect() {
    let gateway = probe(&[]);
    assert!(gateway.try_connect("/prod?do=status&status=403").is_err());
    drop(gateway.connect("/prod"));
    gateway.wait_for_line("DISCONNECTED 1006");
    assert_eq!(
        gateway
            .output()
            .iter()
            .filter(|line| line.contains("DISCONNECTED"))
            .count(),
        1
    );
}
