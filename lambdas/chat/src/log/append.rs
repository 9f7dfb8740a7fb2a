//! Appending to the log of a room: decides the next step from what the table has answered so far.
//!
//! There is no counter. A message is put at the slot after the tail on condition that the slot is
//! free. So the log has neither holes nor forks: a writer of slot n has seen n - 1, and a reader of n knows that
//! 1…n are stored. [`Append`] decides and does nothing else. [`Log::append`](super::Log::append) carries the steps out.
//! A test drives [`Append`] through every interleaving of writers that crash, lose replies and read a log that changes
//! meanwhile.
//!
//! A message is in the log once because of three rules:
//!
//! - The writer has looked at every row from the beginning of the first read to the slot that it writes. This includes
//!   rows that won a slot before it, and a later read begins at the last known row.
//! - **A Query is not a snapshot**: it may pass a slot before the slot is written, and find the next one written. Such
//!   a hole may hide the earlier copy of this message, so the writer reads again, always: two functions' clocks may
//!   differ, so the age of a row proves nothing.
//! - A put with an unknown outcome is resolved by a read from the row before it.
//!
//! Two writers begin one epoch and not two because of two rules:
//!
//! - A row after an expired row is put in one transaction with a check that the expired row is still there. So no row
//!   is written above a tail that DynamoDB has deleted meanwhile.
//! - A writer that would begin an epoch reads the end of the log twice: the first read may have passed a slot before
//!   it was written, and the row below it after that row was deleted.
//!
//! The same rows carry who wrote them and when, so the rate limits are counted from them before each put. The
//! conditional put is the lock: of two messages that count the same rows, one loses its slot and counts again.

use std::collections::BTreeMap;

use super::row::Header;
use crate::settings::{LogLimits, MAX_LOG_LIMIT};

/// Rows searched for an earlier copy when the client gives no `after`: some seconds of a busy room.
pub const LOOK_BACK: u32 = 50;

/// Rows searched for an earlier copy at most, however small the client's `after` is.
pub const MAX_LOOK_BACK: u32 = 1_000;

/// Rows counted at most for the rate limits.
pub const ROWS_COUNTED: u32 = MAX_LOG_LIMIT;

/// Slots tried one after another before the tail is read again: each lost slot costs a write.
pub const SLOTS_TRIED: u32 = 3;

/// Reads that must miss the same row before the row counts as deleted. A row that the first read missed because it was
/// not written yet is found by the second one, since the row after it was there.
pub const HOLE_READS: u32 = 2;

/// A tail that expires within this time counts as expired for a writer, in seconds: DynamoDB may delete the tail before
/// the put arrives, and an invocation lives half a minute.
const EXPIRY_MARGIN_S: i64 = 60;

/// A row is put at most this long after its `at`, in milliseconds: an invocation lives half a minute. So all rows below
/// a row are at most this much younger than it.
const LONGEST_INVOCATION_MS: i64 = 30_000;

/// Rows to read, always strongly consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Range {
    /// The row `after` of the client and all rows above it, at most the last [`MAX_LOOK_BACK`].
    After(u64),
    /// This row and all above it. It is the last known row, so that a hole above it shows.
    From(u64),
    /// The last [`LOOK_BACK`] rows.
    Last,
    /// The last row alone.
    Tail,
    /// So many rows below `seq`, for the rate limits.
    Before {
        /// The lowest row that is known.
        seq: u64,
        /// The number of rows.
        rows: u32,
    },
}

impl Range {
    /// The first read, for a client that has seen everything up to `after`.
    ///
    /// A message without an `id` has no copy that could be recognised. Rows are paid for by their size, so the search
    /// would cost as much as the last messages are long.
    pub fn covering(id: Option<&str>, after: Option<u64>) -> Self {
        match (id, after) {
            (None, _) => Self::Tail,
            (Some(_), Some(after)) => Self::After(after),
            (Some(_), None) => Self::Last,
        }
    }
}

/// Rows whose `at` is this or less end the search for rows to count: no row below them is within the window.
pub(super) fn horizon(limits: &LogLimits, now_ms: i64) -> i64 {
    now_ms - limits.window_ms - LONGEST_INVOCATION_MS
}

