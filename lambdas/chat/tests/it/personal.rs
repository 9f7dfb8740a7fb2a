//! Marks, blocks and unread messages of a verified user.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use chat::identity::{Caller, Identity};
use chat::lambda::Request;
use chat::protocol::Grants;
use chat::{Desk, history, personal};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{MESSAGES, USERS, World, body, now_ms, request};

/// A verified user with all rights but `moderate`.
fn user(name: &str) -> Caller {
    granted(name, r#"{"*":["join","history","publish"]}"#)
}

fn granted(name: &str, grants: &str) -> Caller {
    Caller::Verified(Box::new(Identity {
        user: name.to_owned(),
        name: None,
        grants: Grants::parse(grants).unwrap(),
        exp: None,
        iat: None,
    }))
}

fn says(caller: &Caller, id: &str, frame: &Value) -> Request {
    Request {
        caller: caller.clone(),
        ..request(id, &frame.to_string())
    }
}

async fn ask(world: &World, desk: &Desk, caller: &Caller, id: &str, frame: &Value) -> Value {
    let reply = personal(Some(desk), &world.frames, &says(caller, id, frame)).await;
    body(&reply)
}

async fn heads(world: &World, caller: &Caller, rooms: &Value) -> Value {
    let (connections, log) = (&world.app.connections, &world.app.log);
    let frame = json!({"action": "heads", "rooms": rooms, "id": "h"});
    body(&history(connections, log, &world.frames, &says(caller, "a", &frame)).await)
}

fn mark(room: &str, epoch: &str, seq: u64, n: u64) -> Value {
    json!({"action": "mark", "room": room, "epoch": epoch, "seq": seq, "n": n, "id": "m"})
}

/// A world in which alice has two devices and bob one, each by its inbox.
async fn three_devices() -> World {
    let world = World::new().await;
    for (id, inbox, user) in [
        ("a", "@alice", "alice"),
        ("phone", "@alice", "alice"),
        ("b", "@bob", "bob"),
    ] {
        world.join_as(id, inbox, user, now_ms() / 1000 + 600).await;
    }
    world
}

#[tokio::test]
async fn a_mark_is_kept_and_the_users_other_devices_hear_of_it() {
    let world = three_devices().await;
    let desk = world.desk(100);
    let alice = user("alice");
    let ack = ask(&world, &desk, &alice, "a", &mark("lobby", "E", 41, 38)).await;
    let at = ack["at"].as_i64().unwrap();
    assert_eq!(
        ack,
        json!({"type": "ack", "id": "m", "room": "lobby", "at": at})
    );
    assert_eq!(world.peers.tried(), ["phone"]);
    assert_eq!(
        world.peers.frames("phone"),
        [
            json!({"type": "signal", "room": "lobby", "kind": "read", "from": "alice", "data": {"epoch": "E", "seq": 41, "n": 38}, "at": at})
        ]
    );
    let read = json!({"action": "marks", "id": "q"});
    assert_eq!(
        ask(&world, &desk, &alice, "phone", &read).await,
        json!({"type": "marks", "id": "q", "marks": {"lobby": {"epoch": "E", "seq": 41, "n": 38, "at": at}}})
    );
    // Nobody reads the marks of another user.
    assert_eq!(
        ask(&world, &desk, &user("bob"), "b", &read).await["marks"],
        json!({})
    );
    // A mark is one write and one read of the index, marks are one read.
    let counts: HashMap<String, usize> = world.tap.counts().into_iter().collect();
    let expected = [
        ("UpdateItem users", 1),
        ("Query room-index", 1),
        ("Query users", 2),
    ];
    assert_eq!(
        counts,
        expected.map(|(call, n)| (call.to_owned(), n)).into()
    );
}

/// Every order in which the marks of several devices can come ends at the newest.
#[tokio::test]
async fn marks_in_any_order_end_at_the_greater() {
    let marks = [("E1", 7, 7), ("E1", 9, 8), ("E2", 3, 2)];
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in orders {
        let world = three_devices().await;
        let (desk, alice) = (world.desk(100), user("alice"));
        let mut newest = None;
        for index in order {
            let (epoch, seq, n) = marks[index];
            for device in ["a", "phone"] {
                let before = world.peers.order().len();
                let ack = ask(&world, &desk, &alice, device, &mark("lobby", epoch, seq, n)).await;
                assert_eq!(ack["type"], "ack", "{ack}");
                // Other devices hear of news alone.
                let is_news = Some((epoch, seq)) > newest;
                assert_eq!(world.peers.order().len() - before, usize::from(is_news));
                newest = newest.max(Some((epoch, seq)));
            }
        }
        let read = ask(&world, &desk, &alice, "a", &json!({"action": "marks"})).await;
        let (kept, is) = (&read["marks"]["lobby"], json!(["E2", 3, 2]));
        assert_eq!(
            json!([kept["epoch"], kept["seq"], kept["n"]]),
            is,
            "{order:?}"
        );
    }
}

#[tokio::test]
async fn marks_come_in_pages_without_those_that_have_expired() {
    let world = three_devices().await;
    let now = now_ms();
    for (n, ends) in (0..302).map(|n| (n, if n == 5 { now / 1000 } else { now / 1000 + 60 })) {
        let row = HashMap::from([
            ("user".to_owned(), S("alice".to_owned())),
            ("about".to_owned(), S(format!("mark#room-{n:03}"))),
            ("epoch".to_owned(), S("E".to_owned())),
            ("seq".to_owned(), N("1".to_owned())),
            ("n".to_owned(), N("1".to_owned())),
            ("at".to_owned(), N(now.to_string())),
            ("expiresAt".to_owned(), N(ends.to_string())),
        ]);
        world.put_into(USERS, row).await;
    }
    let (desk, alice) = (world.desk(100), user("alice"));
    // Her other rows are not marks.
    let block = json!({"action": "block", "user": "bob"});
    ask(&world, &desk, &alice, "a", &block).await;
    let first = ask(&world, &desk, &alice, "a", &json!({"action": "marks"})).await;
    let rooms: Vec<&String> = first["marks"].as_object().unwrap().keys().collect();
    assert_eq!((rooms.len(), &first["more"]), (300, &json!(true)));
    assert!(!rooms.contains(&&"room-005".to_owned()));
    let next = json!({"action": "marks", "after": rooms[299]});
    let next = ask(&world, &desk, &alice, "a", &next).await;
    let rooms: Vec<&String> = next["marks"].as_object().unwrap().keys().collect();
    assert_eq!(
        (rooms, next.get("more")),
        (vec![&"room-301".to_owned()], None)
    );
}

#[tokio::test]
async fn a_public_mark_is_heard_by_a_small_room() {
    for (most, members, heard) in [
        (100, true, &["b", "c", "phone"][..]),
        (2, true, &["phone"]),
        (0, true, &["phone"]),
    ] {
        let world = three_devices().await;
        for (id, user) in [("a", "alice"), ("b", "bob"), ("c", "carol")] {
            world.present(id, "lobby", user).await;
        }
        // It has not asked for presence, and so for no signals.
        world.join("plain", "lobby").await;
        let mut frame = mark("lobby", "E", 1, 1);
        frame["public"] = members.into();
        let ack = ask(&world, &world.desk(most), &user("alice"), "a", &frame).await;
        assert_eq!(ack["type"], "ack");
        assert_eq!(world.peers.tried(), heard, "{most}");
    }
    // Only a member with the right `publish` can send something to the room.
    let world = three_devices().await;
    let mut frame = mark("lobby", "E", 1, 1);
    frame["public"] = true.into();
    let mute = granted("alice", r#"{"lobby":["join"]}"#);
    for (caller, name) in [(&user("alice"), "not_a_member"), (&mute, "forbidden")] {
        let error = ask(&world, &world.desk(100), caller, "a", &frame).await;
        assert_eq!(error["name"], name);
    }
    assert!(world.peers.tried().is_empty());
    let read = json!({"action": "marks"});
    let marks = ask(&world, &world.desk(100), &user("alice"), "a", &read).await;
    assert_eq!(marks["marks"], json!({}));
}

#[tokio::test]
async fn without_a_verified_user_there_is_a_clear_error_and_no_request() {
    let world = World::lobby().await;
    let desk = world.desk(100);
    for frame in [
        mark("lobby", "E", 1, 1),
        json!({"action": "marks"}),
        json!({"action": "block", "user": "bob"}),
        json!({"action": "unblock", "user": "bob"}),
    ] {
        for desk in [Some(&desk), None] {
            let request = request("a", &frame.to_string());
            let error = body(&personal(desk, &world.frames, &request).await);
            assert_eq!(
                (&error["name"], &error["message"], error.get("right")),
                (
                    &json!("forbidden"),
                    &json!("this needs verified users, and this service does not verify names"),
                    None
                )
            );
        }
    }
    assert_eq!(world.tap.counts(), []);
}

#[tokio::test]
async fn wrong_frames_are_refused_before_anything_is_written() {
    let world = three_devices().await;
    let (desk, alice) = (world.desk(100), granted("alice", r#"{"lobby":["join"]}"#));
    let without = |field: &str| {
        let mut frame = mark("lobby", "E", 5, 5);
        frame.as_object_mut().unwrap().remove(field);
        frame
    };
    let with = |field: &str, value: Value| {
        let mut frame = mark("lobby", "E", 5, 5);
        frame[field] = value;
        frame
    };
    for (frame, text) in [
        (without("room"), "room is missing"),
        (without("epoch"), "epoch is missing"),
        (without("seq"), "seq is missing"),
        (without("n"), "n is missing"),
        (with("n", 6.into()), "n must be at most seq"),
        (with("n", (-1).into()), "n must be a whole number"),
        (with("seq", "5".into()), "seq must be a whole number"),
        (with("epoch", "".into()), "epoch must have 1 to 64"),
        (with("public", 1.into()), "public must be true or false"),
        (with("room", "@".into()), "room must not begin with @"),
        (json!({"action": "block"}), "user is missing"),
        (json!({"action": "block", "user": "a&b"}), "user may hold"),
        (
            json!({"action": "block", "user": "alice"}),
            "user must be another user",
        ),
    ] {
        let error = ask(&world, &desk, &alice, "a", &frame).await;
        assert_eq!(error["name"], "bad_request", "{frame}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(text), "{message}");
    }
    for room in ["garden", "@bob", "@bob&carol"] {
        let error = ask(&world, &desk, &alice, "a", &mark(room, "E", 1, 1)).await;
        assert_eq!(
            (&error["name"], &error["right"]),
            (&json!("forbidden"), &json!("join"))
        );
    }
    assert_eq!(world.tap.counts(), []);
    // One's own inbox and pair rooms have marks like every room.
    for room in ["@alice", "@alice&bob"] {
        let ack = ask(&world, &desk, &alice, "a", &mark(room, "E", 1, 1)).await;
        assert_eq!(ack["type"], "ack");
    }
}

/// A row of a log: the count so far, and whether the row is an ordinary message.
async fn put_row(world: &World, room: &str, seq: u64, n: u64, kind: Option<&str>, ends: i64) {
    let mut row = HashMap::from([
        ("room".to_owned(), S(room.to_owned())),
        ("seq".to_owned(), N(seq.to_string())),
        ("epoch".to_owned(), S("E".to_owned())),
        ("at".to_owned(), N("1700000000000".to_owned())),
        ("expiresAt".to_owned(), N(ends.to_string())),
        ("n".to_owned(), N(n.to_string())),
    ]);
    if seq > 0 {
        row.insert("user".to_owned(), S("bob".to_owned()));
        row.insert("data".to_owned(), S("1".to_owned()));
    }
    if let Some(kind) = kind {
        row.insert("kind".to_owned(), S(kind.to_owned()));
    }
    world.put_into(MESSAGES, row).await;
}

#[tokio::test]
async fn heads_say_where_logs_end_for_one_read_a_room() {
    let world = World::new().await;
    let now_s = now_ms() / 1000;
    for (seq, n) in [(0, 0), (1, 1), (2, 1), (3, 2)] {
        put_row(&world, "lobby", seq, n, None, now_s + 60).await;
    }
    put_row(&world, "old", 1, 1, None, now_s - 1).await;
    put_row(&world, "@alice&bob", 1, 1, None, now_s + 60).await;
    let alice = user("alice");
    let rooms = json!(["lobby", "old", "none", "@alice&bob", "@alice", "lobby"]);
    assert_eq!(
        heads(&world, &alice, &rooms).await,
        json!({"type": "heads", "id": "h", "heads": {
            "lobby": {"epoch": "E", "head": 3, "n": 2}, "old": null, "none": null,
            "@alice&bob": {"epoch": "E", "head": 1, "n": 1}, "@alice": null,
        }})
    );
    assert_eq!(world.tap.counts(), [("Query messages".to_owned(), 5)]);

    let many = |n: usize| json!((0..n).map(|n| format!("r-{n}")).collect::<Vec<String>>());
    assert_eq!(heads(&world, &alice, &many(50)).await["type"], "heads");
    let list = "rooms must be a list of 1 to 50 names of rooms";
    let before = world.tap.counts();
    for (rooms, text) in [
        (many(51), list),
        (json!([]), list),
        (json!("lobby"), list),
        (json!([1]), list),
        (json!(null), list),
        (json!(["lobby", "a b"]), r#"rooms: "a b" may hold"#),
        (
            json!(["@bob&alice"]),
            r#"rooms: "@bob&alice" must name its two users in order"#,
        ),
    ] {
        let error = heads(&world, &alice, &rooms).await;
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(text), "{rooms}: {error}");
    }
    // One room that is not hers refuses all.
    for room in ["@bob", "@bob&carol", "garden"] {
        let reader = granted("alice", r#"{"lobby":["join"]}"#);
        let error = heads(&world, &reader, &json!(["lobby", room])).await;
        assert_eq!(error["name"], "forbidden", "{room}");
    }
    let open = heads(&world, &Caller::Anyone, &json!(["@alice&bob"])).await;
    assert_eq!(open["name"], "forbidden");
    assert_eq!(world.tap.counts(), before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// `headN - n` is what a reader would count who has the whole log, whatever is trimmed and of whatever kind.
    #[test]
    fn unread_is_what_counting_would_say(
        ordinary in prop::collection::vec(any::<bool>(), 1..30),
        mark_at in any::<prop::sample::Index>(),
        trimmed in any::<prop::sample::Index>(),
        more in 0_u64..4,
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let world = three_devices().await;
            world.join_as("a", "lobby", "alice", now_ms() / 1000 + 600).await;
            let now_s = now_ms() / 1000;
            let trimmed = trimmed.index(ordinary.len());
            put_row(&world, "lobby", 0, 0, None, now_s - 1).await;
            let mut n = 0;
            let mut ns = vec![0];
            for (index, ordinary) in ordinary.iter().enumerate() {
                n += u64::from(*ordinary);
                ns.push(n);
                let ends = if index < trimmed { now_s - 1 } else { now_s + 600 };
                let kind = (!ordinary).then_some("edit");
                put_row(&world, "lobby", index as u64 + 1, n, kind, ends).await;
            }
            for _ in 0..more {
                let ack = world.publish("a", r#"{"action":"publish","room":"lobby","data":1}"#).await;
                assert_eq!(ack["type"], "ack", "{ack}");
            }
            let (desk, alice) = (world.desk(100), user("alice"));
            let read = mark_at.index(ordinary.len() + 1);
            let frame = mark("lobby", "E", read as u64, ns[read]);
            assert_eq!(ask(&world, &desk, &alice, "a", &frame).await["type"], "ack");
            let marks = ask(&world, &desk, &alice, "a", &json!({"action": "marks"})).await;
            let heads = heads(&world, &alice, &json!(["lobby"])).await;
            let (mark, head) = (&marks["marks"]["lobby"], &heads["heads"]["lobby"]);
            let counted = ordinary[read..].iter().filter(|ordinary| **ordinary).count() as u64 + more;
            assert_eq!(mark["epoch"], head["epoch"]);
            assert_eq!(head["n"].as_u64().unwrap() - mark["n"].as_u64().unwrap(), counted);
        });
    }
}
