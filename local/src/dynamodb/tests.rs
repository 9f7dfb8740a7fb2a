//! The front between real sockets and a real engine.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::call::Call;
use super::counters::Counts;
use super::lag::Shadow;
use super::*;
use crate::faults::Document;

/// Only hit when something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x";

/// Two tables: `members`, on demand, with an index, and `plain`, with provisioned capacity.
fn database() -> Database {
    let database = Database::memory().unwrap();
    let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    for table in [
        json!({
            "TableName": "members",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [attribute("id"), attribute("room")],
            "KeySchema": [key("id", "HASH")],
            "GlobalSecondaryIndexes": [{
                "IndexName": "rooms",
                "KeySchema": [key("room", "HASH"), key("id", "RANGE")],
                "Projection": {"ProjectionType": "ALL"},
            }],
        }),
        json!({
            "TableName": "plain",
            "BillingMode": "PROVISIONED",
            "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
            "AttributeDefinitions": [{"AttributeName": "n", "AttributeType": "N"}],
            "KeySchema": [key("n", "HASH")],
        }),
    ] {
        database
            .create_table(serde_json::from_value(table).unwrap())
            .unwrap();
    }
    database
}

struct Running {
    runtime: Runtime,
    dynamodb: DynamoDb,
    front: SocketAddr,
    faults: Arc<Faults>,
}

impl Running {
    fn start(rules: &Value) -> Running {
        let runtime = Runtime::new().unwrap();
        let faults = Arc::new(Faults::new(document(rules), 7));
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let front = listener.local_addr().unwrap();
        let rules = Some((Arc::clone(&faults), Arc::default()));
        let dynamodb = runtime
            .block_on(serve(database(), listener, rules))
            .unwrap();
        Running {
            runtime,
            dynamodb,
            front,
            faults,
        }
    }

    fn call(&self, operation: &str, request: &Value) -> (u16, Value) {
        let answer = exchange(self.front, &http(operation, request));
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, body)
    }

    fn ok(&self, operation: &str, request: &Value) -> Value {
        let (status, body) = self.call(operation, request);
        assert_eq!(status, 200, "{operation} {request}: {body}");
        body
    }

    fn put(&self, id: &str, room: &str) {
        let item = json!({"id": {"S": id}, "room": {"S": room}});
        self.ok("PutItem", &json!({"TableName": "members", "Item": item}));
    }

    fn delete(&self, id: &str) {
        let key = json!({"id": {"S": id}});
        self.ok("DeleteItem", &json!({"TableName": "members", "Key": key}));
    }

    /// Who the index says is in a room.
    fn indexed(&self, room: &str) -> Vec<String> {
        ids(&self.ok(
            "Query",
            &json!({
                "TableName": "members",
                "IndexName": "rooms",
                "KeyConditionExpression": "room = :room",
                "ExpressionAttributeValues": {":room": {"S": room}},
            }),
        ))
    }

    /// Everybody, from the table itself.
    fn stored(&self) -> Vec<String> {
        ids(&self.ok("Scan", &json!({"TableName": "members"})))
    }

    fn set(&self, rules: &Value) {
        self.faults.replace(document(rules));
    }
}

