//! Runs the append algorithm alone through every interleaving of a few writers.
//!
//! The writers are driven by the code that publishes, [`Append`], over a log in memory. Each operation that takes time
//! is split: a read looks at one slot after the other, in ascending order, while others write; a put may be done and
//! its reply lost, may be done later, or never; a process may die anywhere, and its client sends the message again with
//! the same id. Where a log has expired, its rows are deleted meanwhile, in any order. The test goes through all orders in which this can happen, and skips states that it has met before.

use std::collections::{BTreeMap, HashSet};

use chat::log::Header;
use chat::log::append::{Append, Outcome, Range, Sent, Slot, Step};
use chat::settings::LogLimits;

use crate::support::model;

/// The time of the test, in milliseconds since 1970.
const NOW_MS: i64 = 1_793_246_400_000;

/// The clock of the second writer is behind by this much: no decision may compare two functions' clocks.
const BEHIND_MS: i64 = 600_000;
const EXPIRES_S: i64 = NOW_MS / 1000 + 7 * 24 * 3600;

type Log = BTreeMap<u64, Header>;

/// A message of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Message {
    user: &'static str,
    id: Option<&'static str>,
    /// The last number that the client has seen.
    after: Option<u64>,
    data: &'static str,
    limits: Option<LogLimits>,
    /// True if the clocks of all invocations agree: an expiry is a time, and limits count by the clocks.
    synced: bool,
}

/// A client and the invocation that works for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Writer {
    message: Message,
    invocation: u8,
    append: Append,
    doing: Doing,
    /// Further tries of the client, if the process dies.
    tries: u8,
    /// Replies that may still be lost.
    losses: u8,
    /// True if a read of the end of the log begins at the end, as a descending Query does.
    downwards: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Doing {
    /// Looks at the slots of `left`, the last one first.
    Reading {
        range: Range,
        left: Vec<u64>,
        rows: Vec<Header>,
    },
    Putting(Slot),
    Acked {
        seq: u64,
        epoch: String,
        n: u64,
    },
    /// The id belongs to other data.
    Conflict,
    /// A rate limit is reached.
    Refused,
    /// Died, and its client does not try again.
    Dead,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    log: Log,
    writers: Vec<Writer>,
    /// Puts on their way whose writers do not wait. Each is done at some moment, or never.
    adrift: Vec<(Slot, Header)>,
    /// True if the log begins with expired rows, which are deleted at any moment.
    expires: bool,
}

impl Writer {
    fn new(
        number: u8,
        message: Message,
        log: &Log,
        (tries, losses): (u8, u8),
        downwards: bool,
    ) -> Self {
        let invocation = number * 16;
        let append = fresh(message, invocation);
        let mut writer = Self {
            message,
            invocation,
            append,
            doing: Doing::Dead,
            tries,
            losses,
            downwards,
        };
        writer.take(Step::Read(Range::covering(message.id, message.after)), log);
        writer
    }

    /// The client sends again, to another process, which remembers nothing.
    fn try_again(&mut self, log: &Log) {
        if self.tries == 0 {
            self.doing = Doing::Dead;
            return;
        }
        self.tries -= 1;
        self.invocation += 1;
        self.append = fresh(self.message, self.invocation);
        self.take(
            Step::Read(Range::covering(self.message.id, self.message.after)),
            log,
        );
    }

    fn take(&mut self, step: Step, log: &Log) {
        let end = log.keys().next_back().copied().unwrap_or(0);
        self.doing = match step {
            Step::Read(range) => {
                let first = match range {
                    Range::After(first) | Range::From(first) => first,
                    Range::Last => 0,
                    Range::Tail if self.downwards => 0,
                    Range::Tail => end,
                    Range::Before { seq, rows } => seq.saturating_sub(rows.into()),
                };
                // Rows that are written behind this while the read goes on may be found or not.
                let last = match range {
                    Range::Before { seq, .. } => seq,
                    _ => end + 2,
                };
                let mut left: Vec<u64> = (first..=last).collect();
                if !self.reads_downwards(range) {
                    left.reverse();
                }
                Doing::Reading {
                    range,
                    left,
                    rows: Vec::new(),
                }
            }
            Step::Put(slot) => Doing::Putting(slot),
            Step::Done(stored) => Doing::Acked {
                seq: stored.seq,
                epoch: stored.epoch,
                n: stored.n,
            },
            Step::Conflict(_) => Doing::Conflict,
            Step::Refused(_) => Doing::Refused,
        };
    }

