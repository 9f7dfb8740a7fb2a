//! The table `messages`: the log of each room.
//!
//! The messages of a room have numbers, 1, 2, 3 … without a hole, within an **epoch**: an unbroken sequence with its own
//! name. Each row carries the epoch of the row before it. A new epoch begins when all rows are deleted, expired, or about
//! to expire. **Expired rows count as trimmed** in every answer, whether or not DynamoDB has deleted them yet.
//!
//! - [`append`]: how a message gets its number.
//! - `audit`: the entries of the room `@audit`.
//! - `bounds`: where a log begins and ends, and beginning a log.
//! - `change`: edits, deletions and reactions.
//! - `page`: reading messages.
//! - `row`: the stored row.
//! - `tail`: the end of a log, and the rows that a process remembers.

pub mod append;
mod audit;
mod bounds;
mod change;
mod page;
mod row;
mod tail;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::anyhow;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout_at};

pub use audit::{AUDIT, AuditEntry};
pub use bounds::Bounds;
pub(crate) use change::no_such_message;
pub use change::{Change, Kind, MAX_REACTIONS, Target, Trace};
pub use page::{Direction, Page};
pub use row::Header;
pub use tail::Tail;

use crate::errors::TableError;
use crate::protocol::{ErrorName, Failure};
use crate::recent::Recent;
use crate::settings::{self, LogLimits};
use crate::ulid::ulid;
use append::{
    Append, LOOK_BACK, MAX_LOOK_BACK, Outcome, ROWS_COUNTED, Range, Refusal, Sent, Slot, Step,
    Stored, horizon,
};
use row::Row;

/// Puts without a usable reply before a message is given up. The SDK tries each put three times.
const UNKNOWN_PUTS: u32 = 3;

/// The pause after lost slots doubles from here, with full jitter: in a crowd, a short wait saves writes.
const FIRST_PAUSE_MS: u64 = 10;

/// The longest such pause.
const LONGEST_PAUSE_MS: u64 = 160;

/// The wait for a client when a room is too hot, in milliseconds: random, or all clients would come back at once.
const CROWDED_RETRY_MS: std::ops::RangeInclusive<u64> = 500..=1_500;

/// The name of a put in an error.
const WRITING: &str = "writing to the log";

/// The condition that a slot is free.
const FREE: &str = "attribute_not_exists(room)";

/// Rooms whose end a process remembers: some 60 KB each at most.
const ROOMS_REMEMBERED: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// A message to be appended.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The room.
    pub room: &'a str,
    /// The sender.
    pub user: &'a str,
    /// The client's own id of the message.
    pub id: Option<&'a str>,
    /// The client has seen everything up to this number.
    pub after: Option<u64>,
    /// The payload, JSON text.
    pub data: &'a str,
    /// The kind of the entry; none for an ordinary message.
    pub kind: Option<Kind<'a>>,
    /// True if the limit per user does not apply to the sender.
    pub exempt: bool,
    /// The time when the message was received, in milliseconds since 1970.
    pub at: i64,
}

impl Draft<'_> {
    /// A short hash of all that tells this entry from another one with the same id.
    fn hash(&self) -> String {
        match self.kind {
            Some(kind @ Kind::Change { .. }) => hash(&format!(
                "{}\n{:?}\n{:?}\n{:?}\n{}",
                kind.as_str(),
                kind.target(),
                kind.reaction(),
                kind.reason(),
                self.data
            )),
            _ => hash(self.data),
        }
    }
}

/// The table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    client: Client,
    table: String,
    page_size: Option<i32>,
    retention_s: i64,
    limits: Option<LogLimits>,
    tails: Recent<Tail>,
}

impl Log {
    /// The table of `settings`, reached through `client`.
    pub fn new(client: Client, settings: settings::MessagesTable) -> Self {
        Self {
            client,
            table: settings.name,
            page_size: settings.page_size,
            retention_s: settings.retention_s,
            limits: settings.limits,
            tails: Recent::new(ROOMS_REMEMBERED),
        }
    }

    /// The end of a room's log at `now_ms`, at least the rows of `range`: a consistent Query of the rows that this
    /// process does not remember.
    ///
    /// # Errors
    ///
    /// An error of DynamoDB, after the SDK's tries. The same holds for every method that names no other error.
    pub async fn tail(&self, room: &str, range: Range, now_ms: i64) -> Result<Tail, TableError> {
        let remembered = self.tails.take(room).unwrap_or_default();
        if range == Range::Tail && !self.counts_since(&remembered, now_ms) {
            // One row costs less than all rows that came since.
            let newest = self.headers(room, range).await?;
            return Ok(remembered.followed_by(newest).unwrap_or_else(Tail::read));
        }
        if let Some(last) = remembered.covers(range)
            && let Ok(tail) = remembered.followed_by(self.since(room, last).await?)
        {
            return Ok(tail);
        }
        Ok(Tail::read(self.headers(room, range).await?))
    }

