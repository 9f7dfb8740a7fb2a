//! Reading messages from a log, a page at a time.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::value::{RawValue, to_raw_value};

use super::append::HOLE_READS;
use super::change::Reactions;
use super::row::Header;
use super::{Bounds, Log, header};
use crate::errors::TableError;
use crate::protocol::{Deleted, Edited, MAX_MESSAGE_BYTES, MAX_PAGE_BYTES, Message, Reaction};

/// The side of a position on which messages are read. The position itself is not part of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The oldest messages after it.
    After(u64),
    /// The newest messages before it.
    Before(u64),
}

/// Messages in ascending order, without a hole.
#[derive(Debug, Default)]
pub struct Page {
    /// The number of the first one; none for an empty page.
    pub first: Option<u64>,
    /// The `message` frames.
    pub messages: Vec<Box<RawValue>>,
    /// True if there are more messages in the same direction, inside the bounds.
    pub more: bool,
}

impl Log {
    /// Messages inside `bounds`: at most `limit`, and at most [`MAX_PAGE_BYTES`]. One consistent Query, of several pages
    /// where messages are long, and another one if a message inside the bounds is missing. A message that stays missing
    /// is trimmed, with all below it: `bounds` then begin above it. The reactions of the user `asker` are marked.
    pub async fn page(
        &self,
        room: &str,
        now_s: i64,
        bounds: &mut Bounds,
        direction: Direction,
        limit: usize,
        asker: &str,
    ) -> Result<Page, TableError> {
        let reader = Reader {
            asker: Some(asker),
            count: None,
        };
        self.page_for(room, now_s, bounds, direction, limit, reader)
            .await
    }

    /// The messages of an epoch after the number `after`, for members: none, or at most `limit` without a hole, with the
    /// number of the first. Two consistent Queries, or one where the log ends with `after`. Each message has the `count`.
    pub async fn batch(
        &self,
        room: &str,
        (epoch, after): (&str, u64),
        now_s: i64,
        limit: usize,
        count: Option<usize>,
    ) -> Result<Page, TableError> {
        let newest = self.newest_row(room, now_s).await?;
        let newest = newest.filter(|row| row.epoch == epoch && row.seq > after);
        let Some(newest) = newest else {
            return Ok(Page::default());
        };
        let mut bounds = Bounds {
            epoch: Some(newest.epoch),
            first: after.saturating_add(1),
            head: newest.seq,
            head_n: 0,
        };
        let reader = Reader { asker: None, count };
        let after = Direction::After(after);
        self.page_for(room, now_s, &mut bounds, after, limit, reader)
            .await
    }

    async fn page_for(
        &self,
        room: &str,
        now_s: i64,
        bounds: &mut Bounds,
        direction: Direction,
        limit: usize,
        reader: Reader<'_>,
    ) -> Result<Page, TableError> {
        let mut missed = None;
        loop {
            let (low, high) = match direction {
                Direction::After(seq) => (seq.saturating_add(1).max(bounds.first), bounds.head),
                Direction::Before(seq) => (bounds.first, seq.saturating_sub(1).min(bounds.head)),
            };
            if low > high || limit == 0 {
                return Ok(Page::default());
            }
            let reading = Reading {
                room,
                now_s,
                epoch: bounds.epoch.as_deref(),
                low,
                high,
                ascending: matches!(direction, Direction::After(_)),
                limit,
                reader,
            };
            match self.read(&reading).await? {
                Read::Page(page) => return Ok(page),
                Read::Hole { missing, next } => {
                    let reads = match missed {
                        Some((known, reads)) if known == missing => reads + 1,
                        _ => 1,
                    };
                    missed = Some((missing, reads));
                    if reads >= HOLE_READS {
                        bounds.first = next;
                    }
                }
            }
        }
    }

    /// The `message` frame of one row as it is now, without its reactions: a consistent Query of one row. None when the row
    /// is trimmed, or of another epoch.
    pub async fn frame(
        &self,
        room: &str,
        seq: u64,
        epoch: &str,
        now_s: i64,
    ) -> Result<Option<Box<RawValue>>, TableError> {
        const DOING: &str = "reading a message";
        let found = self
            .query(room, "room = :room AND seq = :seq")
            .expression_attribute_values(":seq", AttributeValue::N(seq.to_string()))
            .send()
            .await
            .map_err(|error| TableError::new(DOING, &error))?;
        let reading = Reading {
            room,
            now_s,
            epoch: Some(epoch),
            low: seq,
            high: seq,
            ascending: true,
            limit: 1,
            reader: Reader {
                asker: None,
                count: None,
            },
        };
        let item = found.items.and_then(|items| items.into_iter().next());
        let read = item.map(|item| reading.message(item)).transpose()?;
        Ok(read.and_then(|(_, frame)| frame))
    }

