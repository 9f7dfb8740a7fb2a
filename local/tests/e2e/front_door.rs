//! Authorizers, API keys and signatures, and mock integrations, which answer without a function.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;

use crate::declaration::edit;
use crate::faults;
use kit::{Client, Gateway, PATIENCE, command, eventually, root};

fn front_door(flags: &[&str]) -> Gateway {
    Gateway::start_with(&root().join("local/tests/front_door"), flags)
}

const WHO: [(&str, &str); 1] = [("X-Who", "alice")];

/// Connects; an error is the status and the body of the refusal.
fn handshake(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Client, (u16, String)> {
    let stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = ClientRequestBuilder::new(gateway.url(path).parse().unwrap());
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.with_header(*name, *value)
    });
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(Client { socket }),
        Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            let body = response.body().clone().unwrap_or_default();
            Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
        }
        Err(error) => panic!("{path}: {error}"),
    }
}

fn enter(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Result<Client, u16> {
    handshake(gateway, path, headers).map_err(|(status, _)| status)
}

/// Sends an HTTP request with these headers: status, `x-amzn-errortype` and body.
fn call(
    gateway: &Gateway,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: &str,
) -> (u16, String, String) {
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://127.0.0.1:{}{path}", gateway.port));
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.allow_non_standard_methods(true).build().into();
    let mut response = agent.run(request.body(body.to_owned()).unwrap()).unwrap();
    let name = response.headers().get("x-amzn-errortype");
    let name = name.map(|name| name.to_str().unwrap().to_owned());
    let body = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), name.unwrap_or_default(), body)
}

