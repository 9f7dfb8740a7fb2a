//! The gateway against what AWS does, with a small function in another language behind an API of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::harness::{Client, Gateway, eventually, root};

fn probe(flags: &[&str]) -> Gateway {
    Gateway::start_with(&root().join("local/tests/probe"), flags)
}

/// A plain HTTP exchange: the status line, headers and body as text.
fn raw(gateway: &Gateway, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{headers}\r\n\r\n"
    )
}

const KEY: &str = "Sec-WebSocket-Key: c2FtcGxlLXNhbXBsZS0xNg==";

fn ask(client: &mut Client, request: Value) -> Value {
    let mut request = request;
    request["action"] = "probe".into();
    client.ask(&request)
}

/// The id of a client's connection, from an event it causes.
fn id_of(client: &mut Client) -> String {
    let event = ask(client, json!({}));
    event["requestContext"]["connectionId"]
        .as_str()
        .unwrap()
        .to_owned()
}

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
        ("do=fail", Some(502)),
        ("do=exit", Some(502)),
        ("do=raw&raw=null", Some(502)),
        ("do=raw&raw={}", Some(502)),
        ("do=raw&raw=not%20JSON", Some(502)),
        (
            "do=raw&raw=%7B%22statusCode%22%3A200%2C%22cookies%22%3A%5B%5D%7D",
            Some(502),
        ),
    ] {
        let path = format!("/prod?{query}");
        assert_eq!(gateway.try_connect(&path).err(), status, "{query}");
    }
    // With time for a function to start on a busy machine, and none for one that hangs.
    let gateway = probe(&[
        "--var",
        "integration_timeout=5000",
        "--var",
        "probe_timeout=60",
    ]);
    assert_eq!(gateway.try_connect("/prod?do=hang").err(), Some(504));
    gateway.end_at_once();
}

#[test]
fn requests_that_are_no_handshake() {
    let gateway = probe(&[]);
    let status = |request: &str| {
        raw(&gateway, request)
            .split(' ')
            .nth(1)
            .unwrap()
            .parse::<u16>()
            .unwrap()
    };
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&get("/prod")), 426);
    assert_eq!(status(&get("/prod/deeper")), 426);
    let valid = format!("Sec-WebSocket-Version: 13\r\n{KEY}");
    let refused = |path: &str, headers: &str| {
        let headers = format!("{headers}\r\nX-Close: 1");
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
        stream
            .write_all(upgrade(path, &headers).as_bytes())
            .unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        String::from_utf8_lossy(&start)[9..].parse::<u16>().unwrap()
    };
    assert_eq!(refused("/prod", &valid), 101);
    assert_eq!(refused("/prod/", &valid), 101);
    assert_eq!(refused("/prod/?x=1", &valid), 101);
    assert_eq!(refused("/wrong", &valid), 403);
    assert_eq!(refused("/", &valid), 403);
    assert_eq!(refused("/prod/deeper", &valid), 403);
    assert_eq!(refused("/prod", "Sec-WebSocket-Version: 13"), 400);
    assert_eq!(
        refused("/prod", &format!("Sec-WebSocket-Version: 8\r\n{KEY}")),
        426
    );
    assert_eq!(
        refused(&format!("/prod?x={}", "y".repeat(4096)), &valid),
        414
    );
    assert_eq!(
        refused(
            "/prod",
            &format!("{valid}\r\nX-Large: {}", "y".repeat(10_240))
        ),
        431
    );
}

