//! The rate limits of the log: counted by the append itself, over all connections and processes.

use std::collections::BTreeMap;

use chat::lambda::Request;
use chat::log::Header;
use chat::log::append::{Append, Outcome, Range, Refusal, Sent, Slot, Step};
use chat::settings::{LogLimits, RateLimits};
use chat::{App, FrameLimit};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Tap, World, body, request};

const WINDOW_MS: i64 = 5_000;

fn limits(per_user: u32, per_room: u32) -> LogLimits {
    let limit = |limit: u32| (limit > 0).then_some(limit);
    LogLimits {
        per_user: limit(per_user),
        per_room: limit(per_room),
        window_ms: WINDOW_MS,
    }
}

/// Publishes in the lobby, `later_ms` from now.
async fn publish(app: &App, connection: &str, id: Option<&str>, later_ms: i64) -> Value {
    let frame = json!({"action": "publish", "room": "lobby", "data": 1, "id": id});
    let request = request(connection, &frame.to_string());
    let now_ms = request.now_ms + later_ms;
    body(&chat::publish(app, &Request { now_ms, ..request }).await)
}

/// The requests of the log so far.
fn requests(tap: &Tap) -> usize {
    let counts = tap.counts();
    let of_log = counts
        .iter()
        .filter(|(name, _)| name.ends_with(" messages"));
    of_log.map(|(_, count)| count).sum()
}

#[tokio::test]
async fn a_user_is_limited_over_all_connections_and_processes() {
    let world = World::lobby().await;
    world
        .join_as("a2", "lobby", "user-a", i64::MAX / 1_000_000)
        .await;
    let processes = [
        world.process(Some(limits(3, 0))),
        world.process(Some(limits(3, 0))),
    ];
    for (n, connection) in ["a", "a2", "a"].into_iter().enumerate() {
        let ack = publish(&processes[n % 2], connection, Some(&format!("m-{n}")), 0).await;
        assert_eq!(ack["seq"], n + 1, "{ack}");
    }
    for (process, connection) in processes.iter().zip(["a", "a2"]) {
        let error = publish(process, connection, Some("m-3"), 0).await;
        assert_eq!(
            (&error["name"], &error["code"], &error["temporary"]),
            (&"slow_down".into(), &429.into(), &true.into()),
            "{error}"
        );
        let wait = error["retryAfterMs"].as_i64().unwrap();
        assert!((1..=WINDOW_MS).contains(&wait), "{error}");
    }
    // A retry of a stored message is neither refused nor counted, and another user is not concerned.
    let again = publish(&processes[0], "a", Some("m-1"), 0).await;
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&2.into(), &true.into())
    );
    assert_eq!(publish(&processes[0], "b", None, 0).await["seq"], 4);
    // The window passes.
    assert_eq!(
        publish(&processes[1], "a", Some("m-3"), WINDOW_MS).await["seq"],
        5
    );
}

#[tokio::test]
async fn a_room_is_limited_and_says_so() {
    let world = World::lobby().await;
    let process = world.process(Some(limits(0, 2)));
    publish(&process, "a", None, 0).await;
    publish(&process, "b", None, 0).await;
    let error = publish(&process, "a", None, 0).await;
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("the limit is 2 messages in this room in 5 s; nothing was stored"),
        "{message}"
    );
    assert_eq!(world.log("lobby").await.len(), 3);
}

#[tokio::test]
async fn counting_asks_nothing_of_a_process_that_knows_the_room() {
    let world = World::lobby().await;
    let counted = world.process(Some(limits(100, 200)));
    let plain = world.another_process();
    let mut used = Vec::new();
    for process in [&plain, &counted] {
        publish(process, "a", None, 0).await;
        let before = requests(&world.tap);
        for _ in 0..20 {
            publish(process, "a", None, 0).await;
        }
        used.push(requests(&world.tap) - before);
    }
    assert_eq!(used, [40, 40]);
}

