//! Compares the gateway with AWS, by a small function in Python behind two APIs: `probe`, and `bare`, which declares only
//! the necessary.
//!
//! | | Assertions | Where |
//! |---|---|---|
//! | 1 | the query of CONNECT | `events::a_connect_event_has_the_fields_of_aws`, `events::absent_is_absent` |
//! | 2 | the handshake for every outcome of `$connect` | `handshake::handshake_statuses`, `handshake::a_refusal_says_no_more_than_aws`, `handshake::without_a_connect_route_everybody_is_accepted`, `limits::at_the_concurrency_limit_lambda_refuses`, `runtime_api::an_init_that_fails_is_tried_once_more` |
//! | 3 | subprotocols, no other header | `handshake::only_the_subprotocol_of_the_functions_headers_reaches_the_client` |
//! | 4 | no connection during `$connect` | `management::a_connection_does_not_exist_while_its_connect_runs` |
//! | 5 | stages, paths, requests that are no handshake | `handshake::requests_that_are_no_handshake` |
//! | 6 | MESSAGE and DISCONNECT, field by field | `events::a_message_event_has_the_fields_of_aws`, `events::a_disconnect_event_has_the_fields_of_aws` |
//! | 7 | route selection | `routes::every_message_takes_the_route_of_aws`, `routes::without_a_default_route_what_matches_nothing_is_forbidden` |
//! | 8 | the gateway's own frames | `routes::the_gateways_own_frames_are_aws_byte_for_byte` |
//! | 9 | one-way and two-way routes | `routes::what_a_function_returns_reaches_the_client_of_a_two_way_route_only` |
//! | 10 | frames, binary, sizes | `frames`, `limits::limits_of_frames_and_messages` |
//! | 11 | concurrent messages | `routes::messages_of_one_client_run_at_the_same_time` |
//! | 12 | close codes and reasons | `closing`, `crate::admin::hours_pass_in_a_moment`, `chat` in tests/e2e for a client that leaves during `$connect` |
//! | 13 | the management API | `management` |
//! | 14 | percent-encodings | `management::an_id_is_decoded_once` |
//! | 15 | the Runtime API | `runtime_api` |

mod closing;
mod events;
mod frames;
mod handshake;
mod limits;
mod management;
mod routes;
mod runtime_api;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use kit::{Client, Gateway, PATIENCE, root};

fn probe(flags: &[&str]) -> Gateway {
    Gateway::start_with(&root().join("local/tests/probe"), flags)
}

fn bare(flags: &[&str]) -> Gateway {
    Gateway::start_with(&root().join("local/tests/bare"), flags)
}

/// An HTTP response: its status, its head in lower case, and its body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// A plain HTTP exchange, byte for byte.
fn raw(gateway: &Gateway, request: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head
        .split_once("\r\ncontent-length: ")
        .and_then(|(_, rest)| rest.split_once("\r\n"))
        .map_or(0, |(length, _)| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Answer {
        status: head[9..12].parse().unwrap(),
        head,
        body: String::from_utf8(body).unwrap(),
    }
}

/// A handshake's request with more headers, each with its line end.
fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{headers}\r\n"
    )
}

/// The headers of a well-formed handshake, except Host.
const KEY: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2FtcGxlLXNhbXBsZS0xNg==\r\n";

fn ask(client: &mut Client, request: Value) -> Value {
    let mut request = request;
    request["action"] = "probe".into();
    client.ask(&request)
}

/// The id of a client's connection, from an event of it.
fn id_of(client: &mut Client) -> String {
    let event = ask(client, json!({}));
    event["requestContext"]["connectionId"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The process that answers a client.
fn process_of(client: &mut Client) -> String {
    client.send(&json!({"action": "probe", "do": "sleep", "seconds": 0}));
    client.receive_text()
}
