//! `join`, `leave` and `members`.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::support::{Answer, World, now_ms};

const JOIN: &str = r#"{"action":"join","room":"garden","id":"j"}"#;

async fn say(world: &World, count: usize) {
    world.join("speaker", "garden").await;
    for n in 0..count {
        let frame = format!(r#"{{"action":"publish","data":{n}}}"#);
        assert_eq!(world.publish("speaker", &frame).await["type"], "ack");
    }
}

fn seqs(reply: &Value) -> Vec<u64> {
    let messages = reply["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|message| message["seq"].as_u64().unwrap())
        .collect()
}

/// A join of the garden with these fields.
fn join_with(fields: &Value) -> String {
    let mut frame = json!({"action": "join", "room": "garden"});
    for (key, value) in fields.as_object().unwrap() {
        frame[key] = value.clone();
    }
    frame.to_string()
}

#[tokio::test]
async fn an_empty_room_has_an_epoch_and_no_message() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    let joined = world.ask_join("a", JOIN).await;
    let epoch = joined["epoch"].as_str().unwrap();
    assert_eq!(epoch.len(), 26);
    assert_eq!(
        joined,
        json!({
            "type": "joined", "id": "j", "room": "garden", "user": "user-a", "epoch": epoch,
            "first": 1, "head": 0, "headN": 0, "recovered": null, "messages": [],
        })
    );
    // A second join and another member get the same epoch, and the first message belongs to it.
    world.join("b", "lobby").await;
    for id in ["a", "b"] {
        assert_eq!(world.ask_join(id, JOIN).await["epoch"], epoch);
    }
    let frame = r#"{"action":"publish","room":"garden","data":1}"#;
    let ack = world.publish("a", frame).await;
    assert_eq!((&ack["seq"], &ack["epoch"]), (&1.into(), &epoch.into()));
    assert_eq!(world.peers.tried(), ["b"]);
}

#[tokio::test]
async fn the_row_has_the_times_of_the_connection_and_is_written_once() {
    let world = World::new().await;
    world.join_since("a", "lobby", 600).await;
    for _ in 0..3 {
        world.ask_join("a", JOIN).await;
    }
    let items = world.items().await;
    assert_eq!(items.len(), 2);
    for key in ["connectedAt", "expiresAt", "user"] {
        assert_eq!(items[0][key], items[1][key]);
    }
    let counts: BTreeMap<String, usize> = world.tap.counts().into_iter().collect();
    assert_eq!(counts["PutItem"], 1);
}

#[tokio::test]
async fn what_was_missed_comes_whole_or_not_at_all() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    say(&world, 5).await;
    let joined = world.ask_join("a", JOIN).await;
    let epoch = joined["epoch"].clone();
    assert_eq!((&joined["first"], &joined["head"]), (&1.into(), &5.into()));
    assert_eq!(seqs(&joined), [0; 0]);

    for (since, recovered, expected) in [
        (json!({"epoch": epoch, "seq": 0}), true, vec![1, 2, 3, 4, 5]),
        (json!({"epoch": epoch, "seq": 3}), true, vec![4, 5]),
        (json!({"epoch": epoch, "seq": 5}), true, vec![]),
        // Ahead of the head, of another epoch: the newest instead, and nothing in between is claimed.
        (json!({"epoch": epoch, "seq": 6}), false, vec![4, 5]),
        (json!({"epoch": "OTHER", "seq": 3}), false, vec![4, 5]),
        (json!({"epoch": epoch, "seq": u64::MAX}), false, vec![4, 5]),
    ] {
        let joined = world
            .ask_join("a", &join_with(&json!({"since": since, "history": 2})))
            .await;
        assert_eq!(joined["recovered"], recovered, "{since}");
        assert_eq!(seqs(&joined), expected, "{since}");
        assert_eq!(joined.get("more"), None);
    }
    let joined = world
        .ask_join("a", &join_with(&json!({"history": 3})))
        .await;
    assert_eq!(
        (&joined["recovered"], seqs(&joined)),
        (&Value::Null, vec![3, 4, 5])
    );
    // Each is the frame that was delivered.
    world.ask_join("a", JOIN).await;
    say(&world, 1).await;
    let delivered = world.peers.frames("a");
    let joined = world
        .ask_join("a", &join_with(&json!({"history": 1})))
        .await;
    assert_eq!(joined["messages"], json!(delivered));
}

