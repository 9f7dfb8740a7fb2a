//! The route of a message, and its answer.

use serde_json::json;

use super::{bare, id_of, probe};
use kit::eventually;

#[test]
fn every_message_takes_the_route_of_aws() {
    // Routes: $default, join, 5 and true. The selection expression is $request.body.action.
    let gateway = bare(&[]);
    let mut client = gateway.connect("/prod");
    let mut check = |body: &str, route_key: &str| {
        client.send_text(body);
        let event = client.receive();
        assert_eq!(event["requestContext"]["routeKey"], route_key, "{body}");
        assert_eq!(event["body"], body);
    };
    for (body, route_key) in [
        (r#"{"action":"join"}"#, "join"),
        (r#"{"x":{"action":5},"action":"join"}"#, "join"),
        (r#"{"action":"nope"}"#, "$default"),
        (r#"{"action":"Join"}"#, "$default"),
        (r#"{"Action":"join"}"#, "$default"),
        ("{}", "$default"),
        (r#"{"action":""}"#, "$default"),
        (r#"{"action":null}"#, "$default"),
        (r#"{"action":5}"#, "5"),
        (r#"{"action":"5"}"#, "5"),
        (r#"{"action":5.0}"#, "$default"),
        (r#"{"action":true}"#, "true"),
        (r#"{"action":["join"]}"#, "$default"),
        (r#"{"action":["a","b"]}"#, "$default"),
        (r#"{"action":{"x":1}}"#, "$default"),
        ("join", "$default"),
        ("", "$default"),
        ("{", "$default"),
        (r#""join""#, "$default"),
        ("5", "$default"),
        ("[]", "$default"),
        (r#"{"action":"nope","action":"join"}"#, "join"),
        (r#"{"action":"join","action":"nope"}"#, "$default"),
        (r#"{"action":"$connect"}"#, "$default"),
        (r#"{"action":"$disconnect"}"#, "$default"),
        (r#"{"action":"$default"}"#, "$default"),
    ] {
        check(body, route_key);
    }
}

#[test]
fn without_a_default_route_what_matches_nothing_is_forbidden() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    for body in [
        "",
        "[]",
        "{}",
        "5",
        r#"{"action":"Probe"}"#,
        r#"{"action":"$disconnect"}"#,
    ] {
        client.send_text(body);
        assert_eq!(client.receive()["message"], "Forbidden", "{body}");
    }
    // Only $connect has run, and the connection still works.
    id_of(&mut client);
    let events = gateway.output().into_iter();
    assert_eq!(
        events.filter(|line| line.contains("DISCONNECTED")).count(),
        0
    );
}

#[test]
fn the_gateways_own_frames_are_aws_byte_for_byte() {
    let gateway = probe(&["--admin-port", "0", "--var", "probe_timeout=900"]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    let mut check = |request: &str, message: &str| {
        client.send_text(request);
        if request.contains("hang") {
            gateway.wait_for_line("HANGING");
            gateway.pass(30);
        }
        let frame = client.receive_text();
        let head = format!(r#"{{"message": "{message}", "connectionId":"{id}", "requestId":""#);
        let request_id = frame
            .strip_prefix(&head)
            .unwrap_or_else(|| panic!("{request}: {frame}"));
        assert_eq!(
            request_id.strip_suffix("\"}").map(str::len),
            Some(16),
            "{frame}"
        );
    };
    // The API has no $default route.
    for request in [
        "not JSON",
        r#"{"action":"nowhere"}"#,
        r#"{"action":"$connect"}"#,
    ] {
        check(request, "Forbidden");
    }
    for request in ["fail", "exit", "abandon"] {
        check(
            &json!({"action": "probe", "do": request}).to_string(),
            "Internal server error",
        );
    }
    for result in [
        "",
        "null",
        "{}",
        "[]",
        "\"hi\"",
        r#"{"statusCode":"200"}"#,
        r#"{"statusCode":200,"extra":1}"#,
    ] {
        check(
            &json!({"action": "probe", "do": "raw", "raw": result}).to_string(),
            "Internal server error",
        );
    }
    // More than Lambda accepts, and more than a client can receive.
    for bytes in [7 * 1024 * 1024, 128 * 1024 + 1] {
        check(
            &json!({"action": "probe", "do": "large", "bytes": bytes}).to_string(),
            "Internal server error",
        );
    }
    // A failure of a one-way route is reported to the client too.
    check(
        r#"{"action":"oneway","do":"fail"}"#,
        "Internal server error",
    );
    check(
        r#"{"action":"probe","do":"hang"}"#,
        "Endpoint request timed out",
    );
    // The connection still works.
    assert_eq!(id_of(&mut client), id);
    gateway.end_at_once();
}

#[test]
fn what_a_function_returns_reaches_the_client_of_a_two_way_route_only() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    // The body of a one-way route is never sent, whatever its status. An empty answer is not sent either.
    client.send(&json!({"action": "oneway"}));
    client.send(&json!({"action": "oneway", "do": "status", "status": 500}));
    for empty in [
        r#"{"statusCode":200}"#,
        r#"{"statusCode":200,"body":""}"#,
        r#"{"statusCode":200,"body":null}"#,
        r#"{"statusCode":500}"#,
    ] {
        client.send(&json!({"action": "probe", "do": "raw", "raw": empty}));
    }
    // All earlier messages have been answered when this one begins.
    eventually("six invocations are over", || {
        let output = gateway.output();
        let over = output.iter().filter(|line| line.contains("REPORT")).count();
        (over >= 7).then_some(())
    });
    // The body of a two-way route is sent, whatever its status, and decoded if it is base64.
    client.send(&json!({"action": "probe", "do": "status", "status": 500}));
    assert_eq!(client.receive_text(), "told");
    let encoded = r#"{"statusCode":200,"body":"aGk=","isBase64Encoded":true}"#;
    client.send(&json!({"action": "probe", "do": "raw", "raw": encoded}));
    assert_eq!(client.receive_text(), "hi");
    id_of(&mut client);
}

#[test]
fn messages_of_one_client_run_at_the_same_time() {
    let gateway = probe(&["--var", "probe_timeout=20"]);
    let mut client = gateway.connect("/prod");
    client.send(&json!({"action": "probe", "do": "sleep", "seconds": 1}));
    client.send(&json!({"action": "probe", "do": "sleep", "seconds": 0}));
    // The second message overtakes the first, in another process.
    let quick = client.receive_text();
    let slow = client.receive_text();
    assert_ne!(quick, slow);
}
