//! Publishing in busy rooms, and the pump.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use chat::paced::lease::{Lease, Replaced, Terms, Took};
use chat::paced::{Leases, Written};
use chat::settings::Pace;
use chat::{App, Call};
use futures::future::join;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::functions::{Answer as Invoked, Functions};
use crate::support::{Answer, MESSAGES, PATIENCE, World, body, now_ms, request};

/// Two deliveries to three members are this far apart: nothing is due twice in a test.
const SELDOM: u32 = 1;

/// Everything is due at once.
const OFTEN: u32 = 1_000_000;

struct Busy {
    world: World,
    functions: Functions,
    app: App,
}

impl Busy {
    /// A lobby with three members, of which `b` takes batches, that is busy.
    async fn new(posts_per_second: u32) -> Self {
        Self::with(World::new().await, posts_per_second).await
    }

    async fn with(world: World, posts_per_second: u32) -> Self {
        for id in ["a", "b", "c"] {
            world.join(id, "lobby").await;
        }
        let functions = Functions::start().await;
        functions.answer(&[Invoked::Text(String::new())]);
        let busy = Self {
            app: world.busy(&functions, pace(posts_per_second)),
            world,
            functions,
        };
        let joined = busy
            .world
            .ask_join("b", r#"{"action":"join","room":"lobby","batch":true}"#)
            .await;
        assert_eq!(joined["type"], "joined", "{joined}");
        busy
    }

    async fn publish(&self, id: &str, data: u32) -> Value {
        let frame = format!(r#"{{"action":"publish","room":"lobby","data":{data}}}"#);
        body(&chat::publish(&self.app, &request(id, &frame)).await)
    }

    /// The pump that was invoked, in a process of its own.
    async fn pump(&self) -> Value {
        let handed = self.functions.take();
        assert_eq!(handed.len(), 1, "{handed:?}");
        self.pump_of(&handed[0].event.to_string()).await
    }

    async fn pump_of(&self, event: &str) -> Value {
        self.pump_at(event, OFTEN).await
    }

    async fn pump_at(&self, event: &str, posts_per_second: u32) -> Value {
        let app = self.world.busy(&self.functions, pace(posts_per_second));
        let started = Instant::now();
        let call = Call {
            body: event,
            request_id: "pump",
            now_ms: now_ms(),
            started,
            deadline: started + 2 * PATIENCE,
        };
        serde_json::from_str(&chat::deliver(&app, &call).await.frame).unwrap()
    }

    async fn lease(&self) -> Option<Lease> {
        let get = self
            .world
            .dynamodb
            .get_item()
            .table_name(MESSAGES)
            .set_key(Some(key()));
        let item = get.send().await.unwrap().item;
        item.map(|item| serde_dynamo::from_item(item).unwrap())
    }

    /// Changes the row of the lease.
    async fn change(&self, changes: &[(&str, AttributeValue)]) {
        let get = self.world.dynamodb.get_item().table_name(MESSAGES);
        let item = get.set_key(Some(key())).send().await.unwrap().item;
        let mut item = item.unwrap();
        for (name, value) in changes {
            item.insert((*name).to_owned(), value.clone());
        }
        self.world.put_into(MESSAGES, item).await;
    }

    /// The numbers that a member has got, frame by frame.
    fn got(&self, id: &str) -> Vec<Vec<u64>> {
        let seq = |message: &Value| {
            assert_eq!(message["type"], "message", "{message}");
            message["seq"].as_u64().unwrap()
        };
        let frames = self.world.peers.frames(id);
        let seqs = frames.iter().map(|frame| match &frame["messages"] {
            Value::Array(messages) => {
                assert_eq!(frame["type"], "messages", "{frame}");
                messages.iter().map(seq).collect()
            }
            _ => vec![seq(frame)],
        });
        seqs.collect()
    }
}

fn pace(posts_per_second: u32) -> Pace {
    Pace {
        from_members: 3,
        posts_per_second,
        function: "deliver".to_owned(),
    }
}

fn key() -> HashMap<String, AttributeValue> {
    HashMap::from([
        (
            "room".to_owned(),
            AttributeValue::S("@deliver#lobby".to_owned()),
        ),
        ("seq".to_owned(), number(0)),
    ])
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[tokio::test]
async fn in_a_calm_room_the_publisher_delivers_as_in_a_small_one() {
    let busy = Busy::new(OFTEN).await;
    for data in [1, 2] {
        let ack = busy.publish("a", data).await;
        assert_eq!(ack["delivered"], 2, "{ack}");
        assert_eq!((&ack["failed"], ack.get("paced")), (&0.into(), None));
    }
    assert_eq!(busy.got("b"), [[1], [2]]);
    assert_eq!(busy.got("c"), [[1], [2]]);
    assert_eq!(busy.got("a"), Vec::<Vec<u64>>::new());
    assert!(busy.functions.take().is_empty());
    let lease = busy.lease().await.unwrap();
    assert_eq!((lease.done, lease.until), (2, 0));
}

#[tokio::test]
async fn what_is_said_between_two_deliveries_is_delivered_together() {
    let busy = Busy::new(SELDOM).await;
    busy.publish("a", 1).await;
    for (id, data) in [("a", 2), ("c", 3)] {
        let ack = busy.publish(id, data).await;
        assert_eq!(ack["paced"], true, "{ack}");
        assert_eq!((ack.get("delivered"), ack.get("failed")), (None, None));
    }
    assert_eq!(busy.got("b"), [[1]]);
    let handed = busy.functions.take();
    assert_eq!(handed.len(), 1, "one pump for both");
    assert_eq!(handed[0].headers["x-amz-invocation-type"], "Event");
    busy.pump_of(&handed[0].event.to_string()).await;
    assert_eq!(busy.got("b"), [vec![1], vec![2, 3]]);
    assert_eq!(busy.got("c"), [[1], [2], [3]]);
    assert_eq!(busy.got("a"), [[2], [3]], "the sender too");
    let texts = |id| busy.world.peers.texts(id);
    let batch: Value = serde_json::from_str(&texts("b")[1]).unwrap();
    let alone: Value = serde_json::from_str(&texts("c")[1]).unwrap();
    assert_eq!(batch["messages"][0], alone, "the frames of a small room");
    assert_eq!(batch["room"], "lobby");
    assert_eq!(batch["epoch"], alone["epoch"]);
    let lease = busy.lease().await.unwrap();
    assert_eq!((lease.done, lease.until), (3, 0));
    // A pump that is invoked twice finds that the lease is not its own.
    let posts = busy.world.peers.tried().len();
    busy.pump_of(&handed[0].event.to_string()).await;
    assert_eq!(busy.world.peers.tried().len(), posts);
}

#[tokio::test]
async fn a_room_that_was_busy_a_moment_ago_is_not_read_whole_for_each_message() {
    let busy = Busy::new(SELDOM).await;
    for id in ["d", "e"] {
        busy.world.join(id, "lobby").await;
    }
    busy.publish("a", 1).await;
    let read = busy.world.tap.pages().len();
    for data in [2, 3] {
        let ack = busy.publish("a", data).await;
        assert_eq!(ack["paced"], true, "{ack}");
    }
    assert_eq!(busy.world.tap.pages()[read..], [Some(3), Some(3)]);
    // All members get the messages nevertheless.
    busy.pump().await;
    for id in ["c", "d", "e"] {
        assert_eq!(busy.got(id), [[1], [2], [3]], "{id}");
    }
    // The size of a room is remembered for a second.
    sleep(Duration::from_millis(1_100)).await;
    let read = busy.world.tap.pages().len();
    busy.publish("a", 4).await;
    assert_eq!(busy.world.tap.pages()[read], None);
}

#[tokio::test]
async fn what_comes_while_a_publisher_delivers_is_found_after_the_release() {
    let busy = Busy::new(OFTEN).await;
    busy.publish("a", 1).await;
    // The first one has posted, and is about to release the lease.
    let held = busy.world.tap.hold("UpdateItem messages", 1);
    let (first, second) = join(busy.publish("a", 2), async {
        held.arrived().await;
        busy.world.tap.let_pass("UpdateItem messages");
        let second = busy.publish("c", 3).await;
        held.release_all();
        second
    })
    .await;
    assert_eq!(first["delivered"], 2, "{first}");
    assert_eq!(second["paced"], true, "{second}");
    assert_eq!(busy.got("b"), [[1], [2]]);
    busy.pump().await;
    assert_eq!(busy.got("b"), [[1], [2], [3]]);
    assert_eq!(busy.got("c"), [[1], [2], [3]]);
}

#[tokio::test]
async fn a_lease_left_behind_ends_and_the_next_publisher_takes_over() {
    let busy = Busy::new(OFTEN).await;
    busy.publish("a", 1).await;
    let dead = [
        ("owner", AttributeValue::S("dead".to_owned())),
        ("until", number(now_ms() + 5_000)),
    ];
    busy.change(&dead).await;
    let ack = busy.publish("a", 2).await;
    assert_eq!(ack["paced"], true, "{ack}");
    assert_eq!(busy.got("b"), [[1]]);
    busy.change(&[("until", number(now_ms() - 1))]).await;
    let ack = busy.publish("c", 3).await;
    assert_eq!(ack["delivered"], 3, "with the sender: {ack}");
    assert_eq!(busy.got("b"), [vec![1], vec![2, 3]]);
    assert_eq!(busy.got("a"), [[2], [3]]);
    assert_eq!(busy.lease().await.unwrap().done, 3);
}

#[tokio::test]
async fn a_room_that_shrinks_and_grows_again_is_not_told_old_messages() {
    let busy = Busy::new(OFTEN).await;
    busy.publish("a", 1).await;
    for data in 2..=4 {
        // As in a room below the limit.
        let frame = format!(r#"{{"action":"publish","room":"lobby","data":{data}}}"#);
        busy.world.publish("a", &frame).await;
    }
    let long_ago = number(now_ms() - 60_000);
    busy.change(&[("released", long_ago)]).await;
    let ack = busy.publish("a", 5).await;
    assert_eq!(ack["delivered"], 2, "{ack}");
    assert_eq!(busy.got("b"), [[1], [2], [3], [4], [5]]);
    let lease = busy.lease().await.unwrap();
    assert_eq!((lease.since, lease.done), (4, 5));
    // Within seconds nobody knows who has posted them: rather twice than never.
    let frame = r#"{"action":"publish","room":"lobby","data":6}"#;
    busy.world.publish("a", frame).await;
    busy.publish("a", 7).await;
    assert_eq!(busy.got("b")[5..], [vec![6], vec![6, 7]]);
}

/// Returns a lobby and the event of a pump that delivers message 2. Posts to `c` get these answers from message 2 on.
async fn slow_member(attempt: u64, all: u64, answers: &[Answer]) -> (Busy, String) {
    let world = World::with(None, |delivery| {
        delivery.attempt_timeout = Duration::from_secs(attempt);
        delivery.post_timeout = Duration::from_secs(all);
    })
    .await;
    let busy = Busy::with(world, SELDOM).await;
    busy.publish("a", 1).await;
    busy.publish("a", 2).await;
    busy.world.peers.on_post("c", answers);
    let handed = busy.functions.take().remove(0).event.to_string();
    (busy, handed)
}

/// Publishes the messages from 3 to `last`, each when `b` has got the one before.
async fn publish_one_by_one(busy: &Busy, last: u32) {
    for seq in 3..=last {
        while busy.got("b").len() + 1 < seq as usize {
            sleep(Duration::from_millis(5)).await;
        }
        let ack = busy.publish("a", seq).await;
        assert_eq!(ack["paced"], true, "{ack}");
    }
}

#[tokio::test]
async fn a_member_whose_posts_hang_holds_up_nobody() {
    let (busy, handed) = slow_member(25, 25, &[Answer::Hang]).await;
    // As many rounds as begin while a post hangs for 5 s.
    let others = publish_one_by_one(&busy, 50);
    tokio::select! {
        _ = busy.pump_of(&handed) => panic!("the pump ends while a post hangs"),
        () = others => {}
    }
    assert_eq!(busy.lease().await.unwrap().done, 1, "nothing is skipped");
    assert_eq!(busy.got("c"), [[1], [2]]);
}

#[tokio::test]
async fn a_slow_member_gets_its_messages_in_order_or_finds_a_gap() {
    // One try of the post hangs, or the whole post.
    for (hangs, expected) in [(1, vec![1, 2, 2, 3, 4, 5]), (2, vec![1, 2, 2, 5])] {
        let answers = [vec![Answer::Hang; hangs], vec![Answer::Ok]].concat();
        let (busy, handed) = slow_member(3, 5, &answers).await;
        join(busy.pump_of(&handed), async {
            publish_one_by_one(&busy, 4).await;
        })
        .await;
        assert_eq!(busy.lease().await.unwrap().done, 4);
        busy.publish("a", 5).await;
        if let Some(handed) = busy.functions.take().pop() {
            busy.pump_of(&handed.event.to_string()).await;
        }
        assert_eq!(busy.got("b"), [[1], [2], [3], [4], [5]]);
        assert_eq!(busy.got("c").concat(), expected);
        assert_eq!(busy.lease().await.unwrap().done, 5);
    }
}

#[tokio::test]
async fn a_member_whose_posts_are_always_slow_does_not_fall_behind_for_ever() {
    // Each post takes a second, and a round begins every 100 ms.
    let answers = [Answer::Hang, Answer::Ok].repeat(40);
    let (busy, handed) = slow_member(1, 5, &answers).await;
    join(busy.pump_of(&handed), publish_one_by_one(&busy, 40)).await;
    assert_eq!(busy.lease().await.unwrap().done, 40);
    assert_eq!(busy.got("b").concat(), (1..=40).collect::<Vec<_>>());
    let mut got = busy.got("c").concat();
    got.dedup();
    assert!(got.is_sorted(), "{got:?}");
    assert!(got.len() < 20, "the others are gaps: {got:?}");
}

#[tokio::test]
async fn the_ack_of_a_publisher_counts_its_own_message() {
    let world = World::with(None, |delivery| {
        delivery.attempt_timeout = Duration::from_secs(1);
        delivery.post_timeout = Duration::from_secs(1);
    })
    .await;
    world.join("d", "lobby").await;
    let busy = Busy::with(world, OFTEN).await;
    busy.publish("a", 1).await;
    busy.world.peers.on_post("c", &[Answer::Hang]);
    let (ack, ()) = join(busy.publish("a", 2), async {
        while busy.got("d").len() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        // It ends while the publisher delivers the message of another one.
        busy.world.peers.gone("d");
        let ack = busy.publish("b", 3).await;
        assert_eq!(ack["paced"], true, "{ack}");
        while busy.got("b").len() < 3 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let counts = ["delivered", "failed", "gone"].map(|count| &ack[count]);
    assert_eq!(counts, [2, 1, 0], "{ack}");
}

#[tokio::test]
async fn a_publisher_whose_posts_are_slow_leaves_the_others_to_the_pump() {
    let busy = Busy::new(OFTEN).await;
    busy.publish("a", 1).await;
    busy.world.peers.delay(Duration::from_millis(600));
    let (ack, handed) = join(busy.publish("a", 2), async {
        for seq in 3..=120 {
            // Meanwhile the publisher delivers the messages of others.
            while busy.got("b").len() + 1 < seq {
                if let Some(handed) = busy.functions.take().pop() {
                    return handed;
                }
                sleep(Duration::from_millis(5)).await;
            }
            let ack = busy.publish("c", seq as u32).await;
            assert_eq!(ack["paced"], true, "{ack}");
        }
        panic!("the publisher goes on for as long as others publish");
    })
    .await;
    // The ack counts the posts of its message, as in a small room.
    assert_eq!((&ack["delivered"], &ack["failed"]), (&2.into(), &0.into()));
    busy.world.peers.delay(Duration::ZERO);
    busy.pump_of(&handed.event.to_string()).await;
    let last = busy.got("b").concat().into_iter().max();
    assert_eq!(last, Some(busy.lease().await.unwrap().done));
}

/// A pump releases its lease when no message has come for 2 s. Here the next delivery is due after 3 s.
#[tokio::test]
async fn a_delivery_that_is_due_later_than_a_pump_idles_is_made() {
    let busy = Busy::new(SELDOM).await;
    busy.publish("a", 1).await;
    busy.publish("a", 2).await;
    let handed = busy.functions.take().remove(0).event.to_string();
    busy.pump_at(&handed, SELDOM).await;
    assert_eq!(busy.got("b"), [[1], [2]]);
    let counts = busy.world.tap.counts();
    let writes = counts
        .iter()
        .find(|(call, _)| call == "UpdateItem messages");
    let writes = writes.map_or(0, |(_, writes)| *writes);
    // Two publishers take the lease. The pump takes it twice, prolongs and advances it, and releases it twice.
    assert!(writes < 30, "{counts:?}");
}

#[tokio::test]
async fn without_a_pump_the_publisher_delivers() {
    let busy = Busy::new(SELDOM).await;
    busy.publish("a", 1).await;
    busy.functions
        .answer(&[Invoked::Refused(403, "AccessDeniedException")]);
    let ack = busy.publish("a", 2).await;
    assert_eq!(ack["delivered"], 2, "{ack}");
    assert_eq!(busy.got("b"), [[1], [2]]);
    let lease = busy.lease().await.unwrap();
    assert_eq!((lease.done, lease.until), (2, 0));
}

#[tokio::test]
async fn without_a_lease_the_publisher_delivers() {
    let busy = Busy::new(OFTEN).await;
    busy.publish("a", 1).await;
    busy.world.tap.fail("UpdateItem messages", 0, "Broken");
    let ack = busy.publish("a", 2).await;
    assert_eq!(ack["delivered"], 2, "{ack}");
    busy.world.tap.heal();
    assert_eq!(busy.got("b"), [[1], [2]]);
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_not_delivered_again_by_a_room_that_has_it() {
    let busy = Busy::new(OFTEN).await;
    let frame = r#"{"action":"publish","room":"lobby","id":"m","data":1}"#;
    for duplicate in [None, Some(true)] {
        let ack = body(&chat::publish(&busy.app, &request("a", frame)).await);
        assert_eq!(ack.get("duplicate").and_then(Value::as_bool), duplicate);
    }
    assert_eq!(busy.got("b"), [[1]]);
    // A try that died before it could deliver is made up for.
    busy.change(&[("since", number(0)), ("done", number(0))])
        .await;
    let other = busy.world.busy(&busy.functions, pace(OFTEN));
    let ack = body(&chat::publish(&other, &request("a", frame)).await);
    assert_eq!(ack["delivered"], 2, "{ack}");
    assert_eq!(busy.got("b"), [[1], [1]]);
}

#[tokio::test]
async fn dead_connections_are_removed() {
    let busy = Busy::new(SELDOM).await;
    busy.publish("a", 1).await;
    busy.publish("a", 2).await;
    busy.world.peers.gone("c");
    busy.pump().await;
    let rows = busy.world.rows().await;
    assert!(rows.iter().all(|(id, _)| id != "c"), "{rows:?}");
}

#[tokio::test]
async fn the_tables_condition_is_that_of_the_model() {
    let busy = Busy::new(OFTEN).await;
    let leases = Leases::new(busy.world.dynamodb.clone(), &busy.world.history);
    let now = now_ms();
    let terms = |own, replaces: Option<Replaced>| Terms {
        me: "me".to_owned(),
        epoch: "E".to_owned(),
        own,
        now_ms: now,
        replaces,
    };
    let mut cases = 0;
    for until in [0, now - 90_000, now - 1, now, now + 1] {
        for released in [0, now - 20_000, now - 1] {
            for (since, done) in [(0, 0), (0, 4), (4, 4), (0, 5), (5, 6), (0, 2_000)] {
                for epoch in ["E", "F"] {
                    for own in [5, 1_200, 2_001] {
                        let lease = Lease {
                            owner: "other".to_owned(),
                            until,
                            epoch: epoch.to_owned(),
                            since,
                            done,
                            last: 7,
                            released,
                        };
                        let mut item = key();
                        item.extend([
                            ("owner".to_owned(), AttributeValue::S("other".to_owned())),
                            ("until".to_owned(), number(until)),
                            ("epoch".to_owned(), AttributeValue::S(epoch.to_owned())),
                            ("since".to_owned(), number(since as i64)),
                            ("done".to_owned(), number(done as i64)),
                            ("last".to_owned(), number(7)),
                            ("released".to_owned(), number(released)),
                        ]);
                        busy.world.put_into(MESSAGES, item).await;
                        let terms = terms(own, None);
                        let took = leases.take("lobby", &terms).await.unwrap();
                        let holds = terms.hold(Some(&lease));
                        assert_eq!(
                            matches!(took, Took::Taken(_)),
                            holds,
                            "{terms:?} {lease:?} {took:?}"
                        );
                        if let Took::Refused(found) = took {
                            assert_eq!(found, Some(lease));
                        }
                        cases += usize::from(holds);
                    }
                }
            }
        }
    }
    assert!(cases > 10, "{cases}");
    // A row that is replaced, and one that is not there.
    let row = busy.lease().await.unwrap();
    for (replaced, taken) in [
        (Replaced::Nothing, false),
        (Replaced::Row(row.owner.clone(), row.until + 1), false),
        (Replaced::Row("nobody".to_owned(), row.until), false),
        (Replaced::Row(row.owner.clone(), row.until), true),
    ] {
        let took = leases.take("lobby", &terms(9, Some(replaced))).await;
        assert_eq!(matches!(took.unwrap(), Took::Taken(_)), taken);
    }
    let row = busy.lease().await.unwrap();
    assert_eq!((row.since, row.done, row.owner.as_str()), (8, 8, "me"));
    // The holder alone may write and hand over.
    let written = |me| Written {
        room: "lobby",
        me,
        done: 9,
        last: now,
        release: true,
    };
    assert!(!leases.write(&written("other"), now).await.unwrap());
    assert!(leases.write(&written("me"), now).await.unwrap());
    let started = leases.start("lobby", "pump", "other", now).await.unwrap();
    assert_eq!(started, None);
    let started = leases.start("lobby", "pump", "me", now).await.unwrap();
    assert_eq!(started.unwrap().owner, "pump");
    assert_eq!(busy.lease().await.unwrap().done, 9);
}
