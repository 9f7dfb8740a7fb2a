//! The row of a room's lease, in the table `messages`. No name of a room holds a `#`, so no room has this row in its log.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure,
};

use super::lease::{HELD_FOR_MS, Lease, Replaced, Terms, Took};
use crate::errors::TableError;
use crate::settings::MessagesTable;

/// The condition of [`Terms::hold`] for a lease that goes on.
const GOES_ON: &str = "#until <= :now AND epoch = :epoch AND since < :own AND done < :own AND done >= :floor \
     AND (done >= :before OR #until > :died OR released > :released)";

/// The changes of every write. Its condition says that the writer holds the lease, or may take it.
const TAKEN: &str = "SET #owner = :me, #until = :until, expiresAt = :expires";

/// The rows of the leases. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leases {
    client: Client,
    table: String,
    retention_s: i64,
}

/// The row as its holder writes it.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// The room.
    pub room: &'a str,
    /// The holder.
    pub me: &'a str,
    /// All messages up to this number are posted.
    pub done: u64,
    /// The time of the last delivery, in milliseconds since 1970.
    pub last: i64,
    /// True to release the lease.
    pub release: bool,
}

impl Leases {
    /// The rows in the table of `settings`, reached through `client`.
    pub fn new(client: Client, settings: &MessagesTable) -> Self {
        Self {
            client,
            table: settings.name.clone(),
            retention_s: settings.retention_s,
        }
    }

    /// Takes the lease of a room, if the terms hold: one UpdateItem.
    ///
    /// # Errors
    ///
    /// An error of DynamoDB, after the SDK's tries, as for every method. The lease may be taken.
    pub async fn take(&self, room: &str, terms: &Terms) -> Result<Took, TableError> {
        const DOING: &str = "taking the lease of a room";
        let now = terms.now_ms;
        let update = self
            .update(room, &terms.me, now + HELD_FOR_MS, now)
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        let afresh = format!(
            "{TAKEN}, epoch = :epoch, since = :before, done = :before, #last = :zero, released = :zero"
        );
        let before = terms.own.saturating_sub(1);
        let update = match &terms.replaces {
            None => update
                .update_expression(TAKEN)
                .condition_expression(GOES_ON)
                .expression_attribute_values(":now", number(&now))
                .expression_attribute_values(":own", number(&terms.own))
                .expression_attribute_values(":floor", number(&terms.floor()))
                .expression_attribute_values(":died", number(&terms.died_ms()))
                .expression_attribute_values(":released", number(&terms.released_ms())),
            Some(Replaced::Nothing) => update
                .update_expression(afresh)
                .condition_expression("attribute_not_exists(room)"),
            Some(Replaced::Row(owner, until)) => update
                .update_expression(afresh)
                .condition_expression("#owner = :owner AND #until = :ended")
                .expression_attribute_values(":owner", AttributeValue::S(owner.clone()))
                .expression_attribute_values(":ended", number(until)),
        };
        let update = match &terms.replaces {
            None => update,
            Some(_) => update
                .expression_attribute_names("#last", "last")
                .expression_attribute_values(":zero", number(&0)),
        };
        let update = update
            .expression_attribute_values(":epoch", AttributeValue::S(terms.epoch.clone()))
            .expression_attribute_values(":before", number(&before));
        match update.send().await {
            Ok(_) if terms.replaces.is_some() => Ok(Took::Taken(terms.lease())),
            Ok(updated) => row(DOING, updated.attributes)?
                .map(Took::Taken)
                .ok_or_else(|| TableError::odd(DOING, &"the answer has no row")),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Took::Refused(row(DOING, failed.item.clone())?))
                }
                _ => Err(TableError::new(DOING, &error)),
            },
        }
    }

    /// Takes the lease over from the holder that hands it over: one UpdateItem. None if it is not that holder's any more.
    pub async fn start(
        &self,
        room: &str,
        me: &str,
        handed_by: &str,
        now_ms: i64,
    ) -> Result<Option<Lease>, TableError> {
        const DOING: &str = "taking over the lease of a room";
        let update = self
            .update(room, me, now_ms + HELD_FOR_MS, now_ms)
            .update_expression(TAKEN)
            .condition_expression("#owner = :handed_by")
            .expression_attribute_values(":handed_by", AttributeValue::S(handed_by.to_owned()))
            .send();
        match update.await {
            Ok(updated) => row(DOING, updated.attributes),
            Err(error) if is_refused(error.as_service_error()) => Ok(None),
            Err(error) => Err(TableError::new(DOING, &error)),
        }
    }

    /// Writes how far the holder is, and prolongs or releases the lease: one UpdateItem. False if somebody else holds it.
    pub async fn write(&self, written: &Written<'_>, now_ms: i64) -> Result<bool, TableError> {
        const DOING: &str = "writing the lease of a room";
        let until_ms = if written.release {
            0
        } else {
            now_ms + HELD_FOR_MS
        };
        let update = self.update(written.room, written.me, until_ms, now_ms);
        let changes = format!("{TAKEN}, done = :done, #last = :last");
        let update = if written.release {
            update
                .update_expression(format!("{changes}, released = :now"))
                .expression_attribute_values(":now", number(&now_ms))
        } else {
            update.update_expression(changes)
        };
        let update = update
            .condition_expression("#owner = :me")
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":done", number(&written.done))
            .expression_attribute_values(":last", number(&written.last))
            .return_values(ReturnValue::None);
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if is_refused(error.as_service_error()) => Ok(false),
            Err(error) => Err(TableError::new(DOING, &error)),
        }
    }

    /// An UpdateItem of the row with the values of [`TAKEN`], which returns the row as it is then.
    fn update(&self, room: &str, me: &str, until_ms: i64, now_ms: i64) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("room", AttributeValue::S(format!("@deliver#{room}")))
            .key("seq", number(&0))
            // Reserved words of DynamoDB's expressions.
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":me", AttributeValue::S(me.to_owned()))
            .expression_attribute_values(":until", number(&until_ms))
            .expression_attribute_values(":expires", number(&(now_ms / 1000 + self.retention_s)))
            .return_values(ReturnValue::AllNew)
    }
}

fn number(number: &impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn is_refused(error: Option<&UpdateItemError>) -> bool {
    error.is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

/// The lease of a row.
fn row(
    doing: &'static str,
    item: Option<HashMap<String, AttributeValue>>,
) -> Result<Option<Lease>, TableError> {
    item.map(serde_dynamo::from_item)
        .transpose()
        .map_err(|error| TableError::unreadable(doing, &error))
}
