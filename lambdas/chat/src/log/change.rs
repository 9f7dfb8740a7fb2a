//! Entries that change a message: an edit, a deletion, a reaction. Each is an entry of the log, with the number of its
//! target. Then the target's row is brought up to date, so that a page of history shows the present.
//!
//! The row is the result of its entries, whatever the order in which they reach it:
//!
//! | entry | attributes of the target | on condition |
//! |---|---|---|
//! | `edit` | `data`, `editSeq`, `editedAt` | a larger number than `editSeq`, not deleted |
//! | `delete` | `deleteSeq`, `deletedAt`, `deletedBy`, `reason`; `data` and the reactions go | a number up to `deleteSeq` |
//! | `react` | one attribute for each key and user: the number of the entry, doubled, plus 1 for "on" | a larger one, not deleted |
//!
//! The headers of the row never change.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::append::Stored;
use super::row::Header;
use super::{Log, header};
use crate::errors::TableError;
use crate::protocol::{ErrorName, Failure};

/// The most different reactions on a message.
pub const MAX_REACTIONS: usize = 20;

/// A row with more bytes of reactions takes no further ones: the entry stands, and the count stops growing.
const MAX_REACTION_BYTES: usize = 16 * 1024;

/// Begins the name of a reaction's attribute. No other attribute has a line break in its name, and neither a key nor a
/// user can hold one.
const REACTION: &str = "r\n";

/// Rows of edits that are emptied in parallel.
const CONCURRENCY: usize = 16;

/// A change to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Other data.
    Edit,
    /// No data any more.
    Delete {
        /// The reason, for everybody.
        reason: Option<&'a str>,
    },
    /// A reaction of a user, or its end.
    React {
        /// The reaction, such as an emoji.
        key: &'a str,
        /// False for its end.
        on: bool,
    },
}

impl Change<'_> {
    /// The `kind` of the entry.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Delete { .. } => "delete",
            Self::React { .. } => "react",
        }
    }
}

/// The kind of an entry that is not an ordinary message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// An entry of the audit.
    Audit,
    /// The entry of a conversation in an inbox.
    Conversation,
    /// A change to the message with the number `target`.
    Change {
        /// The number of the message, in the same epoch.
        target: u64,
        /// The change.
        change: Change<'a>,
    },
}

impl<'a> Kind<'a> {
    /// The name on the wire and in the table.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Conversation => "conversation",
            Self::Change { change, .. } => change.kind(),
        }
    }

    /// The number of the message that is changed.
    pub fn target(&self) -> Option<u64> {
        match self {
            Self::Audit | Self::Conversation => None,
            Self::Change { target, .. } => Some(*target),
        }
    }

    /// The reaction, and whether it begins.
    pub fn reaction(&self) -> Option<(&'a str, bool)> {
        match self {
            Self::Change {
                change: Change::React { key, on },
                ..
            } => Some((key, *on)),
            _ => None,
        }
    }

    /// The reason of a deletion.
    pub fn reason(&self) -> Option<&'a str> {
        match self {
            Self::Change {
                change: Change::Delete { reason },
                ..
            } => *reason,
            _ => None,
        }
    }

    /// True if the entry has data.
    pub fn has_data(&self) -> bool {
        matches!(
            self,
            Self::Audit
                | Self::Conversation
                | Self::Change {
                    change: Change::Edit,
                    ..
                }
        )
    }
}

/// A message that is to be changed.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its header.
    pub header: Header,
    /// True if its data is gone.
    pub is_deleted: bool,
    reactions: Reactions,
}

impl Target {
    /// The message of a row; none for a genesis, a change, and a row that has expired.
    fn of(
        doing: &'static str,
        mut item: HashMap<String, AttributeValue>,
        now_s: i64,
    ) -> Result<Option<Self>, TableError> {
        let is_ordinary = !item.contains_key("kind");
        let is_deleted = item.contains_key("deleteSeq");
        let reactions = Reactions::take(&mut item);
        let header = header(doing, item)?;
        let counts = is_ordinary && !header.is_genesis() && !header.is_expired(now_s);
        Ok(counts.then_some(Self {
            header,
            is_deleted,
            reactions,
        }))
    }

    /// The sender.
    pub fn user(&self) -> &str {
        self.header.user.as_deref().unwrap_or_default()
    }

    /// True if the reaction `key` of this user is counted.
    pub fn has_reaction(&self, key: &str, user: &str) -> bool {
        let reaction = (key.to_owned(), user.to_owned());
        self.reactions
            .0
            .get(&reaction)
            .is_some_and(|at| at % 2 == 1)
    }