/// A slot to be written on condition that it is free.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its number.
    pub seq: u64,
    /// The epoch of the row: that of the row before, or a new one.
    pub epoch: String,
    /// The earliest time the row may expire, in seconds since 1970: not before the row before it. So expired rows are
    /// always the beginning of a log, whatever happens to clocks and to the retention.
    pub expires_from: i64,
    /// True if the slot gets a genesis and not the message.
    pub genesis: bool,
    /// The number of ordinary messages of the epoch, with the row of this slot.
    pub n: u64,
    /// The epoch of the row before, if that row has expired or is about to: the put must fail if DynamoDB has deleted
    /// that row, since another writer may have begun an epoch elsewhere.
    pub after_expired: Option<String>,
}

impl Slot {
    /// The beginning of an empty log. The first message copies its epoch from there, and so does a member that joins
    /// before it: two writers cannot begin two epochs.
    pub(super) fn genesis(epoch: &str) -> Self {
        Self {
            seq: 0,
            epoch: epoch.to_owned(),
            expires_from: 0,
            genesis: true,
            n: 0,
            after_expired: None,
        }
    }
}

/// The result of a put.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The row is there.
    Written,
    /// Another row is there; or our own, if the reply to an earlier try was lost.
    Taken(Header),
    /// The expired row before the slot is gone. Nothing is written.
    Trimmed,
    /// No reply, or a reply that does not say which row is there.
    Unknown,
}

/// The place of a message in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stored {
    /// Its number.
    pub seq: u64,
    /// The epoch it belongs to.
    pub epoch: String,
    /// The number of ordinary messages of the epoch, with this one.
    pub n: u64,
    /// The time when the message was first received, in milliseconds since 1970.
    pub at: i64,
    /// True if an earlier invocation has stored the message.
    pub duplicate: bool,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read, and call [`Append::read`].
    Read(Range),
    /// Put, and call [`Append::put`].
    Put(Slot),
    /// The message is in the log.
    Done(Stored),
    /// The same user has used the same `id` for other data, at this number. Nothing is stored.
    Conflict(u64),
    /// A rate limit is reached. Nothing is stored.
    Refused(Refusal),
}

/// A rate limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// True if the limit is the room's and not the user's.
    pub of_room: bool,
    /// The limit, in messages.
    pub limit: u32,
    /// The time until the message is within the limit, in milliseconds.
    pub retry_after_ms: u64,
}

/// The parts of a message by which a duplicate is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sent {
    /// The sender.
    pub user: String,
    /// The client's own id of the message.
    pub id: Option<String>,
    /// True for an ordinary message, false for an entry that changes one.
    pub ordinary: bool,
    /// A hash of the data, for a message with an `id`.
    pub hash: Option<String>,
    /// The client has seen everything up to this number, so no copy is at or below it.
    pub after: Option<u64>,
    /// The time when the message was received, in milliseconds since 1970.
    pub at: i64,
}

/// A row that counts for the rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Counted {
    at: i64,
    message: bool,
    own: bool,
}

/// One message on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Append {
    sent: Sent,
    nonce: String,
    genesis: String,
    limits: Option<LogLimits>,
    /// Slots lost since the tail was read.
    lost: u32,
    /// A row that was missing, and how many reads in a row have missed it.
    hole: Option<(u64, u32)>,
    /// The end of the log, as the last read that asked for a new epoch found it: the last row, or no row.
    end: Option<Option<(u64, String)>>,
    /// The rows seen so far, by number, as far as the limits need them.
    counted: BTreeMap<u64, Counted>,
    /// True if there are no rows below the counted ones.
    all_counted: bool,
    /// The slot to be written when enough rows are counted.
    waiting: Option<Slot>,
}

/// The relation of a row to the message.
enum Relation {
    Copy,
    Conflict,
    Other,
}

impl Append {
    /// A message on its way. `nonce` is a ULID of this invocation alone; an epoch that begins with this message is named
    /// after it. `genesis` is another ULID, and names the epoch of a log that is empty.
    pub fn new(sent: Sent, nonce: &str, genesis: &str, limits: Option<LogLimits>) -> Self {
        Self {
            sent,
            nonce: nonce.to_owned(),
            genesis: genesis.to_owned(),
            limits,
            lost: 0,
            hole: None,
            end: None,
            counted: BTreeMap::new(),
            all_counted: false,
            waiting: None,
        }
    }