#[test]
fn only_the_subprotocol_of_the_functions_headers_reaches_the_client() {
    let gateway = probe(&[]);
    let handshake = |query: &str| {
        let headers =
            format!("Sec-WebSocket-Version: 13\r\n{KEY}\r\nSec-WebSocket-Protocol: chat, other");
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
        stream
            .write_all(upgrade(&format!("/prod?{query}"), &headers).as_bytes())
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap().to_lowercase()
    };
    let silent = handshake("");
    assert!(silent.starts_with("http/1.1 101"), "{silent}");
    assert!(!silent.contains("sec-websocket-protocol"), "{silent}");
    let spoken = handshake("do=subprotocol&protocol=chat");
    assert!(
        spoken.contains("sec-websocket-protocol: chat\r\n"),
        "{spoken}"
    );
    assert!(!spoken.contains("set-cookie"), "{spoken}");
}

#[test]
fn a_message_event_has_the_fields_of_aws() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod?a=1");
    let event = ask(&mut client, json!({"x": "ü"}));
    let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "body",
            "isBase64Encoded",
            "requestContext",
            "stageVariables"
        ]
    );
    assert_eq!(event["body"], r#"{"action":"probe","x":"ü"}"#);
    assert_eq!(event["stageVariables"], json!({"colour": "green"}));
    let context = &event["requestContext"];
    assert_eq!(context["eventType"], "MESSAGE");
    assert_eq!(context["domainName"], format!("127.0.0.1:{}", gateway.port));
    assert_eq!(context["identity"], json!({"sourceIp": "127.0.0.1"}));
    // The connection's own time stays, the request's ids do not.
    let again = ask(&mut client, json!({}))["requestContext"].clone();
    assert_eq!(context["connectedAt"], again["connectedAt"]);
    assert_eq!(context["connectionId"], again["connectionId"]);
    assert_ne!(context["requestId"], again["requestId"]);
    assert_ne!(context["messageId"], again["messageId"]);
}

#[test]
fn a_function_finds_lambdas_environment() {
    let gateway = probe(&["--env", "EXTRA=1"]);
    let mut client = gateway.connect("/prod");
    let seen = ask(&mut client, json!({"do": "environment"}));
    let environment = &seen["environment"];
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "probe"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_REGION", "eu-central-1"),
        ("_HANDLER", "some.handler"),
        ("TZ", ":UTC"),
        ("GREETING", "hello from probe"),
        ("EXTRA", "1"),
        ("AWS_ENDPOINT_URL_DYNAMODB", &gateway.dynamodb),
        (
            "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI",
            &format!("http://127.0.0.1:{}/prod", gateway.port),
        ),
    ] {
        assert_eq!(environment[name], value, "{name}");
    }
    // Nothing of the developer's own shell.
    assert_eq!(environment.get("HOME"), None);
    assert_eq!(environment.get("CARGO"), None);
    assert!(
        seen["cwd"]
            .as_str()
            .unwrap()
            .ends_with("local/tests/probe/function")
    );
    let headers = &seen["headers"];
    assert_eq!(
        headers["lambda-runtime-aws-request-id"]
            .as_str()
            .unwrap()
            .len(),
        36
    );
    assert_eq!(
        headers["lambda-runtime-invoked-function-arn"],
        "arn:aws:lambda:eu-central-1:000000000000:function:probe"
    );
    assert!(
        headers["lambda-runtime-deadline-ms"]
            .as_str()
            .unwrap()
            .parse::<i64>()
            .is_ok()
    );
    assert!(
        headers["lambda-runtime-trace-id"]
            .as_str()
            .unwrap()
            .starts_with("Root=1-")
    );
}