#[tokio::test]
async fn a_fresh_process_reads_back_until_the_window_is_covered() {
    let world = World::lobby().await;
    let limits = Some(limits(30, 200));
    let known = world.process(limits);
    for _ in 0..30 {
        publish(&known, "a", None, 0).await;
    }
    // One row, then ten, then forty.
    let before = requests(&world.tap);
    let fresh = world.process(limits);
    assert_eq!(publish(&fresh, "a", None, 0).await["name"], "slow_down");
    assert_eq!(requests(&world.tap) - before, 3);
    // It remembers them.
    let before = requests(&world.tap);
    assert_eq!(publish(&fresh, "a", None, 0).await["name"], "slow_down");
    assert_eq!(requests(&world.tap) - before, 1);
    // In a room that was silent for a while the last row says enough.
    let before = requests(&world.tap);
    let fresh = world.process(limits);
    assert_eq!(publish(&fresh, "a", None, 60_000).await["seq"], 31);
    assert_eq!(requests(&world.tap) - before, 2);
}

fn frames(frames_per_second: u32, burst: u32) -> FrameLimit {
    FrameLimit::new(RateLimits {
        per_user: 0,
        per_room: 0,
        window_seconds: 5,
        frames_per_second,
        burst,
        close_after: 0,
    })
}

#[tokio::test]
async fn a_connection_that_floods_is_told_once_and_then_costs_no_request() {
    let world = World::lobby().await;
    let frames = frames(2, 4);
    let now = request("a", "").now_ms;
    let ask = async |connection: &str, later_ms: i64| {
        let request = Request {
            now_ms: now + later_ms,
            ..request(
                connection,
                r#"{"action":"members","id":"w","room":"lobby"}"#,
            )
        };
        chat::members(&world.app.presence, &frames, &request).await
    };
    for _ in 0..4 {
        assert_eq!(body(&ask("a", 0).await)["type"], "members");
    }
    let before = world.tap.counts();
    let error = body(&ask("a", 0).await);
    assert_eq!(
        (
            &error["name"],
            &error["id"],
            &error["action"],
            &error["retryAfterMs"]
        ),
        (
            &"slow_down".into(),
            &"w".into(),
            &"members".into(),
            &1_000.into()
        ),
        "{error}"
    );
    for later_ms in [0, 500, 999] {
        let dropped = ask("a", later_ms).await;
        assert_eq!((dropped.status, dropped.body), (200, None));
    }
    assert_eq!(world.tap.counts(), before);
    // Another connection is not concerned, and the time of the answer is exact.
    assert_eq!(body(&ask("b", 999).await)["type"], "members");
    assert_eq!(body(&ask("a", 1_000).await)["type"], "members");
}

#[tokio::test]
async fn every_action_but_publish_keeps_to_the_limit_of_frames() {
    let world = World::lobby().await;
    let App {
        connections,
        log,
        presence,
        ..
    } = &world.app;
    let users = &world.users;
    for action in ["join", "leave", "history", "members", "dance"] {
        let frames = frames(1, 1);
        let frame = json!({"action": action, "room": "lobby", "id": "n"}).to_string();
        let now = request("a", "").now_ms;
        let mut names = Vec::new();
        for _ in 0..3 {
            let request = &Request {
                now_ms: now,
                ..request("a", &frame)
            };
            let reply = match action {
                "join" => chat::join(presence, log, users, &frames, request).await,
                "leave" => chat::leave(presence, &frames, request).await,
                "history" => chat::history(connections, log, &frames, request).await,
                "members" => chat::members(presence, &frames, request).await,
                _ => chat::default(&["publish".to_owned()], &frames, request).await,
            };
            names.push(reply.body.is_some().then(|| body(&reply)["name"].clone()));
        }
        assert_ne!(names[0], Some("slow_down".into()), "{action}");
        assert_eq!(names[1..], [Some("slow_down".into()), None], "{action}");
    }
}

