//! Requests that the front passes on unchanged.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

#[test]
fn the_largest_request_passes_and_a_larger_one_is_refused_by_the_engine() {
    let running = Running::start(&json!([]));
    let item = json!({"id": {"S": "a"}, "room": {"S": "x".repeat(390 * 1024)}});
    running.ok("PutItem", &json!({"TableName": "members", "Item": item}));
    for bytes in [16 * 1024 * 1024, 16 * 1024 * 1024 + 1] {
        let mut request = head(
            "POST",
            "/",
            &[
                "x-amz-target: DynamoDB_20120810.PutItem",
                "content-type: application/x-amz-json-1.0",
            ],
        );
        request.extend(format!("content-length: {bytes}\r\n\r\n").into_bytes());
        request.resize(request.len() + bytes, b' ');
        let through = exchange(running.front, &request);
        let direct = exchange(running.dynamodb.engine.address, &request);
        assert_eq!(through, direct);
        let is_too_large = bytes > 16 * 1024 * 1024;
        assert_eq!(through.status, if is_too_large { 413 } else { 400 });
    }
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let operation = prop_oneof![
        prop::sample::select(vec![
            "GetItem",
            "PutItem",
            "Query",
            "Scan",
            "BatchGetItem",
            "BatchWriteItem",
            "TransactGetItems",
            "TransactWriteItems",
            "ListTables",
            "DescribeTable",
            "ExecuteStatement",
            "SearchVectors",
        ])
        .prop_map(|operation| format!("DynamoDB_20120810.{operation}")),
        "[ -~]{0,20}",
    ];
    let known = vec![
        json!({"TableName": "members"}),
        json!({"TableName": "members", "Key": {"id": {"S": "a"}}}),
        json!({"TableName": "members", "Item": {"id": {"S": "a"}, "room": {"S": "r"}}}),
        json!({"TableName": "members", "IndexName": "rooms", "KeyConditionExpression": "room = :r",
            "ExpressionAttributeValues": {":r": {"S": "r"}}}),
        json!({"RequestItems": {"members": [{"PutRequest": {"Item": {"id": {"S": "b"}}}}]}}),
        json!({"RequestItems": {"members": {"Keys": [{"id": {"S": "b"}}]}, "plain": 7}}),
        json!({"TransactItems": [{"Put": {"TableName": "members", "Item": {"id": {"S": "c"}}}}, 3]}),
        json!({"TableName": ["members"], "IndexName": {}, "TransactItems": {"a": 1}, "RequestItems": []}),
        json!({"Statement": "SELECT * FROM members"}),
    ];
    let body = prop_oneof![
        prop::sample::select(known).prop_map(|body| body.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..60),
        "[{}\\[\\]\":,a-z0-9]{0,40}".prop_map(String::into_bytes),
        (1..400_usize).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ];
    let method = prop::sample::select(vec![
        "POST", "POST", "POST", "GET", "PUT", "OPTIONS", "DELETE", "X",
    ]);
    let path = prop::sample::select(vec![
        "/",
        "/",
        "/",
        "/x",
        "/?a=b",
        "*",
        "http://example.com/",
        "//",
    ]);
    let content_type = prop::sample::select(vec![
        "application/x-amz-json-1.0",
        "application/json",
        "text/plain",
        "",
    ]);
    let value = prop::collection::vec(
        any::<u8>().prop_filter("no line", |byte| !matches!(byte, b'\r' | b'\n' | 0)),
        0..20,
    );
    let header = prop::sample::select(vec![
        "x-more",
        "authorization",
        "x-amz-target",
        "referer",
        "te",
        "expect",
    ]);
    let chunked = any::<bool>();
    (
        operation,
        body,
        method,
        path,
        content_type,
        header,
        value,
        chunked,
    )
        .prop_map(
            |(operation, body, method, path, content_type, header, value, chunked)| {
                let target = format!("x-amz-target: {operation}");
                let content_type = format!("content-type: {content_type}");
                let mut request = head(method, path, &[&target, &content_type]);
                request.extend(header.as_bytes());
                request.extend(b": ");
                request.extend(value);
                if chunked && !body.is_empty() {
                    request.extend(
                        format!("\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len())
                            .into_bytes(),
                    );
                    request.extend(body);
                    request.extend(b"\r\n0\r\n\r\n");
                } else {
                    request
                        .extend(format!("\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes());
                    request.extend(body);
                }
                request
            },
        )
}

/// Without what one answer has and the other cannot have.
fn comparable(answer: &[u8]) -> Option<Answered> {
    (!answer.is_empty()).then(|| read(answer))
}

#[test]
fn what_no_rule_is_about_is_answered_as_by_the_engine() {
    let running = Running::start(&json!({"on": "table", "table": "another", "do": "throttle"}));
    let engine = running.dynamodb.engine.address;
    let cases = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(600)
    };
    let served = Cell::new(0);
    proptest!(cases, |(request in requests())| {
        // Twice, so that what the first has written is there both times.
        raw(engine, &request);
        let direct = raw(engine, &request);
        let through = raw(running.front, &request);
        let through = comparable(&through);
        served.set(served.get() + usize::from(through.as_ref().is_some_and(|answer| answer.status == 200)));
        prop_assert_eq!(through, comparable(&direct));
    });
    // Some twenty as a rule.
    assert!(served.get() > 0, "no request was one to serve");
}

#[test]
fn anything_at_all_leaves_the_front_standing() {
    let running = Running::start(&json!([
        {"on": "table", "do": "lag", "ms": [0, 10]},
        {"on": "call", "do": "delay", "ms": 0},
    ]));
    let cases = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    };
    proptest!(cases, |(request in requests(), noise in prop::collection::vec(any::<u8>(), 1..80))| {
        // Not read: without an end to the request there may be no answer.
        TcpStream::connect(running.front).unwrap().write_all(&noise).unwrap();
        let answer = raw(running.front, &request);
        prop_assert!(answer.is_empty() || read(&answer).status >= 200);
        // Not one of the service's own failures either.
        prop_assert!(answer.is_empty() || read(&answer).status < 500, "{:?}", String::from_utf8_lossy(&answer));
    });
    running.put("last", "r");
    assert!(running.stored().contains(&"last".to_owned()));
}
