//! The backend's calls: the same path as a client's frames, without a connection and with all rights.

use std::time::Duration;

use chat::identity::{Caller, Identity};
use chat::lambda::Request;
use chat::protocol::Grants;
use chat::{Admin, Call, FrameLimit, admin, join};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Answer, World, body, now_ms, request};

fn door(world: &World) -> Admin {
    Admin {
        app: world.app.clone(),
        moderation: world.moderation(),
        signals: world.signals(100),
        limit: FrameLimit::OFF,
    }
}

async fn text(world: &World, request_id: &str, call: &str) -> Value {
    let started = Instant::now();
    let call = Call {
        body: call,
        request_id,
        now_ms: now_ms(),
        started,
        deadline: started + Duration::from_secs(60),
    };
    let answered = admin(&door(world), &call).await;
    let frame: Value = serde_json::from_str(&answered.frame).unwrap();
    let has_error = answered.frame.contains(r#""type":"error""#);
    assert_eq!(answered.error.is_some(), has_error, "{frame}");
    frame
}

async fn calls(world: &World, request_id: &str, call: Value) -> Value {
    text(world, request_id, &call.to_string()).await
}

async fn bob_joins(world: &World, id: &str, room: &str, iat: i64) -> Value {
    let caller = Caller::Verified(Box::new(Identity {
        user: "bob".to_owned(),
        name: None,
        grants: Grants::everywhere(),
        exp: None,
        iat: Some(iat),
    }));
    let frame = json!({"action": "join", "room": room}).to_string();
    let request = Request {
        caller,
        ..request(id, &frame)
    };
    let (presence, log) = (&world.app.presence, &world.app.log);
    let (users, frames) = (&world.users, &world.frames);
    body(&join(presence, log, users, frames, &request).await)
}

async fn audited(world: &World) -> Vec<Value> {
    let rows = world.log("@audit").await;
    let texts = rows.iter().filter_map(|row| row.data.as_deref());
    let data = texts.map(|text| serde_json::from_str::<Value>(text).unwrap());
    data.map(|data| json!([data["by"], data["action"], data["room"], data["user"]]))
        .collect()
}

#[tokio::test]
async fn a_publish_reaches_everybody_byte_for_byte_and_once() {
    let world = World::lobby().await;
    let call = r#"{"action":"publish","as":"system:billing","room":"lobby","data":{"b":1.0,"a":[1e2]},"id":"x"}"#;
    let ack = text(&world, "r-1", call).await;
    assert_eq!(
        (&ack["type"], &ack["delivered"]),
        (&"ack".into(), &2.into()),
        "{ack}"
    );
    let heard = world.peers.texts("a").remove(0);
    assert!(
        heard.contains(r#""from":"system:billing","data":{"b":1.0,"a":[1e2]},"#),
        "{heard}"
    );
    let again = text(&world, "r-2", call).await;
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&1.into(), &true.into())
    );
    assert_eq!(world.log("lobby").await.len(), 2);
}

/// The tries of an asynchronous invocation have the same id of the request.
#[tokio::test]
async fn the_tries_of_one_invocation_are_one_message() {
    let world = World::lobby().await;
    let call = json!({"action": "publish", "room": "lobby", "data": "hi", "asynchronous": true});
    for (request_id, seq) in [("r-1", 1), ("r-1", 1), ("r-2", 2)] {
        assert_eq!(calls(&world, request_id, call.clone()).await["seq"], seq);
    }
    let log = world.log("lobby").await;
    assert_eq!(log[1].id.as_deref(), Some("r-1"));
    assert_eq!(log[1].user.as_deref(), Some("system"));
}

#[tokio::test]
async fn a_call_can_concern_several_rooms() {
    let world = World::lobby().await;
    let call = json!({"action": "publish", "rooms": ["lobby", "garden", "a b", "lobby"], "data": 1, "id": "x"});
    let answer = calls(&world, "r", call).await;
    assert_eq!(answer["type"], "answers");
    let kinds: Vec<(&str, &str)> = answer["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["type"].as_str().unwrap(),
                one["room"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("ack", "lobby"),
            ("ack", "garden"),
            ("error", ""),
            ("ack", "lobby")
        ]
    );
    assert_eq!(world.log("lobby").await.len(), 2);
}

