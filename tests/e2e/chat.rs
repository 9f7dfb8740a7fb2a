//! The chat as its users see it.

use serde_json::{Value, json};

use kit::Gateway;

/// The message without its two times, which must be equal.
fn without_times(mut message: Value) -> Value {
    let object = message.as_object_mut().unwrap();
    let at = object.remove("at").unwrap().as_i64().unwrap();
    let received = object.remove("received").unwrap().as_i64().unwrap();
    assert_eq!(at / 1000, received);
    assert!(at > 1_700_000_000_000, "epoch milliseconds");
    message
}

#[test]
fn members_of_a_room_hear_each_other() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    let mut others = ["bob", "carol", "dave"].map(|user| gateway.join("lobby", user));

    let mut ack = alice.ask(&json!({"action": "publish", "data": {"text": "hi"}, "id": "m-1"}));
    assert!(ack.as_object_mut().unwrap().remove("at").unwrap().is_i64());
    let epoch = ack["epoch"].clone();
    assert_eq!(
        ack,
        json!({
            "type": "ack", "id": "m-1", "room": "lobby", "seq": 1, "epoch": epoch, "n": 1,
            "delivered": 3, "gone": 0, "failed": 0,
        })
    );
    for member in &mut others {
        assert_eq!(
            without_times(member.receive()),
            json!({
                "type": "message", "room": "lobby", "seq": 1, "epoch": epoch, "n": 1, "id": "m-1",
                "from": "alice", "data": {"text": "hi"},
            })
        );
    }
    // The sender gets the ack and no copy.
    alice.has_received_all();

    // The answer, by the other name of the action.
    let [bob, ..] = &mut others;
    let ack = bob.ask(&json!({"action": "sendmessage", "data": "hello alice"}));
    assert_eq!((&ack["delivered"], ack.get("id")), (&json!(3), None));
    assert_eq!(alice.receive()["from"], "bob");
}

#[test]
fn rooms_are_isolated() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("red", "alice");
    let mut bob = gateway.join("red", "bob");
    let mut eve = gateway.join("blue", "eve");
    // One name is a prefix of the other.
    let mut mallory = gateway.join("redder", "mallory");

    assert_eq!(alice.publish(&json!("for red"))["delivered"], 1);
    assert_eq!(bob.receive()["data"], "for red");
    eve.has_received_all();
    mallory.has_received_all();

    // Naming a room does not make the sender a member.
    let refusal =
        eve.ask(&json!({"action": "publish", "room": "red", "data": "let me in", "id": "e"}));
    assert_eq!(
        (
            &refusal["type"],
            &refusal["name"],
            &refusal["code"],
            &refusal["id"],
            &refusal["temporary"]
        ),
        (
            &json!("error"),
            &json!("not_a_member"),
            &json!(403),
            &json!("e"),
            &json!(false)
        )
    );
    alice.has_received_all();
    bob.has_received_all();
}

#[test]
fn who_names_nothing_is_a_guest_in_the_lobby() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    let mut guest = gateway.connect("/prod");
    assert_eq!(guest.publish(&json!(1))["room"], "lobby");
    let from = alice.receive()["from"].as_str().unwrap().to_owned();
    let suffix = from
        .strip_prefix("guest-")
        .unwrap_or_else(|| panic!("{from}"));
    assert_eq!(suffix.chars().count(), 6);
}

#[test]
fn names_in_any_script_but_no_bad_ones() {
    let gateway = Gateway::start(&[]);
    for name in [
        "%C3%BC",
        "%D0%BA%D0%BE%D0%BC%D0%BD%D0%B0%D1%82%D0%B0",
        "a-b_c.d:1",
        &"x".repeat(64),
    ] {
        let mut member = gateway.join(name, name);
        member.has_received_all();
    }
    for bad in [
        "",
        "a%20b",
        "%40admin",
        "a%2Fb",
        "%00",
        "a%0Ab",
        &"x".repeat(65),
        &"%C3%BC".repeat(65),
        "%F0%9F%98%80",
    ] {
        for query in [format!("room={bad}"), format!("user={bad}")] {
            let path = format!("/prod?{query}");
            assert_eq!(gateway.try_connect(&path).err(), Some(400), "{query}");
        }
    }
    assert_eq!(gateway.try_connect("/prod?room=a&room=b").err(), Some(400));
    // A refused client is not a member of any room.
    assert_eq!(
        gateway
            .rows()
            .iter()
            .filter(|row| row["user"]["S"] == "")
            .count(),
        0
    );
}

