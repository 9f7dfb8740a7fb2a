//! The handshakes and joins that are refused: by origin, number of connections, ban or revocation.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue::{self, N, S};
use chat::identity::{Caller, Identity};
use chat::lambda::{Reply, Request};
use chat::protocol::Grants;
use chat::settings::{Handshakes, RateLimits};
use chat::{App, FrameLimit};
use serde_json::{Value, json};

use crate::support::{HANDSHAKES, USERS, World, body, handshake, now_ms, request};

/// alice, whose token was issued at 1000.
fn alice() -> Caller {
    issued(Some(1_000))
}

fn issued(iat: Option<i64>) -> Caller {
    Caller::Verified(Box::new(Identity {
        user: "alice".to_owned(),
        name: None,
        grants: Grants::everywhere(),
        exp: None,
        iat,
    }))
}

async fn shakes(world: &World, caller: Caller, id: &str, room: &str) -> Reply {
    let request = Request {
        caller,
        ..handshake(id, &[("room", room)])
    };
    world.connect(&request).await
}

async fn joins(world: &World, caller: Caller, id: &str, room: &str) -> Value {
    let frame = json!({"action": "join", "room": room, "id": "j"}).to_string();
    let request = Request {
        caller,
        ..request(id, &frame)
    };
    let app = &world.app;
    let reply = chat::join(
        &app.presence,
        &app.log,
        &world.users,
        &world.frames,
        &request,
    )
    .await;
    body(&reply)
}

/// A row of the table, as somebody writes it by hand.
async fn note(world: &World, about: &str, attributes: &[(&str, AttributeValue)]) {
    let mut item: HashMap<String, AttributeValue> = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    item.insert("user".to_owned(), S("alice".to_owned()));
    item.insert("about".to_owned(), S(about.to_owned()));
    world.put_into(USERS, item).await;
}

fn ban() -> (&'static str, AttributeValue) {
    ("kind", S("ban".to_owned()))
}

fn until(seconds_from_now: i64) -> (&'static str, AttributeValue) {
    ("until", N((now_ms() / 1000 + seconds_from_now).to_string()))
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let world = World::new().await;
    let settings = Handshakes {
        allowed_origins: vec![
            "https://app.example".to_owned(),
            "http://localhost:8080".to_owned(),
        ],
        ..HANDSHAKES
    };
    for (origins, status) in [
        (&[][..], 200),
        (&["https://app.example"], 200),
        (&["https://APP.example"], 200),
        (&["http://localhost:8080"], 200),
        (&["https://evil.example"], 403),
        (&["https://app.example.evil.example"], 403),
        (&["http://app.example"], 403),
        (&["https://app.example:8443"], 403),
        (&["null"], 403),
        (&[""], 403),
        (&["https://app.example", "https://evil.example"], 403),
    ] {
        let request = Request {
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            ..handshake("c1", &[])
        };
        let before = world.tap.counts();
        let reply = world.connect_with(&settings, &request).await;
        assert_eq!(reply.status, status, "{origins:?}");
        if status == 403 {
            assert_eq!(world.tap.counts(), before, "nothing is read or written");
        }
        // Without a list every page may connect.
        assert_eq!(world.connect(&request).await.status, 200);
    }
}

#[tokio::test]
async fn a_user_has_so_many_connections_at_a_time() {
    let world = World::new().await;
    let expires = now_ms() / 1000 + 60;
    for n in 0..18 {
        world
            .join_as(&format!("c{n:02}"), "@alice", "alice", expires)
            .await;
    }
    // These are other users, or have expired.
    world.join_as("other", "@alice2", "alice2", expires).await;
    world.join_as("old", "@alice", "alice", expires - 120).await;
    for id in ["c18", "c19"] {
        assert_eq!(shakes(&world, alice(), id, "lobby").await.status, 200);
    }
    let before = world.rows().await;
    assert!(before.contains(&("c19".to_owned(), "@alice".to_owned())));
    let refused = shakes(&world, alice(), "c20", "lobby").await;
    assert_eq!(refused.status, 429);
    let body: Value = serde_json::from_str(&refused.body.unwrap()).unwrap();
    assert_eq!(
        (&body["name"], &body["message"]),
        (
            &"slow_down".into(),
            &"this user has 20 connections already; close one first".into()
        )
    );
    assert_eq!(world.rows().await, before);
    // Again over the same connection is no further one, and whoever names himself is not counted.
    assert_eq!(shakes(&world, alice(), "c19", "lobby").await.status, 200);
    let query = [("user", "alice"), ("room", "lobby")];
    assert_eq!(world.connect(&handshake("c21", &query)).await.status, 200);

    // The last to leave makes room.
    let gone = request("c00", "");
    chat::disconnect(&world.app.presence, &gone).await;
    assert_eq!(shakes(&world, alice(), "c20", "lobby").await.status, 200);
}

