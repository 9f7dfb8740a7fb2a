//! Verified users: the right that each action needs, ended tokens, and reading back to one's own joining.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use aws_sdk_dynamodb::types::AttributeValue;
use chat::identity::{Caller, Identity, LEEWAY_S};
use chat::lambda::{Reply, Request};
use chat::protocol::{Grants, Right};
use chat::{history, join, leave, members, moderate, personal, publish, signal};
use serde_json::{Value, json};

use crate::support::{USERS, World, body, handshake, now_ms, request};

/// alice, with these rights, whose token ends at `exp`.
fn alice(grants: &str, exp: Option<i64>) -> Caller {
    Caller::Verified(Box::new(Identity {
        user: "alice".to_owned(),
        name: None,
        grants: Grants::parse(grants).unwrap(),
        exp,
        iat: None,
    }))
}

fn unverified() -> Caller {
    Caller::Unverified("no authorizer ran".to_owned())
}

/// A frame of `caller`.
fn says(caller: &Caller, id: &str, frame: &Value) -> Request {
    Request {
        caller: caller.clone(),
        ..request(id, &frame.to_string())
    }
}

/// Returns the answer of the function that serves the frame's action.
async fn ask(world: &World, request: &Request) -> Value {
    let (connections, log) = (&world.app.connections, &world.app.log);
    let presence = &world.app.presence;
    let frame: Value = serde_json::from_str(&request.body).unwrap();
    let reply = match frame["action"].as_str().unwrap() {
        "publish" | "sendmessage" | "edit" | "delete" | "react" => {
            publish(&world.app, request).await
        }
        "join" | "presence" => join(presence, log, &world.users, &world.frames, request).await,
        "leave" => leave(presence, &world.frames, request).await,
        "history" | "heads" => history(connections, log, &world.frames, request).await,
        "mark" | "marks" | "block" | "unblock" => {
            personal(Some(&world.desk(100)), &world.frames, request).await
        }
        "members" => members(presence, &world.frames, request).await,
        "signal" => {
            let reply = signal(&world.signals(100), request).await;
            assert_eq!(reply, Reply::ok());
            let errors = world.peers.frames(&request.connection_id);
            return errors.into_iter().next().unwrap_or_default();
        }
        "kick" | "ban" | "unban" | "mute" | "unmute" => {
            moderate(&world.moderation(), &world.frames, request).await
        }
        other => panic!("add the action {other}: which function answers it?"),
    };
    body(&reply)
}

async fn shakes(world: &World, caller: &Caller, id: &str, query: &[(&str, &str)]) -> Reply {
    let request = Request {
        caller: caller.clone(),
        ..handshake(id, query)
    };
    world.connect(&request).await
}

/// The name of an error with its right, or "yes".
fn outcome(answer: &Value) -> String {
    match (answer["name"].as_str(), answer["right"].as_str()) {
        (Some(name), Some(right)) => format!("`{name}` ({right})"),
        (Some(name), None) => format!("`{name}`"),
        (None, _) => "yes".to_owned(),
    }
}

fn all_but(missing: Option<Right>) -> String {
    let rights: Vec<Right> = Right::ALL
        .into_iter()
        .filter(|right| Some(*right) != missing)
        .collect();
    json!({ "room*": rights }).to_string()
}

/// The actions that a function answers, as Terraform declares them.
fn declared() -> Vec<String> {
    let locals = include_str!("../../../../terraform/locals.tf");
    let from = locals.find("\n  routes = ").unwrap();
    let length = locals[from..].find("\n  functions = ").unwrap();
    let keys = locals[from..from + length]
        .split("route_key")
        .skip(1)
        .filter_map(|entry| {
            let mut parts = entry.splitn(3, '"');
            let (key, rest) = (parts.nth(1)?, parts.next()?);
            // A route that API Gateway answers itself knows neither users nor rooms.
            let is_mock = rest.lines().next()?.contains("mock");
            (!key.starts_with('$') && !is_mock).then(|| key.to_owned())
        });
    let mut keys: Vec<String> = keys.collect();
    keys.sort();
    keys
}

