//! Edits, deletions and reactions: entries of the log, and the row of their message, which is always their result.

use std::collections::BTreeMap;

use chat::identity::{Caller, Identity};
use chat::lambda::Request;
use chat::log::append::Range;
use chat::log::{Change, Draft, Kind};
use chat::protocol::Grants;
use chat::{App, publish};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::{MESSAGES, World, body, now_ms, request};

async fn says(app: &App, id: &str, frame: &Value) -> Value {
    body(&publish(app, &request(id, &frame.to_string())).await)
}

/// A world whose lobby holds the message "first" of user-a, with the number 1.
async fn world() -> World {
    let world = World::lobby().await;
    let ack = says(
        &world.app,
        "a",
        &json!({"action": "publish", "data": "first", "id": "m"}),
    )
    .await;
    assert_eq!(ack["seq"], 1);
    world
}

async fn messages(world: &World, asker: &str) -> Vec<Value> {
    let answer = world
        .ask_history(asker, r#"{"action":"history","limit":100}"#)
        .await;
    answer["messages"].as_array().unwrap().clone()
}

fn edit(data: &str, id: &str) -> Value {
    json!({"action": "edit", "target": 1, "data": data, "id": id})
}

fn react(key: &str, on: bool, id: &str) -> Value {
    json!({"action": "react", "target": 1, "key": key, "on": on, "id": id})
}

/// Every text of the table of messages.
pub(crate) async fn stored(world: &World) -> String {
    let scan = world
        .dynamodb
        .scan()
        .table_name(MESSAGES)
        .consistent_read(true);
    format!("{:?}", scan.send().await.unwrap().items.unwrap())
}

#[tokio::test]
async fn an_edit_is_an_entry_and_the_message_shows_it() {
    let world = world().await;
    let ack = says(&world.app, "a", &edit("second", "e")).await;
    assert_eq!(
        (&ack["type"], &ack["seq"], &ack["n"], &ack["delivered"]),
        (&"ack".into(), &2.into(), &1.into(), &1.into())
    );
    let frame = world.peers.frames("b").remove(1);
    assert_eq!(
        (
            &frame["kind"],
            &frame["target"],
            &frame["data"],
            &frame["seq"],
            &frame["n"]
        ),
        (
            &"edit".into(),
            &1.into(),
            &"second".into(),
            &2.into(),
            &1.into()
        )
    );
    let page = messages(&world, "b").await;
    assert_eq!(
        (&page[0]["data"], &page[0]["edited"]["seq"]),
        (&"second".into(), &2.into())
    );
    assert_eq!((&page[0]["n"], &page[0]["kind"]), (&1.into(), &Value::Null));
    assert_eq!(
        (&page[1]["kind"], &page[1]["target"], &page[1]["data"]),
        (&"edit".into(), &1.into(), &"second".into())
    );
    // A copy is still recognised by the data that was sent first.
    let again = says(
        &world.app,
        "a",
        &json!({"action": "publish", "data": "first", "id": "m"}),
    )
    .await;
    assert_eq!(
        (&again["duplicate"], &again["seq"]),
        (&true.into(), &1.into())
    );
    assert_eq!(world.peers.frames("b").remove(2)["data"], "second");
    let other = says(
        &world.app,
        "a",
        &json!({"action": "publish", "data": "second", "id": "m"}),
    )
    .await;
    assert_eq!(other["name"], "id_conflict");
}

#[tokio::test]
async fn a_deleted_text_is_nowhere() {
    let world = world().await;
    says(&world.app, "a", &edit("second", "e-1")).await;
    says(&world.app, "b", &react("+1", true, "r")).await;
    let delete = json!({"action": "delete", "target": 1, "reason": "by law", "id": "d"});
    let ack = says(&world.app, "a", &delete).await;
    assert_eq!(
        (&ack["type"], &ack["seq"]),
        (&"ack".into(), &4.into()),
        "{ack}"
    );
    let table = stored(&world).await;
    assert!(
        !table.contains("first") && !table.contains("second"),
        "{table}"
    );
    let page = messages(&world, "b").await;
    assert_eq!(
        page[0]["deleted"],
        json!({"at": ack["at"], "by": "user-a", "reason": "by law"})
    );
    for absent in ["data", "edited", "reactions"] {
        assert_eq!(page[0].get(absent), None, "{absent}: {}", page[0]);
    }
    assert_eq!(
        (&page[1]["kind"], &page[1]["data"]),
        (&"edit".into(), &Value::Null)
    );
    assert_eq!(
        (
            &page[3]["kind"],
            &page[3]["target"],
            &page[3]["data"],
            &page[3]["reason"]
        ),
        (&"delete".into(), &1.into(), &Value::Null, &"by law".into())
    );
    // A retry of the message delivers the tombstone, and one of the deletion is a duplicate.
    let heard = world.peers.frames("b").len();
    let again = says(
        &world.app,
        "a",
        &json!({"action": "publish", "data": "first", "id": "m"}),
    )
    .await;
    assert_eq!(again["duplicate"], true);
    let tombstone = world.peers.frames("b").remove(heard);
    assert_eq!(
        (&tombstone["deleted"]["by"], tombstone.get("data")),
        (&"user-a".into(), None)
    );
    let again = says(&world.app, "a", &delete).await;
    assert_eq!(
        (&again["duplicate"], &again["seq"]),
        (&true.into(), &4.into())
    );
    for change in [edit("third", "e-2"), react("+1", true, "r-2")] {
        assert_eq!(
            says(&world.app, "a", &change).await["name"],
            "no_such_message"
        );
    }
    assert_eq!(world.log("lobby").await.len(), 5);
}

#[tokio::test]
async fn reactions_are_counted_and_ones_own_are_marked() {
    let world = world().await;
    for (user, key, on, id) in [
        ("a", "👍", true, "1"),
        ("b", "👍", true, "2"),
        ("b", "x:y", true, "3"),
        ("b", "👍", false, "4"),
    ] {
        assert_eq!(
            says(&world.app, user, &react(key, on, id)).await["type"],
            "ack"
        );
    }
    let frame = world.peers.frames("a").remove(2);
    assert_eq!(
        (&frame["kind"], &frame["key"], &frame["on"], &frame["data"]),
        (&"react".into(), &"👍".into(), &false.into(), &Value::Null)
    );
    let reactions = |count: usize, mine: bool| json!({"count": count, "mine": mine});
    assert_eq!(
        messages(&world, "b").await[0]["reactions"],
        json!({"👍": reactions(1, false), "x:y": reactions(1, true)})
    );
    assert_eq!(
        messages(&world, "a").await[0]["reactions"]["👍"],
        reactions(1, true)
    );
    for n in 0..18 {
        says(
            &world.app,
            "a",
            &react(&format!("k{n}"), true, &format!("k{n}")),
        )
        .await;
    }
    assert_eq!(
        says(&world.app, "a", &react("one more", true, "z")).await["name"],
        "too_many"
    );
    assert_eq!(
        says(&world.app, "b", &react("k1", true, "y")).await["type"],
        "ack"
    );
}

/// The function dies, or the table fails, between the entry and its message: the same frame completes it, once.
#[tokio::test]
async fn a_change_that_was_half_done_is_completed_by_a_retry() {
    for (change, shown) in [
        (edit("second", "e"), json!({"data": "second"})),
        (
            react("+1", true, "r"),
            json!({"reactions": {"+1": {"count": 1, "mine": true}}}),
        ),
        (
            json!({"action": "delete", "target": 1, "id": "d"}),
            json!({"data": null}),
        ),
    ] {
        let world = world().await;
        world
            .tap
            .fail("UpdateItem messages", 0, "ResourceNotFoundException");
        let answer = says(&world.app, "a", &change).await;
        assert_eq!(answer["type"], "error", "{change}");
        assert_eq!(world.peers.frames("b").len(), 1);
        assert_eq!(messages(&world, "b").await[0]["data"], "first");
        let (other, _) = world.untapped_app();
        let ack = says(&other, "a", &change).await;
        assert_eq!(
            (&ack["type"], &ack["duplicate"], &ack["seq"]),
            (&"ack".into(), &true.into(), &2.into())
        );
        let page = messages(&world, "a").await;
        for (name, value) in shown.as_object().unwrap() {
            assert_eq!(
                page[0].get(name).cloned().unwrap_or_default(),
                *value,
                "{change}"
            );
        }
        assert_eq!((page.len(), world.peers.frames("b").len()), (2, 2));
    }
}

#[tokio::test]
async fn a_lost_reply_changes_nothing_twice() {
    for operation in ["PutItem messages", "UpdateItem messages"] {
        let world = world().await;
        world.tap.lose(operation, 1);
        let ack = says(&world.app, "a", &edit("second", "e")).await;
        assert_eq!(
            (&ack["type"], &ack["seq"]),
            (&"ack".into(), &2.into()),
            "{operation}"
        );
        assert_eq!(world.log("lobby").await.len(), 3);
    }
}

#[tokio::test]
async fn only_a_message_can_be_changed() {
    let world = world().await;
    says(&world.app, "a", &edit("second", "e")).await;
    for target in [0, 2, 3, 99] {
        let frame = json!({"action": "edit", "target": target, "data": 1});
        let expected = if target == 0 {
            "bad_request"
        } else {
            "no_such_message"
        };
        assert_eq!(
            says(&world.app, "a", &frame).await["name"],
            expected,
            "{target}"
        );
    }
    for (frame, message) in [
        (json!({"action": "edit", "data": 1}), "target must be"),
        (json!({"action": "edit", "target": 1}), "data is missing"),
        (json!({"action": "react", "target": 1}), "key is missing"),
        (
            json!({"action": "react", "target": 1, "key": "a\nb"}),
            "key must not hold",
        ),
        (
            json!({"action": "react", "target": 1, "key": "x".repeat(33)}),
            "key must have 1 to 32",
        ),
        (
            json!({"action": "react", "target": 1, "key": "x", "on": 1}),
            "on must be",
        ),
    ] {
        let answer = says(&world.app, "a", &frame).await;
        assert!(
            answer["message"].as_str().unwrap().starts_with(message),
            "{frame}: {answer}"
        );
    }
    // The same id for another change is a mistake of the client.
    let answer = says(&world.app, "a", &edit("other", "e")).await;
    assert_eq!(answer["name"], "id_conflict");
    let answer = says(
        &world.app,
        "a",
        &json!({"action": "delete", "target": 1, "id": "e"}),
    )
    .await;
    assert_eq!(answer["name"], "id_conflict");
    // A message of an earlier epoch cannot be changed.
    world.app.log.new_epoch("lobby", now_ms()).await.unwrap();
    let answer = says(&world.another_process(), "a", &edit("third", "e-3")).await;
    assert_eq!(answer["name"], "no_such_message");
    assert_eq!(world.log("lobby").await.len(), 4);
}

#[tokio::test]
async fn a_moderator_deletes_the_message_of_another_and_the_audit_says_so() {
    let world = world().await;
    world
        .join_as("mod", "lobby", "mod", now_ms() / 1000 + 600)
        .await;
    let moderator = Caller::Verified(Box::new(Identity {
        user: "mod".to_owned(),
        name: None,
        grants: Grants::parse(r#"{"lobby":["join","publish","moderate"]}"#).unwrap(),
        exp: None,
        iat: None,
    }));
    let app = world.app.clone().with_audit(world.moderation().audit);
    let frame = json!({"action": "delete", "target": 1, "reason": "spam", "id": "d"});
    let delete = Request {
        caller: moderator,
        ..request("mod", &frame.to_string())
    };
    assert_eq!(body(&publish(&app, &delete).await)["type"], "ack");
    assert_eq!(body(&publish(&app, &delete).await)["duplicate"], true);
    let audit = world.log("@audit").await;
    assert_eq!(audit.len(), 2);
    let entry: Value = serde_json::from_str(audit[1].data.as_deref().unwrap()).unwrap();
    assert_eq!(
        entry,
        json!({"action": "delete", "room": "lobby", "user": "user-a", "by": "mod", "reason": "spam", "target": 1})
    );
    // One's own deletion is nobody else's business.
    says(&app, "b", &json!({"action": "publish", "data": 1})).await;
    says(&app, "b", &json!({"action": "delete", "target": 3})).await;
    assert_eq!(world.log("@audit").await.len(), 2);
}

/// A resume replays the entries, and the messages show their result already: both give the same picture.
#[tokio::test]
async fn a_resume_replays_the_changes() {
    let world = world().await;
    let joined = world
        .ask_join("b", r#"{"action":"join","room":"lobby"}"#)
        .await;
    says(&world.app, "a", &edit("second", "e")).await;
    says(&world.app, "a", &react("+1", true, "r")).await;
    let since = json!({"action": "join", "room": "lobby", "since": {"epoch": joined["epoch"], "seq": joined["head"]}});
    let resumed = world.ask_join("b", &since.to_string()).await;
    let kinds: Vec<&str> = resumed["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        (kinds, &resumed["headN"]),
        (vec!["edit", "react"], &1.into())
    );
}

/// The state of a message, computed from the entries alone, in their order.
#[derive(Debug, Default, PartialEq)]
struct Replayed {
    data: Option<String>,
    edited: Option<u64>,
    deleted_by: Option<String>,
    reactions: BTreeMap<String, Vec<String>>,
}

fn replay(entries: &[Value]) -> Replayed {
    let mut state = Replayed::default();
    for entry in entries {
        let from = entry["from"].as_str().unwrap().to_owned();
        match entry["kind"].as_str() {
            _ if state.deleted_by.is_some() => {}
            None => state.data = Some("first".to_owned()),
            Some("edit") => {
                state.data = entry["data"].as_str().map(str::to_owned);
                state.edited = entry["seq"].as_u64();
            }
            Some("delete") => {
                state = Replayed {
                    deleted_by: Some(from),
                    ..Replayed::default()
                };
            }
            _ => {
                let key = entry["key"].as_str().unwrap().to_owned();
                let users = state.reactions.entry(key).or_default();
                users.retain(|user| *user != from);
                if entry["on"] == true {
                    users.push(from);
                }
            }
        }
    }
    state.reactions.retain(|_, users| !users.is_empty());
    state
}

/// Entries of several users reach the row in any order, some of them twice: the row is the replay of the log.
#[tokio::test]
async fn the_row_is_the_replay_of_the_log_in_whatever_order_it_is_brought_up_to_date() {
    for seed in 0..25 {
        let mut rng = StdRng::seed_from_u64(seed);
        let world = world().await;
        let log = &world.app.log;
        let now = now_ms();
        let texts: Vec<String> = (0..10).map(|n| format!("\"text-{n}\"")).collect();
        let mut entries = Vec::new();
        let count = rng.random_range(3..10);
        for (n, text) in texts.iter().enumerate().take(count) {
            let user = ["a", "b", "c"][rng.random_range(0..3)];
            let key = ["x", "y"][rng.random_range(0..2)];
            let change = match rng.random_range(0..10) {
                0..4 => Change::Edit,
                4..6 => Change::Delete { reason: None },
                on => Change::React { key, on: on < 8 },
            };
            let id = format!("i{n}");
            let draft = Draft {
                room: "lobby",
                user,
                id: Some(&id),
                after: None,
                data: if change == Change::Edit { text } else { "null" },
                kind: Some(Kind::Change { target: 1, change }),
                exempt: true,
                at: now,
            };
            let until = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
            let tail = log.tail("lobby", Range::Last, now).await.unwrap();
            let stored = log.append(&draft, Range::Last, tail, until).await.unwrap();
            entries.push((change, user, text, stored));
        }
        // The state by the log alone, before any row is changed.
        let replayed = replay(&messages(&world, "a").await);
        let mut order: Vec<usize> = (0..entries.len()).chain(0..entries.len() / 2).collect();
        order.shuffle(&mut rng);
        for index in order {
            let (change, user, text, stored) = &entries[index];
            let target = log.target("lobby", 1, now / 1000).await.unwrap();
            log.apply("lobby", &target, *change, user, text, stored)
                .await
                .unwrap();
        }
        let page = messages(&world, "a").await;
        let row = &page[0];
        let reactions = row["reactions"].as_object().cloned().unwrap_or_default();
        let counts: BTreeMap<String, usize> = reactions
            .iter()
            .map(|(key, one)| {
                (
                    key.clone(),
                    usize::try_from(one["count"].as_u64().unwrap()).unwrap(),
                )
            })
            .collect();
        let expected: BTreeMap<String, usize> = replayed
            .reactions
            .iter()
            .map(|(key, users)| (key.clone(), users.len()))
            .collect();
        assert_eq!(
            row["data"].as_str(),
            replayed.data.as_deref(),
            "seed {seed}: {page:#?}"
        );
        assert_eq!(
            row["edited"]["seq"].as_u64(),
            replayed.edited,
            "seed {seed}"
        );
        assert_eq!(
            row["deleted"]["by"].as_str(),
            replayed.deleted_by.as_deref(),
            "seed {seed}"
        );
        assert_eq!(counts, expected, "seed {seed}: {page:#?}");
        if replayed.deleted_by.is_some() {
            let table = stored_texts(&world).await;
            assert!(
                !table.contains("text-") && !table.contains("first"),
                "seed {seed}: {table}"
            );
        }
    }
}

async fn stored_texts(world: &World) -> String {
    stored(world).await
}

/// The row after a deletion whose writer has read the message before another user's reaction, and before a later deletion
/// with a reason.
#[tokio::test]
async fn nothing_of_changes_at_the_same_moment_is_left_in_a_tombstone() {
    let world = world().await;
    let log = &world.app.log;
    let read = log.target("lobby", 1, now_ms() / 1000).await.unwrap();
    says(&world.app, "b", &react("+1", true, "r")).await;
    let second = json!({"action": "delete", "target": 1, "reason": "the second", "id": "d"});
    let ack = says(&world.app, "a", &second).await;
    let first = chat::log::append::Stored {
        seq: ack["seq"].as_u64().unwrap() - 1,
        epoch: ack["epoch"].as_str().unwrap().to_owned(),
        n: 1,
        at: 1,
        duplicate: false,
    };
    let delete = Change::Delete { reason: None };
    let applied = log.apply("lobby", &read, delete, "user-a", "null", &first);
    assert!(applied.await.unwrap());
    let page = messages(&world, "b").await;
    assert_eq!(page[0]["deleted"], json!({"at": 1, "by": "user-a"}));
    // The same, where the reaction comes between the read and the only deletion.
    says(&world.app, "a", &json!({"action": "publish", "data": "x"})).await;
    let read = log.target("lobby", 4, now_ms() / 1000).await.unwrap();
    let react = json!({"action": "react", "target": 4, "key": "+1", "on": true});
    says(&world.app, "b", &react).await;
    let entry = chat::log::append::Stored { seq: 6, ..first };
    let applied = log.apply("lobby", &read, delete, "user-a", "null", &entry);
    assert!(applied.await.unwrap());
    let rows = stored(&world).await;
    assert!(!rows.contains(r"r\n"), "{rows}");
}

/// The process of an edit dies before it changes the message, and the message is deleted.
#[tokio::test]
async fn the_retry_of_an_edit_of_a_message_that_is_deleted_leaves_no_text() {
    let world = world().await;
    world
        .tap
        .fail("UpdateItem messages", 0, "InternalServerError");
    let unfinished = says(&world.app, "a", &edit("second", "e")).await;
    assert_eq!(unfinished["name"], "internal");
    world.tap.heal();
    // The deletion has looked for edits before the edit was stored.
    let read = world.app.log.target("lobby", 1, now_ms() / 1000).await;
    let read = read.unwrap();
    let entry = chat::log::append::Stored {
        seq: 3,
        epoch: read.header.epoch.clone(),
        n: 1,
        at: 1,
        duplicate: false,
    };
    world.tap.fail("Query messages", 0, "InternalServerError");
    let delete = Change::Delete { reason: None };
    let log = &world.app.log;
    let deleted = log.apply("lobby", &read, delete, "user-b", "null", &entry);
    assert!(deleted.await.is_err());
    world.tap.heal();
    assert!(stored(&world).await.contains("second"));
    let again = says(&world.app, "a", &edit("second", "e")).await;
    assert_eq!(
        (&again["type"], &again["duplicate"]),
        (&"ack".into(), &true.into()),
        "{again}"
    );
    assert!(!stored(&world).await.contains("second"));
    let other = says(&world.app, "a", &edit("third", "e-2")).await;
    assert_eq!(other["name"], "no_such_message");
}