    /// True if the limits need all rows that came since the newest of `remembered`.
    fn counts_since(&self, remembered: &Tail, now_ms: i64) -> bool {
        let newest = remembered.newest();
        self.limits
            .zip(newest)
            .is_some_and(|(limits, newest)| newest.at > horizon(&limits, now_ms))
    }

    /// Rows a process remembers of a room.
    fn rows_remembered(&self) -> u32 {
        self.limits.map_or(LOOK_BACK, |_| ROWS_COUNTED)
    }

    /// The headers of the rows of a range, in ascending order: a consistent Query of all its pages. A Query is not a
    /// snapshot, so there may be holes.
    async fn headers(&self, room: &str, range: Range) -> Result<Vec<Header>, TableError> {
        match range {
            Range::After(after) => {
                let query = self.from(room, after);
                self.newest_of(query, MAX_LOOK_BACK).await
            }
            Range::Before { seq, rows } => {
                let query = self
                    .query(room, "room = :room AND seq < :seq")
                    .expression_attribute_values(":seq", AttributeValue::N(seq.to_string()));
                self.newest_of(query, rows).await
            }
            Range::From(first) => {
                let query = self.from(room, first).set_limit(self.page_size);
                collect(query, usize::MAX).await
            }
            Range::Last => self.newest(room, LOOK_BACK).await,
            Range::Tail => self.newest(room, 1).await,
        }
    }

    /// The row `last` and all after it; nothing if there are so many that it is cheaper to begin anew.
    async fn since(&self, room: &str, last: u64) -> Result<Vec<Header>, TableError> {
        let most = LOOK_BACK as usize;
        let query = self.from(room, last).limit(self.page_limit(most));
        let mut rows = collect(query, most).await?;
        if rows.len() == most {
            rows.clear();
        }
        Ok(rows)
    }

    async fn newest(&self, room: &str, most: u32) -> Result<Vec<Header>, TableError> {
        self.newest_of(self.query(room, "room = :room"), most).await
    }

    /// The last `most` rows of a Query, in ascending order.
    async fn newest_of(
        &self,
        query: QueryFluentBuilder,
        most: u32,
    ) -> Result<Vec<Header>, TableError> {
        let most = most as usize;
        let query = query.scan_index_forward(false).limit(self.page_limit(most));
        let mut rows = collect(query, most).await?;
        rows.reverse();
        Ok(rows)
    }

    /// Rows per page of a Query for `limit` rows.
    fn page_limit(&self, limit: usize) -> i32 {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        self.page_size.unwrap_or(limit).min(limit)
    }

    fn from(&self, room: &str, first: u64) -> QueryFluentBuilder {
        self.query(room, "room = :room AND seq >= :first")
            .expression_attribute_values(":first", AttributeValue::N(first.to_string()))
    }

    /// Appends a message. `tail` is the end of the log with the rows of `range`: the caller reads it beside other things.
    ///
    /// # Errors
    ///
    /// `id_conflict`; `slow_down` if a rate limit is reached, with the time until the message is within the limit;
    /// `slow_down` if no slot is won before `until`; an error of the table. After the last two the message may be in
    /// the log nevertheless: if the same user sends it again with the same id, it is found there.
    pub async fn append(
        &self,
        draft: &Draft<'_>,
        range: Range,
        tail: Tail,
        until: Instant,
    ) -> Result<Stored, Failure> {
        let unchecked = async || Ok(None);
        let stored = self.append_checked(draft, range, tail, until, unchecked);
        Ok(stored.await?.0)
    }