    fn reads_downwards(&self, range: Range) -> bool {
        self.downwards && matches!(range, Range::Last | Range::Tail)
    }

    fn row(&self, slot: &Slot) -> Header {
        Header {
            seq: slot.seq,
            epoch: slot.epoch.clone(),
            id: self.message.id.filter(|_| !slot.genesis).map(str::to_owned),
            hash: hash(self.message).filter(|_| !slot.genesis),
            user: (!slot.genesis).then(|| self.message.user.to_owned()),
            nonce: nonce(self.invocation),
            at: clock(self.message, self.invocation),
            expires_at: EXPIRES_S,
            n: Some(slot.n),
        }
    }
}

/// The clock of an invocation.
fn clock(message: Message, invocation: u8) -> i64 {
    match (message.synced, invocation / 16) {
        (false, 1) => NOW_MS - BEHIND_MS,
        _ => NOW_MS,
    }
}

fn nonce(invocation: u8) -> String {
    format!("N{invocation}")
}

/// The data stand for their hash.
fn hash(message: Message) -> Option<String> {
    message.id.map(|_| message.data.to_owned())
}

fn fresh(message: Message, invocation: u8) -> Append {
    let sent = Sent {
        user: message.user.to_owned(),
        ordinary: true,
        id: message.id.map(str::to_owned),
        hash: hash(message),
        after: message.after,
        at: clock(message, invocation),
    };
    Append::new(
        sent,
        &nonce(invocation),
        &format!("G{invocation}"),
        message.limits,
    )
}

/// Puts a row where there is none, if an expired row that it follows is still there.
fn put(log: &mut Log, slot: &Slot, row: Header) -> Outcome {
    match log.get(&row.seq) {
        Some(winner) => Outcome::Taken(winner.clone()),
        None if !holds(log, slot) => Outcome::Trimmed,
        None => {
            log.insert(row.seq, row);
            Outcome::Written
        }
    }
}

fn holds(log: &Log, slot: &Slot) -> bool {
    let before = slot.seq.checked_sub(1).and_then(|seq| log.get(&seq));
    let epoch = before.map(|row| &row.epoch);
    slot.after_expired.is_none() || slot.after_expired.as_ref() == epoch
}

impl State {
    /// Drops puts that change nothing any more: their slot is taken, or the row before it is gone. The order of the
    /// others does not matter.
    fn settle(&mut self) {
        let log = &self.log;
        self.adrift
            .retain(|(slot, _)| !log.contains_key(&slot.seq) && holds(log, slot));
        self.adrift
            .sort_unstable_by(|(_, a), (_, b)| (a.seq, &a.nonce).cmp(&(b.seq, &b.nonce)));
    }
}

/// Every state that may come next.
fn successors(state: &State) -> Vec<State> {
    let mut all = Vec::new();
    for at in 0..state.adrift.len() {
        let mut next = state.clone();
        let (slot, row) = next.adrift.remove(at);
        put(&mut next.log, &slot, row);
        all.push(next);
    }
    for seq in state
        .log
        .values()
        .filter(|row| is_old(row))
        .map(|row| row.seq)
    {
        let mut next = state.clone();
        next.log.remove(&seq);
        all.push(next);
    }
    for index in 0..state.writers.len() {
        let writer = &state.writers[index];
        match &writer.doing {
            Doing::Acked { .. } | Doing::Conflict | Doing::Refused | Doing::Dead => continue,
            Doing::Reading { range, left, rows } => {
                let mut next = state.clone();
                let (range, mut left, mut rows) = (*range, left.clone(), rows.clone());
                let downwards = writer.reads_downwards(range);
                let found = left.pop().and_then(|slot| next.log.get(&slot).cloned());
                if downwards && range == Range::Tail && found.is_some() {
                    left.clear();
                }
                rows.extend(found);
                let writer = &mut next.writers[index];
                if left.is_empty() {
                    if downwards {
                        rows.reverse();
                    }
                    if range == Range::Tail {
                        rows.drain(..rows.len().saturating_sub(1));
                    }
                    let step = writer.append.read(range, &rows);
                    writer.take(step, &next.log);
                } else {
                    writer.doing = Doing::Reading { range, left, rows };
                }
                all.push(next);
            }
            Doing::Putting(slot) => {
                let row = writer.row(slot);
                // Done, and answered.
                let mut next = state.clone();
                let outcome = put(&mut next.log, slot, row.clone());
                let writer = &mut next.writers[index];
                let step = writer.append.put(slot, &outcome);
                writer.take(step, &next.log);
                all.push(next);
                if state.writers[index].losses > 0 {
                    // No reply. The put is done, or on its way.
                    for done in [true, false] {
                        let mut next = state.clone();
                        if done {
                            put(&mut next.log, slot, row.clone());
                        } else {
                            next.adrift.push((slot.clone(), row.clone()));
                        }
                        let writer = &mut next.writers[index];
                        writer.losses -= 1;
                        let step = writer.append.put(slot, &Outcome::Unknown);
                        writer.take(step, &next.log);
                        all.push(next);
                    }
                }
                // The process dies. What it has sent is on its way.
                if state.writers[index].tries > 0 {
                    let mut next = state.clone();
                    next.adrift.push((slot.clone(), row));
                    let State { log, writers, .. } = &mut next;
                    writers[index].try_again(log);
                    all.push(next);
                }
            }
        }
    }
    all
}

