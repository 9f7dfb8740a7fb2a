//! Random input at every interface: the gateway keeps working, and no client receives another's data.
//!
//! After each case two witnesses exchange messages through the gateway, and notice every frame that is not for them. The
//! random input is marked. `ROOMCHAT_FUZZ_CASES` sets the number of cases, of which a usual run has few.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use serde_json::{Value, json};

use kit::{Client, Gateway, root};

const STRANGER: &str = "STRANGER";
const WITNESS: &str = "WITNESS";

/// The longest wait for an answer to random input. Much of it gets none.
const STRANGERS_PATIENCE: Duration = Duration::from_millis(20);

/// Runs a property against one gateway with its witnesses.
fn check<S: Strategy>(strategy: &S, case: impl Fn(&Scene, S::Value) -> TestCaseResult) {
    let cases = std::env::var("ROOMCHAT_FUZZ_CASES").map_or(40, |cases| cases.parse().unwrap());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..Config::default()
    };
    let scene = std::cell::RefCell::new(Scene::new());
    let outcome = TestRunner::new(config).run(strategy, |value| {
        let mut scene = scene.borrow_mut();
        case(&scene, value)?;
        scene.testify()
    });
    let scene = scene.into_inner();
    if let Err(error) = outcome {
        panic!("{error}");
    }
    scene.events_belong_to_their_connections();
}

struct Scene {
    gateway: Gateway,
    speaker: Client,
    listener: Client,
    speaker_id: String,
    listener_id: String,
    spoken: u32,
}

impl Scene {
    fn new() -> Scene {
        let flags = [
            "--admin-port",
            "0",
            "--processes",
            "3",
            "--env",
            "PRINT_EVENTS=1",
        ];
        let gateway = Gateway::start_with(&root().join("local/tests/probe"), &flags);
        let path = format!("/prod?who={WITNESS}");
        let mut speaker = gateway.connect(&path);
        let mut listener = gateway.connect(&path);
        let id = |client: &mut Client| {
            let event = client.ask(&json!({"action": "probe"}));
            let id = &event["requestContext"]["connectionId"];
            id.as_str().unwrap().to_owned()
        };
        Scene {
            speaker_id: id(&mut speaker),
            listener_id: id(&mut listener),
            gateway,
            speaker,
            listener,
            spoken: 0,
        }
    }

    /// Both witnesses receive their own messages, in order, and nothing else.
    fn testify(&mut self) -> TestCaseResult {
        self.spoken += 1;
        let words = format!("{WITNESS} {}", self.spoken);
        let message = json!({"action": "probe", "words": words});
        let event = self.speaker.ask(&message);
        prop_assert_eq!(
            &event["body"],
            &Value::from(message.to_string()),
            "{}",
            event
        );
        let context = &event["requestContext"];
        prop_assert_eq!(
            &context["connectionId"],
            &Value::from(self.speaker_id.as_str())
        );
        prop_assert!(!event.to_string().contains(STRANGER), "{}", event);
        let (status, _, _) = self.gateway.management("POST", &self.listener_id, &words);
        prop_assert_eq!(status, 200);
        prop_assert_eq!(self.listener.receive_text(), words);
        Ok(())
    }

    /// No event contains data that another connection has sent.
    fn events_belong_to_their_connections(&self) {
        self.gateway.at_rest();
        let mut seen = 0;
        for line in self.gateway.output() {
            let Some((_, event)) = line.split_once("EVENT ") else {
                continue;
            };
            seen += 1;
            let witness = [&self.speaker_id, &self.listener_id];
            let is_witness = witness.iter().any(|id| event.contains(id.as_str()));
            let foreign = if is_witness { STRANGER } else { WITNESS };
            assert!(!event.contains(foreign), "{event}");
        }
        assert!(seen >= self.spoken, "the probe prints its events");
        assert_eq!(self.gateway.errors(), [""; 0], "a part of it has panicked");
    }

    /// The answer to random bytes.
    fn send(&self, port: u16, bytes: &[u8]) -> Vec<u8> {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut answer = Vec::new();
        exchange(&stream, bytes, &mut answer);
        answer
    }
}

/// Writes, reads, closes the sending side, and reads to the end. Either side may end it earlier.
fn exchange(mut stream: &TcpStream, bytes: &[u8], answer: &mut Vec<u8>) {
    stream.set_read_timeout(Some(STRANGERS_PATIENCE)).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(answer);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(answer);
}

/// Checks that an answer contains no data of a witness.
fn harmless(answer: &[u8]) -> TestCaseResult {
    let text = String::from_utf8_lossy(answer);
    prop_assert!(!text.contains(WITNESS), "{}", text);
    Ok(())
}

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(vec!["GET", "POST", "DELETE"]).prop_map(str::to_owned),
        1 => select(vec!["PUT", "HEAD", "CONNECT", "OPTIONS", "PRI"]).prop_map(str::to_owned),
        1 => "[!-~]{1,12}",
    ]
}

