//! Kick, ban and mute: what they do, what the removed can still do, and the moment in which both meet.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use chat::identity::{Caller, Identity};
use chat::lambda::{Reply, Request};
use chat::protocol::Grants;
use chat::{join, moderate, publish};
use serde_json::{Value, json};

use crate::support::{AUDIT_S, Answer, USERS, World, body, handshake, now_ms, request};

fn user(name: &str, grants: &str) -> Caller {
    Caller::Verified(Box::new(Identity {
        user: name.to_owned(),
        name: None,
        grants: Grants::parse(grants).unwrap(),
        exp: None,
        iat: Some(1_000),
    }))
}

fn bob() -> Caller {
    user("bob", r#"{"*":["join","history","publish"]}"#)
}

fn moderator() -> Caller {
    user("mod", r#"{"lobby":["moderate"],"garden":["moderate"]}"#)
}

fn frame(caller: Caller, id: &str, frame: &Value) -> Request {
    Request {
        caller,
        ..request(id, &frame.to_string())
    }
}

/// The answer to a moderator.
async fn act(world: &World, frame_text: Value) -> Value {
    let request = frame(moderator(), "m", &frame_text);
    body(&moderate(&world.moderation(), &world.frames, &request).await)
}

async fn joins(world: &World, id: &str, room: &str) -> Value {
    let request = frame(bob(), id, &json!({"action": "join", "room": room}));
    let (presence, log) = (&world.app.presence, &world.app.log);
    let (users, frames) = (&world.users, &world.frames);
    body(&join(presence, log, users, frames, &request).await)
}

async fn shakes(world: &World, id: &str, room: &str) -> Reply {
    let request = Request {
        caller: bob(),
        ..handshake(id, &[("room", room)])
    };
    world.connect(&request).await
}

async fn says(world: &World, id: &str) -> Value {
    let text = json!({"action": "publish", "room": "lobby", "data": 1});
    body(&publish(&world.app, &frame(bob(), id, &text)).await)
}

/// bob with two connections in the lobby, and carol with one.
async fn world() -> World {
    let world = World::new().await;
    let end = now_ms() / 1000 + 600;
    for (id, name) in [("b1", "bob"), ("b2", "bob"), ("c", "carol")] {
        world.join_as(id, "lobby", name, end).await;
    }
    world.join_as("b1", "garden", "bob", end).await;
    world
}

/// The data of the audit's entries.
async fn audit(world: &World) -> Vec<Value> {
    let rows = world.log("@audit").await;
    let texts = rows.iter().filter_map(|row| row.data.as_deref());
    texts
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

fn pair(id: &str, room: &str) -> (String, String) {
    (id.to_owned(), room.to_owned())
}

#[tokio::test]
async fn a_kick_removes_all_connections_of_a_user_from_a_room() {
    let world = world().await;
    let answer = act(
        &world,
        json!({"action": "kick", "room": "lobby", "user": "bob", "reason": "spam", "id": "k"}),
    )
    .await;
    assert_eq!(
        answer,
        json!({"type": "moderated", "id": "k", "action": "kick", "room": "lobby", "user": "bob", "connections": 2})
    );
    assert_eq!(
        world.rows().await,
        [pair("b1", "garden"), pair("c", "lobby")]
    );
    let removed = json!({"type": "removed", "room": "lobby", "reason": "kicked", "by": "mod"});
    for id in ["b1", "b2"] {
        assert_eq!(
            world.peers.frames(id),
            std::slice::from_ref(&removed),
            "{id}"
        );
    }
    assert!(world.peers.frames("c").is_empty());
    assert_eq!(says(&world, "b1").await["name"], "not_a_member");
    // A kick is no ban.
    assert_eq!(joins(&world, "b1", "lobby").await["type"], "joined");
    assert_eq!(
        audit(&world).await,
        [json!({"action": "kick", "room": "lobby", "user": "bob", "by": "mod", "reason": "spam"})]
    );
}

#[tokio::test]
async fn a_ban_closes_every_door_until_it_is_over() {
    let world = world().await;
    let answer = act(
        &world,
        json!({"action": "ban", "room": "lobby", "user": "bob", "forSeconds": 600, "reason": "spam"}),
    )
    .await;
    let until = answer["until"].as_i64().unwrap();
    assert!((until - now_ms() / 1000 - 600).abs() <= 10, "{answer}");
    assert_eq!(answer["connections"], 2);
    let removed = json!({"type": "removed", "room": "lobby", "reason": "banned", "by": "mod", "until": until});
    assert_eq!(world.peers.frames("b2"), [removed]);
    for id in ["b1", "b2", "new"] {
        let answer = joins(&world, id, "lobby").await;
        assert_eq!(answer["name"], "banned", "{answer}");
        assert_eq!(
            (&answer["until"], &answer["reason"]),
            (&until.into(), &"spam".into())
        );
    }
    assert_eq!(shakes(&world, "new", "lobby").await.status, 403);
    assert_eq!(says(&world, "b1").await["name"], "not_a_member");
    assert_eq!(
        world.rows().await,
        [pair("b1", "garden"), pair("c", "lobby")]
    );
    assert_eq!(shakes(&world, "new", "garden").await.status, 200);

    // DynamoDB deletes the row of a ban that is over.
    let row = world.users_row("bob", "ban#lobby").await.unwrap();
    assert_eq!(row["expiresAt"], row["until"]);
    let answer = act(
        &world,
        json!({"action": "unban", "room": "lobby", "user": "bob"}),
    )
    .await;
    assert_eq!(
        (&answer["type"], &answer["connections"]),
        (&"moderated".into(), &0.into())
    );
    assert_eq!(joins(&world, "b1", "lobby").await["type"], "joined");
    assert!(world.users_row("bob", "ban#lobby").await.is_none());
}

/// Whatever request of a join is under way when a ban begins and ends, no row of the banned user stays.
#[tokio::test]
async fn a_ban_within_a_join_wins() {
    for operation in [
        "Query",
        "PutItem",
        "Query users",
        "Query messages",
        "PutItem messages",
    ] {
        let world = World::new().await;
        let end = now_ms() / 1000 + 600;
        world.join_as("b1", "garden", "bob", end).await;
        let held = world.tap.hold(operation, 0);
        let ban = async {
            held.arrived().await;
            // Another process, which nothing holds.
            let other = world.untapped_moderation();
            let text = json!({"action": "ban", "room": "lobby", "user": "bob"});
            let request = frame(moderator(), "m", &text);
            let answer = body(&moderate(&other, &world.frames, &request).await);
            assert_eq!(answer["type"], "moderated", "{answer}");
            held.release_all();
        };
        let (answer, ()) = futures::join!(joins(&world, "b1", "lobby"), ban);
        let rows = world.rows().await;
        assert_eq!(rows, [pair("b1", "garden")], "{operation}: {answer}");
    }
}

/// Whatever request of a ban is under way when a join begins and ends, no row of the banned user stays.
#[tokio::test]
async fn a_join_within_a_ban_loses() {
    for operation in [
        "Query messages",
        "PutItem messages",
        "UpdateItem users",
        "Query room-index",
    ] {
        let world = World::new().await;
        let end = now_ms() / 1000 + 600;
        world.join_as("b1", "garden", "bob", end).await;
        let moderation = world.moderation();
        let held = world.tap.hold(operation, 0);
        let other = world.untapped_app();
        let joining = async {
            held.arrived().await;
            let text = json!({"action": "join", "room": "lobby"});
            let request = frame(bob(), "b1", &text);
            let (app, users) = &other;
            let reply = join(&app.presence, &app.log, users, &world.frames, &request).await;
            held.release_all();
            body(&reply)
        };
        let text = json!({"action": "ban", "room": "lobby", "user": "bob"});
        let request = frame(moderator(), "m", &text);
        let (answer, joined) =
            futures::join!(moderate(&moderation, &world.frames, &request), joining);
        assert_eq!(body(&answer)["type"], "moderated");
        assert_eq!(
            world.rows().await,
            [pair("b1", "garden")],
            "{operation}: {joined}"
        );
    }
}

/// The index that lists rows lags: a row that it shows later is found by a later pass. A connection that was removed and
/// has joined again stays.
#[tokio::test]
async fn a_row_that_the_index_shows_late_is_removed() {
    for action in ["kick", "ban"] {
        let world = world().await;
        let late = async {
            while world.peers.frames("b2").is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let expires = now_ms() / 1000 + 600;
            world.join_as("late", "lobby", "bob", expires).await;
            if action == "kick" {
                assert_eq!(joins(&world, "b1", "lobby").await["type"], "joined");
            }
        };
        let text = json!({"action": action, "room": "lobby", "user": "bob"});
        let (answer, ()) = futures::join!(act(&world, text), late);
        assert_eq!(answer["connections"], 3);
        assert_eq!(world.peers.frames("late").len(), 1);
        let mut left = vec![pair("b1", "garden"), pair("c", "lobby")];
        if action == "kick" {
            left.insert(1, pair("b1", "lobby"));
        }
        assert_eq!(world.rows().await, left, "{action}");
    }
}

#[tokio::test]
async fn a_muted_user_reads_and_does_not_write() {
    let world = world().await;
    let mute = json!({"action": "mute", "room": "lobby", "user": "bob", "forSeconds": 60, "reason": "shouting"});
    let answer = act(&world, mute).await;
    assert_eq!(answer["connections"], 2);
    let until = answer["until"].clone();
    for id in ["b1", "b2"] {
        let answer = says(&world, id).await;
        assert_eq!(
            (&answer["name"], &answer["mute"]),
            (&"banned".into(), &true.into())
        );
        assert_eq!(
            (&answer["until"], &answer["reason"]),
            (&until, &"shouting".into())
        );
    }
    assert!(world.log("lobby").await.is_empty());
    // By no new row either.
    world
        .ask_leave("b1", r#"{"action":"leave","room":"lobby"}"#)
        .await;
    assert_eq!(joins(&world, "b1", "lobby").await["type"], "joined");
    assert_eq!(says(&world, "b1").await["mute"], true);
    assert_eq!(shakes(&world, "b3", "lobby").await.status, 200);
    assert_eq!(says(&world, "b3").await["mute"], true);
    // Nobody is told: the muted one sees it when it writes.
    assert!(world.peers.tried().is_empty());

    let answer = act(
        &world,
        json!({"action": "unmute", "room": "lobby", "user": "bob"}),
    )
    .await;
    assert_eq!(answer["connections"], 3);
    for id in ["b1", "b2", "b3"] {
        assert_eq!(says(&world, id).await["type"], "ack");
    }
}

#[tokio::test]
async fn penalties_end_by_themselves() {
    let world = world().await;
    act(
        &world,
        json!({"action": "mute", "room": "lobby", "user": "bob", "forSeconds": 1}),
    )
    .await;
    // The answer comes after three seconds.
    assert_eq!(says(&world, "b1").await["type"], "ack");
    act(
        &world,
        json!({"action": "ban", "room": "lobby", "user": "bob", "forSeconds": 1}),
    )
    .await;
    assert_eq!(joins(&world, "b1", "lobby").await["type"], "joined");
}

#[tokio::test]
async fn a_mute_does_not_weaken_a_ban() {
    let world = world().await;
    act(
        &world,
        json!({"action": "ban", "room": "lobby", "user": "bob"}),
    )
    .await;
    let answer = act(
        &world,
        json!({"action": "mute", "room": "lobby", "user": "bob"}),
    )
    .await;
    assert_eq!(answer["name"], "bad_request");
    let answer = act(
        &world,
        json!({"action": "unmute", "room": "lobby", "user": "bob"}),
    )
    .await;
    assert_eq!(answer["type"], "moderated");
    assert_eq!(joins(&world, "b1", "lobby").await["name"], "banned");
    // A ban replaces a mute.
    act(
        &world,
        json!({"action": "mute", "room": "garden", "user": "bob"}),
    )
    .await;
    act(
        &world,
        json!({"action": "ban", "room": "garden", "user": "bob"}),
    )
    .await;
    assert_eq!(joins(&world, "b1", "garden").await["name"], "banned");
}

/// `revoked` is a name that a room can have, and the key of a user's revocation.
#[tokio::test]
async fn a_ban_from_the_room_revoked_leaves_a_revocation_alone() {
    let world = World::new().await;
    let moderation = world.moderation();
    moderation.users.revoke("bob", 5_000).await.unwrap();
    let grants = r#"{"revoked":["moderate"]}"#;
    for action in ["ban", "unban"] {
        let text = json!({"action": action, "room": "revoked", "user": "bob", "id": action});
        let request = frame(user("mod", grants), "m", &text);
        let answer = body(&moderate(&moderation, &world.frames, &request).await);
        assert_eq!(answer["type"], "moderated", "{answer}");
        assert_eq!(shakes(&world, "b", "lobby").await.status, 401, "{action}");
    }
}

#[tokio::test]
async fn nothing_happens_that_the_audit_does_not_hold() {
    let world = world().await;
    world
        .tap
        .fail("PutItem messages", 0, "ResourceNotFoundException");
    for action in ["kick", "ban", "mute"] {
        let answer = act(
            &world,
            json!({"action": action, "room": "lobby", "user": "bob"}),
        )
        .await;
        assert_eq!(answer["name"], "internal");
    }
    assert_eq!(world.rows().await.len(), 4);
    assert!(world.users_row("bob", "ban#lobby").await.is_none());
    assert_eq!(says(&world, "b1").await["name"], "internal");
}

#[tokio::test]
async fn a_repeated_action_is_in_the_audit_once() {
    let world = world().await;
    let ban =
        json!({"action": "mute", "room": "lobby", "user": "bob", "forSeconds": 60, "id": "once"});
    world.tap.fail("UpdateItem", 0, "ResourceNotFoundException");
    assert_eq!(act(&world, ban.clone()).await["name"], "internal");
    assert_eq!(act(&world, ban).await["name"], "internal");
    assert_eq!(audit(&world).await.len(), 1);
    let rows = world.log("@audit").await;
    let entry = rows.last().unwrap();
    assert_eq!(entry.user.as_deref(), Some("mod"));
    assert!(entry.expires_at - now_ms() / 1000 > AUDIT_S - 60);
}

#[tokio::test]
async fn a_removed_connection_that_cannot_be_told_is_removed() {
    let world = world().await;
    world
        .peers
        .on_post("b1", &[Answer::Error(403, "ForbiddenException")]);
    world.peers.gone("b2");
    let answer = act(
        &world,
        json!({"action": "kick", "room": "lobby", "user": "bob"}),
    )
    .await;
    assert_eq!(answer["connections"], 2);
    assert_eq!(
        world.rows().await,
        [pair("b1", "garden"), pair("c", "lobby")]
    );
}

#[tokio::test]
async fn the_fields_are_checked() {
    let world = world().await;
    for (text, message) in [
        (json!({"action": "kick", "user": "bob"}), "room is missing"),
        (
            json!({"action": "kick", "room": "lobby"}),
            "user is missing",
        ),
        (
            json!({"action": "kick", "room": "lobby", "user": "a&b"}),
            "user may hold",
        ),
        (
            json!({"action": "kick", "room": "lobby", "user": "system"}),
            "user must not begin with system",
        ),
        (
            json!({"action": "kick", "room": "lobby", "user": "bob", "forSeconds": 1}),
            "forSeconds is for",
        ),
        (
            json!({"action": "ban", "room": "lobby", "user": "bob", "forSeconds": 0}),
            "forSeconds must be",
        ),
        (
            json!({"action": "ban", "room": "*", "user": "bob"}),
            "room may hold",
        ),
        (
            json!({"action": "ban", "room": "lobby", "user": "bob", "reason": "x".repeat(201)}),
            "reason must have at most 200",
        ),
    ] {
        let answer = act(&world, text.clone()).await;
        let given = answer["message"].as_str().unwrap_or_default();
        assert!(given.starts_with(message), "{text}: {answer}");
    }
    let answer = act(
        &world,
        json!({"action": "kick", "room": "team", "user": "bob"}),
    )
    .await;
    assert_eq!(
        (&answer["name"], &answer["right"]),
        (&"forbidden".into(), &"moderate".into())
    );
    assert!(audit(&world).await.is_empty());
}

impl World {
    /// A row of the table of users.
    async fn users_row(&self, user: &str, about: &str) -> Option<HashMap<String, AttributeValue>> {
        let get = self
            .dynamodb
            .get_item()
            .table_name(USERS)
            .consistent_read(true);
        let get = get
            .key("user", AttributeValue::S(user.to_owned()))
            .key("about", AttributeValue::S(about.to_owned()));
        get.send().await.unwrap().item
    }
}
