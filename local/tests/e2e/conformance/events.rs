//! Events, field by field.

use std::collections::BTreeSet;

use chrono::DateTime;
use serde_json::{Value, json};

use super::{KEY, bare, probe, raw, upgrade};
use kit::{Gateway, eventually};

/// Waits until the probe has printed this number of events of a kind, and returns them.
fn printed(gateway: &Gateway, event_type: &str, count: usize) -> Vec<Value> {
    eventually(event_type, || {
        let output = gateway.output();
        let events = output
            .iter()
            .filter_map(|line| serde_json::from_str(line.split_once("EVENT ")?.1).ok())
            .filter(|event: &Value| event["requestContext"]["eventType"] == event_type)
            .collect::<Vec<_>>();
        (events.len() >= count).then_some(events)
    })
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// The members of every request context, and their forms.
const CONTEXT: [&str; 13] = [
    "apiId",
    "connectedAt",
    "connectionId",
    "domainName",
    "eventType",
    "extendedRequestId",
    "identity",
    "messageDirection",
    "requestId",
    "requestTime",
    "requestTimeEpoch",
    "routeKey",
    "stage",
];

fn check_context(
    gateway: &Gateway,
    event: &Value,
    event_type: &str,
    route_key: &str,
    more: &[&str],
) {
    let context = &event["requestContext"];
    assert_eq!(keys(context), CONTEXT.iter().chain(more).copied().collect());
    for (name, value) in [
        ("apiId", "local00000"),
        ("eventType", event_type),
        ("messageDirection", "IN"),
        ("routeKey", route_key),
        ("stage", "prod"),
    ] {
        assert_eq!(context[name], value, "{name}");
    }
    let host = context["domainName"].as_str().unwrap();
    assert!(
        [
            format!("127.0.0.1:{}", gateway.port),
            "localhost".to_owned()
        ]
        .contains(&host.to_owned())
    );
    for name in ["connectionId", "requestId"] {
        let id = context[name].as_str().unwrap();
        let (last, letters) = id.as_bytes().split_last().unwrap();
        let in_alphabet = |c: &u8| c.is_ascii_alphanumeric() || b"-_".contains(c);
        assert!(
            id.len() == 16 && *last == b'=' && letters.iter().all(in_alphabet),
            "{id}"
        );
    }
    assert_eq!(context["requestId"], context["extendedRequestId"]);
    assert_ne!(context["requestId"], context["connectionId"]);
    let epoch_ms = context["requestTimeEpoch"].as_i64().unwrap();
    let connected_at = context["connectedAt"].as_i64().unwrap();
    assert!(connected_at <= epoch_ms, "{context}");
    let time = context["requestTime"].as_str().unwrap();
    let parsed = DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z").unwrap();
    assert_eq!(parsed.timestamp(), epoch_ms / 1000, "{time}");
    assert!(time.ends_with(" +0000"), "{time}");
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["stageVariables"], json!({"colour": "green"}));
}

#[test]
fn a_connect_event_has_the_fields_of_aws() {
    let gateway = probe(&["--env", "PRINT_EVENTS=1"]);
    let headers =
        format!("{KEY}User-Agent: tester\r\nX-Twice: one\r\nx-twice: two\r\nCookie: a=b\r\n");
    let answer = raw(
        &gateway,
        &upgrade("/prod?a=1&b=%20x%26&a=2&flag&c=1+2&%C3%BC=%C3%BC", &headers),
    );
    assert_eq!(answer.status, 101);
    let event = &printed(&gateway, "CONNECT", 1)[0];
    let expected = [
        "headers",
        "isBase64Encoded",
        "multiValueHeaders",
        "multiValueQueryStringParameters",
        "queryStringParameters",
        "requestContext",
        "stageVariables",
    ];
    assert_eq!(keys(event), BTreeSet::from(expected));
    check_context(&gateway, event, "CONNECT", "$connect", &[]);
    assert_eq!(
        event["requestContext"]["identity"],
        json!({"sourceIp": "127.0.0.1", "userAgent": "tester"})
    );
    assert_eq!(
        event["queryStringParameters"],
        json!({"a": "2", "b": " x&", "flag": "", "c": "1+2", "ü": "ü"})
    );
    assert_eq!(
        event["multiValueQueryStringParameters"],
        json!({"a": ["1", "2"], "b": [" x&"], "flag": [""], "c": ["1+2"], "ü": ["ü"]})
    );
    let single = &event["headers"];
    let multi = &event["multiValueHeaders"];
    let expected = [
        "Cookie",
        "Host",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "User-Agent",
        "X-Amzn-Trace-Id",
        "X-Forwarded-For",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
        "X-Twice",
    ];
    assert_eq!(keys(single), BTreeSet::from(expected));
    assert_eq!(keys(multi), BTreeSet::from(expected));
    assert_eq!(multi["X-Twice"], json!(["one", "two"]));
    for (name, value) in single.as_object().unwrap() {
        let values = multi[name].as_array().unwrap();
        assert_eq!(values.last(), Some(value), "{name}");
    }
    assert_eq!(single["X-Forwarded-For"], "127.0.0.1");
    let trace = single["X-Amzn-Trace-Id"].as_str().unwrap();
    let lengths: Vec<usize> = trace.split('-').map(str::len).collect();
    assert!(
        trace.starts_with("Root=1-") && lengths == [6, 8, 24],
        "{trace}"
    );
}