    /// The step after a read of `range` that returned `rows`, in ascending order.
    pub fn read(&mut self, range: Range, rows: &[Header]) -> Step {
        self.count(rows);
        if let Range::Before { rows: asked, .. } = range {
            self.all_counted |= rows.len() < asked as usize;
            if let Some(slot) = self.waiting.take() {
                return self.within_limits(slot);
            }
        }
        let Some(tail) = rows.last() else {
            return match range {
                // The client's `after` is of another epoch, or DynamoDB has deleted all rows since.
                Range::After(_) | Range::From(_) => self.start_over(),
                _ if self.finds_again(None) => Step::Put(Slot::genesis(&self.genesis)),
                _ => Step::Read(range),
            };
        };
        if self.is_replaced(range, rows) {
            return self.start_over();
        }
        let searched = match range {
            // The caller may remember more rows than a fresh process would read.
            Range::Last => &rows[rows.len().saturating_sub(LOOK_BACK as usize)..],
            _ => rows,
        };
        let mut unbroken = from_expired(searched, self.now_s());
        if let Some((missing, above)) = hole(range, unbroken, self.now_s()) {
            let reads = match self.hole {
                Some((known, reads)) if known == missing => reads + 1,
                _ => 1,
            };
            self.hole = Some((missing, reads));
            if reads < HOLE_READS {
                return Step::Read(range);
            }
            unbroken = above;
        }
        let mut conflict = None;
        for row in unbroken.iter().filter(|row| !row.is_expired(self.now_s())) {
            match self.relation(row) {
                Relation::Copy => return Step::Done(self.found(row)),
                Relation::Conflict => conflict = conflict.or(Some(row.seq)),
                Relation::Other => {}
            }
        }
        if let Some(seq) = conflict {
            return Step::Conflict(seq);
        }
        self.lost = 0;
        self.put_after(tail)
    }

    /// The step after a put into `slot`.
    pub fn put(&mut self, slot: &Slot, outcome: &Outcome) -> Step {
        match outcome {
            Outcome::Written if slot.genesis => Step::Put(Slot {
                seq: slot.seq + 1,
                genesis: false,
                n: slot.n + u64::from(self.sent.ordinary),
                ..slot.clone()
            }),
            Outcome::Written => Step::Done(Stored {
                seq: slot.seq,
                epoch: slot.epoch.clone(),
                n: slot.n,
                at: self.sent.at,
                duplicate: false,
            }),
            Outcome::Taken(winner) => match self.relation(winner) {
                Relation::Copy => Step::Done(self.found(winner)),
                Relation::Conflict => Step::Conflict(winner.seq),
                // Another writer has begun the epoch, here or further below.
                Relation::Other if slot.after_expired.is_some() => self.start_over(),
                Relation::Other => {
                    self.count(std::slice::from_ref(winner));
                    self.lost += 1;
                    if self.lost < SLOTS_TRIED {
                        self.put_after(winner)
                    } else {
                        Step::Read(Range::From(winner.seq))
                    }
                }
            },
            Outcome::Trimmed => self.start_over(),
            Outcome::Unknown => Step::Read(match slot.seq.checked_sub(1) {
                Some(known) => Range::From(known),
                None => Range::Last,
            }),
        }
    }

    fn now_s(&self) -> i64 {
        self.sent.at / 1000
    }

    /// Puts the message after `tail`. A new epoch begins only where two reads find the same tail.
    fn put_after(&mut self, tail: &Header) -> Step {
        let slot = Slot {
            n: ordinary_before(tail, self.now_s()) + u64::from(self.sent.ordinary),
            ..following(tail, &self.nonce, self.now_s(), false)
        };
        if slot.after_expired.is_some() && !self.finds_again(Some(tail)) {
            return Step::Read(Range::From(tail.seq));
        }
        self.within_limits(slot)
    }

    /// Searches the log anew: the epoch that the client's `after` belongs to has ended.
    fn start_over(&mut self) -> Step {
        self.sent.after = None;
        Step::Read(Range::Last)
    }