fn document(rules: &Value) -> Document {
    Document::parse(rules.to_string().as_bytes()).unwrap()
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["Items"].as_array().unwrap();
    let mut ids: Vec<String> = items
        .iter()
        .map(|item| item["id"]["S"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

#[derive(Debug, PartialEq)]
struct Answered {
    status: u16,
    /// Without those that differ from answer to answer.
    headers: Vec<String>,
    body: Vec<u8>,
}

fn http(operation: &str, request: &Value) -> Vec<u8> {
    let target = format!("x-amz-target: DynamoDB_20120810.{operation}");
    let mut text = head(
        "POST",
        "/",
        &[&target, "content-type: application/x-amz-json-1.0"],
    );
    let body = request.to_string();
    text.extend(format!("content-length: {}\r\n\r\n{body}", body.len()).into_bytes());
    text
}

/// The beginning of a request, up to the headers about its body.
fn head(method: &str, path: &str, headers: &[&str]) -> Vec<u8> {
    let headers = headers.join("\r\n");
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: {SIGNATURE}\r\n\
         x-amz-date: 20260101T000000Z\r\n{headers}\r\n"
    )
    .into_bytes()
}

/// Everything that is answered to these bytes until the connection is closed.
fn raw(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have been refused before all of it was sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn exchange(to: SocketAddr, bytes: &[u8]) -> Answered {
    read(&raw(to, bytes))
}

fn read(answer: &[u8]) -> Answered {
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no HTTP: {:?}", String::from_utf8_lossy(answer)));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut headers: Vec<String> = lines
        .filter(|line| !line.starts_with("date:") && !line.starts_with("x-amzn-requestid:"))
        .map(str::to_owned)
        .collect();
    headers.sort();
    Answered {
        status: status.parse().unwrap(),
        headers,
        body: answer[end + 4..].to_vec(),
    }
}

/// The header that SDKs check the body with.
fn has_checksum(answer: &Answered) -> bool {
    let checksum = format!("x-amz-crc32: {}", crc32fast::hash(&answer.body));
    answer.headers.contains(&checksum)
}

#[test]
fn a_throttled_call_does_nothing_and_says_so_in_dynamodbs_words() {
    let rule = json!({"on": "table", "operation": "PutItem", "do": "throttle"});
    let running = Running::start(&rule);
    let item = json!({"id": {"S": "a"}, "room": {"S": "r"}});
    let put = json!({"TableName": "members", "Item": item});
    let answer = exchange(running.front, &http("PutItem", &put));
    assert_eq!(answer.status, 400);
    assert!(has_checksum(&answer), "{answer:?}");
    let json_header = "content-type: application/x-amz-json-1.0".to_owned();
    assert!(answer.headers.contains(&json_header), "{answer:?}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        body["__type"],
        "com.amazon.coral.availability#ThrottlingException"
    );
    let (status, body) = running.call(
        "PutItem",
        &json!({"TableName": "plain", "Item": {"n": {"N": "1"}}}),
    );
    assert_eq!(status, 400);
    assert_eq!(
        body["__type"],
        "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
    );
    assert_eq!(running.stored(), [""; 0]);
    let invented = json!({"TableName": "invented", "Item": item});
    assert_eq!(running.call("PutItem", &invented).0, 400);
    let counts = running.dynamodb.counters.as_ref().unwrap().snapshot();
    let of = |table: &str| counts.get(table).copied();
    let count = |reads, throttles| {
        Some(Counts {
            reads,
            throttles,
            ..Counts::default()
        })
    };
    assert_eq!(of("members"), count(1, 1));
    assert_eq!(of("plain"), count(0, 1));
    assert_eq!(of("invented"), None);
}

#[test]
fn a_failure_may_come_before_or_after_the_effect() {
    let failing = |status: u16, deliver: bool| json!({"on": "table", "operation": "PutItem", "do": "status", "status": status, "deliver": deliver});
    let running = Running::start(&json!([]));
    let put = |id: &str| {
        let item = json!({"id": {"S": id}, "room": {"S": "r"}});
        running.call("PutItem", &json!({"TableName": "members", "Item": item}))
    };
    running.set(&failing(500, false));
    let (status, body) = put("a");
    assert_eq!(
        (status, &body["__type"]),
        (
            500,
            &json!("com.amazonaws.dynamodb.v20120810#InternalServerError")
        )
    );
    assert_eq!(running.stored(), [""; 0]);
    running.set(&failing(503, true));
    assert_eq!(put("b").0, 503);
    running.set(&failing(502, true));
    assert_eq!(put("c"), (502, Value::Null));
    assert_eq!(running.stored(), ["b", "c"]);
}

#[test]
fn a_call_that_hangs_holds_nobody_else_up() {
    let rule = json!({"on": "table", "operation": "PutItem", "do": "hang"});
    let running = Running::start(&rule);
    let item = json!({"id": {"S": "a"}, "room": {"S": "r"}});
    let put = http("PutItem", &json!({"TableName": "members", "Item": item}));
    let mut hanging = TcpStream::connect(running.front).unwrap();
    hanging.write_all(&put).unwrap();
    assert_eq!(running.stored(), [""; 0]);
    hanging.set_nonblocking(true).unwrap();
    let nothing = hanging.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    drop(hanging);
    running.set(&json!({"on": "table", "operation": "PutItem", "do": "hang", "deliver": true}));
    let mut hanging = TcpStream::connect(running.front).unwrap();
    hanging.write_all(&put).unwrap();
    while running.stored().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // And it does not keep the gateway from ending.
    running.runtime.block_on(running.dynamodb.stop());
}

#[test]
fn an_index_lags_and_the_table_does_not() {
    let running = Running::start(&json!([]));
    running.put("before", "r");
    running.set(&json!({"on": "table", "do": "lag", "ms": 3_600_000}));
    running.put("joins", "r");
    assert_eq!(running.indexed("r"), ["before"]);
    assert_eq!(running.stored(), ["before", "joins"]);
    running.delete("before");
    assert_eq!(running.indexed("r"), ["before"]);
    let write = |put: &str, delete: &str| {
        json!([
            {"PutRequest": {"Item": {"id": {"S": put}, "room": {"S": "r"}}}},
            {"DeleteRequest": {"Key": {"id": {"S": delete}}}},
        ])
    };
    let batch = json!({"RequestItems": {"members": write("batch", "joins")}});
    running.ok("BatchWriteItem", &batch);
    let transaction = json!({"TransactItems": [
        {"Update": {
            "TableName": "members",
            "Key": {"id": {"S": "transaction"}},
            "UpdateExpression": "SET room = :r",
            "ExpressionAttributeValues": {":r": {"S": "r"}},
        }},
    ]});
    running.ok("TransactWriteItems", &transaction);
    assert_eq!(running.indexed("r"), ["before"]);
    assert_eq!(running.stored(), ["batch", "transaction"]);
    let statement = json!({"Statement": "SELECT * FROM members"});
    let (status, refusal) = running.call("ExecuteStatement", &statement);
    assert_eq!(status, 400, "{refusal}");
    // Without the rule the index knows everything.
    running.set(&json!([]));
    assert_eq!(running.indexed("r"), ["batch", "transaction"]);
    running.ok("ExecuteStatement", &statement);
}

#[test]
fn an_index_learns_of_what_the_rule_is_not_about_at_once() {
    let running = Running::start(&json!({
        "on": "table", "operation": "DeleteItem", "do": "lag", "ms": 3_600_000, "nth": 2,
    }));
    for id in ["a", "b", "c"] {
        running.put(id, "r");
    }
    for id in ["a", "b", "c"] {
        running.delete(id);
    }
    assert_eq!(running.indexed("r"), ["b"]);
    // The changes of one item keep their order, so this one waits for the other.
    running.put("b", "elsewhere");
    assert_eq!(running.indexed("r"), ["b"]);
    assert_eq!(running.indexed("elsewhere"), [""; 0]);
}

#[test]
fn a_lag_ends() {
    let running = Running::start(&json!({"on": "table", "do": "lag", "ms": [1, 50]}));
    running.put("a", "r");
    while running.indexed("r").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    running.delete("a");
    while !running.indexed("r").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn tables_come_and_go_while_indexes_lag() {
    let running = Running::start(&json!({"on": "table", "do": "lag", "ms": 3_600_000}));
    running.put("a", "r");
    let mut create = running.ok("DescribeTable", &json!({"TableName": "members"}))["Table"].take();
    create = json!({
        "TableName": "second",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": create["AttributeDefinitions"],
        "KeySchema": create["KeySchema"],
        "GlobalSecondaryIndexes": [{
            "IndexName": "rooms",
            "KeySchema": create["GlobalSecondaryIndexes"][0]["KeySchema"],
            "Projection": {"ProjectionType": "ALL"},
        }],
    });
    running.ok("CreateTable", &create);
    let item = json!({"id": {"S": "b"}, "room": {"S": "r"}});
    running.ok("PutItem", &json!({"TableName": "second", "Item": item}));
    let scan = |index: Option<&str>| {
        let mut request = json!({"TableName": "second"});
        if let Some(index) = index {
            request["IndexName"] = index.into();
        }
        running.call("Scan", &request)
    };
    let (status, page) = scan(Some("rooms"));
    assert_eq!((status, ids(&page).len()), (200, 0), "{page}");
    assert_eq!(ids(&scan(None).1), ["b"]);
    running.ok("DeleteTable", &json!({"TableName": "second"}));
    assert_eq!(scan(Some("rooms")).0, 400);
}

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
        "origin",
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
    assert!(
        served.get() >= 10,
        "only {} were requests to serve",
        served.get()
    );
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

/// Puts (with a number) and deletions of a few items, each with its lag, and how much time passes before.
fn writes() -> impl Strategy<Value = Vec<(usize, Option<u32>, u64, u64)>> {
    prop::collection::vec(
        (0..3_usize, any::<Option<u32>>(), 0..100_u64, 0..40_u64),
        1..40,
    )
}

#[test]
fn each_item_of_an_index_goes_through_its_states_in_order() {
    let runtime = Runtime::new().unwrap();
    let cases = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(60)
    };
    proptest!(cases, |(writes in writes())| {
        let real = database();
        let shadow = runtime.block_on(Shadow::of(&real)).unwrap();
        // The same number is the same key however it is written.
        let keys = ["1", "1.0", "2"];
        let same = [0, 0, 1];
        let mut now = Instant::now();
        // Each state and when it shows, as the definition has it.
        let mut states = [vec![(now, None)], vec![(now, None)]];
        for (key, value, lag, passes) in writes {
            now += Duration::from_millis(passes);
            let (operation, request) = match value {
                Some(value) => ("PutItem", json!({"TableName": "plain", "Item": {"n": {"N": keys[key]}, "v": {"N": value.to_string()}}})),
                None => ("DeleteItem", json!({"TableName": "plain", "Key": {"n": {"N": keys[key]}}})),
            };
            if value.is_some() {
                real.put_item(serde_json::from_value(request.clone()).unwrap()).unwrap();
            } else {
                real.delete_item(serde_json::from_value(request.clone()).unwrap()).unwrap();
            }
            let lag = Duration::from_millis(lag);
            shadow.note(&real, &call(operation, &request), |_| lag, now);
            let states_of_it = &mut states[same[key]];
            let due = (now + lag).max(states_of_it[states_of_it.len() - 1].0);
            states_of_it.push((due, value));
            shadow.catch_up(now);
            for (item, states) in states.iter().enumerate() {
                let (_, shown) = states.iter().rev().find(|(due, _)| *due <= now).unwrap();
                prop_assert_eq!(&value_in(&shadow, ["1", "2"][item]), shown);
            }
        }
        shadow.catch_up(now + Duration::from_millis(100));
        for (item, states) in states.iter().enumerate() {
            prop_assert_eq!(value_in(&shadow, ["1", "2"][item]), states[states.len() - 1].1);
        }
        prop_assert!(shadow.is_up_to_date());
    });
}

#[test]
fn nothing_of_a_removed_table_shows_in_its_successor() {
    let real = database();
    let shadow = Runtime::new().unwrap().block_on(Shadow::of(&real)).unwrap();
    let put = json!({"TableName": "plain", "Item": {"n": {"N": "1"}}});
    real.put_item(serde_json::from_value(put.clone()).unwrap())
        .unwrap();
    shadow.note(&real, &call("PutItem", &put), |_| PATIENCE, Instant::now());
    assert!(!shadow.is_up_to_date());
    shadow.forget("members");
    assert!(!shadow.is_up_to_date());
    shadow.forget("plain");
    assert!(shadow.is_up_to_date());
}

fn call(operation: &str, request: &Value) -> Call {
    let target = format!("DynamoDB_20120810.{operation}").parse().unwrap();
    let headers = axum::http::HeaderMap::from_iter([(
        axum::http::HeaderName::from_static("x-amz-target"),
        target,
    )]);
    Call::read(&headers, request.to_string().as_bytes())
}

fn value_in(shadow: &Shadow, key: &str) -> Option<u32> {
    let request = json!({"TableName": "plain", "Key": {"n": {"N": key}}});
    let found = shadow
        .database()
        .get_item(serde_json::from_value(request).unwrap());
    let found = serde_json::to_value(found.unwrap()).unwrap();
    Some(found["Item"]["v"]["N"].as_str()?.parse().unwrap())
}
