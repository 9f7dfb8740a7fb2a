//! A process remembers parts of a publish for the next one: this saves reads and waits, and changes nothing else.

use chat::App;
use serde_json::{Value, json};

use crate::support::{World, body, request};

async fn publish(app: &App, id: &str, frame: &Value) -> Value {
    body(&chat::publish(app, &request(id, &frame.to_string())).await)
}

fn frame(id: &str) -> Value {
    json!({"action": "publish", "room": "lobby", "data": id, "id": id})
}

/// Four messages, which the process remembers.
async fn remembered(world: &World) {
    for n in 1..=4 {
        let ack = publish(&world.app, "a", &frame(&format!("first-{n}"))).await;
        assert_eq!(ack["seq"], n);
    }
}

/// The requests since the last call.
struct Reads<'a>(&'a World, Vec<(String, usize)>);

impl<'a> Reads<'a> {
    fn of(world: &'a World) -> Self {
        Self(world, world.tap.counts())
    }

    fn since(&mut self) -> Vec<String> {
        let now = self.0.tap.counts();
        let before = |operation: &str| {
            let found = self.1.iter().find(|(known, _)| known == operation);
            found.map_or(0, |(_, count)| *count)
        };
        let new = now
            .iter()
            .flat_map(|(operation, count)| vec![operation.clone(); count - before(operation)])
            .collect();
        self.1 = now;
        new
    }
}

/// Asserts that the log has no holes and no copies, and ends at `last`.
async fn is_whole(world: &World, last: u64) {
    let log = world.log("lobby").await;
    let seqs: Vec<u64> = log.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (0..=last).collect::<Vec<u64>>());
    let mut ids: Vec<_> = log.iter().filter_map(|row| row.id.clone()).collect();
    ids.sort();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "twice in the log");
}

#[tokio::test]
async fn a_retry_is_found_among_what_is_remembered() {
    let world = World::lobby().await;
    remembered(&world).await;
    let mut reads = Reads::of(&world);
    let ack = publish(&world.app, "a", &frame("first-1")).await;
    assert_eq!((&ack["seq"], &ack["duplicate"]), (&1.into(), &true.into()));
    // The rows that came since, the message itself, and the members before and after.
    let expected = [
        "GetItem",
        "Query messages",
        "Query messages",
        "Query room-index",
        "Query room-index",
    ];
    assert_eq!(reads.since(), expected);
    is_whole(&world, 4).await;
}

#[tokio::test]
async fn what_another_process_has_written_is_found() {
    // Few rows, and more than are searched.
    for between in [0, 1, 7, 48, 49, 60] {
        let world = World::lobby().await;
        remembered(&world).await;
        let other = world.another_process();
        let mut message = frame("m");
        message["after"] = 4.into();
        publish(&other, "a", &message).await;
        for n in 0..between {
            publish(&other, "b", &frame(&format!("other-{n}"))).await;
        }
        let ack = publish(&world.app, "a", &message).await;
        assert_eq!(
            (&ack["seq"], &ack["duplicate"]),
            (&5.into(), &true.into()),
            "{between}"
        );
        // Without an id it reads the last row alone.
        let unnamed = json!({"action": "publish", "room": "lobby", "data": 1});
        let ack = publish(&world.app, "a", &unnamed).await;
        assert_eq!(ack["seq"], 6 + between, "{between}");
        let ack = publish(&world.app, "a", &frame("last")).await;
        assert_eq!(ack["seq"], 7 + between, "{between}");
        is_whole(&world, 7 + between).await;
    }
}

#[tokio::test]
async fn nothing_is_remembered_of_a_log_that_is_deleted() {
    for begun_anew in [false, true] {
        let world = World::lobby().await;
        remembered(&world).await;
        for seq in 0..=4 {
            world.delete_logged("lobby", seq).await;
        }
        let last = if begun_anew {
            // Up to the remembered number, and past it.
            let other = world.another_process();
            for n in 1..=5 {
                let ack = publish(&other, "b", &frame(&format!("new-{n}"))).await;
                assert_eq!(ack["seq"], n);
            }
            5
        } else {
            0
        };
        let ack = publish(&world.app, "a", &frame("first-1")).await;
        assert_eq!(
            (&ack["seq"], ack.get("duplicate")),
            (&(last + 1).into(), None)
        );
        let log = world.log("lobby").await;
        assert!(log.iter().all(|row| row.epoch == log[0].epoch));
        is_whole(&world, last + 1).await;
    }
}

#[tokio::test]
async fn the_room_is_the_one_that_the_rows_say() {
    let world = World::lobby().await;
    let unnamed = json!({"action": "publish", "data": 1});
    let ack = publish(&world.app, "a", &unnamed).await;
    assert_eq!(
        (&ack["room"], &ack["delivered"]),
        (&"lobby".into(), &1.into())
    );
    // It has moved to another room.
    let join = r#"{"action":"join","room":"garden"}"#;
    let leave = r#"{"action":"leave","room":"lobby"}"#;
    world.ask_join("a", join).await;
    world.ask_leave("a", leave).await;
    let ack = publish(&world.app, "a", &unnamed).await;
    assert_eq!(
        (&ack["room"], &ack["seq"], &ack["delivered"]),
        (&"garden".into(), &1.into(), &0.into())
    );
    // In two rooms it must name one.
    world
        .ask_join("a", r#"{"action":"join","room":"lobby"}"#)
        .await;
    let error = publish(&world.app, "a", &unnamed).await;
    assert_eq!(error["name"], "bad_request");
    // In no room it publishes nothing, whatever is remembered.
    world.ask_leave("a", leave).await;
    publish(&world.app, "a", &unnamed).await;
    world
        .ask_leave("a", r#"{"action":"leave","room":"garden"}"#)
        .await;
    let error = publish(&world.app, "a", &unnamed).await;
    assert_eq!(error["name"], "not_a_member");
    assert_eq!(world.log("lobby").await.len(), 2);
    assert_eq!(world.log("garden").await.len(), 3);
}
