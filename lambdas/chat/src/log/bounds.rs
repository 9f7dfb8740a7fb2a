//! The first and the last message of a log, and the beginning of a new log.

use std::time::Duration;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use futures::future::try_join;
use tokio::time::sleep;

use super::append::{Outcome, Range, Slot, following};
use super::row::Header;
use super::tail::Tail;
use super::{FIRST_PAUSE_MS, Log, header};
use crate::errors::TableError;
use crate::protocol::Position;
use crate::ulid::{made_at_ms, ulid};

/// Tries to begin a log. A try fails when another writer is first, or when no reply comes.
const BEGINNINGS: u32 = 5;

/// Tries to begin a new epoch in a room in which others write.
const NEW_EPOCHS: u32 = 20;

/// Reads of both ends of a log that contradict each other before they are believed.
const DOUBTFUL_READS: u32 = 2;

/// The age up to which an epoch has lost no message, in milliseconds: messages are kept for one day at least. The epoch
/// names its own time, and two functions' clocks differ by far less.
const SHORTEST_RETENTION_MS: i64 = 24 * 3600 * 1000;

/// The messages of a log: `first` to `head` of one epoch. There are none when `first` is `head` + 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// The epoch's ULID; none for a log without rows.
    pub epoch: Option<String>,
    /// The oldest message that is not trimmed.
    pub first: u64,
    /// The newest.
    pub head: u64,
    /// The number of ordinary messages of the epoch up to `head`, trimmed ones included.
    pub head_n: u64,
}

impl Bounds {
    /// Leaves out everything up to `floor`. A log of another epoch began after it, so all of that stays.
    pub fn cut(&mut self, floor: &Position) {
        if self.epoch.as_deref() == Some(&floor.epoch) {
            self.first = self
                .first
                .max(floor.seq.saturating_add(1))
                .min(self.head.saturating_add(1));
        }
    }
}

impl Log {
    /// The bounds of a room's log at this moment: its oldest and its newest row, two consistent Queries of one row in
    /// parallel. If the oldest row has expired and is not deleted yet, about 20 more Queries one after another for a
    /// million rows.
    pub async fn bounds(&self, room: &str, now_ms: i64) -> Result<Bounds, TableError> {
        match self.ends(room, now_ms).await? {
            Some((oldest, newest)) => self.between(room, now_ms / 1000, &oldest, newest).await,
            None => Ok(Bounds {
                epoch: None,
                first: 1,
                head: 0,
                head_n: 0,
            }),
        }
    }

    /// The newest row of a room's log: one consistent Query of one row. None for a log without rows, and when all have
    /// expired.
    pub async fn newest_row(&self, room: &str, now_s: i64) -> Result<Option<Header>, TableError> {
        let newest = self.query(room, "room = :room").scan_index_forward(false);
        Ok(one(newest).await?.filter(|row| !row.is_expired(now_s)))
    }