#[tokio::test]
async fn a_long_absence_is_caught_up_in_pages() {
    let world = World::with(Some(7), |_| ()).await;
    world.join("a", "lobby").await;
    let joined = world.ask_join("a", JOIN).await;
    say(&world, 130).await;
    let since = json!({"epoch": joined["epoch"], "seq": 0});
    let joined = world
        .ask_join("a", &join_with(&json!({"since": since})))
        .await;
    assert_eq!(
        (&joined["recovered"], &joined["more"], &joined["head"]),
        (&true.into(), &true.into(), &130.into())
    );
    assert_eq!(seqs(&joined), (1..=100).collect::<Vec<u64>>());
    let rest = world
        .ask_history("a", r#"{"action":"history","room":"garden","after":100}"#)
        .await;
    assert_eq!(seqs(&rest), (101..=130).collect::<Vec<u64>>());
    assert_eq!(rest["more"], false);
}

#[tokio::test]
async fn a_log_that_has_expired_is_begun_anew() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    say(&world, 3).await;
    let epoch = world.ask_join("a", JOIN).await["epoch"].clone();
    world.expire("garden", 2).await;
    let since = |seq: u64| join_with(&json!({"since": {"epoch": epoch, "seq": seq}}));
    let joined = world.ask_join("a", &since(2)).await;
    assert_eq!(
        (&joined["first"], &joined["recovered"], seqs(&joined)),
        (&3.into(), &true.into(), vec![3])
    );
    assert_eq!(world.ask_join("a", &since(1)).await["recovered"], false);

    world.expire("garden", 3).await;
    let joined = world.ask_join("a", &since(3)).await;
    assert_ne!(joined["epoch"], epoch);
    assert_eq!(
        (&joined["first"], &joined["head"], &joined["recovered"]),
        (&5.into(), &4.into(), &false.into())
    );
    say(&world, 1).await;
    let again = world
        .ask_join("a", &join_with(&json!({"history": 9})))
        .await;
    assert_eq!(
        (&again["epoch"], &again["head"], seqs(&again)),
        (&joined["epoch"], &5.into(), vec![5])
    );
}