/// Asserts the invariants of every state.
fn check(state: &State) {
    // Expired rows count as trimmed. All others are one epoch, at the end of the log.
    let log: Log = state
        .log
        .clone()
        .into_iter()
        .filter(|(_, row)| !is_old(row))
        .collect();
    let last_old = state
        .log
        .values()
        .rfind(|row| is_old(row))
        .map(|row| row.seq);
    let first = log.keys().next().copied();
    assert!(
        last_old < first || log.is_empty(),
        "above a new epoch: {state:#?}"
    );
    for (seq, row) in &log {
        assert_eq!(*seq, row.seq);
        if Some(*seq) > first || !state.expires && *seq > 0 {
            let before = log.get(&(seq - 1));
            assert!(before.is_some(), "a hole before {seq}: {state:#?}");
            assert_eq!(
                before.map(|before| &before.epoch),
                Some(&row.epoch),
                "two epochs: {state:#?}"
            );
        }
        assert!(!row.is_genesis() || *seq == 0, "{state:#?}");
        assert!(row.is_genesis() || *seq > 0, "{state:#?}");
        let counted = log.range(..=seq).filter(|(_, row)| !row.is_genesis());
        assert_eq!(row.n(), counted.count() as u64, "{state:#?}");
    }
    // An id is taken once, but for the rows that a writer has declared older than its message.
    let mut ids = HashSet::new();
    let older = |row: &Header| row.nonce == OLDER;
    for row in log.values().filter(|row| row.id.is_some() && !older(row)) {
        assert!(
            ids.insert((&row.user, &row.id)),
            "twice in the log: {state:#?}"
        );
    }
    let mut nonces = HashSet::new();
    for row in log.values().filter(|row| !row.is_genesis()) {
        assert!(
            nonces.insert(&row.nonce),
            "written twice by one invocation: {state:#?}"
        );
    }
    for writer in &state.writers {
        if let Some(limit) = writer.message.limits.and_then(|limits| limits.per_user) {
            let of_user = log
                .values()
                .filter(|row| row.user.as_deref() == Some(writer.message.user));
            assert!(
                of_user.count() <= limit as usize,
                "beyond the limit: {state:#?}"
            );
        }
        if matches!(writer.doing, Doing::Conflict | Doing::Refused) {
            // A genesis holds no message.
            let stored = log
                .values()
                .any(|row| !row.is_genesis() && row.nonce == nonce(writer.invocation));
            assert!(!stored, "refused and stored: {state:#?}");
        }
        if let Doing::Acked { seq, epoch, n } = &writer.doing {
            let row = log.get(seq).unwrap();
            let mine = row.nonce == nonce(writer.invocation)
                || (row.id.is_some()
                    && row.id.as_deref() == writer.message.id
                    && row.user.as_deref() == Some(writer.message.user)
                    && row.hash == hash(writer.message)
                    && writer.message.after.is_none_or(|after| row.seq > after));
            assert!(
                mine && row.epoch == *epoch && row.n() == *n,
                "acked and not there: {state:#?}"
            );
        }
    }
}