/// The frame of each action that a client can send about a room. A route that is missing here fails the matrix.
fn frames(room: &str) -> Vec<(&'static str, Value)> {
    vec![
        (
            "publish",
            json!({"action": "publish", "room": room, "data": 1}),
        ),
        (
            "sendmessage",
            json!({"action": "sendmessage", "room": room, "data": 1}),
        ),
        ("join", json!({"action": "join", "room": room})),
        ("leave", json!({"action": "leave", "room": room})),
        ("history", json!({"action": "history", "room": room})),
        ("members", json!({"action": "members", "room": room})),
        ("heads", json!({"action": "heads", "rooms": [room]})),
        (
            "mark",
            json!({"action": "mark", "room": room, "epoch": "E", "seq": 1, "n": 1}),
        ),
        ("marks", json!({"action": "marks"})),
        ("block", json!({"action": "block", "user": "bob"})),
        ("unblock", json!({"action": "unblock", "user": "bob"})),
        (
            "presence",
            json!({"action": "presence", "room": room, "state": 1}),
        ),
        (
            "signal",
            json!({"action": "signal", "room": room, "kind": "typing"}),
        ),
        (
            "edit",
            json!({"action": "edit", "room": room, "target": 1, "data": 2}),
        ),
        (
            "edit, another's",
            json!({"action": "edit", "room": room, "target": 2, "data": 2}),
        ),
        (
            "delete",
            json!({"action": "delete", "room": room, "target": 1}),
        ),
        (
            "delete, another's",
            json!({"action": "delete", "room": room, "target": 2}),
        ),
        (
            "react",
            json!({"action": "react", "room": room, "target": 2, "key": "x"}),
        ),
        (
            "kick",
            json!({"action": "kick", "room": room, "user": "mallory"}),
        ),
        (
            "ban",
            json!({"action": "ban", "room": room, "user": "mallory"}),
        ),
        (
            "unban",
            json!({"action": "unban", "room": room, "user": "mallory"}),
        ),
        (
            "mute",
            json!({"action": "mute", "room": room, "user": "mallory"}),
        ),
        (
            "unmute",
            json!({"action": "unmute", "room": room, "user": "mallory"}),
        ),
    ]
}

/// The column of a user who is banned from the room.
const BANNED: &str = "banned, not a member";