#[tokio::test]
async fn joins_that_are_refused_write_nothing() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    for (fields, message) in [
        (json!({"room": null}), "room is missing"),
        (
            json!({"room": "@x"}),
            "room must not begin with @, which is reserved",
        ),
        (
            json!({"since": 5}),
            r#"since must be a position: {"epoch":"…","seq":…}"#,
        ),
        (
            json!({"since": {"epoch": "E"}}),
            r#"since must be a position: {"epoch":"…","seq":…}"#,
        ),
        (
            json!({"since": {"epoch": "E", "seq": -1}}),
            r#"since must be a position: {"epoch":"…","seq":…}"#,
        ),
        (
            json!({"since": ["E", 1]}),
            r#"since must be a position: {"epoch":"…","seq":…}"#,
        ),
        (
            json!({"history": 101}),
            "history must be a whole number, 0 to 100",
        ),
        (json!({"id": ""}), "id must have 1 to 64 characters"),
    ] {
        let error = world.ask_join("a", &join_with(&fields)).await;
        assert_eq!(
            (&error["name"], &error["message"]),
            (&"bad_request".into(), &message.into()),
            "{fields}"
        );
    }
    let error = world.ask_join("nobody", JOIN).await;
    assert_eq!(
        error,
        json!({
            "type": "error", "id": "j", "action": "join", "code": 403, "name": "not_a_member",
            "message": "this connection is in no room; connect with ?room=NAME", "temporary": false,
        })
    );
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn a_connection_is_in_a_hundred_rooms_at_most() {
    let world = World::new().await;
    for n in 0..100 {
        world.join("a", &format!("room-{n}")).await;
    }
    let error = world.ask_join("a", JOIN).await;
    assert_eq!(
        (&error["name"], &error["message"]),
        (
            &"too_many".into(),
            &"a connection may be in 100 rooms; leave one first".into()
        )
    );
    // A room that it is in does not count again.
    let joined = world
        .ask_join("a", r#"{"action":"join","room":"room-7"}"#)
        .await;
    assert_eq!(joined["type"], "joined");
}

#[tokio::test]
async fn joins_at_once_do_not_exceed_the_hundred_rooms() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    let frames: Vec<String> = (0..400)
        .map(|n| format!(r#"{{"action":"join","room":"room-{n}"}}"#))
        .collect();
    let answers: Vec<Value> = stream::iter(&frames)
        .map(|frame| world.ask_join("a", frame))
        .buffer_unordered(32)
        .collect()
        .await;
    let rooms = world.rows().await.len();
    let joined = answers
        .iter()
        .filter(|answer| answer["type"] == "joined")
        .count();
    assert!(rooms <= 100, "{rooms} rooms");
    assert_eq!(joined + 1, rooms);
    for refused in answers.iter().filter(|answer| answer["type"] != "joined") {
        assert_eq!(refused["name"], "too_many", "{refused}");
    }
}

#[tokio::test]
async fn a_join_that_races_the_end_of_its_connection_leaves_no_row() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    world.peers.gone("a");
    let error = world.ask_join("a", JOIN).await;
    assert_eq!(
        (&error["name"], &error["message"]),
        (
            &"not_a_member".into(),
            &"this connection has ended; connect again".into()
        )
    );
    assert_eq!(world.rows().await, [("a".to_owned(), "lobby".to_owned())]);

    // Whatever the log answers.
    let world = World::new().await;
    world.join("a", "lobby").await;
    world.peers.gone("a");
    world
        .tap
        .fail("Query messages", 0, "ResourceNotFoundException");
    world.ask_join("a", JOIN).await;
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn a_join_of_which_api_gateway_cannot_say_whether_it_lives_is_answered() {
    for unknown in [
        Answer::Error(403, "ForbiddenException"),
        Answer::Bare(500),
        Answer::Hang,
    ] {
        let world = World::new().await;
        world.join("a", "lobby").await;
        world.peers.on_get("a", unknown);
        assert_eq!(
            world.ask_join("a", JOIN).await["type"],
            "joined",
            "{unknown:?}"
        );
        assert_eq!(world.rows().await.len(), 2);
    }
    // A room that the connection is in needs no question.
    let world = World::new().await;
    world.join("a", "garden").await;
    world.ask_join("a", JOIN).await;
    assert!(world.peers.asked().is_empty());
}

#[tokio::test]
async fn a_joined_row_of_a_dead_connection_is_pruned_at_once() {
    let world = World::new().await;
    world.join("a", "garden").await;
    world.join("dead", "lobby").await;
    world.ask_join("dead", JOIN).await;
    world.peers.gone("dead");
    let frame = r#"{"action":"publish","room":"garden","data":1}"#;
    assert_eq!(world.publish("a", frame).await["gone"], 1);
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn leaving_is_idempotent_and_ends_the_deliveries() {
    let world = World::new().await;
    for id in ["a", "b"] {
        world.join(id, "lobby").await;
        world.ask_join(id, JOIN).await;
    }
    for _ in 0..2 {
        let left = world
            .ask_leave("b", r#"{"action":"leave","room":"garden","id":"l"}"#)
            .await;
        assert_eq!(left, json!({"type": "left", "id": "l", "room": "garden"}));
    }
    let frame = r#"{"action":"publish","room":"garden","data":1}"#;
    assert_eq!(world.publish("a", frame).await["delivered"], 0);
    assert_eq!(world.publish("b", frame).await["name"], "not_a_member");
    let error = world.ask_leave("b", r#"{"action":"leave"}"#).await;
    assert_eq!(error["message"], "room is missing");
}

#[tokio::test]
async fn members_are_users_with_their_connections() {
    let world = World::with(Some(3), |_| ()).await;
    let now = now_ms() / 1000;
    for (id, user, expires) in [
        ("c1", "bob", now + 60),
        ("c2", "alice", now + 60),
        ("c3", "bob", now + 60),
        ("c4", "carol", now + 60),
        ("c5", "gone", now - 60),
    ] {
        world.join_as(id, "garden", user, expires).await;
    }
    let members = world
        .ask_members("c1", r#"{"action":"members","id":"w"}"#)
        .await;
    assert_eq!(
        members,
        json!({
            "type": "members", "id": "w", "room": "garden", "count": 4,
            "members": [
                {"user": "alice", "connections": 1}, {"user": "bob", "connections": 2},
                {"user": "carol", "connections": 1},
            ],
            "more": false,
        })
    );
    let page = world
        .ask_members("c1", r#"{"action":"members","room":"garden","limit":2}"#)
        .await;
    assert_eq!((&page["count"], &page["more"]), (&4.into(), &true.into()));
    assert_eq!(page["members"][1]["user"], "bob");
    let page = world
        .ask_members("c1", r#"{"action":"members","after":"bob","limit":2}"#)
        .await;
    assert_eq!(
        (&page["members"], &page["more"]),
        (&json!([{"user": "carol", "connections": 1}]), &false.into())
    );
    assert_eq!(members.get("partial"), None);
    for (id, frame, name) in [
        ("c5", r#"{"action":"members"}"#, "not_a_member"),
        (
            "c1",
            r#"{"action":"members","room":"lobby"}"#,
            "not_a_member",
        ),
        ("c1", r#"{"action":"members","limit":0}"#, "bad_request"),
        ("c1", r#"{"action":"members","limit":1001}"#, "bad_request"),
        ("c1", r#"{"action":"members","after":5}"#, "bad_request"),
    ] {
        assert_eq!(world.ask_members(id, frame).await["name"], name, "{frame}");
    }
}

#[tokio::test]
async fn a_room_beyond_the_count_is_listed_to_its_end() {
    let world = World::new().await;
    let expires = now_ms() / 1000 + 60;
    // 20,001 connections of 3 users; the last in order of the index is the only one of its user.
    let members = (0..20_001).map(|n| {
        let user = match n {
            0..=10_000 => "alice",
            20_000 => "carol",
            _ => "bob",
        };
        (format!("c{n:05}"), user)
    });
    world.join_many("garden", members, expires).await;
    let page = world
        .ask_members("c00000", r#"{"action":"members","limit":1}"#)
        .await;
    assert_eq!(
        (&page["count"], &page["more"], &page["partial"]),
        (&20_000.into(), &true.into(), &true.into())
    );
    let page = world
        .ask_members("c00000", r#"{"action":"members","after":"alice"}"#)
        .await;
    assert_eq!(
        (&page["members"], &page["more"], &page["partial"]),
        (
            &json!([{"user": "bob", "connections": 9_999}]),
            &false.into(),
            &true.into()
        )
    );
    let page = world
        .ask_members("c00000", r#"{"action":"members","after":"bob"}"#)
        .await;
    assert_eq!(
        (&page["members"], &page["more"]),
        (&json!([]), &false.into())
    );
}