/// A connection that does not stop is told so, and then closed: by a frame that is dropped without an answer, and by a
/// publish that the log would count.
#[tokio::test]
async fn a_connection_that_does_not_stop_is_closed() {
    let world = World::lobby().await;
    let management = &world.app.management;
    let limit = |rate| {
        let limits = RateLimits {
            per_user: 0,
            per_room: 0,
            window_seconds: 5,
            frames_per_second: rate,
            burst: rate,
            close_after: 3,
        };
        FrameLimit::new(limits).closing(management.clone())
    };
    let now = request("a", "").now_ms;
    let flooding = limit(1);
    let app = world.another_process().limited(limit(1));
    for (connection, action) in [("a", "members"), ("b", "publish")] {
        let frame = json!({"action": action, "room": "lobby", "data": 1, "id": null}).to_string();
        let ask = async || {
            let request = &Request {
                now_ms: now,
                ..request(connection, &frame)
            };
            let reply = match action {
                "members" => chat::members(&app.presence, &flooding, request).await,
                _ => chat::publish(&app, request).await,
            };
            reply.body.is_some().then(|| body(&reply))
        };
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(ask().await);
        }
        match action {
            "members" => {
                assert_eq!(answers[1].as_ref().unwrap()["name"], "slow_down");
                assert_eq!(answers[2..], [None, None]);
            }
            // Stored and acknowledged: a message beyond the limit of frames is not refused.
            _ => assert!(answers.iter().flatten().all(|ack| ack["type"] == "ack")),
        }
        assert_eq!(
            ask().await,
            Some(json!({
                "type": "bye", "reason": "too_many_frames", "reconnect": "later", "retryAfterMs": 60_000,
            }))
        );
        assert!(!world.peers.closed().contains(&connection.to_owned()));
        assert_eq!(ask().await, None);
        assert!(world.peers.closed().contains(&connection.to_owned()));
        // While the connection ends, its frames cost no request.
        let before = world.tap.counts();
        assert_eq!(ask().await, None);
        assert_eq!(world.tap.counts(), before);
    }
    assert_eq!(world.peers.closed(), ["a", "b"]);
    assert_eq!(world.log("lobby").await.len(), 5);
}

/// A publish of a random log: the user, the clock, the duration of the put, and whether the process is fresh.
#[derive(Debug, Clone)]
struct Said {
    user: usize,
    after_ms: i64,
    put_ms: i64,
    fresh: bool,
    /// Other writers' rows that win the slot first.
    lost: Vec<usize>,
}

fn said() -> impl Strategy<Value = Said> {
    (
        0_usize..3,
        prop_oneof![0_i64..300, 0_i64..3_000],
        prop_oneof![Just(0_i64), 0_i64..20_000],
        any::<bool>(),
        prop::collection::vec(0_usize..3, 0..3),
    )
        .prop_map(|(user, after_ms, put_ms, fresh, lost)| Said {
            user,
            after_ms,
            put_ms,
            fresh,
            lost,
        })
}

const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// True if any window holds more than `limit` of the times.
fn exceeds(mut times: Vec<i64>, limit: u32) -> bool {
    times.sort_unstable();
    times
        .windows(limit as usize + 1)
        .any(|group| group[group.len() - 1] - group[0] < WINDOW_MS)
}

/// The append of a message at `at` to a log in memory: what it stores, or why it does not.
struct Table {
    rows: BTreeMap<u64, Header>,
    limits: LogLimits,
}

impl Table {
    fn times(&self, user: Option<&str>) -> Vec<i64> {
        let rows = self.rows.values().filter(|row| !row.is_genesis());
        rows.filter(|row| user.is_none() || row.user.as_deref() == user)
            .map(|row| row.at)
            .collect()
    }

    fn row(&self, seq: u64, user: Option<&str>, at: i64) -> Header {
        Header {
            seq,
            epoch: "E".to_owned(),
            id: None,
            hash: None,
            user: user.map(str::to_owned),
            nonce: format!("N{seq}"),
            at,
            expires_at: i64::MAX,
            n: Some(seq),
        }
    }

    /// True if one more message exceeds a limit.
    fn is_full(&self, user: &str, at: i64) -> bool {
        let with = |mut times: Vec<i64>| {
            times.push(at);
            times
        };
        self.limits
            .per_user
            .is_some_and(|limit| exceeds(with(self.times(Some(user))), limit))
            || self
                .limits
                .per_room
                .is_some_and(|limit| exceeds(with(self.times(None)), limit))
    }