/// Each action of a member: with all rights, without each of them, with an ended token, without a verified user, and
/// with all rights but without a row.
#[tokio::test]
async fn the_matrix_is_the_one_that_the_docs_show() {
    let world = World::new().await;
    let now_s = now_ms() / 1000;
    // An action with several rows: `edit`, and `edit, another's`.
    let mut actions: Vec<&str> = frames("")
        .iter()
        .filter_map(|(action, _)| action.split(", ").next())
        .collect();
    actions.sort_unstable();
    actions.dedup();
    assert_eq!(actions, declared(), "each action has a row in the matrix");
    let mut columns: Vec<(String, Caller, bool)> = vec![(
        "all rights".to_owned(),
        alice(&all_but(None), Some(now_s + 600)),
        true,
    )];
    for right in Right::ALL {
        let caller = alice(&all_but(Some(right)), Some(now_s + 600));
        columns.push((format!("without `{right}`"), caller, true));
    }
    columns.push((
        "not a member".to_owned(),
        alice(&all_but(None), None),
        false,
    ));
    columns.push((BANNED.to_owned(), alice(&all_but(None), None), false));
    columns.push((
        "token ended".to_owned(),
        alice(&all_but(None), Some(now_s - 1)),
        true,
    ));
    columns.push(("no verified user".to_owned(), unverified(), true));

    let mut rows: BTreeMap<usize, (&str, Vec<String>)> = BTreeMap::new();
    for (column, (name, caller, member)) in columns.iter().enumerate() {
        for (row, (action, _)) in frames("").iter().enumerate() {
            let (id, room) = (format!("c{column}-{row}"), format!("room-{column}-{row}"));
            // A further row, so that a connection which is not in the room is in another.
            world.join_as(&id, "elsewhere", "alice", now_s + 600).await;
            if *member {
                world.join_as(&id, &room, "alice", now_s + 600).await;
            }
            if name == BANNED {
                let text = |text: &str| AttributeValue::S(text.to_owned());
                let ban = HashMap::from([
                    ("user".to_owned(), text("alice")),
                    ("about".to_owned(), text(&format!("ban#{room}"))),
                    ("kind".to_owned(), text("ban")),
                ]);
                world.put_into(USERS, ban).await;
            }
            let (_, frame) = &frames(&room)[row];
            if frame["target"].is_u64() {
                for user in ["alice", "bob"] {
                    let said = json!({"action": "publish", "room": room, "data": 1});
                    let said = says(&Caller::Backend(user.to_owned()), "", &said);
                    assert_eq!(body(&publish(&world.app, &said).await)["type"], "ack");
                }
            }
            let before = world.log(&room).await;
            let answer = ask(&world, &says(caller, &id, frame)).await;
            let cells = &mut rows.entry(row).or_insert((action, Vec::new())).1;
            cells.push(outcome(&answer));
            if ["forbidden", "token_expired", "banned"]
                .contains(&answer["name"].as_str().unwrap_or_default())
            {
                // Neither the log nor the membership has changed.
                if frame["target"].is_u64() {
                    assert_eq!(world.log(&room).await, before, "{action}");
                }
                let said = world.log(&room).await;
                assert_eq!(
                    said.iter().filter(|row| row.data.is_some()).count(),
                    before.iter().filter(|row| row.data.is_some()).count(),
                    "{action}"
                );
                assert_eq!(
                    world.rows().await.contains(&(id, room)),
                    *member,
                    "{action}"
                );
            }
        }
    }
    let names: Vec<&str> = columns.iter().map(|(name, ..)| name.as_str()).collect();
    let mut table = format!(
        "| action | {} |\n|---{}|\n",
        names.join(" | "),
        "|---".repeat(names.len())
    );
    for (action, cells) in rows.values() {
        writeln!(table, "| `{action}` | {} |", cells.join(" | ")).unwrap();
    }
    let docs = include_str!("../../../../docs/identity.md");
    assert!(
        docs.contains(&table),
        "docs/identity.md must show this table:\n{table}"
    );
}