/// The JSON after `marker` in the first printed line that contains it.
fn printed(gateway: &Gateway, marker: &str) -> Value {
    let line = gateway.wait_for_line(marker);
    let (_, json) = line.split_once(marker).unwrap();
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn the_authorizers_answer_decides_the_handshake() {
    let gateway = front_door(&[]);
    for (query, status) in [
        ("do=allow", None),
        ("do=wildcard", None),
        ("do=deny", Some(403)),
        ("do=elsewhere", Some(403)),
        ("do=fail&text=Unauthorized", Some(401)),
        ("do=fail&text=unauthorized", Some(500)),
        ("do=fail&text=no", Some(500)),
        ("do=nothing", Some(500)),
        ("do=nested", Some(500)),
        ("do=large", Some(500)),
        ("do=exit", Some(500)),
    ] {
        let entered = enter(&gateway, &format!("/prod?{query}"), &WHO);
        assert_eq!(entered.err(), status, "{query}");
    }
    let (status, body) = handshake(&gateway, "/prod?do=deny", &WHO).err().unwrap();
    assert_eq!((status, body.as_str()), (403, r#"{"message":"Forbidden"}"#));
    // A refused client does not reach $connect.
    let connected = gateway.output();
    let connected = connected.iter().filter(|line| line.contains("CONNECT {"));
    assert_eq!(
        connected
            .filter(|line| !line.contains("DISCONNECT {"))
            .count(),
        2
    );
}

#[test]
fn an_authorizer_that_hangs_fails() {
    let gateway = front_door(&[]);
    assert_eq!(enter(&gateway, "/prod?do=hang", &WHO).err(), Some(500));
    gateway.wait_for_line("Status: timeout");
}

#[test]
fn without_every_identity_source_nobody_is_asked() {
    let gateway = front_door(&[]);
    for (path, headers) in [
        ("/prod?do=allow", [].as_slice()),
        ("/prod?do=allow", &[("X-Who", "")]),
        ("/prod", &WHO),
        ("/prod?do=", &WHO),
        ("/prod?DO=allow", &WHO),
    ] {
        let (status, body) = handshake(&gateway, path, headers).err().unwrap();
        assert_eq!(
            (status, body.as_str()),
            (401, r#"{"message":"Unauthorized"}"#),
            "{path}"
        );
    }
    assert!(
        !gateway
            .output()
            .iter()
            .any(|line| line.contains("AUTHORIZING"))
    );
    // Names of headers are case-insensitive.
    assert!(enter(&gateway, "/prod?do=allow", &[("x-wHO", "a")]).is_ok());
}

#[test]
fn an_authorizer_is_asked_as_on_aws() {
    let gateway = front_door(&[]);
    let _client = enter(&gateway, "/prod?do=allow", &WHO).unwrap();
    let event = printed(&gateway, "AUTHORIZING ");
    let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "headers",
            "methodArn",
            "multiValueHeaders",
            "multiValueQueryStringParameters",
            "queryStringParameters",
            "requestContext",
            "stageVariables",
            "type"
        ]
    );
    assert_eq!(event["type"], "REQUEST");
    assert_eq!(
        event["methodArn"],
        "arn:aws:execute-api:eu-central-1:000000000000:local00000/prod/$connect"
    );
    assert_eq!(event["queryStringParameters"], json!({"do": "allow"}));
    assert_eq!(event["stageVariables"], json!({}));
    assert_eq!(event["headers"]["X-Who"], "alice");
    assert_eq!(event["headers"]["Upgrade"], "websocket");
    let connect = printed(&gateway, " CONNECT ");
    // The same request, except for the authorizer's context.
    let mut context = connect["requestContext"].clone();
    context
        .as_object_mut()
        .unwrap()
        .remove("authorizer")
        .unwrap();
    assert_eq!(event["requestContext"], context);
    assert!(connect.get("stageVariables").is_none(), "{connect}");
    assert!(connect["headers"].get("Upgrade").is_none(), "{connect}");
}

#[test]
fn what_the_authorizer_says_is_in_every_event() {
    let gateway = front_door(&[]);
    let mut client = enter(&gateway, "/prod?do=allow", &WHO).unwrap();
    let connect = printed(&gateway, " CONNECT ")["requestContext"]["authorizer"].clone();
    let latency = &connect["integrationLatency"];
    assert!(latency.is_u64(), "{connect}");
    assert_eq!(
        connect,
        json!({
            "principalId": "alice", "room": "lobby", "level": "3", "admin": "true", "integrationLatency": latency,
        })
    );
    let message = client.ask(&json!({"action": "echo"}));
    assert_eq!(message["requestContext"]["authorizer"], connect);
    client.leave();
    let disconnect = printed(&gateway, "DISCONNECT ");
    assert_eq!(disconnect["requestContext"]["authorizer"], connect);
}

#[test]
fn an_api_key_opens_if_a_plan_of_the_stage_has_it() {
    let flags = ["--var", "authorization=NONE", "--var", "key_required=true"];
    let gateway = front_door(&flags);
    for key in ["", "wrong", "another-key-of-twenty", "a-key-without-a-plan"] {
        let entered = handshake(&gateway, "/prod", &[("x-api-key", key)]);
        let (status, body) = entered.err().unwrap();
        assert_eq!(
            (status, body.as_str()),
            (403, r#"{"message":"Forbidden"}"#),
            "{key}"
        );
    }
    assert_eq!(enter(&gateway, "/prod", &[]).err(), Some(403));
    let mut client = enter(&gateway, "/prod", &[("x-api-key", "a-key-of-twenty-chars")]).unwrap();
    let event = client.ask(&json!({"action": "echo"}));
    let identity = &event["requestContext"]["identity"];
    assert_eq!(identity["apiKey"], "a-key-of-twenty-chars");
    assert!(identity["apiKeyId"].is_string(), "{identity}");
    assert!(event["requestContext"].get("authorizer").is_none());
}

#[test]
fn an_authorizer_may_name_the_api_key() {
    let source = "key_source=$context.authorizer.usageIdentifierKey";
    let gateway = front_door(&["--var", "key_required=true", "--var", source]);
    let entered = |key: &str| enter(&gateway, &format!("/prod?do=key&key={key}"), &WHO).err();
    assert_eq!(entered("a-key-of-twenty-chars"), None);
    assert_eq!(entered("wrong"), Some(403));
    assert_eq!(enter(&gateway, "/prod?do=allow", &WHO).err(), Some(403));
}

#[test]
fn mocks_answer_from_their_templates() {
    let gateway = front_door(&[]);
    let mut client = enter(&gateway, "/prod?do=allow", &WHO).unwrap();
    let mut ask = |request: Value| {
        client.send(&request);
        client.receive_text()
    };
    assert_eq!(
        ask(json!({"action": "mock", "status": 201, "items": [1, "two", 3]})).trim(),
        r#"{"to":"alice","sum":"1+two+3"}"#
    );
    assert_eq!(
        ask(json!({"action": "mock", "status": 418})),
        "short and stout"
    );
    // No response matches the first, the second is not an object, and the connection stays open.
    for status in [json!(500), json!("no"), json!(null)] {
        let frame = ask(json!({"action": "mock", "status": status}));
        assert!(
            frame.starts_with(r#"{"message": "Internal server error", "#),
            "{frame}"
        );
    }
    // Without a route response there is no answer: the next frame answers another request.
    client.send(&json!({"action": "quiet", "status": 200}));
    client.send(&json!({"action": "mock", "status": 418}));
    assert_eq!(client.receive_text(), "short and stout");
}

#[test]
fn a_mock_decides_the_handshake_by_its_status() {
    let connect = |status: &str| {
        let variables = format!("stage_variables={{ status = {status} }}");
        let flags = [
            "--var",
            "connect=mock",
            "--var",
            "authorization=NONE",
            "--var",
            &variables,
        ];
        enter(&front_door(&flags), "/prod", &[]).err()
    };
    assert_eq!(connect("204"), None);
    assert_eq!(connect("418"), Some(418));
    assert_eq!(connect("\"no\""), Some(500));
}

#[test]
fn what_cannot_stand_at_the_door_is_said_at_the_start() {
    let refusal = |flags: &[&str], from: &str, to: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("main.tf");
        std::fs::copy(root().join("local/tests/front_door/main.tf"), &path).unwrap();
        edit(&path, from, to);
        let output = command(folder.path(), flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{to}");
        String::from_utf8(output.stderr).unwrap()
    };
    let check = |from: &str, to: &str, expected: &str| {
        let said = refusal(&[], from, to);
        assert!(
            said.contains(expected) && said.lines().count() == 1,
            "{said}"
        );
    };
    check(
        "$input.json('$.items')",
        "$input.params('items')",
        "aws_apigatewayv2_integration.mock: `request_templates`: \"$default\": line 3, column 35: of $input",
    );
    check(
        r#""/418/""#,
        r#""418""#,
        "`integration_response_key`: \"418\" must be $default",
    );
    check(
        "route.request.header.X-Who",
        "method.request.header.X-Who",
        "`identity_sources`",
    );
    check("= \"REQUEST\"", "= \"JWT\"", "has only REQUEST");
    check(
        "authorizer_uri   = aws_lambda_function.main[\"authorizer\"].invoke_arn",
        "authorizer_uri   = \"arn:elsewhere\"",
        "authorizer_uri invokes no aws_lambda_function",
    );
    check(
        "authorization_type = var.authorization",
        "authorization_type = \"JWT\"",
        "only NONE, AWS_IAM and CUSTOM",
    );
    check(
        "route_key = \"quiet\"",
        "route_key = \"quiet\"\n  authorization_type = \"AWS_IAM\"",
        "only the route $connect",
    );
    let said = refusal(&["--var", "key_required=true"], "api_stages {", "other {");
    assert!(
        said.contains("requires an API key, and no client could connect"),
        "{said}"
    );
}

/// The headers of a request that is signed with the functions' secret.
fn signed(
    gateway: &Gateway,
    method: &str,
    path: &str,
    body: &str,
    region: &str,
) -> Vec<(String, String)> {
    let host = format!("127.0.0.1:{}", gateway.port);
    let identity =
        Credentials::new("anybody", "local", Some("local".to_owned()), None, "test").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("execute-api")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let body = SignableBody::Bytes(body.as_bytes());
    let request =
        SignableRequest::new(method, path, [("host", host.as_str())].into_iter(), body).unwrap();
    let (instructions, _) = sign(request, &parameters.into()).unwrap().into_parts();
    let headers = instructions.headers();
    headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn calls_of_the_management_api_are_signed_if_it_is_asked_for() {
    // The functions make their calls with the Rust SDK.
    let gateway = Gateway::start(&["--check-signatures", "--secret", "local"]);
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    let ack = alice.publish(&json!("hi"));
    assert_eq!((&ack["delivered"], &ack["failed"]), (&json!(1), &json!(0)));
    assert_eq!(bob.receive()["data"], "hi");

    let id = gateway.connection_of("bob");
    let path = format!("/prod/@connections/{}", id.replace('=', "%3D"));
    let unsigned = gateway.http("POST", &path, "x");
    assert_eq!(
        unsigned,
        (
            403,
            "MissingAuthenticationTokenException".to_owned(),
            r#"{"message":"Missing Authentication Token"}"#.to_owned()
        )
    );
    let post =
        |headers: &[(String, String)], body: &str| call(&gateway, "POST", &path, headers, body);
    let region = "us-east-1";
    let headers = signed(&gateway, "POST", &path, "x", region);
    assert_eq!(post(&headers, "x").0, 200);
    assert_eq!(bob.receive_text(), "x");
    for (headers, body) in [
        (headers, "y"),
        (signed(&gateway, "GET", &path, "x", region), "x"),
        (
            signed(&gateway, "POST", &format!("{path}x"), "x", region),
            "x",
        ),
        (signed(&gateway, "POST", &path, "x", "eu-west-1"), "x"),
    ] {
        let (status, name, _) = post(&headers, body);
        assert_eq!((status, name.as_str()), (403, "InvalidSignatureException"));
    }
    // No client has received any of it. Too large bodies and unknown connections still get their own errors.
    bob.has_received_all();
    let large = "x".repeat(128 * 1024 + 1);
    assert_eq!(
        post(&signed(&gateway, "POST", &path, &large, region), &large).0,
        413
    );
    let gone = "/prod/@connections/AAAAAAAAAAAAAAA%3D";
    let headers = signed(&gateway, "GET", gone, "", region);
    assert_eq!(call(&gateway, "GET", gone, &headers, "").0, 410);
}

#[test]
fn a_handshake_under_iam_is_signed_if_it_is_asked_for() {
    let iam = ["--var", "authorization=AWS_IAM"];
    let gateway =
        front_door(&[iam.as_slice(), &["--check-signatures", "--secret", "local"]].concat());
    let enter_with = |headers: &[(String, String)]| {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        enter(&gateway, "/prod?room=a", &headers).err()
    };
    assert_eq!(enter_with(&[]), Some(403));
    let region = "eu-central-1";
    assert_eq!(
        enter_with(&signed(&gateway, "GET", "/prod?room=a", "", region)),
        None
    );
    assert_eq!(
        enter_with(&signed(&gateway, "GET", "/prod?room=b", "", region)),
        Some(403)
    );

    let gateway = front_door(&iam);
    assert!(
        gateway
            .wait_for_line("open to everybody")
            .contains("--check-signatures")
    );
    assert!(enter(&gateway, "/prod", &[]).is_ok());
}

#[test]
fn a_refused_handshake_spends_no_fault_rule() {
    let rule = json!([{"on": "connect", "do": "status", "status": 503, "first": 1}]);
    let gateway = faults::start("local/tests/front_door", &rule, &[]);
    let enter = |query: &str| enter(&gateway, &format!("/prod?do={query}"), &WHO).err();
    assert_eq!(enter("deny"), Some(403));
    assert_eq!(enter("fail&text=Unauthorized"), Some(401));
    assert_eq!(enter("allow"), Some(503));
    assert_eq!(enter("allow"), None);
}

#[test]
fn web_pages_reach_no_connection() {
    let gateway = front_door(&[]);
    let mut client = enter(&gateway, "/prod?do=allow", &WHO).unwrap();
    let event = client.ask(&json!({"action": "echo"}));
    let id = event["requestContext"]["connectionId"].as_str().unwrap();
    let path = format!("/prod/@connections/{}", id.replace('=', "%3D"));
    for method in ["POST", "GET", "DELETE", "OPTIONS"] {
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("host", "rebound.example"),
            ("host", "rebound.example:3000"),
        ] {
            let headers = [(name.to_owned(), value.to_owned())];
            let (status, error, _) = call(&gateway, method, &path, &headers, "x");
            let expected = (403, "ForbiddenException");
            assert_eq!(
                (status, error.as_str()),
                expected,
                "{method} {name}: {value}"
            );
        }
    }
    // Nor does a page invoke a function.
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("host", "rebound.example"),
    ] {
        let headers = [(name.to_owned(), value.to_owned())];
        let path = "/2015-03-31/functions/any/invocations";
        let (status, error, _) = call(&gateway, "POST", path, &headers, "{}");
        assert_eq!((status, error.as_str()), (403, "AccessDeniedException"));
    }
    // The connection is still there, and a page may open one: browsers are clients.
    assert_eq!(call(&gateway, "POST", &path, &[], "hello").0, 200);
    assert_eq!(client.receive_text(), "hello");
    let page = [WHO[0], ("Origin", "https://chat.example")];
    assert!(enter(&gateway, "/prod?do=allow", &page).is_ok());
}

#[test]
fn no_token_is_logged() {
    let secrets = [
        "tok-query",
        "tok-bearer",
        "tok-protocol",
        "tok-cookie",
        "tok-own",
    ];
    for form in ["text", "json"] {
        let gateway = front_door(&["--log", form, "--verbose"]);
        let headers = [
            WHO[0],
            ("Authorization", "Bearer tok-bearer"),
            (
                "Sec-WebSocket-Protocol",
                "roomchat.v1, roomchat.token.tok-protocol",
            ),
            ("Cookie", "session=tok-cookie"),
            ("X-Own", "tok-own"),
        ];
        for query in ["do=allow", "do=deny", "do=fail&text=no"] {
            // By hand: this test's client refuses an answer without a subprotocol.
            let mut request = format!(
                "GET /prod?{query}&token=tok-query HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2FtcGxlLXNhbXBsZS0xNg==\r\n"
            );
            for (name, value) in headers {
                request.push_str(&format!("{name}: {value}\r\n"));
            }
            let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
                .write_all(format!("{request}\r\n").as_bytes())
                .unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            let entered = status == *b"HTTP/1.1 101";
            assert_eq!(entered, query == "do=allow", "{query}");
        }
        // Three of the authorizer, and that of the handshake which it allowed.
        let lines = eventually("four events without tokens", || {
            let lines = gateway.output();
            let events = lines.iter().filter(|line| line.contains("***")).count();
            (events >= 4).then_some(lines)
        });
        // The functions of this test print their events themselves.
        let printed = |line: &&String| line.contains("AUTHORIZING") || line.contains("CONNECT {");
        for line in lines.iter().filter(|line| !printed(line)) {
            let secret = secrets.iter().find(|secret| line.contains(**secret));
            assert_eq!(secret, None, "{line}");
        }
    }
}