    /// The data of one row: a consistent GetItem. None for a row that is not there, or has no data any more.
    pub async fn data(&self, room: &str, seq: u64) -> Result<Option<Box<RawValue>>, TableError> {
        const DOING: &str = "reading an entry";
        let item = self.attribute(DOING, room, seq, "data").await?;
        item.map_or(Ok(None), |mut item| data(DOING, &mut item))
    }

    async fn read(&self, reading: &Reading<'_>) -> Result<Read, TableError> {
        const DOING: &str = "reading the log";
        let mut items = self
            .query(reading.room, "room = :room AND seq BETWEEN :low AND :high")
            .expression_attribute_values(":low", AttributeValue::N(reading.low.to_string()))
            .expression_attribute_values(":high", AttributeValue::N(reading.high.to_string()))
            .scan_index_forward(reading.ascending)
            .limit(self.page_limit(reading.limit))
            .into_paginator()
            .items()
            .send();
        let (mut page, mut bytes) = (Page::default(), 0);
        // The next number, or none behind the last.
        let mut expected = Some(reading.start());
        while let Some(seq) = expected.filter(|_| page.messages.len() < reading.limit) {
            let item = items.next().await.transpose();
            let item = item.map_err(|error| TableError::new(DOING, &error))?;
            let Some((row, message)) = item.map(|item| reading.message(item)).transpose()? else {
                return Ok(reading.hole(seq, None));
            };
            let Some(message) = message.filter(|_| row.seq == seq) else {
                return Ok(reading.hole(seq, Some(row.seq)));
            };
            bytes += message.get().len() + 1;
            if bytes > MAX_PAGE_BYTES && !page.messages.is_empty() {
                break;
            }
            page.messages.push(message);
            expected = reading.after(seq);
        }
        page.more = expected.is_some();
        page.first = Some(match (reading.ascending, expected) {
            (true, _) => reading.low,
            (false, Some(next)) => next + 1,
            (false, None) => reading.low,
        });
        if !reading.ascending {
            page.messages.reverse();
        }
        Ok(Read::Page(page))
    }
}

struct Reading<'a> {
    room: &'a str,
    now_s: i64,
    epoch: Option<&'a str>,
    low: u64,
    high: u64,
    ascending: bool,
    limit: usize,
    reader: Reader<'a>,
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    /// The reader, whose own reactions are marked; none for a frame that goes to several.
    asker: Option<&'a str>,
    /// The number of connections in a room that has too many for presence, for members.
    count: Option<usize>,
}

enum Read {
    Page(Page),
    /// The row `missing` is not there. If it is trimmed, the log begins at `next`.
    Hole {
        missing: u64,
        next: u64,
    },
}