#[test]
fn the_gateways_own_frames_are_aws_byte_for_byte() {
    let gateway = probe(&[
        "--var",
        "integration_timeout=5000",
        "--var",
        "probe_timeout=60",
    ]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    let mut check = |request: &str, message: &str| {
        client.send_text(request);
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
    // There is no $default route.
    check(r#"{"action":"nowhere"}"#, "Forbidden");
    check("not JSON", "Forbidden");
    check(r#"{"action":"$connect"}"#, "Forbidden");
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
    // More than Lambda takes, and more than a client can be sent.
    for bytes in [7 * 1024 * 1024, 128 * 1024 + 1] {
        check(
            &json!({"action": "probe", "do": "large", "bytes": bytes}).to_string(),
            "Internal server error",
        );
    }
    // A one-way route's failure is told as well.
    check(
        r#"{"action":"oneway","do":"fail"}"#,
        "Internal server error",
    );
    check(
        r#"{"action":"probe","do":"hang"}"#,
        "Endpoint request timed out",
    );
    // And the connection lives on.
    assert_eq!(id_of(&mut client), id);
    gateway.end_at_once();
}

#[test]
fn a_function_that_takes_too_long_is_killed() {
    let gateway = probe(&["--var", "probe_timeout=1"]);
    let mut client = gateway.connect("/prod");
    let before = gateway.children();
    client.send(&json!({"action": "probe", "do": "hang"}));
    assert!(client.receive_text().contains("Internal server error"));
    let report = gateway.wait_for_line("Status: timeout");
    assert!(
        report.contains("Duration: 1") && report.contains("Memory Size: 256 MB"),
        "{report}"
    );
    gateway.wait_for_line("Task timed out after 1.00 seconds");
    eventually("the process is gone", || {
        before
            .iter()
            .all(|pid| !gateway.children().contains(pid))
            .then_some(())
    });
    // The next one gets a new process.
    id_of(&mut client);
}

#[test]
fn each_invocation_is_reported_as_by_lambda() {
    let gateway = probe(&[]);
    let _client = gateway.connect("/prod");
    let cold = gateway.wait_for_line("REPORT RequestId: ");
    let fields: Vec<&str> = cold
        .split_once("REPORT ")
        .unwrap()
        .1
        .split('\t')
        .map(|field| field.split(':').next().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "RequestId",
            "Duration",
            "Billed Duration",
            "Memory Size",
            "Max Memory Used",
            "Init Duration"
        ]
    );
    assert!(!cold.contains("Max Memory Used: 0 MB"), "{cold}");
}

#[test]
fn what_a_function_returns_reaches_the_client_of_a_two_way_route_only() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    client.send(&json!({"action": "oneway"}));
    client.send(&json!({"action": "probe", "do": "status", "status": 500}));
    // The one-way route's body never comes; the two-way one's does, whatever its status.
    assert_eq!(client.receive_text(), "told");
    id_of(&mut client);
}

#[test]
fn messages_of_one_client_run_at_the_same_time() {
    let gateway = probe(&["--var", "probe_timeout=20"]);
    let mut client = gateway.connect("/prod");
    client.send(&json!({"action": "probe", "do": "sleep", "seconds": 1}));
    client.send(&json!({"action": "probe", "do": "sleep", "seconds": 0}));
    // The second overtakes the first, in a process of its own.
    let quick = client.receive_text();
    let slow = client.receive_text();
    assert_ne!(quick, slow);
}

#[test]
fn at_the_concurrency_limit_lambda_refuses() {
    let gateway = probe(&["--var", "concurrency=1", "--var", "probe_timeout=60"]);
    let mut client = gateway.connect("/prod");
    // $connect's own invocation may not be quite over: its process has yet to ask for the next event.
    let mut refused = 0;
    eventually("the function hangs", || {
        let hangs = gateway.output().iter().any(|line| line.contains("HANGING"));
        if !hangs {
            client.send(&json!({"action": "probe", "do": "hang"}));
            refused += 1;
        }
        hangs.then_some(())
    });
    // All but the one that hangs.
    for _ in 1..refused {
        assert!(client.receive_text().contains("Internal server error"));
    }
    client.send(&json!({"action": "probe"}));
    assert!(client.receive_text().contains("Internal server error"));
    assert_eq!(gateway.try_connect("/prod").err(), Some(500));
    gateway.end_at_once();
}

#[test]
fn beyond_the_processes_of_this_machine_invocations_wait() {
    let gateway = probe(&["--processes", "2", "--var", "probe_timeout=20"]);
    let mut clients: Vec<_> = (0..4).map(|_| gateway.connect("/prod")).collect();
    for client in &mut clients {
        for _ in 0..5 {
            client.send(&json!({"action": "probe", "do": "sleep", "seconds": 0.01}));
        }
    }
    let mut processes: Vec<String> = clients
        .iter_mut()
        .flat_map(|client| (0..5).map(|_| client.receive_text()).collect::<Vec<_>>())
        .collect();
    processes.sort();
    processes.dedup();
    assert!(processes.len() <= 2, "{processes:?}");
}

#[test]
fn the_runtime_api_takes_one_answer_for_each_request() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    client.send(&json!({"action": "probe", "do": "twice"}));
    assert_eq!(client.receive_text(), "first");
    let line = gateway.wait_for_line("TWICE");
    assert!(
        line.contains("(202, '{\"status\":\"OK\"}') (400, ") && line.contains("InvalidRequestID"),
        "{line}"
    );
    let (status, body) =
        serde_json::from_value::<(u16, String)>(ask(&mut client, json!({"do": "stranger"})))
            .unwrap();
    assert_eq!(status, 400);
    assert_eq!(
        body,
        r#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#
    );
}

#[test]
fn limits_of_frames_and_messages() {
    let gateway = probe(&[]);
    let closes = |send: &dyn Fn(&mut Client)| {
        let mut client = gateway.connect("/prod");
        send(&mut client);
        u16::from(client.closed().unwrap().code)
    };
    let frame = |bytes: usize| {
        let head = r#"{"action":"probe","x":""#;
        format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2))
    };
    let mut client = gateway.connect("/prod");
    client.send_text(&frame(32_768));
    client.receive_text();
    client.send_fragmented(&frame(4 * 32_768), 32_768);
    client.receive_text();

    assert_eq!(closes(&|client| client.send_text(&frame(32_769))), 1009);
    assert_eq!(
        closes(&|client| client.send_fragmented(&frame(4 * 32_768 + 1), 32_768)),
        1009
    );
    assert_eq!(
        closes(&|client| client.socket.send(Message::binary(vec![1, 2, 3])).unwrap()),
        1003
    );
    gateway.wait_for_line("DISCONNECTED 1009 ''");
    gateway.wait_for_line("DISCONNECTED 1003 ''");
}

