//! Signals: who gets them, what they leave behind, and how many are passed.

use chat::lambda::{Reply, Request};
use chat::{Signals, signal};
use serde_json::{Value, json};

use crate::support::{Answer, World, now_ms, request};

/// Sends a signal of the connection `id`.
async fn send(signals: &Signals, id: &str, frame: &Value) {
    let reply = signal(signals, &request(id, &frame.to_string())).await;
    assert_eq!(reply, Reply::ok(), "a signal is not answered");
}

fn typing() -> Value {
    json!({"action": "signal", "room": "lobby", "kind": "typing"})
}

/// A lobby of connections that want presence, and so signals.
async fn lobby(users: &[(&str, &str)]) -> World {
    let world = World::new().await;
    for (id, user) in users {
        world.present(id, "lobby", user).await;
    }
    world
}

#[tokio::test]
async fn all_others_get_a_signal_and_nothing_is_stored() {
    let world = lobby(&[("a", "alice"), ("phone", "alice"), ("b", "bob")]).await;
    world.join("elsewhere", "garden").await;
    // It has not asked for presence.
    world.join("plain", "lobby").await;
    let before = world.items().await;
    let data = r#"{"x": 1.50,"y":[]}"#;
    let frame = format!(r#"{{"action":"signal","room":"lobby","kind":"cursor","data":{data}}}"#);
    signal(&world.signals(100), &request("a", &frame)).await;
    // The sender's other devices included.
    assert_eq!(world.peers.tried(), ["b", "phone"]);
    let text = &world.peers.texts("b")[0];
    assert!(text.contains(data), "byte for byte: {text}");
    let mut got = world.peers.frames("b").remove(0);
    let at = got.as_object_mut().unwrap().remove("at").unwrap();
    assert!(at.as_i64().unwrap() <= now_ms());
    assert_eq!(
        got,
        json!({"type": "signal", "room": "lobby", "kind": "cursor", "from": "alice", "data": {"x": 1.50, "y": []}})
    );
    assert_eq!(world.items().await, before);
    assert!(world.log("lobby").await.is_empty());
    let calls = [("GetItem", 1), ("Query room-index", 1)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(world.tap.counts(), calls);
}

#[tokio::test]
async fn a_signal_to_a_user_goes_to_this_users_connections_in_the_room() {
    let world = lobby(&[("a", "alice"), ("b", "bob"), ("b2", "bob"), ("c", "carol")]).await;
    world.present("b3", "garden", "bob").await;
    let signals = world.signals(100);
    for (to, got) in [("bob", &["b", "b2"][..]), ("alice", &[]), ("nobody", &[])] {
        let mut frame = typing();
        frame["to"] = to.into();
        let before = world.peers.tried().len();
        send(&signals, "a", &frame).await;
        assert_eq!(world.peers.order()[before..].len(), got.len(), "{to}");
    }
    assert_eq!(world.peers.tried(), ["b", "b2"]);
}

/// Bursts of typing: the log stays as it is, and a process reads the members once in 2 s.
#[tokio::test]
async fn a_storm_leaves_the_log_untouched() {
    let world = lobby(&[("a", "alice"), ("b", "bob"), ("c", "carol")]).await;
    let say = json!({"action": "publish", "data": 1}).to_string();
    assert_eq!(world.publish("a", &say).await["seq"], 1);
    let (log, posts) = (world.log("lobby").await, world.peers.tried().len());
    let signals = world.signals(100);
    let reads = |world: &World| {
        let counts = world.tap.counts();
        let of = |name: &str| {
            counts
                .iter()
                .find(|(call, _)| call == name)
                .map_or(0, |(_, n)| *n)
        };
        (of("GetItem"), of("Query room-index"), of("PutItem"))
    };
    let before = reads(&world);
    let start = now_ms();
    // 20 a second for 4 seconds.
    for n in 0..80 {
        let moment = Request {
            now_ms: start + n * 50,
            ..request("a", &typing().to_string())
        };
        signal(&signals, &moment).await;
    }
    assert_eq!(world.log("lobby").await, log);
    // The burst of 10, and 5 a second: what is dropped costs no request.
    let passed = 10 + 19;
    assert_eq!(world.peers.tried().len() - posts, passed * 2);
    let after = reads(&world);
    assert_eq!(after.0 - before.0, passed, "the sender's own row");
    assert_eq!(after.1 - before.1, 2, "the members, once in 2 s");
    assert_eq!(after.2, before.2);
    assert_eq!(
        world.publish("a", &say).await["seq"],
        2,
        "the next number is the next"
    );
}

#[tokio::test]
async fn mistakes_are_posted_to_the_sender_alone() {
    let world = lobby(&[("a", "alice"), ("b", "bob")]).await;
    let long = "x".repeat(1_023);
    for (frame, name, text) in [
        (json!({"kind": 5}), "bad_request", "kind must be a string"),
        (json!({}), "bad_request", "kind is missing"),
        (json!({"kind": ""}), "bad_request", "kind must have 1 to 32"),
        (
            json!({"kind": "x".repeat(33)}),
            "bad_request",
            "kind must have",
        ),
        (
            json!({"kind": "undefined"}),
            "bad_request",
            "kind must not be",
        ),
        (
            json!({"kind": "k", "data": long}),
            "bad_request",
            "data is too large: 1025 bytes, at most 1024",
        ),
        (
            json!({"kind": "k", "to": ["bob"]}),
            "bad_request",
            "to must be a string",
        ),
        (
            json!({"kind": "k", "room": "garden"}),
            "not_a_member",
            "this connection is not in the room garden",
        ),
    ] {
        let mut frame = frame;
        frame["action"] = "signal".into();
        frame["id"] = "s".into();
        send(&world.signals(100), "a", &frame).await;
        let error = world.peers.frames("a").pop().unwrap();
        assert_eq!(
            (&error["type"], &error["id"]),
            (&json!("error"), &json!("s"))
        );
        assert_eq!(
            (&error["action"], &error["name"]),
            (&json!("signal"), &json!(name))
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(text), "{frame}: {message}");
    }
    assert!(world.peers.texts("b").is_empty());
    // At the limit.
    let frame = json!({"action": "signal", "kind": "k", "data": "x".repeat(1_022)});
    send(&world.signals(100), "a", &frame).await;
    assert_eq!(world.peers.texts("b").len(), 1);
}

#[tokio::test]
async fn a_large_room_has_no_signals_and_is_not_read_to_its_end() {
    let world = World::new().await;
    let now_s = now_ms() / 1000;
    let members = (0..300).map(|n| (format!("c{n:03}"), "user"));
    world.join_many("lobby", members, now_s + 600).await;
    let signals = world.signals(100);
    for _ in 0..2 {
        send(&signals, "c000", &typing()).await;
    }
    assert_eq!(world.peers.tried(), ["c000", "c000"]);
    for error in world.peers.frames("c000") {
        assert_eq!(error["name"], "room_too_large");
        assert_eq!(error["temporary"], false);
    }
    let queries = world.tap.counts();
    assert!(
        queries.contains(&("Query room-index".to_owned(), 1)),
        "{queries:?}"
    );
}

#[tokio::test]
async fn the_limit_of_members_is_exact() {
    let world = lobby(&[("a", "alice"), ("b", "bob"), ("c", "carol")]).await;
    send(&world.signals(2), "a", &typing()).await;
    assert_eq!(world.peers.tried(), ["a"]);
    send(&world.signals(3), "a", &typing()).await;
    assert_eq!(world.peers.tried(), ["a", "b", "c"]);
}

#[tokio::test]
async fn off_means_off() {
    let world = lobby(&[("a", "alice"), ("b", "bob")]).await;
    send(&world.signals(0), "a", &typing()).await;
    assert_eq!(world.peers.frames("a")[0]["name"], "room_too_large");
    assert!(world.peers.texts("b").is_empty());
    assert_eq!(world.tap.counts(), []);
}

/// A member that is gone or slow is nobody's business: the sender hears nothing, and no row is deleted.
#[tokio::test]
async fn a_signal_that_does_not_arrive_is_lost() {
    let world = lobby(&[
        ("a", "alice"),
        ("gone", "bob"),
        ("slow", "carol"),
        ("d", "dave"),
    ])
    .await;
    world.peers.gone("gone");
    world.peers.on_post("slow", &[Answer::Hang]);
    let before = world.rows().await;
    send(&world.signals(100), "a", &typing()).await;
    assert_eq!(world.peers.texts("d").len(), 1);
    assert!(world.peers.texts("a").is_empty());
    assert_eq!(world.rows().await, before);
}
