//! Appending to the log of a room: what to do next, given what the table has answered so far.
//!
//! There is no counter and no transaction. A message is put at the slot after the tail on condition that the slot is
//! free, so the log has neither holes nor forks: who writes n has seen n - 1, and whoever has seen n can be sure that
//! 1…n are stored. [`Append`] decides and does nothing else; [`Log::append`](super::Log::append) does what it says, and
//! a test drives it through every interleaving of writers that crash, lose replies and read a log that changes under
//! them.
//!
//! What must hold for a message to be in the log once:
//!
//! - Every row from where the first read begins to the slot that is written has been looked at. A slot that was lost
//!   to somebody is looked at too, and a later read begins at the last row known.
//! - **A Query is not a snapshot**: it may pass a slot before it is written and find the next one written. Such a hole
//!   may hide the earlier copy of this very message, so a read with a hole is read again.
//! - A put whose outcome is unknown is resolved by reading from the row before it.

use super::row::Header;

/// Rows looked at for an earlier copy when the client does not say from where: some seconds of a busy room.
pub const LOOK_BACK: u32 = 50;

/// Slots tried after each other before the tail is read again: each lost one costs a write.
pub const SLOTS_TRIED: u32 = 3;

/// Reads that must miss the same row before it counts as deleted. What one read misses because it was not written yet,
/// a second one finds, since the row after it was there; beyond that only TTL takes a row away.
pub const HOLE_READS: u32 = 3;

/// Which rows to read, always strongly consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Range {
    /// This one and all after it. It is the last one known, so that a hole behind it shows.
    From(u64),
    /// The last [`LOOK_BACK`].
    Last,
    /// The last one alone.
    Tail,
}

impl Range {
    /// What to read first, for a client that has seen everything up to `after`.
    ///
    /// A message without an `id` has no earlier copy that could be told from it. Rows are paid for by their size, so
    /// looking for one would cost as much as the last messages are long.
    pub fn covering(id: Option<&str>, after: Option<u64>) -> Self {
        match (id, after) {
            (None, _) => Self::Tail,
            (Some(_), Some(after)) => Self::From(after),
            (Some(_), None) => Self::Last,
        }
    }
}

/// A slot to be written on condition that it is free.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its number.
    pub seq: u64,
    /// The epoch of the row: that of the row before, or a new one.
    pub epoch: String,
    /// The earliest that the row may expire, in seconds since 1970: not before the row before it. So what has expired
    /// is always the beginning of a log, whatever happens to clocks and to the retention.
    pub expires_from: i64,
    /// Whether a genesis goes there, and not the message.
    pub genesis: bool,
}

impl Slot {
    /// The beginning of a log that is empty. The first message copies its epoch from there, and so does whoever joins
    /// before it: two writers cannot begin two epochs.
    pub(super) fn genesis(epoch: &str) -> Self {
        Self {
            seq: 0,
            epoch: epoch.to_owned(),
            expires_from: 0,
            genesis: true,
        }
    }
}

/// What became of a put.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The row is there.
    Written,
    /// Somebody else's row is there, or our own: the reply to an earlier try was lost.
    Taken(Header),
    /// Nobody knows: no reply, or one that does not say what is there.
    Unknown,
}

/// The place of a message in the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stored {
    /// Its number.
    pub seq: u64,
    /// The epoch it belongs to.
    pub epoch: String,
    /// When it was first received, in milliseconds since 1970.
    pub at: i64,
    /// Whether an earlier invocation has put it there.
    pub duplicate: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read, and call [`Append::read`].
    Read(Range),
    /// Put, and call [`Append::put`].
    Put(Slot),
    /// The message is in the log.
    Done(Stored),
}

/// One message on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Append {
    user: String,
    id: Option<String>,
    nonce: String,
    at: i64,
    /// Slots lost since the tail was read.
    lost: u32,
    /// A row that was missing, and how many reads in a row have missed it.
    hole: Option<(u64, u32)>,
}

impl Append {
    /// A message of `user`, by the client's `id` if there is one, received `at` (milliseconds since 1970). `nonce` is a
    /// ULID of this invocation alone; it also names the epoch when one begins.
    pub fn new(user: &str, id: Option<&str>, nonce: &str, at: i64) -> Self {
        Self {
            user: user.to_owned(),
            id: id.map(str::to_owned),
            nonce: nonce.to_owned(),
            at,
            lost: 0,
            hole: None,
        }
    }