/// Bytes that a header may contain, and some that it may not.
fn header_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(0x20_u8..=0x7e, 0..40),
        4 => vec(0x80_u8..=0xff, 0..20),
        1 => vec(any::<u8>(), 0..20),
        1 => Just(vec![b'x'; 3_000]),
    ]
}

fn headers() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        8 => "[a-zA-Z][a-zA-Z0-9-]{0,20}",
        3 => select(vec![
            "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "Sec-WebSocket-Key",
            "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Authorization", "X-Forwarded-For", "User-Agent",
        ])
        .prop_map(str::to_owned),
        1 => "[ -~]{0,10}",
    ];
    vec((name, header_value()), 0..6).prop_map(|headers| {
        let mut bytes = Vec::new();
        for (name, value) in headers {
            bytes.extend(name.as_bytes());
            bytes.extend(b": ");
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        bytes
    })
}

fn path() -> impl Strategy<Value = String> {
    let query = prop_oneof![
        8 => Just(String::new()),
        3 => "\\?([a-z]{0,3}(=[ -~&&[^ #]]{0,8})?&?){0,5}",
        2 => "\\?(%[0-9a-fA-F]{0,2}|[!-~&&[^#]]){0,30}",
        1 => "\\?\\PC{0,20}",
        1 => Just(format!("?{}", "a=b&".repeat(1500))),
    ];
    let path = prop_oneof![
        8 => Just("/prod".to_owned()),
        1 => "/prod(/|%2[fF]|[a-z@.]){0,8}",
        1 => "(%[0-9a-fA-F]{2}|[!-~]){0,20}",
    ];
    (path, query).prop_map(|(path, query)| path + &query)
}

#[test]
fn any_bytes_at_the_port() {
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..600),
        // The beginning of a TLS handshake.
        vec(any::<u8>(), 0..300).prop_map(|bytes| [&[0x16, 3, 1], bytes.as_slice()].concat()),
        "[ -~\r\n]{0,300}".prop_map(String::into_bytes),
    ];
    check(&bytes, |scene, bytes| {
        harmless(&scene.send(scene.gateway.port, &bytes))
    });
}