#[test]
fn a_ping_is_answered() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    client
        .socket
        .send(Message::Ping("are you there".into()))
        .unwrap();
    assert_eq!(
        client.read().unwrap(),
        Message::Pong("are you there".into())
    );
}

#[test]
fn disconnect_is_told_how_it_ended() {
    let gateway = probe(&[]);
    gateway.connect("/prod").leave();
    gateway.wait_for_line("DISCONNECTED 1005 'Client-side close frame status not set'");

    let mut client = gateway.connect("/prod");
    let frame = CloseFrame {
        code: CloseCode::Away,
        reason: "bye".into(),
    };
    client.socket.close(Some(frame)).unwrap();
    gateway.wait_for_line("DISCONNECTED 1001 'bye'");

    drop(gateway.connect("/prod"));
    gateway.wait_for_line("DISCONNECTED 1006 ''");

    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    assert_eq!(gateway.management("DELETE", &id, "").0, 204);
    let frame = client.closed().unwrap();
    assert_eq!(frame.code, CloseCode::Normal);
    gateway.wait_for_line("DISCONNECTED 1000 'Connection Closed Normally'");
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

#[test]
fn the_management_api() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);

    assert_eq!(
        gateway.management("POST", &id, "hello"),
        (200, String::new(), String::new())
    );
    assert_eq!(client.receive_text(), "hello");
    let (status, _, body) = gateway.management("GET", &id, "");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &body["identity"]),
        (200, &json!({"sourceIp": "127.0.0.1"}))
    );
    for time in ["connectedAt", "lastActiveAt"] {
        let time = body[time].as_str().unwrap();
        assert!(
            time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
            "{time}"
        );
    }
    // The id and the @ may be percent-encoded, once.
    let encoded = id.replace('=', "%3D");
    for path in [
        format!("/prod/@connections/{id}"),
        format!("/prod/%40connections/{encoded}"),
    ] {
        assert_eq!(gateway.http("POST", &path, "again").0, 200, "{path}");
        assert_eq!(client.receive_text(), "again");
    }
    let twice = encoded.replace('%', "%25");
    assert_eq!(
        gateway
            .http("POST", &format!("/prod/@connections/{twice}"), "")
            .0,
        400
    );

    // Largest message, and one byte more.
    assert_eq!(gateway.management("POST", &id, &"x".repeat(131_072)).0, 200);
    assert_eq!(client.receive_text().len(), 131_072);
    let (status, error_type, _) = gateway.management("POST", &id, &"x".repeat(131_073));
    assert_eq!(
        (status, error_type.as_str()),
        (413, "PayloadTooLargeException")
    );

    let (status, error_type, body) = gateway.management("POST", "not-an-id", "");
    assert_eq!((status, error_type.as_str()), (400, "BadRequestException"));
    assert_eq!(body, r#"{"message":"Invalid connectionId: not-an-id"}"#);
    let (status, error_type, body) =
        gateway.http("POST", &format!("/dev/@connections/{encoded}"), "");
    assert_eq!(
        (status, error_type.as_str(), body.as_str()),
        (403, "ForbiddenException", r#"{"message":"Forbidden"}"#)
    );
    assert_eq!(gateway.management("PUT", &id, "").0, 403);

    assert_eq!(gateway.management("DELETE", &id, "").0, 204);
    for method in ["POST", "GET", "DELETE"] {
        let (status, error_type, body) = gateway.management(method, &id, "");
        assert_eq!(
            (status, error_type.as_str(), body.as_str()),
            (410, "GoneException", ""),
            "{method}"
        );
    }
    assert_eq!(gateway.management("POST", "AAAAAAAAAAAAAAA=", "").0, 410);
}

#[test]
fn a_connection_does_not_exist_while_its_connect_runs() {
    let gateway = probe(&[]);
    let _client = gateway.connect("/prod?do=self");
    gateway.wait_for_line("SELF [410, 410, 410]");
}

#[test]
fn a_full_buffer_is_429() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    let large = "x".repeat(131_072);
    let (status, error_type, _) = eventually("the buffer is full", || {
        Some(gateway.management("POST", &id, &large)).filter(|(status, _, _)| *status != 200)
    });
    assert_eq!(
        (status, error_type.as_str()),
        (429, "LimitExceededException")
    );
    // It is a slow client, not a dead one: once it reads, it gets everything and can be posted to again.
    eventually("it reads", || {
        client.receive_text();
        (gateway.management("POST", &id, "last").0 == 200).then_some(())
    });
    while client.receive_text() != "last" {}
}

#[test]
fn what_was_accepted_is_sent_before_the_close() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    let large = "x".repeat(100_000);
    let mut accepted = 0;
    while gateway.management("POST", &id, &large).0 == 200 {
        accepted += 1;
    }
    assert_eq!(gateway.management("DELETE", &id, "").0, 204);
    for _ in 0..accepted {
        assert_eq!(client.receive_text().len(), large.len());
    }
    assert_eq!(client.closed().unwrap().code, CloseCode::Normal);
}

#[test]
fn a_clients_words_do_not_forge_the_log() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let frame = CloseFrame {
        code: CloseCode::from(4001),
        reason: "bye\nReady\u{1b}[31m".into(),
    };
    client.socket.close(Some(frame)).unwrap();
    let line = gateway.wait_for_line("code=4001");
    assert!(line.ends_with(r"bye\nReady\u{1b}[31m"), "{line}");
}