#[test]
fn data_arrives_as_it_was_sent() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    for data in [
        r#"{"z":1,"a":[1.0,1e2,123456789012345678901234567890],"b":"a"}"#,
        r#""\u00fc \n ü 😀""#,
        "1e308",
        "null",
        "0.10",
        "[ ]",
    ] {
        alice.send_text(&format!(r#"{{"data": {data} ,"action":"publish"}}"#));
        assert_eq!(alice.receive()["type"], "ack");
        let frame = bob.receive_text();
        assert!(
            frame.contains(&format!(r#""data":{data},"#)),
            "{data} in {frame}"
        );
    }
}

#[test]
fn whatever_else_is_sent_is_answered_with_an_error() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    let nested = format!(
        r#"{{"action":"publish","data":{}{}}}"#,
        "[".repeat(15_000),
        "]".repeat(15_000)
    );
    let digits = format!(r#"{{"action":"publish","data":{}}}"#, "1".repeat(20_000));
    for (frame, name) in [
        (nested.as_str(), "bad_request"),
        (&digits, "bad_request"),
        // A surrogate pair that was cut in two, as a browser escapes it.
        (r#"{"action":"publish","data":"\ud83d"}"#, "bad_request"),
        (r#"{"action":"publish","data":1e400}"#, "bad_request"),
        (
            r#"{"action":"publish","data":{"a":1,"a":"twice"}}"#,
            "bad_request",
        ),
        ("hello", "bad_request"),
        ("", "bad_request"),
        ("[]", "bad_request"),
        ("5", "bad_request"),
        ("{}", "bad_request"),
        (r#"{"action":""}"#, "bad_request"),
        (r#"{"action":7}"#, "bad_request"),
        (r#"{"action":"publish""#, "bad_request"),
        (r#"{"action":"publish"}"#, "bad_request"),
        (r#"{"action":"publish","data":1,"room":5}"#, "bad_request"),
        (r#"{"action":"publish","data":1,"id":5}"#, "bad_request"),
        (
            r#"{"action":"publish","data":1,"room":"a b"}"#,
            "bad_request",
        ),
        (
            r#"{"action":"publish","data":1,"room":"elsewhere"}"#,
            "not_a_member",
        ),
        (r#"{"action":"dance"}"#, "unknown_action"),
        (r#"{"action":"$connect"}"#, "unknown_action"),
        (r#"{"action":"$disconnect"}"#, "unknown_action"),
    ] {
        alice.send_text(frame);
        let error = alice.receive();
        assert_eq!(
            (&error["type"], &error["name"]),
            (&json!("error"), &json!(name)),
            "{frame}: {error}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(!message.is_empty());
        if name == "unknown_action" || frame == "{}" {
            for action in [
                "publish",
                "sendmessage",
                "join",
                "leave",
                "history",
                "members",
                "ping",
            ] {
                assert!(message.contains(action), "{frame}: {message}");
            }
        }
        if frame == "hello" {
            assert!(
                message.contains(r#"{"action":"publish","data":"hi"}"#),
                "{message}"
            );
        }
    }
    // The connection still works.
    alice.has_received_all();
    assert_eq!(alice.publish(&json!("still here"))["delivered"], 0);
}

#[test]
fn a_message_that_grows_past_the_limit_is_refused_and_nothing_is_sent() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    // Within the 128 KB that a client may send, in frames of at most 32 KB, and above them with its envelope.
    let frame = format!(
        r#"{{"action":"publish","data":"{}"}}"#,
        "x".repeat(128 * 1024 - 40)
    );
    alice.send_fragmented(&frame, 32 * 1024);
    assert_eq!(alice.receive()["name"], "payload_too_large");
    bob.has_received_all();
}

#[test]
fn who_leaves_is_no_member_any_more() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    let bob = gateway.join("lobby", "bob");
    assert_eq!(gateway.rows().len(), 2);
    bob.leave();
    gateway.wait_for_line("code=1005");
    kit::eventually("bob's row is deleted", || {
        (gateway.rows().len() == 1).then_some(())
    });
    assert_eq!(alice.publish(&json!("anyone?"))["delivered"], 0);
}