#[tokio::test]
async fn a_ban_holds_at_the_handshake_and_at_a_join() {
    let reason = ("reason", S("spam".to_owned()));
    let mute = || ("kind", S("mute".to_owned()));
    for (about, attributes, there, elsewhere) in [
        ("ban#garden", vec![ban()], "banned", "joined"),
        ("ban#garden", vec![ban(), until(60)], "banned", "joined"),
        ("ban#garden", vec![ban(), until(-1)], "joined", "joined"),
        ("ban#garden", vec![mute()], "joined", "joined"),
        // A row of an unknown kind counts as a ban.
        ("ban#garden", vec![], "banned", "joined"),
        (
            "ban#garden",
            vec![("kind", S("exile".to_owned()))],
            "banned",
            "joined",
        ),
        ("ban#*", vec![ban()], "banned", "banned"),
        ("ban#*", vec![ban(), until(-1)], "joined", "joined"),
        ("ban#*flood", vec![ban(), until(60)], "banned", "banned"),
        ("ban#*flood", vec![ban(), until(-1)], "joined", "joined"),
        ("block#bob", vec![ban()], "joined", "joined"),
        ("mark#garden", vec![], "joined", "joined"),
        ("ban#garden2", vec![ban()], "joined", "joined"),
    ] {
        let world = World::new().await;
        world
            .join_as("in", "hall", "alice", now_ms() / 1000 + 600)
            .await;
        note(&world, about, &attributes).await;
        for (room, expected) in [("garden", there), ("lobby", elsewhere)] {
            let answer = joins(&world, alice(), "in", room).await;
            let reply = shakes(&world, alice(), "new", room).await;
            let rows = world.rows().await;
            let is_in = |id: &str, room: &str| rows.contains(&(id.to_owned(), room.to_owned()));
            if expected == "joined" {
                assert_eq!(answer["type"], "joined", "{about} {attributes:?}");
                assert_eq!(reply.status, 200);
                assert!(is_in("in", room) && is_in("new", room) && is_in("new", "@alice"));
            } else {
                assert_eq!(
                    (&answer["code"], &answer["name"], &answer["temporary"]),
                    (&403.into(), &"banned".into(), &false.into()),
                    "{about} {attributes:?}"
                );
                assert_eq!(reply.status, 403);
                assert!(!is_in("in", room) && !is_in("new", room) && !is_in("new", "@alice"));
            }
            chat::disconnect(&world.app.presence, &request("new", "")).await;
        }
    }
    let world = World::new().await;
    world
        .join_as("in", "hall", "alice", now_ms() / 1000 + 600)
        .await;
    let ends = until(60);
    let AttributeValue::N(seconds) = ends.1.clone() else {
        unreachable!()
    };
    note(&world, "ban#garden", &[ban(), ends, reason]).await;
    assert_eq!(
        joins(&world, alice(), "in", "garden").await,
        json!({
            "type": "error", "id": "j", "action": "join", "code": 403, "name": "banned",
            "message": "this user is banned from the room garden", "temporary": false,
            "until": seconds.parse::<i64>().unwrap(), "reason": "spam",
        })
    );
}

#[tokio::test]
async fn revoked_tokens_are_refused() {
    for (attributes, iat, status) in [
        (
            vec![("revokedBefore", N("1000".to_owned()))],
            Some(999),
            401,
        ),
        (
            vec![("revokedBefore", N("1000".to_owned()))],
            Some(1_000),
            200,
        ),
        // Without a time of issue, the token may be older than the revocation.
        (vec![("revokedBefore", N("1000".to_owned()))], None, 401),
        (vec![], Some(1_000), 401),
        // A ban from a room of this name.
        (vec![ban()], Some(1_000), 200),
    ] {
        let world = World::new().await;
        note(&world, "ban#revoked", &attributes).await;
        let reply = shakes(&world, issued(iat), "c1", "lobby").await;
        assert_eq!(reply.status, status, "{attributes:?} {iat:?}");
        world
            .join_as("in", "hall", "alice", now_ms() / 1000 + 600)
            .await;
        let answer = joins(&world, issued(iat), "in", "garden").await;
        if status == 401 {
            assert_eq!(answer["name"], "token_expired");
            assert_eq!(world.rows().await, [("in".to_owned(), "hall".to_owned())]);
        } else {
            assert_eq!(answer["type"], "joined");
        }
    }
    let world = World::new().await;
    note(&world, "ban#revoked", &[ban()]).await;
    assert_eq!(shakes(&world, alice(), "c1", "revoked").await.status, 403);
}