    /// Tells if a reaction with `key` is one kind too many.
    pub fn is_full(&self, key: &str) -> bool {
        let counts = self.reactions.counts("");
        counts.len() >= MAX_REACTIONS && !counts.contains_key(key)
    }
}

/// A row that an erasure handles, as [`Log::traces_of`] finds it.
#[derive(Debug, Clone)]
pub enum Trace {
    /// A message of the user that is not deleted.
    Message(Target),
    /// An edit of any user, number `seq`. Its message may be deleted.
    Edit {
        /// Its number.
        seq: u64,
        /// The number of its message.
        target: u64,
    },
    /// A reaction of the user, number `seq`. The user may have taken it back.
    Reaction {
        /// Its number.
        seq: u64,
        /// The number of its message.
        target: u64,
        /// The reaction.
        key: String,
    },
}

impl Trace {
    /// Reads the row of an edit or a reaction; none for a message.
    fn of(item: &HashMap<String, AttributeValue>) -> Option<Self> {
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse().ok();
        let (seq, target) = (number("seq")?, number("target")?);
        Some(match item.get("key").and_then(|key| key.as_s().ok()) {
            Some(key) => Self::Reaction {
                seq,
                target,
                key: key.clone(),
            },
            None => Self::Edit { seq, target },
        })
    }

    /// Its number.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Message(target) => target.header.seq,
            Self::Edit { seq, .. } | Self::Reaction { seq, .. } => *seq,
        }
    }
}

/// The reactions on a message, by key and user: the number of the last entry, doubled, plus 1 for "on".
#[derive(Debug, Clone, Default)]
pub(super) struct Reactions(BTreeMap<(String, String), u64>);

impl Reactions {
    /// Takes the reactions out of a row.
    pub(super) fn take(item: &mut HashMap<String, AttributeValue>) -> Self {
        let mut reactions = BTreeMap::new();
        item.retain(|name, value| {
            let Some(rest) = name.strip_prefix(REACTION) else {
                return true;
            };
            if let (Some((key, user)), AttributeValue::N(number)) = (rest.split_once('\n'), value)
                && let Ok(number) = number.parse()
            {
                reactions.insert((key.to_owned(), user.to_owned()), number);
            }
            false
        });
        Self(reactions)
    }

    /// The number of users for each key, and whether `asker` is one of them.
    pub(super) fn counts(&self, asker: &str) -> BTreeMap<&str, (usize, bool)> {
        let mut counts: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
        for ((key, user), number) in &self.0 {
            if number % 2 == 1 {
                let (count, mine) = counts.entry(key).or_default();
                *count += 1;
                *mine |= user == asker;
            }
        }
        counts
    }

    fn bytes(&self) -> usize {
        self.0
            .keys()
            .map(|(key, user)| key.len() + user.len() + 24)
            .sum()
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.0.keys().map(|(key, user)| attribute(key, user))
    }
}

fn attribute(key: &str, user: &str) -> String {
    format!("{REACTION}{key}\n{user}")
}

impl Log {
    /// The message that a change is about: one consistent GetItem.
    ///
    /// # Errors
    ///
    /// `no_such_message` for a number that is not that of an ordinary message, or is trimmed; and the table's.
    pub async fn target(&self, room: &str, seq: u64, now_s: i64) -> Result<Target, Failure> {
        const DOING: &str = "reading the message to be changed";
        let get = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("room", AttributeValue::S(room.to_owned()))
            .key("seq", AttributeValue::N(seq.to_string()))
            .consistent_read(true)
            .send();
        let item = get.await.map_err(|error| TableError::new(DOING, &error))?;
        let target = match item.item {
            Some(item) => Target::of(DOING, item, now_s)?,
            None => None,
        };
        target.ok_or_else(|| no_such_message(seq))
    }

    /// The rows to be erased of a user after the number `after`, and the edits of all users, at most `most` together: a
    /// consistent Query of all pages up to the last of them. Rows that have expired are among them, until DynamoDB deletes
    /// them.
    ///
    /// # Errors
    ///
    /// DynamoDB's, after the SDK's tries.
    pub async fn traces_of(
        &self,
        room: &str,
        user: &str,
        after: u64,
        most: usize,
    ) -> Result<Vec<Trace>, TableError> {
        const DOING: &str = "looking for the messages of a user";
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let mut items = self
            .from(room, after.saturating_add(1))
            .filter_expression(
                "(attribute_exists(#data) AND (kind = :edit OR (attribute_not_exists(kind) AND #user = :user))) \
                 OR (kind = :react AND #user = :user AND #on = :on)",
            )
            .expression_attribute_names("#data", "data")
            .expression_attribute_names("#user", "user")
            .expression_attribute_names("#on", "on")
            .expression_attribute_values(":user", text(user))
            .expression_attribute_values(":edit", text("edit"))
            .expression_attribute_values(":react", text("react"))
            .expression_attribute_values(":on", AttributeValue::Bool(true))
            .into_paginator()
            .items()
            .send();
        let mut traces = Vec::new();
        while traces.len() < most
            && let Some(item) = items.next().await
        {
            let item = item.map_err(|error| TableError::new(DOING, &error))?;
            match Trace::of(&item) {
                Some(trace) => traces.push(trace),
                None => traces.extend(Target::of(DOING, item, 0)?.map(Trace::Message)),
            }
        }
        Ok(traces)
    }