#[test]
fn absent_is_absent() {
    let gateway = probe(&["--env", "PRINT_EVENTS=1"]);
    for path in ["/prod", "/prod?"] {
        assert_eq!(raw(&gateway, &upgrade(path, KEY)).status, 101);
    }
    for event in printed(&gateway, "CONNECT", 2) {
        let expected = [
            "headers",
            "isBase64Encoded",
            "multiValueHeaders",
            "requestContext",
            "stageVariables",
        ];
        assert_eq!(keys(&event), BTreeSet::from(expected));
        assert_eq!(
            event["requestContext"]["identity"],
            json!({"sourceIp": "127.0.0.1"})
        );
    }
    // A stage without variables.
    let gateway = bare(&[]);
    let event = gateway.connect("/prod?a=1").ask(&json!({}));
    assert_eq!(
        keys(&event),
        BTreeSet::from(["body", "isBase64Encoded", "requestContext"])
    );
}

#[test]
fn a_message_event_has_the_fields_of_aws() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod?a=1");
    let text = r#"{"action" : "probe","x":"ü\u00fc"}"#;
    let ask = |client: &mut kit::Client| {
        client.send_text(text);
        client.receive()
    };
    let event = ask(&mut client);
    assert_eq!(
        keys(&event),
        BTreeSet::from([
            "body",
            "isBase64Encoded",
            "requestContext",
            "stageVariables"
        ])
    );
    // The query as it was sent, not decoded.
    assert_eq!(event["body"], text);
    check_context(&gateway, &event, "MESSAGE", "probe", &["messageId"]);
    let context = &event["requestContext"];
    assert_eq!(context["messageId"].as_str().unwrap().len(), 16);
    assert_eq!(context["identity"], json!({"sourceIp": "127.0.0.1"}));
    // The time of the connection stays the same; the ids of the request differ.
    let again = ask(&mut client)["requestContext"].clone();
    assert_eq!(context["connectedAt"], again["connectedAt"]);
    assert_eq!(context["connectionId"], again["connectionId"]);
    assert_ne!(context["requestId"], again["requestId"]);
    assert_ne!(context["messageId"], again["messageId"]);
}

#[test]
fn a_disconnect_event_has_the_fields_of_aws() {
    let gateway = probe(&["--env", "PRINT_EVENTS=1"]);
    let mut client = gateway.connect("/prod?a=1");
    client.send(&json!({"action": "probe"}));
    let message = client.receive();
    client.leave();
    let event = &printed(&gateway, "DISCONNECT", 1)[0];
    let expected = [
        "headers",
        "isBase64Encoded",
        "multiValueHeaders",
        "requestContext",
        "stageVariables",
    ];
    assert_eq!(keys(event), BTreeSet::from(expected));
    let more = ["disconnectReason", "disconnectStatusCode"];
    check_context(&gateway, event, "DISCONNECT", "$disconnect", &more);
    let context = &event["requestContext"];
    assert_eq!(context["disconnectStatusCode"], 1005);
    let connect = &printed(&gateway, "CONNECT", 1)[0]["requestContext"];
    for same in ["connectedAt", "connectionId", "identity", "domainName"] {
        assert_eq!(context[same], connect[same], "{same}");
        assert_eq!(context[same], message["requestContext"][same], "{same}");
    }
    let host = format!("127.0.0.1:{}", gateway.port);
    assert_eq!(
        event["headers"],
        json!({"Host": host, "X-Forwarded-For": "", "x-api-key": "", "x-restapi": ""})
    );
    assert_eq!(
        event["multiValueHeaders"],
        json!({"Host": [host], "X-Forwarded-For": [""], "x-api-key": [""], "x-restapi": [""]})
    );
}