    fn read(&self, range: Range) -> Vec<Header> {
        let newest = |rows: Vec<&Header>, most: usize| -> Vec<Header> {
            let skipped = rows.len().saturating_sub(most);
            rows.into_iter().skip(skipped).cloned().collect()
        };
        let rows = |from: u64| self.rows.range(from..).map(|(_, row)| row).collect();
        match range {
            Range::After(from) | Range::From(from) => newest(rows(from), usize::MAX),
            Range::Last => newest(rows(0), 50),
            Range::Tail => newest(rows(0), 1),
            Range::Before { seq, rows } => newest(
                self.rows.range(..seq).map(|(_, row)| row).collect(),
                rows as usize,
            ),
        }
    }

    /// Runs one append. `remembered` are the rows that a process knows at the end; `lost` win the slots before it.
    fn append(
        &mut self,
        user: &str,
        at: i64,
        remembered: usize,
        lost: &[usize],
        put_at: i64,
    ) -> Result<u64, Refusal> {
        let sent = Sent {
            ordinary: true,
            user: user.to_owned(),
            id: None,
            hash: None,
            after: None,
            at,
        };
        let mut append = Append::new(sent, "mine", "epoch", Some(self.limits));
        let tail = self.read(Range::Last);
        let known = &tail[tail.len() - remembered.clamp(1, tail.len().max(1)).min(tail.len())..];
        let mut step = append.read(Range::Tail, known);
        let mut lost = lost.iter();
        loop {
            step = match step {
                Step::Read(range) => append.read(range, &self.read(range)),
                Step::Put(slot) => {
                    if !slot.genesis
                        && let Some(&other) = lost.next()
                        && !self.is_full(USERS[other], put_at)
                    {
                        let row = self.row(slot.seq, Some(USERS[other]), put_at);
                        self.rows.entry(slot.seq).or_insert(row);
                    }
                    let outcome = self.put(&slot, user, at);
                    append.put(&slot, &outcome)
                }
                Step::Done(stored) => return Ok(stored.seq),
                Step::Refused(refusal) => return Err(refusal),
                Step::Conflict(_) => unreachable!("there are no ids"),
            };
        }
    }

    fn put(&mut self, slot: &Slot, user: &str, at: i64) -> Outcome {
        if let Some(winner) = self.rows.get(&slot.seq) {
            return Outcome::Taken(winner.clone());
        }
        let user = (!slot.genesis).then_some(user);
        let row = self.row(slot.seq, user, at);
        self.rows.insert(slot.seq, row);
        Outcome::Written
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_log_counts_as_a_counter_with_a_lock_would(
        all in prop::collection::vec(said(), 1..120),
        (per_user, per_room) in (1_u32..8, prop_oneof![Just(0_u32), 5_u32..20]),
    ) {
        let mut table = Table { rows: BTreeMap::new(), limits: limits(per_user, per_room) };
        let mut now = 1_793_246_400_000_i64;
        for said in all {
            now += said.after_ms;
            // Received some time before the put.
            let at = now - said.put_ms;
            let user = USERS[said.user];
            let remembered = if said.fresh { 1 } else { 50 };
            let before = table.rows.len();
            let full = table.is_full(user, at);
            match table.append(user, at, remembered, &said.lost, now) {
                Ok(_) => {}
                Err(refusal) => {
                    // Refused only when due: at once, or after the rows that came in between.
                    prop_assert!(full || table.rows.len() > before, "refused too early: {refusal:?}");
                    prop_assert!(table.is_full(user, at));
                    // Exact: then it is let in, and a millisecond before it is not.
                    let then = at + i64::try_from(refusal.retry_after_ms).unwrap();
                    let newest = table.times(None).into_iter().max().unwrap_or(0);
                    prop_assert!(!table.is_full(user, then), "{refusal:?}");
                    if then > newest {
                        prop_assert!(table.is_full(user, then - 1), "{refusal:?}");
                    }
                }
            }
            for user in USERS {
                prop_assert!(!exceeds(table.times(Some(user)), per_user), "{user}");
            }
            if per_room > 0 {
                prop_assert!(!exceeds(table.times(None), per_room), "the room");
            }
        }
    }
}