#[tokio::test]
async fn the_backend_reads_without_being_a_member() {
    let world = World::lobby().await;
    world
        .publish("a", r#"{"action":"publish","data":"one"}"#)
        .await;
    let history = calls(&world, "r", json!({"action": "history", "room": "lobby"})).await;
    assert_eq!(history["messages"][0]["data"], "one");
    let members = calls(&world, "r", json!({"action": "members", "room": "lobby"})).await;
    assert_eq!(members["count"], 2);
    assert_eq!(world.rows().await.len(), 2);
    let answer = calls(&world, "r", json!({"action": "history"})).await;
    assert_eq!(
        (&answer["name"], &answer["message"]),
        (&"bad_request".into(), &"room is missing".into())
    );
}

#[tokio::test]
async fn whatever_it_does_to_users_is_in_the_audit_which_it_can_read() {
    let world = World::lobby().await;
    let end = now_ms() / 1000 + 600;
    for id in ["b1", "b2"] {
        world.join_as(id, "@bob", "bob", end).await;
        world.join_as(id, "garden", "bob", end).await;
    }
    let kick = json!({"action": "kick", "room": "garden", "user": "bob", "as": "system:ops"});
    assert_eq!(calls(&world, "r-1", kick).await["connections"], 2);
    let disconnect = json!({"action": "disconnect", "user": "bob"});
    let answer = calls(&world, "r-2", disconnect).await;
    assert_eq!(
        (&answer["type"], &answer["connections"]),
        (&"done".into(), &2.into()),
        "{answer}"
    );
    let mut closed = world.peers.closed();
    closed.sort();
    assert_eq!(closed, ["b1", "b2"]);
    let bye = json!({"type": "bye", "reason": "disconnected", "reconnect": "later"});
    assert_eq!(world.peers.frames("b1")[1], bye);
    assert_eq!(world.rows().await.len(), 2);

    world.join_as("b3", "@bob", "bob", end).await;
    let answer = calls(
        &world,
        "r-3",
        json!({"action": "disconnect", "connectionId": "b3"}),
    )
    .await;
    assert_eq!(answer["connections"], 1);
    assert_eq!(world.rows().await.len(), 2);
    for (status, error) in [(410, "GoneException"), (400, "BadRequestException")] {
        world.peers.on_delete("b4", Answer::Error(status, error));
        let call = json!({"action": "disconnect", "connectionId": "b4"});
        let answer = calls(&world, &format!("r-{status}"), call).await;
        assert_eq!(
            (&answer["type"], &answer["connections"]),
            (&"done".into(), &0.into())
        );
    }

    let history = calls(
        &world,
        "r-4",
        json!({"action": "history", "room": "@audit"}),
    )
    .await;
    assert_eq!(history["messages"][0]["kind"], "audit");
    let messages = history["messages"].as_array().unwrap();
    let connections: Vec<&Value> = messages
        .iter()
        .map(|message| &message["data"]["connectionId"])
        .collect();
    assert_eq!(
        connections,
        [
            &Value::Null,
            &Value::Null,
            &"b3".into(),
            &"b4".into(),
            &"b4".into()
        ]
    );
    assert_eq!(
        audited(&world).await,
        [
            json!(["system:ops", "kick", "garden", "bob"]),
            json!(["system", "disconnect", null, "bob"]),
            json!(["system", "disconnect", null, null]),
            json!(["system", "disconnect", null, null]),
            json!(["system", "disconnect", null, null]),
        ]
    );
}

#[tokio::test]
async fn bans_everywhere_and_revocations_close_all_connections() {
    let world = World::new().await;
    let end = now_ms() / 1000 + 600;
    world.join_as("b1", "@bob", "bob", end).await;
    world.join_as("b1", "lobby", "bob", end).await;
    let ban = json!({"action": "ban", "room": "*", "user": "bob", "reason": "spam"});
    let answer = calls(&world, "r-1", ban).await;
    assert_eq!(
        (&answer["room"], &answer["connections"]),
        (&"*".into(), &1.into()),
        "{answer}"
    );
    let bye = json!({"type": "bye", "reason": "banned", "reconnect": "never"});
    assert_eq!(world.peers.frames("b1"), [bye]);
    assert_eq!(world.peers.closed(), ["b1"]);
    assert!(world.rows().await.is_empty());
    let now_s = now_ms() / 1000;
    assert_eq!(
        bob_joins(&world, "b2", "any", now_s).await["name"],
        "banned"
    );
    let bans = calls(&world, "r-2", json!({"action": "bans"})).await;
    let ban = &bans["bans"][0];
    assert_eq!(
        (&ban["user"], &ban["about"], &ban["by"], &ban["reason"]),
        (
            &"bob".into(),
            &"ban#*".into(),
            &"system".into(),
            &"spam".into()
        )
    );
    let bans = calls(&world, "r-2", json!({"action": "bans", "room": "lobby"})).await;
    assert_eq!(bans["bans"], json!([]));
    calls(
        &world,
        "r-3",
        json!({"action": "unban", "room": "*", "user": "bob"}),
    )
    .await;
    assert_eq!(
        bob_joins(&world, "b2", "any", now_s).await["type"],
        "joined"
    );

    world.join_as("b2", "@bob", "bob", end).await;
    let answer = calls(&world, "r-4", json!({"action": "revoke", "user": "bob"})).await;
    assert_eq!(answer["connections"], 1);
    let bye = json!({"type": "bye", "reason": "revoked", "reconnect": "now"});
    assert_eq!(world.peers.frames("b2"), [bye]);
    assert_eq!(
        bob_joins(&world, "b3", "any", now_s).await["name"],
        "token_expired"
    );
    assert_eq!(
        bob_joins(&world, "b3", "any", now_s + 60).await["type"],
        "joined"
    );
}

/// A mute everywhere holds in each room; a mute in a room outlasts its end.
#[tokio::test]
async fn a_mute_everywhere_and_a_mute_in_a_room_are_two() {
    let world = World::new().await;
    let end = now_ms() / 1000 + 600;
    for room in ["@bob", "lobby", "garden"] {
        world.join_as("b", room, "bob", end).await;
    }
    let mute = |action: &str, room: &str| json!({"action": action, "room": room, "user": "bob"});
    calls(&world, "r-1", mute("mute", "lobby")).await;
    calls(&world, "r-2", mute("mute", "*")).await;
    let muted = async || {
        let items = world.items().await;
        let muted = items.iter().filter(|item| item.contains_key("muted"));
        let mut rooms: Vec<String> = muted
            .map(|item| item["room"].as_s().unwrap().clone())
            .collect();
        rooms.sort();
        rooms
    };
    assert_eq!(muted().await, ["garden", "lobby"]);
    calls(&world, "r-3", mute("unmute", "*")).await;
    assert_eq!(muted().await, ["lobby"]);
    calls(&world, "r-4", mute("unmute", "lobby")).await;
    assert!(muted().await.is_empty());
}

/// The step that a restored table needs: positions of the lost messages are reported as lost.
#[tokio::test]
async fn a_new_epoch_loses_the_positions_before_it() {
    let world = World::lobby().await;
    let epoch = world.publish("a", r#"{"action":"publish","data":1}"#).await["epoch"].clone();
    let answer = calls(
        &world,
        "r-1",
        json!({"action": "new_epoch", "room": "lobby"}),
    )
    .await;
    assert_eq!(
        (&answer["type"], &answer["head"]),
        (&"epoch".into(), &2.into())
    );
    assert_ne!(answer["epoch"], epoch);
    // A retry begins no second one.
    let again = calls(
        &world,
        "r-2",
        json!({"action": "new_epoch", "room": "lobby"}),
    )
    .await;
    assert_eq!(again["epoch"], answer["epoch"]);
    let frame = json!({"action": "join", "room": "lobby", "since": {"epoch": epoch, "seq": 1}});
    assert_eq!(
        world.ask_join("b", &frame.to_string()).await["recovered"],
        false
    );
    let ack = world.publish("a", r#"{"action":"publish","data":2}"#).await;
    assert_eq!(
        (&ack["seq"], &ack["n"], &ack["epoch"]),
        (&3.into(), &1.into(), &answer["epoch"])
    );
    let empty = calls(&world, "r-3", json!({"action": "new_epoch", "room": "new"})).await;
    assert_eq!(empty["head"], 0);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let world = World::new().await;
    let publish = |more: Value| {
        let mut call = json!({"action": "publish", "room": "lobby", "data": 1});
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        call.to_string()
    };
    for (call, name, message) in [
        (
            "[]".to_owned(),
            "bad_request",
            "the frame is not a JSON object",
        ),
        (
            json!({}).to_string(),
            "bad_request",
            "action is missing; there are publish",
        ),
        (
            json!({"action": "dance"}).to_string(),
            "unknown_action",
            "there is no action",
        ),
        (
            publish(json!({"as": "alice"})),
            "bad_request",
            "as must begin with system; to speak as a user",
        ),
        (
            publish(json!({"as": "system x"})),
            "bad_request",
            "as may hold",
        ),
        (
            publish(json!({"as": 5})),
            "bad_request",
            "as must be a string",
        ),
        (
            publish(json!({"as": "system", "impersonate": true})),
            "bad_request",
            "as must not begin with system",
        ),
        (
            publish(json!({"impersonate": 1})),
            "bad_request",
            "impersonate must be true or false",
        ),
        (
            publish(json!({"rooms": ["a"]})),
            "bad_request",
            "give room or rooms",
        ),
        (
            json!({"action": "publish", "rooms": [], "data": 1}).to_string(),
            "bad_request",
            "rooms must be 1 to 100",
        ),
        (
            json!({"action": "publish", "rooms": "a", "data": 1}).to_string(),
            "bad_request",
            "rooms must be a list",
        ),
        (
            json!({"action": "publish", "room": "@audit", "data": 1}).to_string(),
            "bad_request",
            "room ",
        ),
        (
            json!({"action": "disconnect", "connectionId": ""}).to_string(),
            "bad_request",
            "connectionId must be the id",
        ),
        (
            json!({"action": "disconnect", "connectionId": "x".repeat(3000)}).to_string(),
            "bad_request",
            "connectionId must be the id",
        ),
        (
            json!({"action": "kick", "room": "*", "user": "bob"}).to_string(),
            "bad_request",
            "room may hold",
        ),
    ] {
        let answer = text(&world, "r", &call).await;
        assert_eq!(answer["name"], name, "{call}: {answer}");
        let given = answer["message"].as_str().unwrap();
        assert!(given.starts_with(message), "{call}: {answer}");
    }
    assert!(world.log("lobby").await.is_empty());
    let call = publish(json!({"as": "alice", "impersonate": true}));
    assert_eq!(text(&world, "r", &call).await["type"], "ack");
    assert_eq!(world.log("lobby").await[1].user.as_deref(), Some("alice"));
}

/// `rooms` of `heads` is the field of the action, and not several calls.
#[tokio::test]
async fn the_heads_of_several_rooms_are_one_answer() {
    let world = World::lobby().await;
    calls(
        &world,
        "r-1",
        json!({"action": "publish", "room": "lobby", "data": 1}),
    )
    .await;
    let call = json!({"action": "heads", "rooms": ["lobby", "tea"]});
    let answer = calls(&world, "r-2", call).await;
    assert_eq!(answer["type"], "heads", "{answer}");
    assert_eq!(answer["heads"]["lobby"]["head"], 1);
    assert!(answer["heads"]["tea"].is_null());
}

#[tokio::test]
async fn the_backend_signals_and_reads_marks() {
    let world = World::new().await;
    world.present("a", "lobby", "alice").await;
    let signal = json!({"action": "signal", "room": "lobby", "kind": "deploy", "data": {"in": 5}, "id": "s"});
    let answer = calls(&world, "r-1", signal).await;
    assert_eq!(
        (&answer["type"], &answer["id"], &answer["room"]),
        (&"ack".into(), &"s".into(), &"lobby".into())
    );
    let heard = world.peers.frames("a").remove(0);
    assert_eq!(
        (&heard["type"], &heard["from"], &heard["data"]),
        (&"signal".into(), &"system".into(), &json!({"in": 5}))
    );
    let wrong = calls(&world, "r-2", json!({"action": "signal", "room": "lobby"})).await;
    assert_eq!(wrong["message"], "kind is missing");

    let position = chat::protocol::Position {
        epoch: "E".to_owned(),
        seq: 7,
    };
    let far = now_ms() / 1000 + 600;
    let personal = &door(&world).app.personal;
    let marked = personal.mark("alice", "lobby", (&position, 5), 1, far);
    assert!(marked.await.unwrap());
    let marks = calls(&world, "r-3", json!({"action": "marks", "user": "alice"})).await;
    assert_eq!(
        marks["marks"],
        json!({"lobby": {"epoch": "E", "seq": 7, "n": 5, "at": 1}})
    );
    let nobody = calls(&world, "r-4", json!({"action": "marks"})).await;
    assert_eq!(nobody["message"], "user is missing");
}

/// Publishes as `user`, who need not be in the room.
async fn user_says(world: &World, user: &str, fields: Value) -> Value {
    let mut call = json!({"action": "publish", "room": "lobby", "as": user, "impersonate": true});
    call.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let id = format!("r-{}", rand::random::<u64>());
    calls(world, &id, call).await
}

#[tokio::test]
async fn an_erased_user_has_no_text_left_and_the_others_have_theirs() {
    let world = World::lobby().await;
    for n in 1..=3 {
        user_says(&world, "bob", json!({"data": format!("secret-{n}")})).await;
        user_says(&world, "eve", json!({"data": format!("kept-{n}")})).await;
    }
    user_says(
        &world,
        "bob",
        json!({"action": "edit", "target": 1, "data": "secret-4"}),
    )
    .await;
    // The rest of a deletion whose process has died before it has emptied the edit.
    user_says(
        &world,
        "bob",
        json!({"action": "edit", "target": 3, "data": "secret-5"}),
    )
    .await;
    let queries = |(name, count): &(String, usize)| (name == "Query messages").then_some(*count);
    let so_far = world.tap.counts().iter().find_map(queries).unwrap();
    // The tail is read, and the edits are not.
    world
        .tap
        .fail("Query messages", so_far + 1, "InternalServerError");
    let call = json!({"action": "delete", "room": "lobby", "target": 3, "id": "d"});
    assert_eq!(calls(&world, "r", call).await["name"], "internal");
    world.tap.heal();
    let position = chat::protocol::Position {
        epoch: "E".to_owned(),
        seq: 1,
    };
    let personal = &door(&world).app.personal;
    let far = now_ms() / 1000 + 600;
    let marked = personal.mark("bob", "lobby", (&position, 1), 1, far);
    assert!(marked.await.unwrap());
    let heard = world.peers.frames("a").len();

    let erase = json!({"action": "erase", "room": "lobby", "user": "bob", "reason": "request 7"});
    let answer = calls(&world, "r-1", erase.clone()).await;
    assert_eq!(
        answer,
        json!({"type": "erased", "id": "r-1", "room": "lobby", "user": "bob", "messages": 2, "reactions": 0})
    );
    let table = crate::changes::stored(&world).await;
    assert!(!table.contains("secret-"), "{table}");
    for n in 1..=3 {
        assert!(table.contains(&format!("kept-{n}")));
    }
    // Members are told.
    let frames = world.peers.frames("a").split_off(heard);
    let targets: Vec<&Value> = frames.iter().map(|frame| &frame["target"]).collect();
    assert_eq!(targets, [1, 5]);
    let marks = calls(&world, "r-2", json!({"action": "marks", "user": "bob"})).await;
    assert_eq!(marks["marks"], json!({}));
    let again = calls(&world, "r-3", erase.clone()).await;
    assert_eq!(again["messages"], 0);
    let same = calls(&world, "r-1", erase).await;
    assert_eq!(same["messages"], 0);
    let audited = audited(&world).await;
    let erasures = audited.iter().filter(|entry| entry[1] == "erase").count();
    assert_eq!(erasures, 2);
}

/// The second call dies when a deletion is in the log and its message still has its data. The call is then made again.
#[tokio::test]
async fn a_large_room_is_erased_in_several_calls() {
    let mut world = World::new().await;
    // More than one page of a Query: a page ends at 1 MB.
    let text = "secret-".repeat(800);
    for _ in 1..=205 {
        user_says(&world, "bob", json!({"data": text})).await;
    }
    let erase = |after: &Value| json!({"action": "erase", "room": "lobby", "user": "bob", "after": after, "id": "x"});
    let first = calls(&world, "r-1", erase(&Value::Null)).await;
    assert_eq!(
        (&first["messages"], &first["more"], &first["after"]),
        (&200.into(), &true.into(), &200.into())
    );
    let updates =
        |(name, count): &(String, usize)| (name == "UpdateItem messages").then_some(*count);
    let so_far = world.tap.counts().iter().find_map(updates).unwrap();
    world
        .tap
        .fail("UpdateItem messages", so_far + 2, "InternalServerError");
    let second = calls(&world, "r-2", erase(&first["after"])).await;
    assert_eq!(second["name"], "internal");
    assert_eq!(world.log("lobby").await.len(), 409);
    world.tap.heal();
    world.app = world.another_process();
    let third = calls(&world, "r-3", erase(&first["after"])).await;
    assert_eq!((&third["messages"], third.get("more")), (&3.into(), None));
    // Each message has one deletion.
    assert_eq!(world.log("lobby").await.len(), 411);
    assert!(!crate::changes::stored(&world).await.contains("secret-"));
    // The calls of one id are one entry of the audit.
    assert_eq!(world.log("@audit").await.len(), 2);
}

#[tokio::test]
async fn the_reactions_of_an_erased_user_are_taken_back() {
    let mut world = World::lobby().await;
    for data in ["hello", "gone"] {
        user_says(&world, "eve", json!({"data": data})).await;
    }
    for (user, target, key, on) in [
        ("bob", 1, "+1", true),
        ("eve", 1, "+1", true),
        ("bob", 1, "-1", true),
        ("bob", 1, "-1", false),
        ("bob", 1, "ok", true),
        ("bob", 1, "ok", true),
        ("bob", 2, "+1", true),
    ] {
        let react = json!({"action": "react", "target": target, "key": key, "on": on});
        assert_eq!(user_says(&world, user, react).await["type"], "ack");
    }
    let delete = json!({"action": "delete", "target": 2});
    user_says(&world, "eve", delete).await;
    let heard = world.peers.frames("a").len();
    // The entry is in the log, and the message still counts the reaction.
    world
        .tap
        .fail("UpdateItem messages", 0, "InternalServerError");
    let erase = json!({"action": "erase", "room": "lobby", "user": "bob"});
    assert_eq!(
        calls(&world, "r-1", erase.clone()).await["name"],
        "internal"
    );
    world.tap.heal();
    world.app = world.another_process();
    let answer = calls(&world, "r-2", erase.clone()).await;
    assert_eq!(
        (&answer["messages"], &answer["reactions"]),
        (&0.into(), &2.into())
    );
    let page = world.ask_history("b", r#"{"action":"history"}"#).await;
    assert_eq!(
        page["messages"][0]["reactions"],
        json!({"+1": {"count": 1, "mine": false}})
    );
    // Members are told in the name of the user.
    let frames = world.peers.frames("a").split_off(heard);
    let told: Vec<Value> = frames
        .iter()
        .map(|frame| {
            json!([
                frame["from"],
                frame["kind"],
                frame["target"],
                frame["key"],
                frame["on"]
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["bob", "react", 1, "+1", false]),
            json!(["bob", "react", 1, "ok", false])
        ]
    );
    let rows = world.log("lobby").await.len();
    assert_eq!(calls(&world, "r-3", erase).await["reactions"], 0);
    assert_eq!(world.log("lobby").await.len(), rows);
}

/// Nobody can read an epoch that has ended, and the table still holds it.
#[tokio::test]
async fn an_ended_epoch_is_erased_without_an_entry() {
    let world = World::new().await;
    user_says(&world, "bob", json!({"data": "secret"})).await;
    calls(
        &world,
        "r-1",
        json!({"action": "new_epoch", "room": "lobby"}),
    )
    .await;
    let rows = world.log("lobby").await.len();
    let erase = json!({"action": "erase", "room": "lobby", "user": "bob"});
    assert_eq!(calls(&world, "r-2", erase).await["messages"], 1);
    assert!(!crate::changes::stored(&world).await.contains("secret"));
    assert_eq!(world.log("lobby").await.len(), rows);
}