    /// Takes the data out of an edit whose message is deleted: a process may have died before it has done so.
    ///
    /// # Errors
    ///
    /// DynamoDB's, after the SDK's tries.
    pub async fn empty_edit(&self, room: &str, seq: u64, target: u64) -> Result<(), TableError> {
        if self.is_deleted(room, target).await? {
            self.empty(room, seq).await?;
        }
        Ok(())
    }

    /// Brings the row of the target up to date with an entry that is in the log. Idempotent, in any order of entries.
    ///
    /// # Errors
    ///
    /// DynamoDB's, after the SDK's tries. The entry is in the log nevertheless: the same frame brings the row up to date.
    /// Returns false if the data of the entry itself must not be shown any more: the message was deleted meanwhile.
    pub async fn apply(
        &self,
        room: &str,
        target: &Target,
        change: Change<'_>,
        by: &str,
        data: &str,
        entry: &Stored,
    ) -> Result<bool, TableError> {
        let number = |number: u64| AttributeValue::N(number.to_string());
        let seq = target.header.seq;
        let update = self
            .row_update(room, seq)
            // Of the target: its entry may have begun an epoch.
            .expression_attribute_values(":epoch", AttributeValue::S(target.header.epoch.clone()));
        match change {
            Change::Edit => {
                let update = update
                    .update_expression("SET #data = :data, editSeq = :seq, editedAt = :at")
                    .condition_expression(
                        "epoch = :epoch AND attribute_not_exists(deleteSeq) AND (attribute_not_exists(editSeq) OR editSeq < :seq)",
                    )
                    .expression_attribute_names("#data", "data")
                    .expression_attribute_values(":data", AttributeValue::S(data.to_owned()))
                    .expression_attribute_values(":seq", number(entry.seq))
                    .expression_attribute_values(":at", AttributeValue::N(entry.at.to_string()));
                if !done(update).await? && self.is_deleted(room, seq).await? {
                    self.empty(room, entry.seq).await?;
                    return Ok(false);
                }
            }
            Change::Delete { reason } => {
                let mut left: Vec<String> = target.reactions.names().collect();
                // A reaction that was added since the message was read is taken out by a second update.
                loop {
                    let update = self.tombstone(room, target, reason, by, &left, entry);
                    let Some(row) = written(update).await? else {
                        break;
                    };
                    left = row
                        .into_keys()
                        .filter(|name| name.starts_with(REACTION))
                        .collect();
                    if left.is_empty() {
                        break;
                    }
                }
                // An earlier deletion stands. Its edits are looked for all the same: its writer may have died.
                self.empty_edits(room, seq).await?;
            }
            Change::React { key, on } => {
                let is_large = target.reactions.bytes() > MAX_REACTION_BYTES;
                let is_known = target
                    .reactions
                    .0
                    .contains_key(&(key.to_owned(), by.to_owned()));
                if is_large && !is_known {
                    return Ok(true);
                }
                let update = update
                    .update_expression("SET #r = :value")
                    .condition_expression(
                        "epoch = :epoch AND attribute_not_exists(deleteSeq) AND (attribute_not_exists(#r) OR #r < :value)",
                    )
                    .expression_attribute_names("#r", attribute(key, by))
                    .expression_attribute_values(":value", number(entry.seq * 2 + u64::from(on)));
                done(update).await?;
            }
        }
        Ok(true)
    }

