//! Publishing without failures: the receivers, and the requests.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use serde_json::json;

use crate::support::{World, body, now_ms, request};

#[tokio::test]
async fn members_get_the_message_and_the_sender_gets_the_ack() {
    let world = World::new().await;
    for id in ["a", "b", "c"] {
        world.join(id, "lobby").await;
    }
    world.join("d", "elsewhere").await;

    let before = now_ms();
    let ack = world
        .publish("a", r#"{"action":"publish","data":"hi","id":"m1"}"#)
        .await;
    let at = ack["at"].as_i64().unwrap();
    assert!((before..=now_ms()).contains(&at));
    assert_eq!(
        ack,
        json!({
            "type": "ack", "id": "m1", "room": "lobby", "seq": 1, "epoch": ack["epoch"], "n": 1, "at": at,
            "delivered": 2, "gone": 0, "failed": 0,
        })
    );
    // Every member but the sender, once.
    assert_eq!(world.peers.tried(), ["b", "c"]);
    let text = format!(
        r#"{{"type":"message","room":"lobby","seq":1,"epoch":{},"n":1,"id":"m1","from":"user-a","data":"hi","received":{},"at":{at}}}"#,
        ack["epoch"],
        at / 1000
    );
    assert_eq!(world.peers.texts("b"), [text.as_str()]);
    assert_eq!(world.peers.texts("c"), [text.as_str()]);
}

#[tokio::test]
async fn the_other_connections_of_the_sender_get_the_message() {
    let world = World::new().await;
    let expires = now_ms() / 1000 + 60;
    for (id, user) in [("phone", "alice"), ("laptop", "alice"), ("b", "bob")] {
        world.join_as(id, "lobby", user, expires).await;
    }
    let ack = world
        .publish("phone", r#"{"action":"publish","data":"hi","id":"m1"}"#)
        .await;
    assert_eq!(ack["delivered"], 2);
    assert_eq!(world.peers.tried(), ["b", "laptop"]);
    assert_eq!(world.peers.frames("laptop"), world.peers.frames("b"));
    assert_eq!(world.peers.frames("laptop")[0]["from"], "alice");
}

#[tokio::test]
async fn data_is_passed_on_byte_for_byte() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    world.join("b", "lobby").await;
    for data in [
        "null",
        "1.0",
        "-0",
        "1e308",
        "12345678901234567890123456789",
        r#""\u00e9\/ \ud83e\udd80""#,
        r#"{"b":1,"a":{"b":2}}"#,
        "[ 1,\n\t2 ]",
        &format!("{}{}", "[".repeat(32), "]".repeat(32)),
    ] {
        let ack = world
            .publish("a", &format!(r#"{{"action":"publish","data": {data} }}"#))
            .await;
        assert_eq!(ack["delivered"], 1, "{data:.60}");
        let texts = world.peers.texts("b");
        assert!(
            texts
                .last()
                .unwrap()
                .contains(&format!(r#""data":{data},"received""#)),
            "{data:.60}"
        );
    }
}

#[tokio::test]
async fn an_empty_room_is_told_to_nobody() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    let ack = world.publish("a", r#"{"action":"publish","data":1}"#).await;
    assert_eq!((&ack["delivered"], &ack["failed"]), (&0.into(), &0.into()));
    assert_eq!(ack.get("id"), None);
    assert!(world.peers.tried().is_empty());
}

#[tokio::test]
async fn a_publish_reads_no_more_than_it_must() {
    let world = World::new().await;
    for id in ["a", "b", "c"] {
        world.join(id, "lobby").await;
    }
    let counts = |counts: &[(&str, usize)]| -> Vec<(String, usize)> {
        counts
            .iter()
            .map(|&(operation, count)| (operation.to_owned(), count))
            .collect()
    };
    world.publish("a", r#"{"action":"publish","data":1}"#).await;
    // The first message of a room begins its log: one more write, and one more read that finds no log.
    let expected = counts(&[
        ("PutItem messages", 2),
        ("Query", 1),
        ("Query messages", 2),
        ("Query room-index", 2),
    ]);
    assert_eq!(world.tap.counts(), expected);

    world
        .publish("a", r#"{"action":"publish","data":1,"room":"lobby"}"#)
        .await;
    let expected = counts(&[
        ("GetItem", 1),
        ("PutItem messages", 3),
        ("Query", 1),
        ("Query messages", 3),
        ("Query room-index", 4),
    ]);
    assert_eq!(world.tap.counts(), expected);
    assert!(world.peers.asked().is_empty());
}

#[tokio::test]
async fn nothing_of_a_room_is_read_for_a_stranger() {
    let world = World::lobby().await;
    world.join("c", "garden").await;
    let publish = r#"{"action":"publish","room":"lobby","id":"x","after":0,"data":1}"#;
    let history = r#"{"action":"history","room":"lobby","after":0}"#;
    for _ in 0..2 {
        let error = world.publish("c", publish).await;
        assert_eq!(error["name"], "not_a_member");
        let error = world.ask_history("c", history).await;
        assert_eq!(error["name"], "not_a_member");
    }
    assert_eq!(world.tap.counts(), [("GetItem".to_owned(), 4)]);
    // Neither is it read for a connection that this process has heard in another room.
    world.publish("c", r#"{"action":"publish","data":1}"#).await;
    let before = world.tap.counts();
    world.publish("c", publish).await;
    let of_rooms = |counts: Vec<(String, usize)>| -> usize {
        let reads = counts.iter().filter(|(name, _)| name.starts_with("Query "));
        reads.map(|(_, count)| count).sum()
    };
    assert_eq!(of_rooms(world.tap.counts()), of_rooms(before));
}

#[tokio::test]
async fn who_joins_while_the_message_is_put_gets_it() {
    let world = World::lobby().await;
    let held = world.tap.hold("PutItem messages", 0);
    let frame = r#"{"action":"publish","room":"lobby","data":1}"#;
    // The genesis, then the message.
    let (ack, ()) = futures::future::join(world.publish("a", frame), async {
        held.arrived().await;
        held.release();
        held.arrived().await;
        // The members are read already. The head is 0 for a member that joins now.
        world.join("late", "lobby").await;
        held.release();
    })
    .await;
    assert_eq!(ack["delivered"], 2);
    assert_eq!(world.peers.tried(), ["b", "late"]);
    assert_eq!(world.peers.frames("late")[0]["seq"], 1);
}

#[tokio::test]
async fn a_process_delivers_a_duplicate_again_once_in_half_a_minute() {
    let world = World::lobby().await;
    let frame = r#"{"action":"publish","room":"lobby","id":"m","after":0,"data":"hi"}"#;
    let delivered = async |app: &chat::App, later_ms: i64| {
        let frame = request("a", frame);
        let now_ms = frame.now_ms + later_ms;
        let frame = chat::lambda::Request { now_ms, ..frame };
        let ack = body(&chat::publish(app, &frame).await);
        assert_eq!((&ack["type"], &ack["seq"]), (&"ack".into(), &1.into()));
        ack["delivered"].as_u64().unwrap()
    };
    // The message, a duplicate that is delivered again, and some that are not.
    assert_eq!(delivered(&world.app, 0).await, 1);
    assert_eq!(delivered(&world.app, 0).await, 1);
    let requests = || world.tap.order().len();
    for later in [0, 1, 10_000, 29_000] {
        let so_far = requests();
        assert_eq!(delivered(&world.app, later).await, 0);
        // The row of the sender, the members and the search for the copy. The row of the copy is not read again.
        assert_eq!(requests() - so_far, 3);
    }
    assert_eq!(world.peers.texts("b").len(), 2);
    // A process that knows nothing delivers it: the first one may have been killed.
    assert_eq!(delivered(&world.another_process(), 0).await, 1);
    assert_eq!(delivered(&world.app, 40_000).await, 1);
    assert_eq!(delivered(&world.app, 41_000).await, 0);
    assert_eq!(world.peers.texts("b").len(), 4);
    // Another message is not held back.
    let ack = world
        .publish(
            "a",
            r#"{"action":"publish","room":"lobby","id":"n","data":"hi"}"#,
        )
        .await;
    assert_eq!(ack["delivered"], 1);
}

#[tokio::test]
async fn every_member_of_every_page_gets_it_once() {
    let world = World::with(Some(7), |_| ()).await;
    let ids: BTreeSet<String> = (0..50).map(|n| format!("c{n:02}")).collect();
    for id in &ids {
        world.join(id, "lobby").await;
    }
    let ack = world
        .publish("c17", r#"{"action":"publish","data":1,"room":"lobby"}"#)
        .await;
    assert_eq!(ack["delivered"], 49);
    let expected: Vec<String> = ids.into_iter().filter(|id| id != "c17").collect();
    assert_eq!(world.peers.tried(), expected);
    // Eight pages, and the first one before the message is stored.
    let read = ("Query room-index".to_owned(), 9);
    assert!(world.tap.counts().contains(&read));
}

#[tokio::test]
async fn the_next_page_is_read_while_posts_of_the_first_run() {
    let world = World::with(Some(2), |delivery| delivery.concurrency = 4).await;
    for id in ["a", "b", "c", "d", "e"] {
        world.join(id, "lobby").await;
    }
    // No post is answered before all four have arrived, and the members are on three pages.
    world.peers.hold_until(4);
    let ack = world.publish("a", r#"{"action":"publish","data":1}"#).await;
    assert_eq!(ack["delivered"], 4);
    assert_eq!(world.peers.tried(), ["b", "c", "d", "e"]);
}

#[tokio::test]
async fn the_order_of_recipients_is_not_that_of_the_index() {
    let world = World::with(None, |delivery| delivery.concurrency = 1).await;
    for n in 0..20 {
        world.join(&format!("c{n:02}"), "lobby").await;
    }
    world
        .publish("c00", r#"{"action":"publish","data":1}"#)
        .await;
    // Only one of 19! shuffles is sorted.
    assert_ne!(world.peers.order(), world.peers.tried());
}

#[tokio::test]
async fn expired_rows_are_neither_members_nor_recipients() {
    let world = World::with(Some(2), |_| ()).await;
    world.join("a", "lobby").await;
    // Expired, and not yet deleted by DynamoDB: whole pages of them.
    for id in ["b", "c", "d", "e", "f"] {
        world.join_since(id, "lobby", 8_000).await;
    }
    world.join("z", "lobby").await;
    world.join_since("a", "old", 8_000).await;
    let ack = world.publish("a", r#"{"action":"publish","data":1}"#).await;
    assert_eq!(
        (&ack["room"], &ack["delivered"]),
        (&"lobby".into(), &1.into())
    );
    assert_eq!(world.peers.tried(), ["z"]);

    for frame in [
        r#"{"action":"publish","data":1}"#,
        r#"{"action":"publish","data":1,"room":"lobby"}"#,
    ] {
        assert_eq!(
            world.publish("b", frame).await["name"],
            "not_a_member",
            "{frame}"
        );
    }
}

#[tokio::test]
async fn posts_run_side_by_side_within_the_bound() {
    let world = World::with(None, |delivery| delivery.concurrency = 8).await;
    for n in 0..60 {
        world.join(&format!("c{n:02}"), "lobby").await;
    }
    // No post is answered before 8 wait for an answer.
    world.peers.hold_until(8);
    let ack = world
        .publish("c00", r#"{"action":"publish","data":1}"#)
        .await;
    assert_eq!(ack["delivered"], 59);
    assert_eq!(
        world.peers.in_flight_at_arrival().into_iter().max(),
        Some(8)
    );
}

#[tokio::test]
async fn a_cold_process_posts_once_before_it_posts_to_all() {
    let world = World::new().await;
    for n in 0..20 {
        world.join(&format!("c{n:02}"), "lobby").await;
    }
    world.peers.delay(Duration::from_millis(20));
    world
        .publish("c00", r#"{"action":"publish","data":1}"#)
        .await;
    let cold = world.peers.in_flight_at_arrival();
    assert_eq!(
        cold[1], 1,
        "the second post came before the first was answered: {cold:?}"
    );
    assert!(cold.contains(&2), "{cold:?}");

    // A warm one does not wait.
    world
        .publish("c00", r#"{"action":"publish","data":1}"#)
        .await;
    assert_eq!(world.peers.in_flight_at_arrival()[20], 2);
}

#[tokio::test]
async fn a_connection_in_several_rooms_must_say_which() {
    let world = World::new().await;
    for room in ["red", "blue", "green"] {
        world.join("a", room).await;
        world.join(&format!("in-{room}"), room).await;
    }
    let error = world
        .publish("a", r#"{"action":"publish","data":1,"id":"m"}"#)
        .await;
    assert_eq!(
        error,
        json!({
            "type": "error", "id": "m", "action": "publish", "code": 400, "name": "bad_request",
            "message": "this connection is in 3 rooms; say which with room: blue, green, red", "temporary": false,
        })
    );
    assert!(world.peers.tried().is_empty());
    let ack = world
        .publish("a", r#"{"action":"publish","data":1,"room":"green"}"#)
        .await;
    assert_eq!(ack["room"], "green");
    assert_eq!(world.peers.tried(), ["in-green"]);
}

#[tokio::test]
async fn rows_of_other_writers_are_understood() {
    // Without connectedAt, and with an unknown attribute.
    let world = World::new().await;
    for id in ["a", "b"] {
        world
            .put(HashMap::from([
                ("connectionId".to_owned(), S(id.to_owned())),
                ("room".to_owned(), S("lobby".to_owned())),
                ("user".to_owned(), S("bot".to_owned())),
                ("expiresAt".to_owned(), N("99999999999".to_owned())),
                ("colour".to_owned(), S("red".to_owned())),
            ]))
            .await;
    }
    assert_eq!(
        world.publish("a", r#"{"action":"publish","data":1}"#).await["delivered"],
        1
    );
    assert_eq!(world.peers.frames("b")[0]["from"], "bot");
}
