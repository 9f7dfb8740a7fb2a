//! Reading messages from a log, a page at a time.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::value::{RawValue, to_raw_value};

use super::append::HOLE_READS;
use super::row::Header;
use super::{Bounds, Log, header};
use crate::errors::TableError;
use crate::protocol::{MAX_PAGE_BYTES, Message};

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
    /// is trimmed, with all below it: `bounds` then begin above it.
    pub async fn page(
        &self,
        room: &str,
        now_s: i64,
        bounds: &mut Bounds,
        direction: Direction,
        limit: usize,
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

    /// The payload of one message: a consistent Query of one row. None when the row is deleted.
    pub async fn data(&self, room: &str, seq: u64) -> Result<Option<Box<RawValue>>, TableError> {
        const DOING: &str = "reading a message";
        let found = self
            .query(room, "room = :room AND seq = :seq")
            .expression_attribute_values(":seq", AttributeValue::N(seq.to_string()))
            .send()
            .await
            .map_err(|error| TableError::new(DOING, &error))?;
        let item = found.items.and_then(|items| items.into_iter().next());
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
        let kind = match item.remove("kind") {
            Some(AttributeValue::S(kind)) => Some(kind),
            _ => None,
        };
        let row = header(DOING, item)?;
        let counts = !row.is_expired(self.now_s) && Some(row.epoch.as_str()) == self.epoch;
        let message = match (&row.user, &data) {
            (Some(user), Some(data)) if counts => {
                let message = Message {
                    room: self.room,
                    seq: row.seq,
                    epoch: &row.epoch,
                    n: row.n(),
                    id: row.id.as_deref(),
                    from: user,
                    kind: kind.as_deref(),
                    data,
                    received: row.at / 1000,
                    at: row.at,
                };
                Some(to_raw_value(&message).map_err(|error| TableError::odd(DOING, &error))?)
            }
            _ => None,
        };
        Ok((row, message))
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
