//! The log after a publish, whatever happens on the way.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use chat::App;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Logged, MESSAGES, RETENTION_S, World, body, now_ms, request};

const FRAME: &str = r#"{"action":"publish","room":"lobby","data":"hi","id":"m"}"#;

/// Puts a row into the log of the lobby that expires in so many seconds.
async fn put(world: &World, seq: u64, epoch: &str, expires_in: i64) {
    let now_s = now_ms() / 1000;
    let mut item = HashMap::from([
        ("room".to_owned(), S("lobby".to_owned())),
        ("seq".to_owned(), N(seq.to_string())),
        ("epoch".to_owned(), S(epoch.to_owned())),
        ("at".to_owned(), N("1700000000000".to_owned())),
        ("expiresAt".to_owned(), N((now_s + expires_in).to_string())),
        ("nonce".to_owned(), S(format!("nonce-{seq}"))),
    ]);
    if seq > 0 {
        item.insert("user".to_owned(), S("user-a".to_owned()));
        item.insert("id".to_owned(), S(format!("id-{seq}")));
        item.insert("data".to_owned(), S(format!("{{\"n\": {seq}}}")));
    }
    world.put_into(MESSAGES, item).await;
}

fn seqs(log: &[Logged]) -> Vec<u64> {
    log.iter().map(|row| row.seq).collect()
}

