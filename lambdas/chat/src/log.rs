//! The table `messages`: the log of each room.
//!
//! A room's messages have numbers, 1, 2, 3 … without a hole, within an **epoch**: an unbroken sequence with a name of
//! its own. Each row carries the epoch of the row before it; a new one begins when there is no row, or none that has
//! not expired. **Expired rows count as trimmed** in every answer, whether or not DynamoDB has deleted them yet.
//!
//! - [`append`]: how a message gets its number.
//! - `bounds`: where a log begins and ends, and beginning one.
//! - `page`: reading messages.
//! - `row`: what is stored.

pub mod append;
mod bounds;
mod page;
mod row;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::anyhow;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use tokio::time::{Instant, sleep, timeout_at};

pub use bounds::Bounds;
pub use page::{Direction, Page};
pub use row::Header;

use crate::protocol::{ErrorName, Failure};
use crate::settings;
use crate::table::TableError;
use crate::ulid::ulid;
use append::{Append, LOOK_BACK, Outcome, Range, Slot, Step, Stored};
use row::Row;

/// Puts without a usable reply before a message is given up. The SDK has tried each three times.
const UNKNOWN_PUTS: u32 = 3;

/// The pause after lost slots doubles from here, with full jitter: in a crowd, whoever waits a little writes less.
const FIRST_PAUSE_MS: u64 = 10;

/// The longest such pause.
const LONGEST_PAUSE_MS: u64 = 160;

/// How long a client should wait when a room is too hot, in milliseconds: spread, or the crowd comes back as one.
const CROWDED_RETRY_MS: std::ops::RangeInclusive<u64> = 500..=1_500;

/// A message to be appended.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// Where.
    pub room: &'a str,
    /// Who.
    pub user: &'a str,
    /// The client's own id for it.
    pub id: Option<&'a str>,
    /// The payload, JSON text.
    pub data: &'a str,
    /// When it was received, in milliseconds since 1970.
    pub at: i64,
}

/// The table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    client: Client,
    table: String,
    page_size: Option<i32>,
    retention_s: i64,
}

impl Log {
    /// The table of `settings`, reached through `client`.
    pub fn new(client: Client, settings: settings::History) -> Self {
        Self {
            client,
            table: settings.name,
            page_size: settings.page_size,
            retention_s: settings.retention_s,
        }
    }

    /// What rows say of themselves, in ascending order: a consistent Query, all pages of the range. As a Query is no
    /// snapshot, there may be holes.
    ///
    /// # Errors
    ///
    /// DynamoDB's, after the SDK's tries. So for every function of this type that says nothing else.
    pub async fn headers(&self, room: &str, range: Range) -> Result<Vec<Header>, TableError> {
        const DOING: &str = "reading the tail of the log";
        let (query, most) = match range {
            Range::From(first) => {
                let query = self
                    .query(room, "room = :room AND seq >= :first")
                    .expression_attribute_values(":first", AttributeValue::N(first.to_string()))
                    .set_limit(self.page_size);
                (query, usize::MAX)
            }
            Range::Last => (self.newest_first(room, LOOK_BACK), LOOK_BACK as usize),
            Range::Tail => (self.newest_first(room, 1), 1),
        };
        let query = query
            .projection_expression("seq, epoch, id, #user, nonce, #at, expiresAt")
            .expression_attribute_names("#user", "user")
            .expression_attribute_names("#at", "at");
        let mut items = query.into_paginator().items().send();
        let mut rows = Vec::new();
        while let Some(item) = items.next().await {
            rows.push(header(
                DOING,
                item.map_err(|error| TableError::new(DOING, &error))?,
            )?);
            if rows.len() == most {
                break;
            }
        }
        if !matches!(range, Range::From(_)) {
            rows.reverse();
        }
        Ok(rows)
    }