#[tokio::test]
async fn what_is_not_granted_costs_no_request() {
    let world = World::new().await;
    let mallory = alice(r#"{"garden":["join","history","publish"]}"#, None);
    for (action, frame) in frames("lobby") {
        // These need no right: nobody is kept in a room, and the others are about the user alone.
        if ["leave", "marks", "block", "unblock"].contains(&action) {
            continue;
        }
        let answer = ask(&world, &says(&mallory, "m", &frame)).await;
        assert_eq!(answer["name"], "forbidden", "{action}: {answer}");
        assert_eq!(answer["code"], 403);
        assert_eq!(answer["temporary"], false);
    }
    assert_eq!(world.tap.counts(), []);
}

#[tokio::test]
async fn a_room_that_is_not_named_is_checked_as_well() {
    let world = World::lobby().await;
    let reader = alice(r#"{"lobby":["join"]}"#, None);
    let frame = json!({"action": "publish", "data": 1});
    let answer = ask(&world, &says(&reader, "a", &frame)).await;
    assert_eq!(outcome(&answer), "`forbidden` (publish)");
    assert!(world.log("lobby").await.is_empty());
    let stranger = alice(r#"{"garden":["join"]}"#, None);
    for action in ["members", "history"] {
        let answer = ask(&world, &says(&stranger, "a", &json!({"action": action}))).await;
        assert_eq!(outcome(&answer), "`forbidden` (join)", "{action}");
    }
}

#[tokio::test]
async fn the_handshake_takes_the_user_from_the_token() {
    let world = World::new().await;
    let now_s = now_ms() / 1000;
    let exp = now_s + 600;
    let member = alice(r#"{"lobby":["join"],"team-*":["join"]}"#, Some(exp));
    for query in [
        &[][..],
        &[("user", "alice")],
        &[("room", "team-red"), ("token", "x")],
    ] {
        assert_eq!(shakes(&world, &member, "c", query).await.status, 200);
    }
    for item in world.items().await {
        assert_eq!(item["user"].as_s().unwrap(), "alice");
        let expires_at: i64 = item["expiresAt"].as_n().unwrap().parse().unwrap();
        assert_eq!(expires_at, exp + LEEWAY_S);
    }
    assert_eq!(
        world.rows().await,
        [
            // By which her connections are found.
            ("c".to_owned(), "@alice".to_owned()),
            ("c".to_owned(), "lobby".to_owned()),
            ("c".to_owned(), "team-red".to_owned())
        ]
    );
    let ended = alice(r#"{"lobby":["join"]}"#, Some(now_s - 1));
    for (caller, query, status) in [
        (&member, &[("user", "bob")][..], 400),
        (&member, &[("user", "")], 400),
        (&member, &[("user", "alice"), ("user", "bob")], 400),
        (&member, &[("room", "garden")], 403),
        (&ended, &[], 401),
        (&unverified(), &[], 403),
        (&unverified(), &[("user", "alice")], 403),
    ] {
        let reply = shakes(&world, caller, "d", query).await;
        assert_eq!(reply.status, status, "{query:?}");
        assert_eq!(reply.subprotocol, None);
    }
    assert_eq!(world.rows().await.len(), 3);
}

#[tokio::test]
async fn a_token_that_outlives_the_connection_changes_nothing() {
    let world = World::new().await;
    let exp = now_ms() / 1000 + 86_400;
    let member = alice(r#"{"*":["join"]}"#, Some(exp));
    assert_eq!(shakes(&world, &member, "c", &[]).await.status, 200);
    let item = &world.items().await[0];
    let connected: i64 = item["connectedAt"].as_n().unwrap().parse().unwrap();
    let expires: i64 = item["expiresAt"].as_n().unwrap().parse().unwrap();
    assert_eq!(expires, connected / 1000 + 7_800);
}

#[tokio::test]
async fn who_may_not_enter_the_lobby_connects_without_a_room_and_joins_one() {
    let world = World::new().await;
    let member = alice(
        r#"{"team-*":["join","publish"]}"#,
        Some(now_ms() / 1000 + 60),
    );
    assert_eq!(shakes(&world, &member, "c", &[]).await.status, 200);
    assert_eq!(world.rows().await, [("c".to_owned(), "@alice".to_owned())]);
    let frame = json!({"action": "join", "room": "team-red"});
    let answer = ask(&world, &says(&member, "c", &frame)).await;
    assert_eq!(
        (&answer["type"], &answer["user"]),
        (&json!("joined"), &json!("alice"))
    );
    let item = &world.items().await[0];
    let expires: i64 = item["expiresAt"].as_n().unwrap().parse().unwrap();
    assert!(expires <= now_ms() / 1000 + 60 + LEEWAY_S);
}

#[tokio::test]
async fn the_subprotocol_is_answered_to_who_offers_it() {
    let world = World::new().await;
    for (caller, offers) in [
        (Caller::Anyone, true),
        (Caller::Anyone, false),
        (alice(r#"{"*":["join"]}"#, None), true),
    ] {
        let request = Request {
            caller,
            offers_subprotocol: offers,
            ..handshake("c", &[])
        };
        let reply = world.connect(&request).await;
        assert_eq!(reply.subprotocol, offers.then_some("roomchat.v1"));
    }
}

#[tokio::test]
async fn a_message_goes_to_nobody_whose_token_has_ended() {
    let world = World::new().await;
    let now_s = now_ms() / 1000;
    world.join_as("a", "lobby", "alice", now_s + 600).await;
    world.join_as("ended", "lobby", "bob", now_s - 1).await;
    world.join_as("lives", "lobby", "carol", now_s + 600).await;
    let frame = json!({"action": "publish", "data": 1});
    let member = alice(r#"{"*":["join","publish"]}"#, Some(now_s + 570));
    let answer = ask(&world, &says(&member, "a", &frame)).await;
    assert_eq!(answer["delivered"], 1);
    assert_eq!(world.peers.tried(), ["lives"]);
}

/// Without the right `history` a user reads what was said since it joined, and nothing from before, by any question.
#[tokio::test]
async fn without_history_one_reads_back_to_ones_own_joining() {
    let world = World::new().await;
    let now_s = now_ms() / 1000;
    world.join_as("s", "lobby", "speaker", now_s + 600).await;
    let say = async |n: u64| {
        let frame = json!({"action": "publish", "data": n}).to_string();
        assert_eq!(world.publish("s", &frame).await["seq"], n);
    };
    for n in 1..=3 {
        say(n).await;
    }
    let reader = alice(r#"{"lobby":["join"]}"#, None);
    assert_eq!(shakes(&world, &reader, "r", &[]).await.status, 200);
    let question = json!({"action": "history"});

    // The handshake has not noted where the log stood.
    let answer = ask(&world, &says(&reader, "r", &question)).await;
    assert_eq!(outcome(&answer), "`forbidden` (history)");

    let frame = json!({"action": "join", "room": "lobby", "history": 50});
    let joined = ask(&world, &says(&reader, "r", &frame)).await;
    assert_eq!(joined["messages"], json!([]));
    assert_eq!(
        (&joined["first"], &joined["head"]),
        (&json!(4), &json!(3)),
        "{joined}"
    );
    let epoch = joined["epoch"].as_str().unwrap();
    for n in 4..=6 {
        say(n).await;
    }
    for question in [
        json!({"action": "history"}),
        json!({"action": "history", "after": 0}),
        json!({"action": "history", "after": 3}),
        json!({"action": "history", "before": 7, "limit": 100}),
        json!({"action": "join", "room": "lobby", "history": 100}),
        json!({"action": "join", "room": "lobby", "since": {"epoch": epoch, "seq": 3}}),
        json!({"action": "join", "room": "lobby", "since": {"epoch": epoch, "seq": 0}, "history": 9}),
    ] {
        let answer = ask(&world, &says(&reader, "r", &question)).await;
        let seqs: Vec<u64> = answer["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(seqs, [4, 5, 6], "{question}: {answer}");
        assert_eq!(answer["first"], 4, "{question}");
        let recovered = question["since"]["seq"].as_u64().map(|seq| seq == 3);
        assert_eq!(answer["recovered"].as_bool(), recovered, "{question}");
    }
    let before = json!({"action": "history", "before": 4});
    let answer = ask(&world, &says(&reader, "r", &before)).await;
    assert_eq!(
        (&answer["messages"], &answer["more"]),
        (&json!([]), &json!(false))
    );

    // Whoever may read everything still does.
    let full = alice(r#"{"lobby":["join","history"]}"#, None);
    let answer = ask(&world, &says(&full, "r", &question)).await;
    assert_eq!(answer["messages"].as_array().unwrap().len(), 6);
}

/// The row's other attributes stay, and a row that is gone does not come back.
#[tokio::test]
async fn noting_where_the_log_stands_revives_no_row() {
    let world = World::new().await;
    let now_s = now_ms() / 1000;
    world.join_as("r", "lobby", "alice", now_s + 600).await;
    let before = world.items().await.remove(0);
    let reader = alice(r#"{"lobby":["join"]}"#, None);
    let frame = json!({"action": "join", "room": "lobby"});
    assert_eq!(
        ask(&world, &says(&reader, "r", &frame)).await["type"],
        "joined"
    );
    let mut after = world.items().await.remove(0);
    assert!(after.remove("floor").is_some());
    assert_eq!(before, after);
    let floor = chat::protocol::Position {
        epoch: "E".to_owned(),
        seq: 1,
    };
    let noted = world.app.connections.set_floor("gone", "lobby", &floor);
    assert!(!noted.await.unwrap());
    assert_eq!(world.rows().await.len(), 1);
}