#[test]
fn any_handshake() {
    let upgrade = prop_oneof![
        8 => Just("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: c2FtcGxlLXNhbXBsZS0xNg==\r\n"),
        1 => Just("Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        1 => Just(""),
    ];
    let requests = (
        method(),
        path(),
        headers(),
        upgrade,
        prop::bool::weighted(0.8),
    );
    check(&requests, |scene, (method, path, headers, upgrade, get)| {
        let method = if get { "GET" } else { &method };
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
        request.extend(upgrade.as_bytes());
        request.extend(format!("X-Mark: {STRANGER}\r\n").as_bytes());
        request.extend(headers);
        request.extend(b"\r\n");
        harmless(&scene.send(scene.gateway.port, &request))
    });
}

/// A frame, valid or not.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        4 => select(vec![0x81_u8, 0x01, 0x00, 0x80, 0x89, 0x8a]),
        1 => select(vec![0x82_u8, 0x88]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        3 => Just(format!(r#"{{"action":"probe","words":"{STRANGER}"}}"#).into_bytes()),
        2 => ".{0,40}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..200),
        1 => select(vec![32_768_usize, 32_769, 70_000]).prop_map(|bytes| vec![b'x'; bytes]),
    ];
    // The length in the header, if it is wrong.
    let lie = prop_oneof![9 => Just(None), 1 => any::<u64>().prop_map(Some)];
    let masked = prop_oneof![12 => Just(true), 1 => Just(false)];
    (first, payload, lie, masked, any::<[u8; 4]>()).prop_map(
        |(first, payload, lie, masked, mask)| {
            let length = lie.unwrap_or(payload.len() as u64);
            let bit = if masked { 0x80 } else { 0 };
            let mut bytes = vec![first];
            match length {
                0..=125 => bytes.push(bit | u8::try_from(length).unwrap()),
                126..=0xffff => {
                    bytes.push(bit | 126);
                    bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    bytes.push(bit | 127);
                    bytes.extend(length.to_be_bytes());
                }
            }
            if masked {
                bytes.extend(mask);
                bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
            } else {
                bytes.extend(payload);
            }
            bytes
        },
    )
}

#[test]
fn any_frames() {
    check(&vec(frame(), 1..8), |scene, frames| {
        let stranger = scene.gateway.connect(&format!("/prod?who={STRANGER}"));
        let mut answer = Vec::new();
        exchange(stranger.socket.get_ref(), &frames.concat(), &mut answer);
        harmless(&answer)
    });
}

#[test]
fn any_management_call() {
    /// Ways in which the id of an open connection is written into a path.
    #[derive(Debug, Clone)]
    enum Id {
        Own,
        Encoded,
        Similar(char),
        Longer(String),
        Shorter(usize),
        Other(String),
    }
    let id = prop_oneof![
        1 => Just(Id::Own),
        1 => Just(Id::Encoded),
        3 => prop::char::range('A', 'Z').prop_map(Id::Similar),
        1 => "(%[0-9a-fA-F]{2}|[!-~&&[^ #?]]){1,5}".prop_map(Id::Longer),
        1 => (0_usize..16).prop_map(Id::Shorter),
        1 => "(%[0-9a-fA-F]{0,2}|[!-~&&[^ #?]]){0,24}".prop_map(Id::Other),
    ];
    let collection = prop_oneof![
        6 => Just("/prod/@connections/".to_owned()),
        2 => Just("/prod/%40connections/".to_owned()),
        1 => "/[a-z]{0,5}/?@?[a-z]{0,12}/?",
    ];
    let body = prop_oneof![
        3 => Just(STRANGER.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..100),
        1 => Just(vec![b'x'; 131_073]),
    ];
    let length = prop_oneof![5 => Just(None), 1 => any::<usize>().prop_map(Some)];
    let method = prop_oneof![1 => Just("POST".to_owned()), 1 => method()];
    let headers = prop_oneof![1 => Just(Vec::new()), 1 => headers()];
    let calls = (method, collection, id, headers, length, body);
    check(
        &calls,
        |scene, (method, collection, id, headers, length, body)| {
            let mut stranger = scene.gateway.connect(&format!("/prod?who={STRANGER}"));
            let event = stranger.ask(&json!({"action": "probe"}));
            let own = event["requestContext"]["connectionId"].as_str().unwrap();
            let id = match id {
                Id::Own => own.to_owned(),
                Id::Encoded => own.bytes().map(|byte| format!("%{byte:02X}")).collect(),
                Id::Similar(first) => format!("{first}{}", &own[1..]),
                Id::Longer(more) => own.to_owned() + &more,
                Id::Shorter(length) => own[..length].to_owned(),
                Id::Other(other) => other,
            };
            let length = length.unwrap_or(body.len());
            let mut request =
            format!("{method} {collection}{id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n").into_bytes();
            request.extend(headers);
            request.extend(b"\r\n");
            request.extend(body);
            harmless(&scene.send(scene.gateway.port, &request))?;
            let mut heard = Vec::new();
            exchange(stranger.socket.get_ref(), &[], &mut heard);
            harmless(&heard)
        },
    );
}

#[test]
fn any_call_of_the_runtime_api() {
    let path = prop_oneof![
        2 => Just("/2018-06-01/runtime/invocation/next".to_owned()),
        3 => "/2018-06-01/runtime/invocation/(%[0-9a-fA-F]{2}|[!-~&&[^ #?]]){0,40}/(response|error)",
        1 => Just(format!("/2018-06-01/runtime/invocation/{}/response", uuid::Uuid::nil())),
        1 => Just("/2018-06-01/runtime/init/error".to_owned()),
        1 => Just("/2020-01-01/extension/register".to_owned()),
        1 => Just("/2020-01-01/extension/event/next".to_owned()),
        1 => "/(%[0-9a-fA-F]{0,2}|[!-~&&[^ ]]){0,40}",
    ];
    let body = prop_oneof![
        Just(format!(r#"{{"statusCode":200,"body":"{STRANGER}"}}"#).into_bytes()),
        Just(format!(r#"{{"errorType":"{STRANGER}","errorMessage":"x"}}"#).into_bytes()),
        vec(any::<u8>(), 0..100),
    ];
    let length = prop_oneof![5 => Just(None), 1 => any::<usize>().prop_map(Some)];
    let calls = (method(), path, headers(), length, body);
    check(&calls, |scene, (method, path, headers, length, body)| {
        // A process that does nothing. It has asked for an event first, so random input never gets one.
        let mut stranger = scene.gateway.connect(&format!("/prod?who={STRANGER}"));
        let seen = stranger.ask(&json!({"action": "probe", "do": "environment"}));
        let runtime = seen["environment"]["AWS_LAMBDA_RUNTIME_API"]
            .as_str()
            .unwrap();
        let (_, port) = runtime.rsplit_once(':').unwrap();
        scene.gateway.at_rest();
        // Bytes after a request for an event hide the end of the connection from the server, and the event would be lost.
        let body = if path.ends_with("/next") {
            Vec::new()
        } else {
            body
        };
        let length = length.unwrap_or(body.len());
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n")
                .into_bytes();
        request.extend(headers);
        request.extend(b"\r\n");
        request.extend(body);
        harmless(&scene.send(port.parse().unwrap(), &request))
    });
}
