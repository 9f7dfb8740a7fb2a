//! WebSocket frames, written byte by byte where a library would refuse them.

use std::io::Write as _;

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{id_of, probe};
use kit::{Client, Gateway};

const MASK: [u8; 4] = [1, 2, 3, 4];

/// A masked frame of at most 125 bytes.
fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length <= 125);
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b);
    [first_byte, 0x80 | length]
        .into_iter()
        .chain(MASK)
        .chain(masked)
        .collect()
}

fn write(client: &mut Client, bytes: &[u8]) {
    client.socket.get_mut().write_all(bytes).unwrap();
}

/// Sends these bytes, and returns the code of the close frame.
fn closed_by(gateway: &Gateway, bytes: &[u8]) -> u16 {
    let mut client = gateway.connect("/prod");
    write(&mut client, bytes);
    client.closed().unwrap().code.into()
}

#[test]
fn what_no_client_may_send_closes_the_connection() {
    let gateway = probe(&[]);
    let unmasked = [0x81, 2, b'h', b'i'];
    let cases: [(&str, Vec<u8>, u16); 13] = [
        ("binary", frame(0x82, &[1, 2, 3]), 1003),
        ("empty binary", frame(0x82, &[]), 1003),
        (
            "binary in fragments",
            [frame(0x02, &[1]), frame(0x80, &[2])].concat(),
            1003,
        ),
        (
            "text that is not UTF-8",
            frame(0x81, &[b'"', 0xff, b'"']),
            1007,
        ),
        ("half a character", frame(0x81, &[0xe2, 0x82]), 1007),
        ("unmasked", unmasked.to_vec(), 1002),
        ("reserved bit", frame(0xc1, b"hi"), 1002),
        ("reserved opcode", frame(0x83, b"hi"), 1002),
        ("reserved control opcode", frame(0x8b, b""), 1002),
        ("a continuation of nothing", frame(0x80, b"hi"), 1002),
        (
            "a message within a message",
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
            1002,
        ),
        ("a ping in fragments", frame(0x09, b"hi"), 1002),
        ("a close frame of one byte", frame(0x88, &[3]), 1002),
    ];
    for (what, bytes, code) in cases {
        assert_eq!(closed_by(&gateway, &bytes), code, "{what}");
    }
    for code in [1002, 1003, 1007] {
        gateway.wait_for_line(&format!("DISCONNECTED {code} ''"));
    }
}

#[test]
fn a_message_may_come_in_any_pieces() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    let text = r#"{"action":"probe","x":"ü€😀"}"#;
    // Fragments that split characters, with pings between them, some of them empty.
    let mut bytes = frame(0x01, &[]);
    for piece in text.as_bytes().chunks(3) {
        bytes.extend(frame(0x00, piece));
        bytes.extend(frame(0x89, b"between"));
    }
    bytes.extend(frame(0x80, &[]));
    for byte in bytes {
        write(&mut client, &[byte]);
    }
    let mut pongs = 0;
    let event = loop {
        match client.read().unwrap() {
            Message::Pong(payload) => {
                assert_eq!(payload, "between".as_bytes());
                pongs += 1;
            }
            Message::Text(text) => break text,
            other => panic!("{other:?}"),
        }
    };
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    assert_eq!(event["body"], text);
    assert_eq!(pongs, text.len().div_ceil(3));
}

#[test]
fn a_ping_is_answered() {
    let gateway = probe(&[]);
    let mut client = gateway.connect("/prod");
    for payload in ["", "are you there"] {
        client.socket.send(Message::Ping(payload.into())).unwrap();
        assert_eq!(client.read().unwrap(), Message::Pong(payload.into()));
    }
    // An unsolicited pong is allowed.
    client.socket.send(Message::Pong("unasked".into())).unwrap();
    id_of(&mut client);
}

#[test]
fn a_ping_is_no_activity() {
    let gateway = probe(&["--admin-port", "0"]);
    let mut pinging = gateway.connect("/prod");
    let mut talking = gateway.connect("/prod");
    let mut listening = gateway.connect("/prod");
    let id = id_of(&mut listening);
    gateway.at_rest();
    gateway.pass(500);
    pinging
        .socket
        .send(Message::Ping("still here".into()))
        .unwrap();
    assert_eq!(pinging.read().unwrap(), Message::Pong("still here".into()));
    talking.ask(&json!({"action": "probe"}));
    assert_eq!(gateway.management("POST", &id, "news").0, 200);
    assert_eq!(listening.receive_text(), "news");
    gateway.at_rest();
    gateway.pass(101);
    assert_eq!(u16::from(pinging.closed().unwrap().code), 1001);
    gateway.wait_for_line("DISCONNECTED 1001 'Going away'");
    // A message in either direction counts as activity.
    id_of(&mut talking);
    id_of(&mut listening);
}