    /// Appends a message. `rows` is what a read of `range` has returned: the caller reads it beside other things.
    ///
    /// # Errors
    ///
    /// `slow_down` when `until` comes before a slot is won, and whatever the table answers. The message may be in the
    /// log all the same; sent again by the same user with the same id, it is found there.
    pub async fn append(
        &self,
        draft: &Draft<'_>,
        range: Range,
        rows: &[Header],
        until: Instant,
    ) -> Result<Stored, Failure> {
        let nonce = ulid(draft.at);
        let mut append = Append::new(draft.user, draft.id, &nonce, draft.at);
        let mut step = append.read(range, rows);
        let (mut unknown, mut pause_ms) = (0, FIRST_PAUSE_MS);
        loop {
            step = match step {
                Step::Done(stored) => return Ok(stored),
                Step::Read(range) => {
                    let rows = timeout_at(until, self.headers(draft.room, range)).await;
                    let rows = rows
                        .map_err(|_| crowded())?
                        .map_err(|error| unclear(error, unknown))?;
                    append.read(range, &rows)
                }
                Step::Put(slot) => {
                    let message = (!slot.genesis).then_some(draft);
                    let put = self.put(draft.room, draft.at, message, &slot, &nonce);
                    let outcome = match timeout_at(until, put).await.map_err(|_| crowded())? {
                        Ok(outcome) => outcome,
                        Err(error) => {
                            unknown += 1;
                            if unknown == UNKNOWN_PUTS {
                                return Err(unclear(error, unknown));
                            }
                            Outcome::Unknown
                        }
                    };
                    let next = append.put(&slot, &outcome);
                    if matches!((&outcome, &next), (Outcome::Taken(_), Step::Read(_))) {
                        let pause = Duration::from_millis(rand::random_range(0..=pause_ms));
                        timeout_at(until, sleep(pause))
                            .await
                            .map_err(|_| crowded())?;
                        pause_ms = (pause_ms * 2).min(LONGEST_PAUSE_MS);
                    }
                    next
                }
            }
        }
    }

    /// One conditional PutItem, of a message or of a genesis. A condition that fails because our own earlier try
    /// succeeded looks like any other: its row tells.
    async fn put(
        &self,
        room: &str,
        at: i64,
        message: Option<&Draft<'_>>,
        slot: &Slot,
        nonce: &str,
    ) -> Result<Outcome, TableError> {
        const DOING: &str = "writing to the log";
        let row = Row {
            room,
            seq: slot.seq,
            epoch: &slot.epoch,
            id: message.and_then(|message| message.id),
            user: message.map(|message| message.user),
            data: message.map(|message| message.data),
            at,
            expires_at: slot.expires_from.max(at / 1000 + self.retention_s),
            nonce,
        };
        let item: HashMap<String, AttributeValue> =
            serde_dynamo::to_item(row).map_err(|error| TableError::unreadable(DOING, &error))?;
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(room)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send();
        match put.await {
            Ok(_) => Ok(Outcome::Written),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    let winner = failed.item.clone();
                    // Without the row, reading tells what is there.
                    Ok(match winner.map(|item| header(DOING, item)).transpose()? {
                        Some(winner) => Outcome::Taken(winner),
                        None => Outcome::Unknown,
                    })
                }
                _ => Err(TableError::new(DOING, &error)),
            },
        }
    }

    fn newest_first(&self, room: &str, most: u32) -> QueryFluentBuilder {
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        self.query(room, "room = :room")
            .scan_index_forward(false)
            .limit(self.page_size.unwrap_or(most).min(most))
    }

    fn query(&self, room: &str, condition: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression(condition)
            .expression_attribute_values(":room", AttributeValue::S(room.to_owned()))
            .consistent_read(true)
    }
}

/// What a row says of itself. An unknown attribute is left alone, so that an older function reads a newer row.
fn header(
    doing: &'static str,
    item: HashMap<String, AttributeValue>,
) -> Result<Header, TableError> {
    serde_dynamo::from_item(item).map_err(|error| TableError::unreadable(doing, &error))
}

fn crowded() -> Failure {
    Failure {
        retry_after_ms: Some(rand::random_range(CROWDED_RETRY_MS)),
        cause: Some(anyhow!("no slot of the log was won in time")),
        ..Failure::new(
            ErrorName::SlowDown,
            "too many write to this room at once; wait, then send the same frame again, with the same id",
        )
    }
}

/// The failure to tell, which depends on whether a put was left without a reply.
fn unclear(error: TableError, unknown: u32) -> Failure {
    let failure = Failure::from(error);
    if unknown == 0 {
        return failure;
    }
    Failure {
        message: "the service failed, and the message may be stored or not; \
                  sent again with the same id, it is stored once"
            .to_owned(),
        ..failure
    }
}