    /// What to do after a read of `range` that returned `rows`, in ascending order.
    pub fn read(&mut self, range: Range, rows: &[Header]) -> Step {
        let Some(tail) = rows.last() else {
            return match range {
                // The client's `after` is of another epoch, or DynamoDB has deleted all since.
                Range::From(_) => Step::Read(Range::Last),
                Range::Last | Range::Tail => Step::Put(Slot::genesis(&self.nonce)),
            };
        };
        let mut unbroken = from_expired(rows, self.now_s());
        if let Some((missing, above)) = hole(range, unbroken, self.now_s()) {
            let reads = match self.hole {
                Some((known, reads)) if known == missing => reads + 1,
                _ => 1,
            };
            self.hole = Some((missing, reads));
            let young = above.first().is_some_and(|row| row.is_young(self.at));
            if young && reads < HOLE_READS {
                return Step::Read(range);
            }
            unbroken = above;
        }
        let mut live = unbroken.iter().filter(|row| !row.is_expired(self.now_s()));
        if let Some(own) = live.find(|row| self.is_own(row)) {
            return Step::Done(self.found(own));
        }
        self.lost = 0;
        Step::Put(self.after(tail))
    }

    /// What to do after a put into `slot`.
    pub fn put(&mut self, slot: &Slot, outcome: &Outcome) -> Step {
        match outcome {
            Outcome::Written if slot.genesis => Step::Put(Slot {
                seq: slot.seq + 1,
                genesis: false,
                ..slot.clone()
            }),
            Outcome::Written => Step::Done(Stored {
                seq: slot.seq,
                epoch: slot.epoch.clone(),
                at: self.at,
                duplicate: false,
            }),
            Outcome::Taken(winner) if self.is_own(winner) => Step::Done(self.found(winner)),
            Outcome::Taken(winner) => {
                self.lost += 1;
                if self.lost < SLOTS_TRIED {
                    Step::Put(self.after(winner))
                } else {
                    Step::Read(Range::From(winner.seq))
                }
            }
            Outcome::Unknown => Step::Read(match slot.seq.checked_sub(1) {
                Some(known) => Range::From(known),
                None => Range::Last,
            }),
        }
    }

    fn now_s(&self) -> i64 {
        self.at / 1000
    }

    fn after(&self, tail: &Header) -> Slot {
        following(tail, &self.nonce, self.now_s(), false)
    }

    /// Whether the row is this message: written by this invocation, or by an earlier one for the same client's id.
    fn is_own(&self, row: &Header) -> bool {
        let same_id = self.id.is_some() && self.id == row.id;
        !row.is_genesis()
            && (row.nonce == self.nonce || (same_id && row.user.as_ref() == Some(&self.user)))
    }

    fn found(&self, own: &Header) -> Stored {
        Stored {
            seq: own.seq,
            epoch: own.epoch.clone(),
            at: own.at,
            duplicate: own.nonce != self.nonce,
        }
    }
}

/// The slot after `tail`.
///
/// An expired tail still counts for the number, but the row after it begins a new epoch, named `epoch`: DynamoDB may
/// delete the tail at any moment, and its number would be given a second time.
pub(super) fn following(tail: &Header, epoch: &str, now_s: i64, genesis: bool) -> Slot {
    let expired = tail.is_expired(now_s);
    Slot {
        seq: tail.seq + 1,
        epoch: if expired { epoch } else { &tail.epoch }.to_owned(),
        expires_from: tail.expires_at,
        genesis,
    }
}

/// The rows from the last expired one on, or all. Expired rows are deleted in any order: holes among them say nothing.
fn from_expired(rows: &[Header], now_s: i64) -> &[Header] {
    let last = rows.iter().rposition(|row| row.is_expired(now_s));
    &rows[last.unwrap_or(0)..]
}

/// The last number that is missing from `rows`, and the rows above it.
fn hole(range: Range, rows: &[Header], now_s: i64) -> Option<(u64, &[Header])> {
    let gap = rows
        .windows(2)
        .rposition(|pair| pair[0].seq + 1 != pair[1].seq);
    if let Some(below) = gap {
        let above = &rows[below + 1..];
        return Some((above[0].seq - 1, above));
    }
    // The first row that there must be, unless it is trimmed. Numbers begin at 1: there may be no genesis any more.
    let from = match range {
        Range::From(known) => known.max(1),
        Range::Last if rows.len() < LOOK_BACK as usize => 1,
        Range::Last | Range::Tail => return None,
    };
    rows.first()
        .filter(|first| first.seq > from && !first.is_expired(now_s))
        .map(|first| (first.seq - 1, rows))
}