    /// The bounds of a room's log, which is begun if no row is left: a member that joins then knows the epoch of the next
    /// message. Only such a room costs a conditional put, and two reads more if its last row has expired.
    pub async fn begun(&self, room: &str, now_ms: i64) -> Result<Bounds, TableError> {
        let (nonce, now_s) = (ulid(now_ms), now_ms / 1000);
        let (mut tries, mut end) = (0, None);
        loop {
            let slot = match self.ends(room, now_ms).await? {
                // The oldest row is searched upwards: had a row been written above a deleted one, it would be found.
                None => Slot::genesis(&nonce),
                Some((_, newest)) if newest.is_expired(now_s) => {
                    let found = Some((newest.seq, newest.nonce.clone()));
                    if end != found {
                        end = found;
                        continue;
                    }
                    following(&newest, &nonce, now_s, true)
                }
                Some((oldest, newest)) => {
                    return self.between(room, now_s, &oldest, newest).await;
                }
            };
            let row = self.row(room, now_ms, None, &slot, &nonce);
            let put = self.put(&row, &slot).await;
            tries += 1;
            match put {
                Ok(Outcome::Written) => {
                    return Ok(Bounds {
                        epoch: Some(slot.epoch),
                        first: slot.seq + 1,
                        head: slot.seq,
                        head_n: slot.n,
                    });
                }
                Ok(_) if tries < BEGINNINGS => {
                    let longest_ms = FIRST_PAUSE_MS << tries;
                    sleep(Duration::from_millis(rand::random_range(0..=longest_ms))).await;
                }
                Ok(_) => {
                    return Err(TableError::odd(
                        "beginning the log",
                        &"no Query finds the row that is there",
                    ));
                }
                Err(error) if tries == BEGINNINGS => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// The epoch of the next message, if no ordinary message of it is stored yet. A log is begun if the message would begin
    /// an epoch: then a conditional PutItem. `tail` ends with the newest row; the tail of now is returned too.
    pub async fn silent(
        &self,
        room: &str,
        mut tail: Tail,
        now_ms: i64,
    ) -> Result<(Tail, Option<String>), TableError> {
        let (nonce, now_s) = (ulid(now_ms), now_ms / 1000);
        let mut tries = 0;
        loop {
            let slot = match tail.newest() {
                None => Slot::genesis(&nonce),
                Some(newest) => {
                    let slot = following(newest, &nonce, now_s, true);
                    if slot.epoch == newest.epoch {
                        let epoch = (newest.n() == 0).then_some(slot.epoch);
                        return Ok((tail, epoch));
                    }
                    slot
                }
            };
            // An epoch begins only where two reads find the same end.
            let again = one(self.query(room, "room = :room").scan_index_forward(false)).await?;
            let end = |row: Option<&Header>| row.map(|row| (row.seq, row.nonce.clone()));
            if end(again.as_ref()) != end(tail.newest()) {
                tail = self.tail(room, Range::Tail, now_ms).await?;
                continue;
            }
            let row = self.row(room, now_ms, None, &slot, &nonce);
            let put = self.put(&row, &slot).await;
            tries += 1;
            match put {
                Ok(Outcome::Written) => tail.push(row.header()),
                Ok(Outcome::Taken(winner)) if slot.after_expired.is_none() => tail.push(winner),
                Err(error) if tries == BEGINNINGS => return Err(error),
                Ok(Outcome::Taken(_) | Outcome::Trimmed | Outcome::Unknown) | Err(_) => {
                    tail = self.tail(room, Range::Tail, now_ms).await?;
                }
            }
        }
    }

    /// Begins a new epoch behind the newest row: a genesis, put on condition that its place is free. Positions of the epoch
    /// before are lost from then on. A log whose newest row is a genesis stays as it is, so a retry begins no second one.
    pub async fn new_epoch(&self, room: &str, now_ms: i64) -> Result<Bounds, TableError> {
        let (nonce, now_s) = (ulid(now_ms), now_ms / 1000);
        for _ in 0..NEW_EPOCHS {
            let Some((_, newest)) = self.ends(room, now_ms).await? else {
                return self.begun(room, now_ms).await;
            };
            if newest.is_expired(now_s) {
                return self.begun(room, now_ms).await;
            }
            if newest.is_genesis() {
                return Ok(Bounds {
                    first: newest.seq + 1,
                    head: newest.seq,
                    head_n: newest.n(),
                    epoch: Some(newest.epoch),
                });
            }
            let slot = Slot {
                epoch: nonce.clone(),
                n: 0,
                ..following(&newest, &nonce, now_s, true)
            };
            let row = self.row(room, now_ms, None, &slot, &nonce);
            if self.put(&row, &slot).await? == Outcome::Written {
                return Ok(Bounds {
                    first: slot.seq + 1,
                    head: slot.seq,
                    head_n: 0,
                    epoch: Some(slot.epoch),
                });
            }
        }
        Err(TableError::odd(
            "beginning a new epoch",
            &"other messages took its place each time",
        ))
    }

    /// The oldest and the newest row. They are read at the same time, so a log that begins in this moment can show its
    /// second row and not its first: then they are read again. In an epoch older than a day a first row above 1 means
    /// that the rows below are trimmed.
    async fn ends(&self, room: &str, now_ms: i64) -> Result<Option<(Header, Header)>, TableError> {
        let mut reads = 0;
        loop {
            let newest = self.query(room, "room = :room").scan_index_forward(false);
            let (oldest, newest) = try_join(self.at_or_after(room, 0), one(newest)).await?;
            reads += 1;
            let doubtful = match &oldest {
                None => newest.is_some(),
                Some(oldest) => {
                    let began = made_at_ms(&oldest.epoch);
                    let old = began.is_some_and(|ms| ms + SHORTEST_RETENTION_MS <= now_ms);
                    newest.is_none() || (oldest.seq > 1 && !old)
                }
            };
            if !doubtful || reads == DOUBTFUL_READS {
                return Ok(oldest.zip(newest));
            }
        }
    }

    async fn between(
        &self,
        room: &str,
        now_s: i64,
        oldest: &Header,
        newest: Header,
    ) -> Result<Bounds, TableError> {
        // Expired rows and rows of an older epoch are the beginning of the log.
        let counts = |row: &Header| !row.is_expired(now_s) && row.epoch == newest.epoch;
        let mut first = None;
        if counts(oldest) {
            first = Some(first_message(oldest));
        } else if counts(&newest) {
            let (mut low, mut high) = (oldest.seq + 1, newest.seq);
            first = Some(first_message(&newest));
            while low < high {
                let middle = low + (high - low) / 2;
                match self.at_or_after(room, middle).await? {
                    Some(row) if !counts(&row) => low = row.seq + 1,
                    found => {
                        high = middle;
                        first = found.as_ref().map(first_message).or(first);
                    }
                }
            }
        }
        Ok(Bounds {
            first: first.unwrap_or(newest.seq + 1),
            head: newest.seq,
            head_n: newest.n(),
            epoch: Some(newest.epoch),
        })
    }

    /// The row at `seq`, or the next row.
    async fn at_or_after(&self, room: &str, seq: u64) -> Result<Option<Header>, TableError> {
        one(self.from(room, seq)).await
    }
}

fn first_message(row: &Header) -> u64 {
    row.seq + u64::from(row.is_genesis())
}

async fn one(query: QueryFluentBuilder) -> Result<Option<Header>, TableError> {
    const DOING: &str = "reading an end of the log";
    let found = query.limit(1).send().await;
    let item = found
        .map_err(|error| TableError::new(DOING, &error))?
        .items
        .and_then(|items| items.into_iter().next());
    item.map(|item| header(DOING, item)).transpose()
}
