//! The rows of a verified user's own settings in the table `users`: how far the user has read in each room, and whose
//! messages the user does not want.
//!
//! | `about` | attributes |
//! |---|---|
//! | `mark#ROOM` | `epoch`, `seq`, `n`, `at` (milliseconds), `expiresAt` (seconds: as long as a message of that moment is kept) |
//! | `block#USER` | `at` (milliseconds) |

use std::collections::BTreeMap;

use anyhow::anyhow;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use crate::errors::TableError;
use crate::protocol::{Failure, Position};
use crate::settings::UsersTable;

const MARK: &str = "mark#";
const BLOCK: &str = "block#";

/// A character that follows all others: the end of a range of keys.
const LAST: char = '\u{10ffff}';

/// The position up to which a user has read a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The epoch of the numbers.
    pub epoch: String,
    /// The last message that the user has read.
    pub seq: u64,
    /// The number of ordinary messages of the epoch up to this one.
    pub n: u64,
    /// The time of the mark, in milliseconds since 1970.
    pub at: i64,
}

/// The marks of a user, by room.
#[derive(Debug, Default)]
pub struct Marks {
    /// The marks, in order of the rooms.
    pub marks: BTreeMap<String, Mark>,
    /// True if there are further marks, of rooms that come after these.
    pub more: bool,
}

/// The table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Personal {
    client: Client,
    table: Option<String>,
}

impl Personal {
    /// The table of `settings`, reached through `client`.
    pub fn new(client: Client, settings: UsersTable) -> Self {
        Self {
            client,
            table: settings.name,
        }
    }

    fn table(&self) -> Result<&str, Failure> {
        self.table.as_deref().ok_or_else(|| {
            let cause = anyhow!("USERS_TABLE is not set");
            Failure::internal("the service failed; try again", cause)
        })
    }

    /// Writes a mark: one UpdateItem, on condition that it is newer than the mark in the table. Returns if it is. Epochs
    /// are named in the order in which they begin, so of two marks that come in any order the newer one stays.
    ///
    /// # Errors
    ///
    /// DynamoDB's. This holds for every function of this type.
    pub async fn mark(
        &self,
        user: &str,
        room: &str,
        (position, n): (&Position, u64),
        at: i64,
        expires_at: i64,
    ) -> Result<bool, Failure> {
        const DOING: &str = "writing a mark";
        let number = |number: String| AttributeValue::N(number);
        let update = self
            .client
            .update_item()
            .table_name(self.table()?)
            .key("user", AttributeValue::S(user.to_owned()))
            .key("about", AttributeValue::S(format!("{MARK}{room}")))
            .update_expression(
                "SET epoch = :epoch, seq = :seq, n = :n, #at = :at, expiresAt = :ends",
            )
            .condition_expression(
                "attribute_not_exists(about) OR epoch < :epoch OR (epoch = :epoch AND seq < :seq)",
            )
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":epoch", AttributeValue::S(position.epoch.clone()))
            .expression_attribute_values(":seq", number(position.seq.to_string()))
            .expression_attribute_values(":n", number(n.to_string()))
            .expression_attribute_values(":at", number(at.to_string()))
            .expression_attribute_values(":ends", number(expires_at.to_string()));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(TableError::new(DOING, &error).into()),
        }
    }

    /// The user's marks of rooms after `after`, at most `most`: one consistent Query.
    pub async fn marks(
        &self,
        user: &str,
        after: Option<&str>,
        most: usize,
        now_s: i64,
    ) -> Result<Marks, Failure> {
        const DOING: &str = "reading the marks";
        // Every name of a room is greater than the empty one.
        let low = format!("{MARK}{}", after.unwrap_or_default());
        let mut items = self
            .client
            .query()
            .table_name(self.table()?)
            .key_condition_expression("#user = :user AND about BETWEEN :low AND :high")
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":user", AttributeValue::S(user.to_owned()))
            .expression_attribute_values(":low", AttributeValue::S(low.clone()))
            .expression_attribute_values(":high", AttributeValue::S(format!("{MARK}{LAST}")))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = Marks::default();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| TableError::new(DOING, &error))?;
            let row: Row = serde_dynamo::from_item(item)
                .map_err(|error| TableError::unreadable(DOING, &error))?;
            if row.about == low || row.expires_at <= now_s {
                continue;
            }
            if found.marks.len() == most {
                found.more = true;
                break;
            }
            let room = row.about[MARK.len()..].to_owned();
            found.marks.insert(room, row.mark);
        }
        Ok(found)
    }

    /// Deletes the mark of a room: one DeleteItem.
    pub async fn unmark(&self, user: &str, room: &str) -> Result<(), Failure> {
        let delete = self
            .client
            .delete_item()
            .table_name(self.table()?)
            .key("user", AttributeValue::S(user.to_owned()))
            .key("about", AttributeValue::S(format!("{MARK}{room}")));
        let done = delete.send().await;
        done.map_err(|error| TableError::new("deleting a mark", &error))?;
        Ok(())
    }

    /// Notes that `user` wants no messages from `other`, or takes the note back: one PutItem or DeleteItem.
    pub async fn block(&self, user: &str, other: &str, on: bool, at: i64) -> Result<(), Failure> {
        const DOING: &str = "writing a block";
        let user = AttributeValue::S(user.to_owned());
        let about = AttributeValue::S(format!("{BLOCK}{other}"));
        let done = if on {
            let put = self.client.put_item().table_name(self.table()?);
            let put = put
                .item("user", user)
                .item("about", about)
                .item("at", AttributeValue::N(at.to_string()));
            put.send()
                .await
                .map(|_| ())
                .map_err(|error| TableError::new(DOING, &error))
        } else {
            let delete = self.client.delete_item().table_name(self.table()?);
            let delete = delete.key("user", user).key("about", about);
            delete
                .send()
                .await
                .map(|_| ())
                .map_err(|error| TableError::new(DOING, &error))
        };
        Ok(done?)
    }

    /// Tells if `user` wants no messages from `other`: one consistent GetItem.
    pub async fn blocks(&self, user: &str, other: &str) -> Result<bool, Failure> {
        const DOING: &str = "reading a block";
        let get = self
            .client
            .get_item()
            .table_name(self.table()?)
            .key("user", AttributeValue::S(user.to_owned()))
            .key("about", AttributeValue::S(format!("{BLOCK}{other}")))
            .projection_expression("about")
            .consistent_read(true);
        let found = get
            .send()
            .await
            .map_err(|error| TableError::new(DOING, &error))?;
        Ok(found.item.is_some())
    }
}

/// A mark as it is stored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    about: String,
    #[serde(flatten)]
    mark: Mark,
    expires_at: i64,
}