    /// Returns true if another row is in the place of the expired row from which the read begins: another writer has begun
    /// an epoch at that number or below.
    fn is_replaced(&self, range: Range, rows: &[Header]) -> bool {
        let Some(Some((end, nonce))) = &self.end else {
            return false;
        };
        let first = rows.first().filter(|row| row.seq == *end);
        range == Range::From(*end) && first.is_some_and(|row| row.nonce != *nonce)
    }

    /// Returns true if the read before this one has found the same end of the log.
    fn finds_again(&mut self, last: Option<&Header>) -> bool {
        let end = Some(last.map(|row| (row.seq, row.nonce.clone())));
        let again = self.end == end;
        self.end = end;
        again
    }

    /// A copy was written by this invocation, or by an earlier one for the same id and data of the same user. A row
    /// without a hash was not written by this service, and counts as the same data.
    fn relation(&self, row: &Header) -> Relation {
        if row.is_genesis() {
            return Relation::Other;
        }
        if row.nonce == self.nonce {
            return Relation::Copy;
        }
        let sent = &self.sent;
        let same_id = sent.id.is_some() && sent.id == row.id;
        let seen = sent.after.is_some_and(|after| row.seq <= after);
        if !same_id || row.user.as_ref() != Some(&sent.user) || seen {
            return Relation::Other;
        }
        match &row.hash {
            Some(hash) if sent.hash.as_ref() != Some(hash) => Relation::Conflict,
            _ => Relation::Copy,
        }
    }

    fn found(&self, own: &Header) -> Stored {
        Stored {
            seq: own.seq,
            epoch: own.epoch.clone(),
            n: own.n(),
            at: own.at,
            duplicate: own.nonce != self.nonce,
        }
    }

    /// Takes note of rows for the limits, from the last one down to the first that is too old to count.
    fn count(&mut self, rows: &[Header]) {
        let Some(limits) = self.limits else { return };
        let horizon = horizon(&limits, self.sent.at);
        for row in rows.iter().rev().take(ROWS_COUNTED as usize) {
            let counted = Counted {
                at: row.at,
                message: !row.is_genesis(),
                own: row.user.as_ref() == Some(&self.sent.user),
            };
            self.counted.insert(row.seq, counted);
            if row.at <= horizon {
                break;
            }
        }
    }

    /// Puts the message, unless a limit is reached or older rows have to be counted first.
    fn within_limits(&mut self, slot: Slot) -> Step {
        let Some(limits) = self.limits else {
            return Step::Put(slot);
        };
        if let Some(range) = self.uncounted(&limits) {
            self.waiting = Some(slot);
            return Step::Read(range);
        }
        let times = |of_room: bool| -> Vec<i64> {
            let rows = self.counted.values().filter(|row| row.message);
            let mut times: Vec<i64> = rows
                .filter(|row| row.own || of_room)
                .map(|row| row.at)
                .collect();
            times.sort_unstable();
            times
        };
        let at = self.sent.at;
        let limits_of = [(false, limits.per_user), (true, limits.per_room)];
        let (mut full, mut longest) = (false, None);
        for (of_room, limit) in limits_of {
            let Some(limit) = limit else { continue };
            let times = times(of_room);
            full |= is_full(&times, at, limit, limits.window_ms);
            let free_at = free_at(&times, limit, limits.window_ms);
            let refusal = Refusal {
                of_room,
                limit,
                retry_after_ms: u64::try_from(free_at.unwrap_or(at) - at)
                    .unwrap_or(0)
                    .max(1),
            };
            if longest
                .is_none_or(|longest: Refusal| longest.retry_after_ms < refusal.retry_after_ms)
            {
                longest = Some(refusal);
            }
        }
        match longest {
            Some(refusal) if full => Step::Refused(refusal),
            _ => Step::Put(slot),
        }
    }

