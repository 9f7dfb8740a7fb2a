//! The end of a connection.

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{id_of, probe};
use kit::eventually;

#[test]
fn disconnect_is_told_how_it_ended() {
    let gateway = probe(&[]);
    gateway.connect("/prod").leave();
    gateway.wait_for_line("DISCONNECTED 1005 'Client-side close frame status not set'");

    for (code, reason) in [
        (1001, "bye"),
        (1001, ""),
        (1000, ""),
        (4321, "ünicode"),
        (3000, ""),
    ] {
        let mut client = gateway.connect("/prod");
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        client.socket.close(Some(frame)).unwrap();
        gateway.wait_for_line(&format!("DISCONNECTED {code} '{reason}'"));
        // The gateway answers the close frame with the same code.
        assert_eq!(u16::from(client.closed().unwrap().code), code);
    }

    let lost = || {
        let output = gateway.output();
        output
            .iter()
            .filter(|line| line.contains("DISCONNECTED 1006 ''"))
            .count()
    };
    // The stream ends without a close frame.
    drop(gateway.connect("/prod"));
    eventually("it is lost", || (lost() == 1).then_some(()));
    // A reset, because the socket is closed with unread bytes.
    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    assert_eq!(gateway.management("POST", &id, "unread").0, 200);
    eventually("it has arrived", || {
        let mut byte = [0];
        (client.socket.get_ref().peek(&mut byte).unwrap() == 1).then_some(())
    });
    drop(client);
    eventually("it is lost", || (lost() == 2).then_some(()));

    let mut client = gateway.connect("/prod");
    let id = id_of(&mut client);
    assert_eq!(gateway.management("DELETE", &id, "").0, 204);
    let frame = client.closed().unwrap();
    assert_eq!(frame.code, CloseCode::Normal);
    gateway.wait_for_line("DISCONNECTED 1000 'Connection Closed Normally'");
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