#[tokio::test]
async fn bans_are_read_after_the_row_is_written() {
    let world = World::new().await;
    shakes(&world, alice(), "c1", "lobby").await;
    let order = world.tap.order();
    let read = order.iter().position(|call| call == "Query users").unwrap();
    let written = order.iter().rposition(|call| call == "PutItem").unwrap();
    assert!(written < read, "{order:?}");

    let before = order.len();
    joins(&world, alice(), "c1", "garden").await;
    let order = world.tap.order().split_off(before);
    let mut reads = order.iter().enumerate();
    let mut read = || {
        reads
            .by_ref()
            .find(|(_, call)| *call == "Query users")
            .unwrap()
            .0
    };
    let written = order.iter().position(|call| call == "PutItem").unwrap();
    // Before it as well: the row of a banned user must not stand even for a moment.
    let (first, second) = (read(), read());
    assert!(first < written && written < second, "{order:?}");
}

#[tokio::test]
async fn whose_bans_cannot_be_read_is_not_let_in() {
    let world = World::new().await;
    world
        .join_as("in", "hall", "alice", now_ms() / 1000 + 600)
        .await;
    world
        .tap
        .fail("Query users", 0, "ResourceNotFoundException");
    assert_eq!(shakes(&world, alice(), "c1", "lobby").await.status, 500);
    assert_eq!(
        joins(&world, alice(), "in", "garden").await["name"],
        "internal"
    );
    assert_eq!(world.rows().await, [("in".to_owned(), "hall".to_owned())]);

    // A row that holds something else.
    let world = World::new().await;
    note(&world, "ban#lobby", &[("until", S("tomorrow".to_owned()))]).await;
    assert_eq!(shakes(&world, alice(), "c1", "lobby").await.status, 500);
    assert!(world.rows().await.is_empty());
}

#[tokio::test]
async fn whose_connections_cannot_be_counted_is_not_let_in() {
    let world = World::new().await;
    world
        .tap
        .fail("Query room-index", 0, "ResourceNotFoundException");
    assert_eq!(shakes(&world, alice(), "c1", "lobby").await.status, 500);
    assert!(world.rows().await.is_empty());
}

#[tokio::test]
async fn without_identity_nothing_is_read() {
    let world = World::new().await;
    note(&world, "ban#*", &[ban()]).await;
    let query = [("user", "alice"), ("room", "lobby")];
    assert_eq!(world.connect(&handshake("c1", &query)).await.status, 200);
    assert_eq!(world.tap.counts(), [("PutItem".to_owned(), 1)]);
    let joined = joins(&world, Caller::Anyone, "c1", "garden").await;
    assert_eq!(joined["type"], "joined");
    assert!(!world.tap.order().contains(&"Query users".to_owned()));
}

#[tokio::test]
async fn an_inbox_is_no_room() {
    let world = World::new().await;
    assert_eq!(shakes(&world, alice(), "c1", "lobby").await.status, 200);
    // The connection is in one room, so a frame need not name it.
    let frame = r#"{"action":"publish","data":1}"#;
    let request = Request {
        caller: alice(),
        ..request("c1", frame)
    };
    let ack = body(&chat::publish(&world.app, &request).await);
    assert_eq!(
        (&ack["type"], &ack["room"]),
        (&"ack".into(), &"lobby".into())
    );
    let answer = joins(&world, alice(), "c1", "@alice").await;
    assert_eq!(answer["name"], "bad_request");
}

const BURST: usize = 10;

/// The frames that a process takes from a sender before the next one closes its connection.
const BEFORE_THE_END: usize = BURST + 4;

/// A process of publish.
fn flooded(world: &World) -> App {
    let limits = RateLimits {
        per_user: 0,
        per_room: 0,
        window_seconds: 5,
        frames_per_second: 1,
        burst: BURST as u32,
        close_after: 3,
    };
    let limit = FrameLimit::new(limits).closing(world.app.management.clone());
    world.another_process().limited(limit)
}