#[tokio::test]
async fn a_message_is_stored_as_it_was_sent() {
    let world = World::lobby().await;
    let frame = r#"{"action":"publish","room":"lobby","id":"m","data": {"b" : 1.0,"a":"\u00fc"} }"#;
    let ack = world.publish("a", frame).await;
    let log = world.log("lobby").await;
    let at = ack["at"].as_i64().unwrap();
    let epoch = ack["epoch"].as_str().unwrap().to_owned();
    assert_eq!(epoch.len(), 26);
    let genesis = Logged {
        seq: 0,
        epoch: epoch.clone(),
        n: Some(0),
        id: None,
        user: None,
        data: None,
        kind: None,
        at,
        expires_at: at / 1000 + RETENTION_S,
    };
    let message = Logged {
        seq: 1,
        n: Some(1),
        id: Some("m".to_owned()),
        user: Some("user-a".to_owned()),
        data: Some(r#"{"b" : 1.0,"a":"\u00fc"}"#.to_owned()),
        ..genesis.clone()
    };
    assert_eq!(log, [genesis, message]);

    let ack = world.publish("b", r#"{"action":"publish","data":2}"#).await;
    assert_eq!((&ack["seq"], &ack["epoch"]), (&2.into(), &epoch.into()));
    assert_eq!(world.log("lobby").await[2].id, None);
}

#[tokio::test]
async fn the_same_id_again_is_the_same_message() {
    let world = World::lobby().await;
    let first = world.publish("a", FRAME).await;
    world.publish("b", r#"{"action":"publish","data":2}"#).await;
    // From another connection of the same user.
    world
        .put(HashMap::from([
            ("connectionId".to_owned(), S("a2".to_owned())),
            ("room".to_owned(), S("lobby".to_owned())),
            ("user".to_owned(), S("user-a".to_owned())),
            ("connectedAt".to_owned(), N("1".to_owned())),
            ("expiresAt".to_owned(), N("99999999999".to_owned())),
        ]))
        .await;
    let frame = r#"{"action":"publish","room":"lobby","data":"hi","id":"m","after":0}"#;
    let second = world.publish("a2", frame).await;
    for field in ["seq", "epoch", "at", "id"] {
        assert_eq!(first[field], second[field], "{field}");
    }
    assert_eq!(second["duplicate"], true);
    assert_eq!(first.get("duplicate"), None);
    assert_eq!(seqs(&world.log("lobby").await), [0, 1, 2]);
    // The others get the message again, byte for byte.
    let texts = world.peers.texts("b");
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0], texts[1]);
    // The same id of another user is another message.
    let other = world.publish("b", FRAME).await;
    assert_eq!((&other["seq"], other.get("duplicate")), (&3.into(), None));
}

#[tokio::test]
async fn a_copy_is_found_as_far_back_as_the_client_says() {
    let world = World::lobby().await;
    world.publish("a", FRAME).await;
    for n in 0..60 {
        world
            .publish("b", &format!(r#"{{"action":"publish","data":{n}}}"#))
            .await;
    }
    let again = |after: &str| {
        format!(r#"{{"action":"publish","room":"lobby","data":"hi","id":"m"{after}}}"#)
    };
    let ack = world.publish("a", &again(r#","after":0"#)).await;
    assert_eq!((&ack["seq"], &ack["duplicate"]), (&1.into(), &true.into()));
    // A position of another log does not cost the number.
    let ack = world.publish("b", &again(r#","after":9000"#)).await;
    assert_eq!(ack["seq"], 62);
    // Without a position the last 50 are searched, and the copy is 61 back.
    let ack = world.publish("a", &again("")).await;
    assert_eq!((&ack["seq"], ack.get("duplicate")), (&63.into(), None));
}

/// A publish by user-a with `after` and its data.
async fn m1(app: &App, after: u64, data: &str) -> Value {
    let frame =
        json!({"action": "publish", "room": "lobby", "id": "m1", "after": after, "data": data});
    body(&chat::publish(app, &request("a", &frame.to_string())).await)
}

/// The number, and whether the message is a duplicate.
fn place(ack: &Value) -> (u64, bool) {
    let seq = ack["seq"].as_u64().unwrap_or_else(|| panic!("{ack}"));
    (seq, ack.get("duplicate").is_some())
}

#[tokio::test]
async fn a_row_at_or_below_after_is_never_the_copy() {
    for cold in [false, true] {
        let world = World::lobby().await;
        let process = || world.warm_or(cold);
        assert_eq!(place(&m1(&process(), 0, "first").await), (1, false));
        for n in 2..=6 {
            world
                .publish("b", &format!(r#"{{"action":"publish","data":{n}}}"#))
                .await;
        }
        // The client has seen the first m1, so this one is another message: with other data and with the same.
        assert_eq!(
            place(&m1(&process(), 6, "second").await),
            (7, false),
            "{cold}"
        );
        assert_eq!(
            place(&m1(&process(), 7, "second").await),
            (8, false),
            "{cold}"
        );
        assert_eq!(
            place(&m1(&process(), 6, "second").await),
            (7, true),
            "{cold}"
        );
        // A retry of the first one is found nevertheless.
        assert_eq!(
            place(&m1(&process(), 0, "first").await),
            (1, true),
            "{cold}"
        );
        assert_eq!(
            seqs(&world.log("lobby").await),
            (0..=8).collect::<Vec<u64>>()
        );
    }
}

#[tokio::test]
async fn one_id_for_other_data_is_refused_and_nothing_is_stored() {
    for cold in [false, true] {
        let world = World::lobby().await;
        let process = || world.warm_or(cold);
        m1(&process(), 0, "first").await;
        let error = m1(&process(), 0, "second").await;
        assert_eq!(
            error,
            json!({
                "type": "error", "id": "m1", "action": "publish", "code": 409, "name": "id_conflict",
                "message": "this id belongs to another message of yours, number 1; nothing was stored; \
                            give each message its own id, such as a UUID",
                "temporary": false,
            }),
            "{cold}"
        );
        assert_eq!(seqs(&world.log("lobby").await), [0, 1]);
        assert_eq!(world.peers.texts("b").len(), 1);
    }
    // Two at once: one is stored, the other is refused.
    let world = World::lobby().await;
    let (one, two) = (world.another_process(), world.another_process());
    let (one, two) = futures::future::join(m1(&one, 0, "first"), m1(&two, 0, "second")).await;
    let mut names = [one, two].map(|reply| reply["name"].as_str().map(str::to_owned));
    names.sort();
    assert_eq!(names, [None, Some("id_conflict".to_owned())]);
    assert_eq!(seqs(&world.log("lobby").await), [0, 1]);
}

#[tokio::test]
async fn a_position_reaches_back_a_thousand_rows() {
    let world = World::lobby().await;
    for seq in 0..=1_100 {
        put(&world, seq, "E", RETENTION_S).await;
    }
    let again = |id: u64| {
        json!({"action": "publish", "room": "lobby", "id": format!("id-{id}"), "after": 0, "data": {"n": id}})
            .to_string()
    };
    // Rows 101 to 1100 are searched, by one Query.
    assert_eq!(place(&world.publish("a", &again(101)).await), (101, true));
    let reads = |counts: Vec<(String, usize)>| {
        let found = counts
            .into_iter()
            .find(|(name, _)| name == "Query messages");
        found.map(|(_, count)| count)
    };
    // The second one reads the data that was stored first.
    assert_eq!(reads(world.tap.counts()), Some(2));
    assert_eq!(
        place(&world.publish("a", &again(100)).await),
        (1_101, false)
    );
}

#[tokio::test]
async fn a_tail_that_expires_within_a_minute_ends_its_epoch_for_writers_alone() {
    for (expires_in, goes_on) in [(50, false), (120, true)] {
        let world = World::lobby().await;
        for seq in 0..4 {
            put(&world, seq, "OLD", expires_in).await;
        }
        // Readers still see the messages, and a join begins nothing.
        let page = world.ask_history("b", r#"{"action":"history"}"#).await;
        assert_eq!((&page["epoch"], &page["head"]), (&"OLD".into(), &3.into()));
        let joined = world
            .ask_join(
                "b",
                r#"{"action":"join","room":"lobby","since":{"epoch":"OLD","seq":2}}"#,
            )
            .await;
        assert_eq!(
            (&joined["epoch"], &joined["recovered"]),
            (&"OLD".into(), &true.into())
        );
        // A retry is found, too.
        let retry = r#"{"action":"publish","room":"lobby","data":1,"id":"id-3","after":2}"#;
        assert_eq!(place(&world.publish("a", retry).await), (3, true));

        let ack = world.publish("a", FRAME).await;
        assert_eq!(ack["seq"], 4);
        assert_eq!(ack["epoch"] == "OLD", goes_on, "{expires_in}");
    }
}

/// The rows of the old log are deleted while the first message of a new epoch is on its way, and `other` begins an epoch
/// meanwhile. Returns the world, and the reply to the message.
async fn overtaken(kept: &[u64], other: impl AsyncFnOnce(&World) -> Value) -> (World, Value) {
    let world = World::lobby().await;
    for seq in 0..5 {
        put(&world, seq, "OLD", 1).await;
    }
    let held = world.tap.hold("TransactWriteItems messages", 0);
    let app = world.another_process();
    let frame = r#"{"action":"publish","room":"lobby","data":"late","id":"late"}"#;
    let request = request("a", frame);
    let late = chat::publish(&app, &request);
    let meanwhile = async {
        held.arrived().await;
        for seq in 0..5 {
            if !kept.contains(&seq) {
                world.delete_logged("lobby", seq).await;
            }
        }
        world.tap.let_pass("TransactWriteItems messages");
        let reply = other(&world).await;
        held.release();
        reply
    };
    let (late, reply) = futures::future::join(late, meanwhile).await;
    assert_ne!(reply["type"], "error", "{reply}");
    (world, body(&late))
}

#[tokio::test]
async fn a_message_never_follows_a_tail_that_was_deleted_meanwhile() {
    // All is deleted, and the other epoch begins at 1. Or one expired row is left, and it begins above that.
    for (kept, first) in [(vec![], 1), (vec![2], 3)] {
        let other = async |world: &World| world.publish("b", FRAME).await;
        let (world, late) = overtaken(&kept, other).await;
        let log = world.log("lobby").await;
        let said: Vec<&Logged> = log
            .iter()
            .filter(|row| row.data.is_some() && row.epoch != "OLD")
            .collect();
        assert_eq!(
            said.iter().map(|row| row.seq).collect::<Vec<u64>>(),
            [first, first + 1]
        );
        assert_eq!(said[0].epoch, said[1].epoch);
        assert_eq!(place(&late), (first + 1, false));
        // Both are shown.
        let page = world.ask_history("b", r#"{"action":"history"}"#).await;
        assert_eq!(page["messages"].as_array().unwrap().len(), 2, "{page}");
    }
    // The same message, sent again to another process, is the one that begins the epoch.
    let again = r#"{"action":"publish","room":"lobby","data":"late","id":"late"}"#;
    let (world, late) = overtaken(&[], async |world| world.publish("a", again).await).await;
    assert_eq!(place(&late), (1, true));
    assert_eq!(seqs(&world.log("lobby").await), [0, 1]);
    // A join begins the epoch.
    let join = async |world: &World| {
        world
            .ask_join("b", r#"{"action":"join","room":"lobby"}"#)
            .await
    };
    let (world, late) = overtaken(&[], join).await;
    assert_eq!(place(&late), (1, false));
    assert_eq!(seqs(&world.log("lobby").await), [0, 1]);
}

#[tokio::test]
async fn a_join_never_follows_a_tail_that_was_deleted_meanwhile() {
    let world = World::lobby().await;
    for seq in 0..5 {
        put(&world, seq, "OLD", -10).await;
    }
    let held = world.tap.hold("TransactWriteItems messages", 0);
    let meanwhile = async {
        held.arrived().await;
        for seq in 0..5 {
            world.delete_logged("lobby", seq).await;
        }
        let ack = world.publish("a", FRAME).await;
        held.release();
        ack
    };
    let join = world.ask_join("b", r#"{"action":"join","room":"lobby"}"#);
    let (joined, ack) = futures::future::join(join, meanwhile).await;
    assert_eq!(place(&ack), (1, false));
    assert_eq!(
        (&joined["head"], &joined["epoch"]),
        (&1.into(), &ack["epoch"])
    );
    assert_eq!(seqs(&world.log("lobby").await), [0, 1]);
}

#[tokio::test]
async fn a_lost_reply_to_the_first_message_of_an_epoch_is_no_second_copy() {
    for lost in [1, 3, 4] {
        let world = World::lobby().await;
        for seq in 0..4 {
            put(&world, seq, "OLD", -10).await;
        }
        world.tap.lose("TransactWriteItems messages", lost);
        assert_eq!(
            place(&world.publish("a", FRAME).await),
            (4, false),
            "{lost}"
        );
        assert_eq!(seqs(&world.log("lobby").await), [0, 1, 2, 3, 4], "{lost}");
    }
}

#[tokio::test]
async fn many_begin_one_epoch() {
    let world = World::new().await;
    for id in ["a", "b"] {
        world.join(id, "lobby").await;
    }
    for seq in 0..4 {
        put(&world, seq, "OLD", -10).await;
    }
    let frames: Vec<String> = (0..20)
        .map(|n| format!(r#"{{"action":"publish","room":"lobby","data":{n},"id":"m{n}"}}"#))
        .collect();
    let acks = join_all(frames.iter().map(|frame| world.publish("a", frame))).await;
    let mut numbers: Vec<u64> = acks.iter().map(|ack| place(ack).0).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (4..24).collect::<Vec<u64>>());
    let epochs: HashSet<&str> = acks
        .iter()
        .map(|ack| ack["epoch"].as_str().unwrap())
        .collect();
    assert_eq!(epochs.len(), 1);
}

#[tokio::test]
async fn a_lost_reply_is_no_second_copy() {
    // Of the genesis, of the message; with and without an id; as many as the SDK tries again, and more.
    for frame in [FRAME, r#"{"action":"publish","data":"hi"}"#] {
        for lost in [1, 2, 3, 4, 5] {
            let world = World::lobby().await;
            world.tap.lose("PutItem messages", lost);
            let ack = world.publish("a", frame).await;
            assert_eq!(
                (&ack["type"], &ack["seq"], ack.get("duplicate")),
                (&"ack".into(), &1.into(), None),
                "{frame} {lost}"
            );
            assert_eq!(seqs(&world.log("lobby").await), [0, 1], "{frame} {lost}");
        }
    }
}

#[tokio::test]
async fn a_message_without_any_reply_is_admitted_and_found_again() {
    let world = World::lobby().await;
    world.publish("b", r#"{"action":"publish","data":1}"#).await;
    world.tap.fail("PutItem messages", 2, "InternalServerError");
    let error = world.publish("a", FRAME).await;
    assert_eq!(
        error,
        json!({
            "type": "error", "id": "m", "action": "publish", "code": 500, "name": "internal",
            "message": "the service failed, and the message may be stored or not; \
                        send it again with the same id, and it is stored once",
            "temporary": true, "requestId": "r",
        })
    );
    assert_eq!(seqs(&world.log("lobby").await), [0, 1]);
}

#[tokio::test]
async fn a_throttled_log_says_slow_down() {
    let world = World::lobby().await;
    world.tap.fail("PutItem messages", 0, "ThrottlingException");
    let error = world.publish("a", FRAME).await;
    assert_eq!(
        (&error["name"], &error["retryAfterMs"]),
        (&"slow_down".into(), &1_000.into())
    );
}

#[tokio::test]
async fn many_writers_at_once_get_a_number_each() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    world.join("b", "lobby").await;
    let frames: Vec<String> = (0..40)
        .map(|n| {
            format!(
                r#"{{"action":"publish","room":"lobby","data":{0},"id":"m{0}"}}"#,
                n / 2
            )
        })
        .collect();
    // Every second message is a copy of another.
    let acks = join_all(frames.iter().map(|frame| world.publish("a", frame))).await;
    let log = world.log("lobby").await;
    assert_eq!(seqs(&log), (0..=20).collect::<Vec<u64>>());
    for ack in &acks {
        let row = &log[usize::try_from(ack["seq"].as_u64().unwrap()).unwrap()];
        assert_eq!(row.id.as_deref(), ack["id"].as_str(), "{ack}");
    }
    let duplicates = acks.iter().filter(|ack| ack["duplicate"] == true).count();
    assert_eq!(duplicates, 20);
}

#[tokio::test]
async fn an_expired_tail_keeps_its_number_and_ends_its_epoch() {
    let world = World::lobby().await;
    for seq in 0..4 {
        put(&world, seq, "OLD", -10).await;
    }
    // An expired row is not a copy.
    let frame = r#"{"action":"publish","room":"lobby","data":1,"id":"id-3"}"#;
    let ack = world.publish("a", frame).await;
    assert_eq!((&ack["seq"], ack.get("duplicate")), (&4.into(), None));
    assert_ne!(ack["epoch"], "OLD");
    let next = world.publish("b", r#"{"action":"publish","data":2}"#).await;
    assert_eq!((&next["seq"], &next["epoch"]), (&5.into(), &ack["epoch"]));
}

#[tokio::test]
async fn a_row_never_expires_before_the_one_before_it() {
    // As when the retention has been shortened.
    let world = World::lobby().await;
    put(&world, 0, "E", 2 * RETENTION_S).await;
    world.publish("a", FRAME).await;
    let log = world.log("lobby").await;
    assert_eq!(log[0].expires_at, log[1].expires_at);
    assert_eq!(log[1].epoch, "E");
}

#[tokio::test]
async fn a_hole_that_stays_is_no_reason_to_stop() {
    let world = World::lobby().await;
    for seq in [1, 2, 4, 5] {
        put(&world, seq, "E", 1_000).await;
    }
    let ack = world.publish("a", FRAME).await;
    assert_eq!((&ack["seq"], &ack["epoch"]), (&6.into(), &"E".into()));
}

#[tokio::test]
async fn a_bad_position_is_refused_before_anything_is_read() {
    let world = World::lobby().await;
    for after in ["-1", "1.5", "\"1\"", "[]", "true"] {
        let frame = format!(r#"{{"action":"publish","data":1,"after":{after}}}"#);
        let error = world.publish("a", &frame).await;
        assert_eq!(error["message"], "after must be a whole number, 0 or more");
    }
    assert!(world.tap.counts().is_empty());
}

#[tokio::test]
async fn fields_nested_deeply_are_answered() {
    let world = World::lobby().await;
    let deep = format!("{}{}", "[".repeat(15_000), "]".repeat(15_000));
    for (field, expected) in [
        ("id", "id must be a string"),
        ("after", "after must be"),
        ("room", "room must be"),
    ] {
        let frame = format!(r#"{{"action":"publish","data":1,"{field}":{deep}}}"#);
        let error = world.publish("a", &frame).await;
        assert!(
            error["message"].as_str().unwrap().starts_with(expected),
            "{error}"
        );
    }
    let join = format!(r#"{{"action":"join","room":"lobby","since":{deep}}}"#);
    let error = world.ask_join("a", &join).await;
    assert_eq!(error["name"], "bad_request");
    let error = world.publish("a", &"[".repeat(32_000)).await;
    assert_eq!(error["name"], "bad_request");
    // Unknown fields are ignored, and not read.
    let frame = format!(r#"{{"action":"publish","data":1,"extra":{deep}}}"#);
    assert_eq!(place(&world.publish("a", &frame).await), (1, false));
}

#[tokio::test]
async fn a_message_is_stored_and_acknowledged_when_no_time_is_left_to_deliver_it() {
    let world = World::with(None, |delivery| {
        delivery.concurrency = 1;
    })
    .await;
    for id in ["a", "b", "c"] {
        world.join(id, "lobby").await;
        world.peers.on_post(id, &[crate::support::Answer::Hang]);
    }
    let frame = request("a", FRAME);
    let frame = chat::lambda::Request {
        deadline: frame.started + std::time::Duration::from_millis(2_500),
        ..frame
    };
    let ack: Value = body(&chat::publish(&world.app, &frame).await);
    assert_eq!(
        (&ack["type"], &ack["seq"], &ack["failed"]),
        (&"ack".into(), &1.into(), &2.into())
    );
    assert_eq!(seqs(&world.log("lobby").await), [0, 1]);
}

/// The rows of the lobby by number and count.
async fn counts(world: &World) -> Vec<(u64, Option<u64>)> {
    let rows = world.log("lobby").await;
    rows.iter().map(|row| (row.seq, row.n)).collect()
}

#[tokio::test]
async fn messages_are_counted_in_rows_and_frames() {
    let world = World::lobby().await;
    let joined = world
        .ask_join("b", r#"{"action":"join","room":"lobby"}"#)
        .await;
    assert_eq!((&joined["head"], &joined["headN"]), (&0.into(), &0.into()));
    for n in 1..=3 {
        let ack = world
            .publish("a", &FRAME.replace("\"m\"", &format!("\"m{n}\"")))
            .await;
        assert_eq!(ack["n"], n, "{ack}");
    }
    assert_eq!(
        counts(&world).await,
        [(0, Some(0)), (1, Some(1)), (2, Some(2)), (3, Some(3))]
    );
    let heard: Vec<Value> = world
        .peers
        .frames("b")
        .iter()
        .map(|frame| frame["n"].clone())
        .collect();
    assert_eq!(heard, [1, 2, 3]);
    let again = r#"{"action":"publish","room":"lobby","data":"hi","id":"m2","after":1}"#;
    assert_eq!(world.publish("a", again).await["n"], 2);
    let page = world
        .ask_history("b", r#"{"action":"history","before":3}"#)
        .await;
    let listed: Vec<&Value> = page["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["n"])
        .collect();
    assert_eq!(
        (&page["headN"], listed),
        (&3.into(), vec![&1.into(), &2.into()])
    );
}

#[tokio::test]
async fn counting_goes_on_from_rows_that_are_not_counted_or_are_no_ordinary_messages() {
    // A version that did not count wrote one message for each number.
    let world = World::lobby().await;
    for seq in 0..3 {
        put(&world, seq, "OLD", 3_600).await;
    }
    let page = world.ask_history("b", r#"{"action":"history"}"#).await;
    assert_eq!(
        (&page["headN"], &page["messages"][0]["n"]),
        (&2.into(), &1.into())
    );
    assert_eq!(world.publish("a", FRAME).await["n"], 3);
    assert_eq!(counts(&world).await[2..], [(2, None), (3, Some(3))]);

    // A row that is not an ordinary message repeats the number of the row before it.
    let world = World::lobby().await;
    for (seq, n) in [(0, 0), (1, 1), (2, 1), (3, 2)] {
        put(&world, seq, "E", 3_600).await;
        let update = world
            .dynamodb
            .update_item()
            .table_name(MESSAGES)
            .key("room", S("lobby".to_owned()))
            .key("seq", N(seq.to_string()))
            .update_expression("SET n = :n")
            .expression_attribute_values(":n", N(n.to_string()));
        update.send().await.unwrap();
    }
    assert_eq!(world.publish("a", FRAME).await["n"], 3);
    // Trimmed messages stay counted.
    world.expire("lobby", 2).await;
    let page = world.ask_history("b", r#"{"action":"history"}"#).await;
    assert_eq!((&page["first"], &page["headN"]), (&3.into(), &3.into()));

    // A new epoch begins anew, by a message or by a join.
    world.expire("lobby", 4).await;
    let ack = world.publish("a", &FRAME.replace("\"m\"", "\"n\"")).await;
    assert_eq!((&ack["seq"], &ack["n"]), (&5.into(), &1.into()));
    world.expire("lobby", 5).await;
    let joined = world
        .ask_join("b", r#"{"action":"join","room":"lobby"}"#)
        .await;
    assert_eq!((&joined["head"], &joined["headN"]), (&6.into(), &0.into()));
    assert_eq!(world.publish("a", FRAME).await["n"], 1);
}