    /// Appends a message as [`Self::append`] does. `check` runs before the first write, after the search for an earlier
    /// copy and after the rate limits; it may give other data for the message, which are returned. A copy is recognised
    /// by the data of `draft`.
    ///
    /// # Errors
    ///
    /// Those of [`Self::append`], and those of `check`. After the latter nothing is stored.
    pub async fn append_checked(
        &self,
        draft: &Draft<'_>,
        range: Range,
        mut tail: Tail,
        until: Instant,
        check: impl AsyncFnOnce() -> Result<Option<Box<RawValue>>, Failure>,
    ) -> Result<(Stored, Option<Box<RawValue>>), Failure> {
        let (mut check, mut replaced) = (Some(check), None);
        let nonce = ulid(draft.at);
        let hash = draft.id.map(|_| draft.hash());
        let sent = Sent {
            user: draft.user.to_owned(),
            id: draft.id.map(str::to_owned),
            ordinary: draft.kind.is_none(),
            hash: hash.clone(),
            after: draft.after,
            at: draft.at,
        };
        let mut limits = self.limits;
        if let Some(limits) = limits.as_mut().filter(|_| draft.exempt) {
            limits.per_user = None;
        }
        let mut append = Append::new(sent, &nonce, &ulid(draft.at), limits);
        let mut step = append.read(range, tail.rows());
        let (mut unknown, mut pause_ms) = (0, FIRST_PAUSE_MS);
        loop {
            step = match step {
                Step::Done(stored) => {
                    self.remember(draft.room, tail);
                    return Ok((stored, replaced));
                }
                Step::Conflict(seq) => {
                    self.remember(draft.room, tail);
                    return Err(conflict(seq));
                }
                Step::Refused(refusal) => {
                    self.remember(draft.room, tail);
                    return Err(limited(refusal, limits));
                }
                Step::Read(range) => {
                    let rows = timeout_at(until, self.headers(draft.room, range)).await;
                    let rows = rows
                        .map_err(|_| crowded())?
                        .map_err(|error| unclear(error, unknown))?;
                    let next = append.read(range, &rows);
                    match range {
                        Range::Before { .. } => tail.prepend(rows),
                        _ => rows.into_iter().for_each(|row| tail.push(row)),
                    }
                    next
                }
                Step::Put(slot) => {
                    if let Some(check) = check.take() {
                        match check().await {
                            Ok(data) => replaced = data,
                            Err(refused) => {
                                self.remember(draft.room, tail);
                                return Err(refused);
                            }
                        }
                    }
                    let stored = Draft {
                        data: replaced.as_deref().map_or(draft.data, RawValue::get),
                        ..*draft
                    };
                    let message = (!slot.genesis).then_some(&stored);
                    let row = Row {
                        hash: hash.as_deref().filter(|_| !slot.genesis),
                        ..self.row(draft.room, draft.at, message, &slot, &nonce)
                    };
                    let outcome = match timeout_at(until, self.put(&row, &slot))
                        .await
                        .map_err(|_| crowded())?
                    {
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
                    match &outcome {
                        Outcome::Written => tail.push(row.header()),
                        Outcome::Taken(winner) => tail.push(winner.clone()),
                        Outcome::Trimmed | Outcome::Unknown => {}
                    }
                    let crowd = matches!(outcome, Outcome::Taken(_) | Outcome::Unknown);
                    if crowd && matches!(next, Step::Read(_)) {
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

    fn remember(&self, room: &str, mut tail: Tail) {
        tail.trim(self.rows_remembered());
        self.tails.remember(room, tail);
    }

    /// The row of a message, or of a genesis, at `slot`.
    fn row<'a>(
        &self,
        room: &'a str,
        at: i64,
        message: Option<&Draft<'a>>,
        slot: &'a Slot,
        nonce: &'a str,
    ) -> Row<'a> {
        let kind = message.and_then(|message| message.kind);
        Row {
            room,
            seq: slot.seq,
            epoch: &slot.epoch,
            id: message.and_then(|message| message.id),
            hash: None,
            user: message.map(|message| message.user),
            data: message
                .filter(|_| kind.is_none_or(|kind| kind.has_data()))
                .map(|message| message.data),
            kind: kind.map(|kind| kind.as_str()),
            target: kind.and_then(|kind| kind.target()),
            key: kind.and_then(|kind| kind.reaction()).map(|(key, _)| key),
            on: kind.and_then(|kind| kind.reaction()).map(|(_, on)| on),
            reason: kind.and_then(|kind| kind.reason()),
            at,
            expires_at: slot.expires_from.max(at / 1000 + self.retention_s),
            nonce,
            n: slot.n,
        }
    }

    /// One conditional PutItem, or a transaction where the row before has expired. When the condition fails because our
    /// own earlier try succeeded, the returned row shows it.
    async fn put(&self, row: &Row<'_>, slot: &Slot) -> Result<Outcome, TableError> {
        let item: HashMap<String, AttributeValue> =
            serde_dynamo::to_item(row).map_err(|error| TableError::unreadable(WRITING, &error))?;
        if let Some(epoch) = &slot.after_expired {
            return self.put_after_expired(item, row, epoch).await;
        }
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(FREE)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send();
        match put.await {
            Ok(_) => Ok(Outcome::Written),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    taken(failed.item.clone())
                }
                _ => Err(TableError::new(WRITING, &error)),
            },
        }
    }

    /// Puts a row on condition that the row before it is still there and belongs to `epoch`.
    async fn put_after_expired(
        &self,
        item: HashMap<String, AttributeValue>,
        row: &Row<'_>,
        epoch: &str,
    ) -> Result<Outcome, TableError> {
        let odd = |error| TableError::odd(WRITING, &error);
        let before = ConditionCheck::builder()
            .table_name(&self.table)
            .key("room", AttributeValue::S(row.room.to_owned()))
            .key(
                "seq",
                AttributeValue::N(row.seq.saturating_sub(1).to_string()),
            )
            .condition_expression("epoch = :epoch")
            .expression_attribute_values(":epoch", AttributeValue::S(epoch.to_owned()))
            .build()
            .map_err(odd)?;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(FREE)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(odd)?;
        let transaction = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().condition_check(before).build())
            .transact_items(TransactWriteItem::builder().put(put).build())
            .send();
        let Err(error) = transaction.await else {
            return Ok(Outcome::Written);
        };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        else {
            return Err(TableError::new(WRITING, &error));
        };
        let [before, put] = cancelled.cancellation_reasons() else {
            return Err(TableError::new(WRITING, &error));
        };
        match (before.code(), put.code()) {
            (_, Some("ConditionalCheckFailed")) => taken(put.item.clone()),
            (Some("ConditionalCheckFailed"), _) => Ok(Outcome::Trimmed),
            // Another transaction holds one of the rows.
            (Some("TransactionConflict"), _) | (_, Some("TransactionConflict")) => {
                Ok(Outcome::Unknown)
            }
            _ => Err(TableError::new(WRITING, &error)),
        }
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

/// The row that is in a slot. Without it, only a read shows which row is there.
fn taken(row: Option<HashMap<String, AttributeValue>>) -> Result<Outcome, TableError> {
    let winner = row.map(|item| header(WRITING, item)).transpose()?;
    Ok(winner.map_or(Outcome::Unknown, Outcome::Taken))
}

/// The headers of the first `most` rows of a Query.
async fn collect(query: QueryFluentBuilder, most: usize) -> Result<Vec<Header>, TableError> {
    const DOING: &str = "reading the tail of the log";
    let mut items = query
        .projection_expression("seq, epoch, id, #hash, #user, nonce, #at, expiresAt, n")
        .expression_attribute_names("#hash", "hash")
        .expression_attribute_names("#user", "user")
        .expression_attribute_names("#at", "at")
        .into_paginator()
        .items()
        .send();
    let mut rows = Vec::new();
    while rows.len() < most
        && let Some(item) = items.next().await
    {
        let item = item.map_err(|error| TableError::new(DOING, &error))?;
        rows.push(header(DOING, item)?);
    }
    Ok(rows)
}

/// The header of an item. Unknown attributes are ignored, so that an older function reads a newer row.
fn header(
    doing: &'static str,
    item: HashMap<String, AttributeValue>,
) -> Result<Header, TableError> {
    serde_dynamo::from_item(item).map_err(|error| TableError::unreadable(doing, &error))
}

/// A short hash of the data as the client wrote it: it tells another message with the same id from a copy.
fn hash(data: &str) -> String {
    let digest = Sha256::digest(data.as_bytes());
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn conflict(seq: u64) -> Failure {
    Failure::new(
        ErrorName::IdConflict,
        format!(
            "this id belongs to another message of yours, number {seq}; nothing was stored; give each message its own id, such as a UUID"
        ),
    )
}

fn limited(refusal: Refusal, limits: Option<LogLimits>) -> Failure {
    let Refusal {
        of_room,
        limit,
        retry_after_ms,
    } = refusal;
    let whose = if of_room {
        "in this room"
    } else {
        "of one user in this room"
    };
    let seconds = limits.map_or(0, |limits| limits.window_ms / 1000);
    Failure {
        retry_after_ms: Some(retry_after_ms),
        ..Failure::new(
            ErrorName::SlowDown,
            format!(
                "the limit is {limit} messages {whose} in {seconds} s; nothing was stored; send it again in {retry_after_ms} ms"
            ),
        )
    }
}

fn crowded() -> Failure {
    Failure {
        retry_after_ms: Some(rand::random_range(CROWDED_RETRY_MS)),
        cause: Some(anyhow!("no slot of the log was won in time")),
        ..Failure::new(
            ErrorName::SlowDown,
            "too many clients write to this room at once; wait, then send the same frame again, with the same id",
        )
    }
}

/// The failure for the client. It depends on whether a put was left without a reply.
fn unclear(error: TableError, unknown: u32) -> Failure {
    let failure = Failure::from(error);
    if unknown == 0 {
        return failure;
    }
    Failure {
        message: "the service failed, and the message may be stored or not; \
                  send it again with the same id, and it is stored once"
            .to_owned(),
        ..failure
    }
}