/// Sends so many messages in one moment, over each of the connections in turn.
async fn flood(app: &App, caller: &Caller, ids: &[String], messages: usize) -> Vec<Reply> {
    let now_ms = now_ms();
    let mut replies = Vec::new();
    for id in ids.iter().cycle().take(messages) {
        let request = Request {
            caller: caller.clone(),
            now_ms,
            ..request(id, r#"{"action":"publish","room":"lobby","data":1}"#)
        };
        replies.push(chat::publish(app, &request).await);
    }
    replies
}

#[tokio::test]
async fn a_user_who_floods_over_many_connections_is_expelled_for_a_minute() {
    let world = World::new().await;
    let ids: Vec<String> = (0..10).map(|n| format!("c{n}")).collect();
    for id in &ids {
        assert_eq!(shakes(&world, alice(), id, "lobby").await.status, 200);
    }
    // Another user's, and a mute that the flood must not end.
    world
        .join_as("b", "@bob", "bob", now_ms() / 1000 + 600)
        .await;
    note(&world, "ban#*", &[("kind", S("mute".to_owned()))]).await;

    // Not one of these connections floods by itself. Without a verified user that is all there is to count.
    let app = flooded(&world);
    flood(&app, &Caller::Anyone, &ids, BEFORE_THE_END + 1).await;
    assert_eq!(world.peers.closed(), Vec::<String>::new());

    let app = flooded(&world);
    let replies = flood(&app, &alice(), &ids, BEFORE_THE_END).await;
    assert_eq!(body(replies.last().unwrap())["type"], "bye");
    assert_eq!(world.peers.closed(), Vec::<String>::new());
    flood(&app, &alice(), &ids[4..], 1).await;
    let mut closed = world.peers.closed();
    closed.sort();
    assert_eq!(closed, ids);
    for id in &ids {
        let frames = world.peers.frames(id);
        assert_eq!(frames.last().unwrap()["reason"], "too_many_frames", "{id}");
    }

    // The handshakes and joins of others are not concerned, nor are those of a minute later.
    let again = joins(&world, alice(), "c0", "garden").await;
    assert_eq!(again["message"], "this user is banned from this service");
    assert_eq!(again["reason"], "too many frames");
    for (later_ms, status) in [(0, 403), (58_000, 403), (60_000, 200)] {
        let request = Request {
            caller: alice(),
            now_ms: now_ms() + later_ms,
            ..handshake("new", &[("room", "lobby")])
        };
        assert_eq!(world.connect(&request).await.status, status, "{later_ms}");
    }
    let refused = publishes(&world, alice(), "new").await;
    assert_eq!(
        (&refused["name"], &refused["mute"]),
        (&"banned".into(), &true.into())
    );
}

/// A ban that cannot be written closes nobody, and is tried again.
#[tokio::test]
async fn a_user_whose_ban_fails_is_expelled_by_a_later_frame() {
    let world = World::new().await;
    let id = ["c0".to_owned()];
    assert_eq!(shakes(&world, alice(), &id[0], "lobby").await.status, 200);
    let app = flooded(&world);
    world.tap.fail("UpdateItem users", 0, "ThrottlingException");
    flood(&app, &alice(), &id, BEFORE_THE_END + 1).await;
    assert_eq!(world.peers.closed(), Vec::<String>::new());
    world.tap.heal();
    flood(&app, &alice(), &id, 110).await;
    assert_eq!(world.peers.closed(), id);
    assert_eq!(shakes(&world, alice(), "new", "lobby").await.status, 403);
}

async fn publishes(world: &World, caller: Caller, id: &str) -> Value {
    let replies = flood(&world.app, &caller, &[id.to_owned()], 1).await;
    body(&replies[0])
}

/// A row that is deleted again would let a banned user read and write until then, and one that is muted late a muted user.
#[tokio::test]
async fn no_row_of_a_join_is_without_its_ban_or_mute_for_a_moment() {
    for (about, attribute) in [
        ("ban#garden", ban()),
        ("ban#*", ban()),
        ("ban#revoked", ("revokedBefore", N("2000".to_owned()))),
        ("ban#garden", ("kind", S("mute".to_owned()))),
    ] {
        let world = World::new().await;
        let expires = now_ms() / 1000 + 600;
        world.join_as("in", "hall", "alice", expires).await;
        note(&world, about, std::slice::from_ref(&attribute)).await;
        // The join stops before its second look at the bans, behind the row.
        let held = world.tap.hold("Query users", 1);
        let is_mute = attribute.1 == S("mute".to_owned());
        if !is_mute {
            let refused = joins(&world, alice(), "in", "garden").await;
            assert_eq!(refused["type"], "error", "{about}: {refused}");
            let puts = world.tap.counts();
            let puts = puts.iter().filter(|(name, _)| name.starts_with("PutItem"));
            assert_eq!(puts.count(), 0, "{about}");
            continue;
        }
        let join = joins(&world, alice(), "in", "garden");
        let look = async {
            held.arrived().await;
            let items = world.items().await;
            let row = items
                .iter()
                .find(|row| row["room"] == S("garden".to_owned()));
            assert!(row.unwrap().contains_key("muted"));
            held.release();
        };
        let (joined, ()) = futures::future::join(join, look).await;
        assert_eq!(joined["type"], "joined", "{joined}");
    }
}