    /// The update that makes a tombstone of a row, without these reactions.
    fn tombstone(
        &self,
        room: &str,
        target: &Target,
        reason: Option<&str>,
        by: &str,
        reactions: &[String],
        entry: &Stored,
    ) -> UpdateItemFluentBuilder {
        let mut expression = "SET deleteSeq = :seq, deletedAt = :at, deletedBy = :by".to_owned();
        let mut update = self.row_update(room, target.header.seq);
        if let Some(reason) = reason {
            expression.push_str(", reason = :reason");
            let reason = AttributeValue::S(reason.to_owned());
            update = update.expression_attribute_values(":reason", reason);
        }
        expression.push_str(" REMOVE #data");
        if reason.is_none() {
            // A later deletion may have left one.
            expression.push_str(", reason");
        }
        for (index, name) in reactions.iter().enumerate() {
            let placeholder = format!("#r{index}");
            expression.push_str(&format!(", {placeholder}"));
            update = update.expression_attribute_names(placeholder, name);
        }
        update
            .update_expression(expression)
            .condition_expression(
                "epoch = :epoch AND (attribute_not_exists(deleteSeq) OR deleteSeq >= :seq)",
            )
            .expression_attribute_names("#data", "data")
            .expression_attribute_values(":epoch", AttributeValue::S(target.header.epoch.clone()))
            .expression_attribute_values(":seq", AttributeValue::N(entry.seq.to_string()))
            .expression_attribute_values(":at", AttributeValue::N(entry.at.to_string()))
            .expression_attribute_values(":by", AttributeValue::S(by.to_owned()))
            .return_values(ReturnValue::AllNew)
    }

    fn row_update(&self, room: &str, seq: u64) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("room", AttributeValue::S(room.to_owned()))
            .key("seq", AttributeValue::N(seq.to_string()))
    }

    /// Takes the data out of the entry of an edit.
    async fn empty(&self, room: &str, seq: u64) -> Result<(), TableError> {
        let update = self
            .row_update(room, seq)
            .update_expression("REMOVE #data")
            .condition_expression("kind = :edit")
            .expression_attribute_names("#data", "data")
            .expression_attribute_values(":edit", AttributeValue::S("edit".to_owned()));
        done(update).await?;
        Ok(())
    }

    /// Takes the data out of all edits of a message: a consistent Query of the rows after it, all pages.
    async fn empty_edits(&self, room: &str, target: u64) -> Result<(), TableError> {
        const DOING: &str = "looking for edits";
        let number = |number: u64| AttributeValue::N(number.to_string());
        let edits = self
            .from(room, target + 1)
            .filter_expression("target = :target AND kind = :edit AND attribute_exists(#data)")
            .expression_attribute_values(":target", number(target))
            .expression_attribute_values(":edit", AttributeValue::S("edit".to_owned()))
            .projection_expression("seq, epoch, #at, expiresAt")
            .expression_attribute_names("#data", "data")
            .expression_attribute_names("#at", "at")
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| TableError::new(DOING, &error))?;
        let edits: Vec<Header> = edits
            .into_iter()
            .map(|item| header(DOING, item))
            .collect::<Result<_, _>>()?;
        stream::iter(edits)
            .map(|edit| self.empty(room, edit.seq))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    async fn is_deleted(&self, room: &str, seq: u64) -> Result<bool, TableError> {
        const DOING: &str = "reading the changed message";
        let item = self.attribute(DOING, room, seq, "deleteSeq").await?;
        Ok(item.is_some_and(|item| item.contains_key("deleteSeq")))
    }

    /// One attribute of a row: a consistent GetItem.
    pub(super) async fn attribute(
        &self,
        doing: &'static str,
        room: &str,
        seq: u64,
        name: &str,
    ) -> Result<Option<HashMap<String, AttributeValue>>, TableError> {
        let get = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("room", AttributeValue::S(room.to_owned()))
            .key("seq", AttributeValue::N(seq.to_string()))
            .projection_expression("#name")
            .expression_attribute_names("#name", name)
            .consistent_read(true)
            .send();
        let item = get.await.map_err(|error| TableError::new(doing, &error))?;
        Ok(item.item)
    }
}

/// Carries an update out. False if its condition does not hold.
async fn done(update: UpdateItemFluentBuilder) -> Result<bool, TableError> {
    Ok(written(update).await?.is_some())
}

/// Carries an update out, and returns the attributes that it asks for. None if its condition does not hold.
async fn written(
    update: UpdateItemFluentBuilder,
) -> Result<Option<HashMap<String, AttributeValue>>, TableError> {
    match update.send().await {
        Ok(row) => Ok(Some(row.attributes.unwrap_or_default())),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
        {
            Ok(None)
        }
        Err(error) => Err(TableError::new("changing a message", &error)),
    }
}

pub(crate) fn no_such_message(seq: u64) -> Failure {
    Failure::new(
        ErrorName::NoSuchMessage,
        format!(
            "there is no message {seq} that can be changed: it is trimmed, deleted, or not an ordinary message"
        ),
    )
}