    /// The rows to read before the limits can be judged. The first read is short: most rooms are calm.
    fn uncounted(&self, limits: &LogLimits) -> Option<Range> {
        let (&lowest, _) = self.counted.first_key_value()?;
        let known = u32::try_from(self.counted.len()).unwrap_or(u32::MAX);
        let horizon = horizon(limits, self.sent.at);
        let enough = self.all_counted
            || lowest <= 1
            || known >= ROWS_COUNTED
            || self.counted.values().any(|row| row.at <= horizon);
        let rows = match known {
            0..10 => 10,
            10..50 => 40,
            _ => ROWS_COUNTED.saturating_sub(known),
        };
        (!enough).then_some(Range::Before { seq: lowest, rows })
    }
}

/// True if one more message at `at` makes more than `limit` messages in some window. `times` are the times of the
/// messages that count, in ascending order.
fn is_full(times: &[i64], at: i64, limit: u32, window_ms: i64) -> bool {
    let limit = limit as usize;
    let near = times.iter().copied();
    let mut near: Vec<i64> = near
        .filter(|time| (at - window_ms + 1..at + window_ms).contains(time))
        .chain([at])
        .collect();
    near.sort_unstable();
    near.windows(limit + 1)
        .any(|group| group[limit] - group[0] < window_ms && (group[0]..=group[limit]).contains(&at))
}

/// The time when one more message is within the limit: the newest `limit` messages count until the oldest of them
/// leaves the window. None if there are fewer messages.
fn free_at(times: &[i64], limit: u32, window_ms: i64) -> Option<i64> {
    let oldest = times.len().checked_sub(limit as usize)?;
    times.get(oldest).map(|time| time + window_ms)
}

/// The slot after `tail`.
///
/// An expired tail still counts for the number, but the row after it begins a new epoch, named `epoch`: DynamoDB may
/// delete the tail at any moment, and its number would be given a second time. So does a tail that expires before the
/// put is sure to have arrived.
pub(super) fn following(tail: &Header, epoch: &str, now_s: i64, genesis: bool) -> Slot {
    let expired = tail.is_expired(now_s + EXPIRY_MARGIN_S);
    Slot {
        seq: tail.seq + 1,
        epoch: if expired { epoch } else { &tail.epoch }.to_owned(),
        expires_from: tail.expires_at,
        genesis,
        n: ordinary_before(tail, now_s) + u64::from(!genesis),
        after_expired: expired.then(|| tail.epoch.clone()),
    }
}

/// The number of ordinary messages of the epoch of the row after `tail`, without that row.
fn ordinary_before(tail: &Header, now_s: i64) -> u64 {
    if tail.is_expired(now_s + EXPIRY_MARGIN_S) {
        0
    } else {
        tail.n()
    }
}

/// The rows from the last expired one on, or all. Expired rows are deleted in any order: holes among them prove
/// nothing.
fn from_expired(rows: &[Header], now_s: i64) -> &[Header] {
    let last = rows.iter().rposition(|row| row.is_expired(now_s));
    &rows[last.unwrap_or(0)..]
}

/// Returns true if the second row was put after the first. A message that begins an epoch has given the epoch its own nonce as the
/// name, so any other message of another epoch has followed a row that took the place of the first.
fn follows(pair: &[Header]) -> bool {
    let (below, above) = (&pair[0], &pair[1]);
    let begins = above.is_genesis() || above.epoch == above.nonce;
    below.seq + 1 == above.seq && (below.epoch == above.epoch || begins)
}

/// The last number that is missing from `rows`, and the rows above it.
fn hole(range: Range, rows: &[Header], now_s: i64) -> Option<(u64, &[Header])> {
    let gap = rows.windows(2).rposition(|pair| !follows(pair));
    if let Some(below) = gap {
        let above = &rows[below + 1..];
        return Some((above[0].seq - 1, above));
    }
    // The first row that must be there, unless it is trimmed. Numbers begin at 1: the genesis may be deleted.
    let from = match range {
        Range::After(_) if rows.len() >= MAX_LOOK_BACK as usize => return None,
        Range::After(known) | Range::From(known) => known.max(1),
        Range::Last if rows.len() < LOOK_BACK as usize => 1,
        Range::Last | Range::Tail | Range::Before { .. } => return None,
    };
    rows.first()
        .filter(|first| first.seq > from && !first.is_expired(now_s))
        .map(|first| (first.seq - 1, rows))
}
