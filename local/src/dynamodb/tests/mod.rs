//! The front between real sockets and a real engine.

mod lag;
mod passage;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

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
        let rules = Arc::clone(&faults);
        let dynamodb = runtime
            .block_on(serve(database(), listener, rules, Arc::default()))
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

    /// Returns the members of a room according to the index.
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

    /// Returns all members, from the table itself.
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
    /// The headers, without those that differ from answer to answer.
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
    let counts = running.dynamodb.counters.snapshot();
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
fn web_pages_reach_no_table() {
    let running = Running::start(&json!([]));
    let put = |host: &str, origin: &str| {
        let item = json!({"TableName": "members", "Item": {"id": {"S": "x"}, "room": {"S": "r"}}});
        let request = String::from_utf8(http("PutItem", &item)).unwrap();
        let request = request.replace("host: localhost\r\n", &format!("host: {host}\r\n{origin}"));
        exchange(running.front, request.as_bytes())
    };
    for (host, origin) in [
        ("localhost", "origin: https://evil.example\r\n"),
        ("localhost", "origin: null\r\n"),
        ("127.0.0.1", "origin: http://127.0.0.1:3000\r\n"),
        ("rebound.example", ""),
        ("rebound.example:80", ""),
    ] {
        let answer = put(host, origin);
        assert_eq!(answer.status, 403, "{host} {origin}");
    }
    // A page asks first, by a preflight, and no answer allows anything.
    let preflight = head(
        "OPTIONS",
        "/",
        &[
            "origin: https://evil.example",
            "access-control-request-method: POST",
        ],
    );
    let preflight = [preflight, b"\r\n".to_vec()].concat();
    let text = String::from_utf8(raw(running.front, &preflight)).unwrap();
    assert!(text.starts_with("HTTP/1.1 403"), "{text}");
    assert!(
        !text.to_ascii_lowercase().contains("access-control"),
        "{text}"
    );
    assert_eq!(running.stored(), [""; 0]);
    assert_eq!(put("localhost", "").status, 200);
}

#[cfg(target_os = "linux")]
#[test]
fn the_engine_behind_the_front_is_where_no_page_finds_it() {
    let addresses = [(); 2].map(|()| Running::start(&json!([])).dynamodb.engine.address.ip());
    assert_ne!(addresses[0], addresses[1]);
    for address in addresses {
        assert!(address.is_loopback() && address != Ipv4Addr::LOCALHOST);
    }
}

#[test]
fn kept_tables_are_for_their_owner_alone() {
    use std::os::unix::fs::symlink;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("a/b");
    let store = open(Some(&data)).unwrap();
    create_tables(&store.database, &[]).unwrap();
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(store);

    // A link that somebody else has put there leads to a file that is not ours.
    let victim = parent.path().join("victim");
    for name in ["lock", FILE] {
        let data = parent.path().join(format!("linked-{name}"));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, data.join(name)).unwrap();
        let error = format!("{:#}", open(Some(&data)).err().unwrap());
        assert!(
            error.contains(&data.join(name).display().to_string()),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    // Files of an earlier version are closed to others.
    let data = parent.path().join("wide");
    std::fs::create_dir(&data).unwrap();
    drop(open(Some(&data)).unwrap());
    std::fs::set_permissions(data.join(FILE), Permissions::from_mode(0o644)).unwrap();
    drop(open(Some(&data)).unwrap());
    assert_eq!(mode(&data.join(FILE)), 0o600);
}

#[test]
fn a_damaged_database_is_named_with_its_path() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join(FILE);
    for content in ["this is not a database ".repeat(400), "short".to_owned()] {
        std::fs::write(&path, content).unwrap();
        let error = format!("{:#}", open(Some(data.path())).err().unwrap());
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
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
    // The hanging call does not keep the gateway from ending.
    running.runtime.block_on(running.dynamodb.stop());
}