/// Visits every state that can be reached from the first, and returns their number.
fn explore(first: State) -> usize {
    let mut ends = 0;
    let states = model::explore(first, |state| {
        check(state);
        let mut next = successors(state);
        if state.writers.iter().all(|writer| {
            matches!(
                writer.doing,
                Doing::Acked { .. } | Doing::Conflict | Doing::Refused
            )
        }) {
            ends += 1;
        }
        next.iter_mut().for_each(State::settle);
        next
    });
    assert!(ends > 0, "nobody was ever acknowledged");
    states
}

fn genesis() -> Log {
    let row = Header {
        seq: 0,
        epoch: "E".to_owned(),
        id: None,
        hash: None,
        user: None,
        nonce: "G".to_owned(),
        at: NOW_MS,
        expires_at: EXPIRES_S,
        n: Some(0),
    };
    Log::from([(0, row)])
}

/// A log with a message of an older version, which did not count.
fn talk() -> Log {
    let mut log = genesis();
    let said = Header {
        seq: 1,
        user: Some("dave".to_owned()),
        nonce: "D".to_owned(),
        n: None,
        ..log[&0].clone()
    };
    log.insert(1, said);
    log
}

/// A log whose rows expire in a second, so that DynamoDB deletes them while the writers work.
fn ending() -> Log {
    let mut log = talk();
    for row in log.values_mut() {
        row.expires_at = NOW_MS / 1000 + 1;
    }
    log
}

/// Returns true if DynamoDB may delete the row.
fn is_old(row: &Header) -> bool {
    row.expires_at < EXPIRES_S
}

/// The writer of a row that is older than every message of a test.
const OLDER: &str = "older";

/// A log in which alice has used the id `a` already, for other data.
fn used() -> Log {
    let mut log = talk();
    let said = Header {
        seq: 2,
        user: Some("alice".to_owned()),
        id: Some("a".to_owned()),
        hash: Some("first".to_owned()),
        nonce: OLDER.to_owned(),
        ..log[&1].clone()
    };
    log.insert(2, said);
    log
}

fn says(user: &'static str, id: Option<&'static str>, after: Option<u64>) -> Message {
    Message {
        user,
        id,
        after,
        data: "data",
        limits: None,
        synced: false,
    }
}

fn race(log: Log, writers: &[(Message, u8, u8)]) -> usize {
    race_with(log, writers, false)
}

fn race_with(log: Log, writers: &[(Message, u8, u8)], downwards: bool) -> usize {
    let writers = (0_u8..)
        .zip(writers)
        .map(|(number, &(message, tries, losses))| {
            Writer::new(number, message, &log, (tries, losses), downwards)
        })
        .collect();
    let expires = log.values().any(is_old);
    explore(State {
        log,
        writers,
        adrift: Vec::new(),
        expires,
    })
}

#[test]
fn two_writers_that_die_and_lose_replies() {
    for (log, after) in [(Log::new(), None), (genesis(), Some(0)), (talk(), Some(1))] {
        let states = race(
            log,
            &[
                (says("alice", Some("a"), after), 1, 1),
                (says("bob", Some("b"), after), 1, 1),
            ],
        );
        assert!(states > 10_000, "{states}");
    }
}

#[test]
fn writers_begin_one_epoch_while_the_old_one_is_deleted() {
    let [alice, bob] = [("alice", Some("a")), ("bob", None)].map(|(user, id)| Message {
        synced: true,
        ..says(user, id, None)
    });
    for downwards in [true, false] {
        for writers in [
            vec![(alice, 0, 1), (bob, 0, 1)],
            vec![(alice, 1, 0), (bob, 0, 0)],
            vec![(alice, 0, 0), (alice, 0, 0), (bob, 0, 0)],
        ] {
            let states = race_with(ending(), &writers, downwards);
            assert!(states > 10_000, "{states}");
        }
    }
}