impl Reading<'_> {
    fn start(&self) -> u64 {
        if self.ascending { self.low } else { self.high }
    }

    fn after(&self, seq: u64) -> Option<u64> {
        if self.ascending {
            (seq < self.high).then_some(seq + 1)
        } else {
            (seq > self.low).then(|| seq - 1)
        }
    }

    /// `found` is the row in the place of `missing`, if there is one. It may be a genesis.
    fn hole(&self, missing: u64, found: Option<u64>) -> Read {
        let next = match found {
            Some(found) if self.ascending => found.max(missing + 1),
            None if self.ascending => self.high + 1,
            _ => missing + 1,
        };
        Read::Hole { missing, next }
    }

    /// A row, and its `message` frame; no frame for a genesis and for a row that is expired or of another epoch.
    fn message(
        &self,
        mut item: HashMap<String, AttributeValue>,
    ) -> Result<(Header, Option<Box<RawValue>>), TableError> {
        const DOING: &str = "reading the log";
        let data = data(DOING, &mut item)?;
        let reactions = Reactions::take(&mut item);
        let changes = Changes::take(&mut item);
        let row = header(DOING, item)?;
        let counts = !row.is_expired(self.now_s) && Some(row.epoch.as_str()) == self.epoch;
        let Some(user) = row.user.as_deref().filter(|_| counts) else {
            return Ok((row, None));
        };
        let deleted = changes.deleted();
        let data = match data.as_deref() {
            // An entry without data, or the edit of a message that was deleted.
            None if changes.kind.is_some() => Some(RawValue::NULL),
            None if deleted.is_none() => return Ok((row, None)),
            data => data.filter(|_| deleted.is_none()),
        };
        let mut message = Message {
            room: self.room,
            seq: row.seq,
            epoch: &row.epoch,
            n: row.n(),
            id: row.id.as_deref(),
            from: user,
            kind: changes.kind.as_deref(),
            target: changes.target,
            key: changes.key.as_deref(),
            on: changes.on,
            reason: changes.reason.as_deref().filter(|_| deleted.is_none()),
            data,
            edited: changes.edited().filter(|_| deleted.is_none()),
            deleted,
            received: row.at / 1000,
            at: row.at,
            count: self.reader.count,
            ..Message::PLAIN
        };
        if let Some(asker) = self.reader.asker.filter(|_| deleted.is_none()) {
            let counts = reactions.counts(asker).into_iter();
            message.reactions = counts
                .map(|(key, (count, mine))| (key, Reaction { count, mine }))
                .collect();
        }
        let frame = |message: &Message<'_>| {
            to_raw_value(message).map_err(|error| TableError::odd(DOING, &error))
        };
        let mut rendered = frame(&message)?;
        if rendered.get().len() > MAX_MESSAGE_BYTES {
            // A message that fills its frame leaves no room for what was added later.
            message.reactions.clear();
            message.edited = None;
            rendered = frame(&message)?;
        }
        Ok((row, Some(rendered)))
    }
}

/// The attributes of a row besides its header and its data.
#[derive(Debug)]
struct Changes {
    kind: Option<String>,
    target: Option<u64>,
    key: Option<String>,
    on: Option<bool>,
    reason: Option<String>,
    edit_seq: Option<u64>,
    edited_at: Option<i64>,
    delete_seq: Option<u64>,
    deleted_at: Option<i64>,
    deleted_by: Option<String>,
}

impl Changes {
    /// Takes them out of a row.
    fn take(item: &mut HashMap<String, AttributeValue>) -> Self {
        fn text(item: &mut HashMap<String, AttributeValue>, name: &str) -> Option<String> {
            match item.remove(name) {
                Some(AttributeValue::S(text)) => Some(text),
                _ => None,
            }
        }
        fn number<T: FromStr>(item: &mut HashMap<String, AttributeValue>, name: &str) -> Option<T> {
            match item.remove(name) {
                Some(AttributeValue::N(number)) => number.parse().ok(),
                _ => None,
            }
        }
        Self {
            kind: text(item, "kind"),
            target: number(item, "target"),
            key: text(item, "key"),
            on: match item.remove("on") {
                Some(AttributeValue::Bool(on)) => Some(on),
                _ => None,
            },
            reason: text(item, "reason"),
            edit_seq: number(item, "editSeq"),
            edited_at: number(item, "editedAt"),
            delete_seq: number(item, "deleteSeq"),
            deleted_at: number(item, "deletedAt"),
            deleted_by: text(item, "deletedBy"),
        }
    }

    fn edited(&self) -> Option<Edited> {
        let (seq, at) = self.edit_seq.zip(self.edited_at)?;
        Some(Edited { at, seq })
    }

    fn deleted(&self) -> Option<Deleted<'_>> {
        self.delete_seq?;
        Some(Deleted {
            at: self.deleted_at.unwrap_or_default(),
            by: self.deleted_by.as_deref().unwrap_or_default(),
            reason: self.reason.as_deref(),
        })
    }
}

/// Takes the payload out of a row.
fn data(
    doing: &'static str,
    item: &mut HashMap<String, AttributeValue>,
) -> Result<Option<Box<RawValue>>, TableError> {
    match item.remove("data") {
        Some(AttributeValue::S(text)) => RawValue::from_string(text)
            .map(Some)
            .map_err(|error| TableError::odd(doing, &error)),
        _ => Ok(None),
    }
}