#[test]
fn another_row_in_the_place_of_the_expired_one_means_another_epoch() {
    let message = Message {
        synced: true,
        ..says("alice", Some("a"), Some(1))
    };
    let mut append = fresh(message, 0);
    let rows: Vec<Header> = ending().into_values().collect();
    let tail = rows[1].clone();
    let from = Range::From(1);
    assert_eq!(append.read(Range::Last, &rows), Step::Read(from));
    let Step::Put(slot) = append.read(from, std::slice::from_ref(&tail)) else {
        panic!("the end is found twice");
    };
    assert_eq!(slot.after_expired.as_deref(), Some("E"));
    // No reply, and another writer has begun an epoch at this number or below: an earlier copy may be anywhere in it.
    assert_eq!(append.put(&slot, &Outcome::Unknown), Step::Read(from));
    let other = Header {
        epoch: "X".to_owned(),
        nonce: "Y".to_owned(),
        expires_at: EXPIRES_S,
        ..tail
    };
    assert_eq!(append.read(from, &[other]), Step::Read(Range::Last));
}

#[test]
fn one_message_by_two_sockets_and_a_stranger() {
    for (log, after) in [(Log::new(), None), (genesis(), None), (talk(), Some(1))] {
        let states = race(
            log,
            &[
                (says("alice", Some("a"), after), 0, 0),
                (says("alice", Some("a"), after), 0, 0),
                (says("bob", Some("b"), after), 0, 0),
            ],
        );
        assert!(states > 300, "{states}");
    }
}

#[test]
fn a_retry_while_the_first_try_is_on_its_way_and_a_stranger() {
    for (log, after) in [(genesis(), None), (talk(), Some(1))] {
        let states = race(
            log,
            &[
                (says("alice", Some("a"), after), 1, 0),
                (says("bob", None, after), 0, 1),
                (says("carol", None, after), 0, 0),
            ],
        );
        assert!(states > 10_000, "{states}");
    }
}

#[test]
fn who_gives_no_id_is_written_once_for_each_invocation() {
    let states = race(
        Log::new(),
        &[
            (says("alice", None, None), 0, 2),
            (says("bob", None, None), 0, 2),
        ],
    );
    assert!(states > 100, "{states}");
    let states = race(
        talk(),
        &[
            (says("alice", None, None), 0, 1),
            (says("bob", None, None), 0, 1),
            (says("carol", None, None), 0, 1),
        ],
    );
    assert!(states > 1_000, "{states}");
}

#[test]
fn one_id_for_two_messages_is_stored_once_and_refused_once() {
    for (log, after) in [(Log::new(), None), (genesis(), Some(0)), (talk(), Some(1))] {
        let other = Message {
            data: "other",
            ..says("alice", Some("a"), after)
        };
        let states = race(
            log,
            &[
                (says("alice", Some("a"), after), 1, 1),
                (other, 1, 0),
                (says("bob", None, None), 0, 0),
            ],
        );
        assert!(states > 1_000, "{states}");
    }
}

#[test]
fn a_row_that_the_client_has_seen_is_never_the_copy() {
    // The row 2 has the same user and id: the writers of `after: 2` store a message, a writer of `after: 1` does not.
    let states = race(
        used(),
        &[
            (says("alice", Some("a"), Some(2)), 1, 1),
            (says("bob", Some("b"), Some(2)), 1, 0),
        ],
    );
    assert!(states > 1_000, "{states}");
    let mut append = fresh(says("alice", Some("a"), Some(1)), 0);
    let rows: Vec<Header> = used().into_values().skip(1).collect();
    assert_eq!(append.read(Range::After(1), &rows), Step::Conflict(2));
    // A warm process holds more rows than the client asks for.
    for message in [says("alice", Some("a"), Some(2)), says("alice", None, None)] {
        let rows: Vec<Header> = used().into_values().collect();
        let range = Range::covering(message.id, message.after);
        let step = fresh(message, 0).read(range, &rows);
        assert!(matches!(step, Step::Put(Slot { seq: 3, .. })), "{step:?}");
    }
}

#[test]
fn writers_of_one_user_never_pass_the_limit() {
    let limits = |per_user: u32| {
        Some(LogLimits {
            per_user: Some(per_user),
            per_room: None,
            window_ms: 5_000,
        })
    };
    for (per_user, log) in [(1, Log::new()), (1, talk()), (2, talk())] {
        let message = |id| Message {
            limits: limits(per_user),
            synced: true,
            ..says("alice", id, None)
        };
        let states = race(
            log,
            &[
                (message(Some("a")), 0, 1),
                (message(Some("b")), 0, 0),
                (message(None), 0, 0),
            ],
        );
        assert!(states > 300, "{states}");
    }
}
