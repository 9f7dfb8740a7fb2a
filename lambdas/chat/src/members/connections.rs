//! The table `connections`: one row per connection and room, and its index `room-index`.
//!
//! A connection is a member of a room if the table has a row for both. The table's key is (`connectionId`, `room`), so
//! a connection's own rooms are read consistently. The index has the key (`room`, `connectionId`) for the fan-out, and
//! lags a little, as every global index does. DynamoDB's TTL deletes expired rows within days, so **every read ignores
//! rows that have expired**.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::{DeleteItemError, DeleteItemOutput};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValue, Select};
use futures::stream::{self, Stream, TryStreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::delivery::Recipient;
use crate::errors::TableError;
use crate::protocol::{Position, Private, inbox};
use crate::settings;

/// The index that lists the members of a room.
pub const ROOM_INDEX: &str = "room-index";

const INBOX: char = '@';

/// The lifetime of a row, in seconds: API Gateway ends every connection after 2 hours (WebSocket quotas), and ten
/// minutes more cover clocks and the handshake.
pub const LIFETIME_S: i64 = 2 * 3600 + 600;

/// The most connections of a room that are counted: about 2 MB of the index, a few hundred milliseconds.
pub const MOST_COUNTED: usize = 20_000;

/// The attributes of [`Membership`].
const OWN_ROW: &str =
    "room, #user, connectedAt, expiresAt, floor, muted, presence, #state, stateAt, #batch";

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// API Gateway's id of the connection.
    pub connection_id: String,
    /// The room it is in.
    pub room: String,
    /// The user, as shown to others.
    pub user: String,
    /// The time of connecting, in milliseconds since 1970.
    pub connected_at: i64,
    /// The expiry time of the row, in seconds since 1970, the unit of DynamoDB's TTL.
    pub expires_at: i64,
    /// The log's position when the connection joined; kept only for a user without the right `history`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Position>,
    /// True if the connection takes several messages in one frame.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub batch: bool,
    /// The mute of a user who may read there and not write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<Mute>,
}

/// A connection's membership, by its own row: the connection is `user` in `room`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// The room.
    pub room: String,
    /// The connection's user in the room.
    pub user: String,
    /// The time of connecting, in milliseconds since 1970. A row without it counts as old.
    #[serde(default)]
    pub connected_at: i64,
    /// The expiry time of the row, in seconds since 1970.
    pub expires_at: i64,
    /// The log's position when the connection joined; kept only for a user without the right `history`.
    #[serde(default)]
    pub floor: Option<Position>,
    /// Set while the user may read in the room and not write.
    #[serde(default)]
    pub muted: Option<Mute>,
    /// True if others in the room are told of the connection, and it of them.
    #[serde(default)]
    pub presence: bool,
    /// The state that others see, as JSON text.
    #[serde(default)]
    pub state: Option<String>,
    /// The time at which presence or state was set, in milliseconds since 1970.
    #[serde(default)]
    pub state_at: i64,
    /// True if the connection takes several messages in one frame.
    #[serde(default)]
    pub batch: bool,
}

/// A mute, as it stands in the rows of the muted user's connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Its end, in seconds since 1970; none for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The reason, in the words of the moderator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Mute {
    /// True if the mute is not over yet.
    pub fn holds(&self, now_s: i64) -> bool {
        self.until.is_none_or(|until| until > now_s)
    }
}

/// The presence of a connection in a room, as its row keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Announced<'a> {
    /// The state that others see, if any.
    pub state: Option<&'a RawValue>,
    /// The name to show to people.
    pub name: Option<&'a str>,
    /// The time, in milliseconds since 1970.
    pub at: i64,
}

/// A row that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departed {
    /// API Gateway's id of the connection.
    pub connection_id: String,
    /// The room.
    pub room: String,
    /// The user of the connection.
    pub user: String,
    /// The name to show to people.
    #[serde(default)]
    pub name: Option<String>,
    /// True if others were told that it was there.
    #[serde(default)]
    pub presence: bool,
}

/// The presence of a connection, for a list of members.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// API Gateway's id of the connection.
    pub connection_id: String,
    /// The time of connecting, in milliseconds since 1970.
    #[serde(default)]
    pub connected_at: i64,
    /// The name to show to people.
    #[serde(default)]
    pub name: Option<String>,
    /// The state, as JSON text.
    #[serde(default)]
    pub state: Option<String>,
    /// The time at which the state was set, in milliseconds since 1970.
    #[serde(default)]
    pub state_at: i64,
}

/// A row about to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The room.
    pub room: String,
    /// The time of connecting, in milliseconds since 1970. A row without it counts as old.
    #[serde(default)]
    pub connected_at: i64,
}

/// A connection in a room, as the room's index shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// API Gateway's id of the connection.
    pub connection_id: String,
    /// Its user.
    pub user: String,
    /// True if it is told who comes and goes, and gets signals.
    pub presence: bool,
    /// The expiry time of the row, in seconds since 1970.
    pub expires_at: i64,
}

impl Listed {
    /// A room can hold many thousands: the attributes are taken out of the items without going through serde.
    fn of(mut row: HashMap<String, AttributeValue>) -> Option<Self> {
        let mut text = |name: &str| match row.remove(name) {
            Some(AttributeValue::S(text) | AttributeValue::N(text)) => Some(text),
            _ => None,
        };
        let (connection_id, user) = (text("connectionId")?, text("user")?);
        let expires_at = text("expiresAt")?.parse().ok()?;
        Some(Self {
            connection_id,
            user,
            presence: matches!(row.get("presence"), Some(AttributeValue::Bool(true))),
            expires_at,
        })
    }
}

/// The table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connections {
    client: Client,
    table: String,
    page_size: Option<i32>,
}

impl Connections {
    /// The table of `settings`, reached through `client`.
    pub fn new(client: Client, settings: settings::ConnectionsTable) -> Self {
        Self {
            client,
            table: settings.name,
            page_size: settings.page_size,
        }
    }

    /// Writes a row: one PutItem. A row of the same connection and room is replaced.
    ///
    /// # Errors
    ///
    /// An error of DynamoDB, after the SDK's tries. The same holds for every method.
    pub async fn put(
        &self,
        row: &Connection,
        presence: Option<&Announced<'_>>,
    ) -> Result<(), TableError> {
        const DOING: &str = "writing the connection's row";
        let mut item: HashMap<String, AttributeValue> =
            serde_dynamo::to_item(row).map_err(|error| TableError::unreadable(DOING, &error))?;
        if let Some(presence) = presence {
            let text = |text: &str| AttributeValue::S(text.to_owned());
            item.insert("presence".to_owned(), AttributeValue::Bool(true));
            item.insert(
                "stateAt".to_owned(),
                AttributeValue::N(presence.at.to_string()),
            );
            item.extend(presence.name.map(|name| ("name".to_owned(), text(name))));
            let state = presence.state.map(|state| text(state.get()));
            item.extend(state.map(|state| ("state".to_owned(), state)));
        }
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .send();
        put.await.map_err(|error| TableError::new(DOING, &error))?;
        Ok(())
    }

    /// Writes the presence of a connection into its row: one UpdateItem, on condition that the row exists. Returns the row
    /// as it was before, or none if there is no row.
    pub async fn announce(
        &self,
        connection_id: &str,
        room: &str,
        presence: &Announced<'_>,
        now_s: i64,
    ) -> Result<Option<Membership>, TableError> {
        const DOING: &str = "writing the connection's presence";
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let (mut set, mut remove) = ("SET presence = :true, stateAt = :at".to_owned(), Vec::new());
        let mut values = HashMap::from([
            (":true".to_owned(), AttributeValue::Bool(true)),
            (":at".to_owned(), AttributeValue::N(presence.at.to_string())),
            (":now".to_owned(), AttributeValue::N(now_s.to_string())),
        ]);
        // Both names are reserved words of DynamoDB's expressions.
        for (field, value) in [
            ("state", presence.state.map(RawValue::get)),
            ("name", presence.name),
        ] {
            match value {
                Some(value) => {
                    set.push_str(&format!(", #{field} = :{field}"));
                    values.insert(format!(":{field}"), text(value));
                }
                None => remove.push(format!("#{field}")),
            }
        }
        if !remove.is_empty() {
            set.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(connection_id, room)))
            .update_expression(set)
            .condition_expression("attribute_exists(connectionId) AND expiresAt > :now")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#name", "name")
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllOld)
            .send();
        match update.await {
            Ok(updated) => updated
                .attributes
                .map(serde_dynamo::from_item)
                .transpose()
                .map_err(|error| TableError::unreadable(DOING, &error)),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(TableError::new(DOING, &error)),
        }
    }

    /// Reads the presence of connections in a room: a BatchGetItem for each hundred, eventually consistent. A connection
    /// that has no row any more is left out.
    pub async fn shown(
        &self,
        room: &str,
        connection_ids: &[&str],
    ) -> Result<Vec<Shown>, TableError> {
        const DOING: &str = "reading the members' states";
        let mut shown = Vec::new();
        for ids in connection_ids.chunks(100) {
            let keys = ids.iter().map(|id| key(id, room)).collect();
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .projection_expression("connectionId, connectedAt, #name, #state, stateAt")
                .expression_attribute_names("#name", "name")
                .expression_attribute_names("#state", "state")
                .build()
                .map_err(|error| TableError::odd(DOING, &error))?;
            let mut asked = Some(HashMap::from([(self.table.clone(), wanted)]));
            // DynamoDB may leave some keys out of an answer.
            while let Some(keys) = asked.filter(|keys| !keys.is_empty()) {
                let get = self.client.batch_get_item().set_request_items(Some(keys));
                let got = get
                    .send()
                    .await
                    .map_err(|error| TableError::new(DOING, &error))?;
                for item in got
                    .responses
                    .into_iter()
                    .flat_map(HashMap::into_values)
                    .flatten()
                {
                    let row = serde_dynamo::from_item(item);
                    shown.push(row.map_err(|error| TableError::unreadable(DOING, &error))?);
                }
                asked = got.unprocessed_keys;
            }
        }
        Ok(shown)
    }

    /// Writes the log's position at the join into the connection's row, unless the row has one: one UpdateItem, on
    /// condition that the row exists. Returns whether the row exists.
    pub async fn set_floor(
        &self,
        connection_id: &str,
        room: &str,
        floor: &Position,
    ) -> Result<bool, TableError> {
        const DOING: &str = "noting where the log stands";
        let floor = serde_dynamo::to_attribute_value(floor)
            .map_err(|error| TableError::unreadable(DOING, &error))?;
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(connection_id, room)))
            .update_expression("SET floor = if_not_exists(floor, :floor)")
            .condition_expression("attribute_exists(connectionId)")
            .expression_attribute_values(":floor", floor)
            .send();
        exists(DOING, update.await)
    }

    /// Writes a mute into the connection's row, or takes it out: one UpdateItem, on condition that the row exists. Returns
    /// whether the row exists.
    pub async fn set_muted(
        &self,
        connection_id: &str,
        room: &str,
        mute: Option<&Mute>,
    ) -> Result<bool, TableError> {
        const DOING: &str = "muting the connection";
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(connection_id, room)))
            .condition_expression("attribute_exists(connectionId)");
        let update = match mute {
            Some(mute) => {
                let mute = serde_dynamo::to_attribute_value(mute)
                    .map_err(|error| TableError::unreadable(DOING, &error))?;
                update
                    .update_expression("SET muted = :mute")
                    .expression_attribute_values(":mute", mute)
            }
            None => update.update_expression("REMOVE muted"),
        };
        exists(DOING, update.send().await)
    }

    /// Notes that the connection takes several messages in one frame: one UpdateItem. False if there is no row.
    pub async fn set_batch(&self, connection_id: &str, room: &str) -> Result<bool, TableError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(connection_id, room)))
            .condition_expression("attribute_exists(connectionId)")
            .update_expression("SET #batch = :true")
            .expression_attribute_names("#batch", "batch")
            .expression_attribute_values(":true", AttributeValue::Bool(true));
        exists("writing the connection's row", update.send().await)
    }

    /// The connection's membership of one room: one consistent GetItem.
    pub async fn membership(
        &self,
        connection_id: &str,
        room: &str,
        now_s: i64,
    ) -> Result<Option<Membership>, TableError> {
        const DOING: &str = "reading the connection's row";
        let get = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(connection_id, room)))
            .consistent_read(true)
            .projection_expression(OWN_ROW)
            .expression_attribute_names("#user", "user")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#batch", "batch")
            .send();
        let item = get
            .await
            .map_err(|error| TableError::new(DOING, &error))?
            .item;
        let row: Option<Membership> = item
            .map(serde_dynamo::from_item)
            .transpose()
            .map_err(|error| TableError::unreadable(DOING, &error))?;
        Ok(row.filter(|row| row.expires_at > now_s))
    }

    /// Every membership of the connection, without its [`inbox`]: a consistent Query of its partition, all pages.
    pub async fn memberships(
        &self,
        connection_id: &str,
        now_s: i64,
    ) -> Result<Vec<Membership>, TableError> {
        const DOING: &str = "reading the connection's rows";
        // `user` is a reserved word of DynamoDB's expressions.
        let query = self
            .own_rows(connection_id)
            .filter_expression("expiresAt > :now")
            .expression_attribute_values(":now", AttributeValue::N(now_s.to_string()))
            .projection_expression(OWN_ROW)
            .expression_attribute_names("#user", "user")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#batch", "batch");
        let mut own: Vec<Membership> = all(DOING, query).await?;
        own.retain(|own| !own.room.starts_with(INBOX));
        Ok(own)
    }

    /// Every row of the connection, expired ones included: a consistent Query of its partition, all pages.
    pub async fn rows(&self, connection_id: &str) -> Result<Vec<Row>, TableError> {
        const DOING: &str = "listing the connection's rows";
        all(
            DOING,
            self.own_rows(connection_id)
                .projection_expression("room, connectedAt"),
        )
        .await
    }

    /// The ids of the connections in a room, page by page: a Query of [`ROOM_INDEX`] per page, each sent when the
    /// stream is polled for it. Pages may be empty. Ends after the first error.
    pub fn members(
        &self,
        room: &str,
        now_s: i64,
    ) -> impl Stream<Item = Result<Vec<String>, TableError>> + use<> {
        self.room_index(room, now_s, "connectionId", None)
    }

    /// The same, with the kind of frames that each connection takes, and with at most `page` rows in a page.
    pub fn recipients(
        &self,
        room: &str,
        now_s: i64,
        page: Option<usize>,
    ) -> impl Stream<Item = Result<Vec<Recipient>, TableError>> + use<> {
        let partitions = partitions(room).into_iter();
        let page = page.and_then(|page| i32::try_from(page).ok());
        let page = page.into_iter().chain(self.page_size).min();
        stream::select_all(partitions.map(|partition| {
            let query = self
                .index(&partition, now_s)
                .projection_expression("connectionId, #batch")
                .expression_attribute_names("#batch", "batch");
            Box::pin(pages(query.set_limit(page), recipients))
        }))
    }

    /// The ids of the connections of `user` in a room: as for [`Self::members`], all pages of the room.
    pub async fn of_user(
        &self,
        room: &str,
        user: &str,
        now_s: i64,
    ) -> Result<Vec<String>, TableError> {
        let pages = self.room_index(room, now_s, "connectionId", Some(user));
        let pages: Vec<Vec<String>> = pages.try_collect().await?;
        Ok(pages.concat())
    }

    /// The users in a room, once for each of their connections, in the same way.
    pub fn users(
        &self,
        room: &str,
        now_s: i64,
    ) -> impl Stream<Item = Result<Vec<String>, TableError>> + use<> {
        self.room_index(room, now_s, "user", None)
    }

    /// Returns the connections in a room, or none if there are more than `most`: a Query of [`ROOM_INDEX`] that reads one
    /// row beyond them.
    pub async fn listed(
        &self,
        room: &str,
        now_s: i64,
        most: usize,
    ) -> Result<Option<Vec<Listed>>, TableError> {
        let enough = i32::try_from(most.saturating_add(1)).unwrap_or(i32::MAX);
        let size = self.page_size.map_or(enough, |size| size.min(enough));
        let (listed, more) = self.list(room, now_s, most, Some(size)).await?;
        Ok((!more).then_some(listed))
    }

    /// Returns the connections in a room, up to [`MOST_COUNTED`], and whether there are more: a Query of [`ROOM_INDEX`]
    /// per page.
    pub async fn most_listed(
        &self,
        room: &str,
        now_s: i64,
    ) -> Result<(Vec<Listed>, bool), TableError> {
        self.list(room, now_s, MOST_COUNTED, self.page_size).await
    }

    async fn list(
        &self,
        room: &str,
        now_s: i64,
        most: usize,
        page_size: Option<i32>,
    ) -> Result<(Vec<Listed>, bool), TableError> {
        const DOING: &str = "reading the room's members";
        let mut listed = Vec::new();
        for partition in partitions(room) {
            let mut rows = self
                .index(&partition, now_s)
                .projection_expression("connectionId, #user, presence, expiresAt")
                .expression_attribute_names("#user", "user")
                .set_limit(page_size)
                .into_paginator()
                .items()
                .send();
            while let Some(row) = rows.next().await {
                let row = row.map_err(|error| TableError::new(DOING, &error))?;
                if listed.len() == most {
                    return Ok((listed, true));
                }
                listed.extend(Listed::of(row));
            }
        }
        Ok((listed, false))
    }

    /// Counts the connections in a room, up to [`MOST_COUNTED`]: a Query of [`ROOM_INDEX`] per page.
    pub async fn count(&self, room: &str, now_s: i64) -> Result<usize, TableError> {
        let mut pages = self
            .index(room, now_s)
            .select(Select::Count)
            .set_limit(self.page_size)
            .into_paginator()
            .send();
        let mut count = 0;
        while count < MOST_COUNTED
            && let Some(page) = pages.next().await
        {
            let page =
                page.map_err(|error| TableError::new("counting the room's members", &error))?;
            count += usize::try_from(page.count).unwrap_or(0);
        }
        Ok(count.min(MOST_COUNTED))
    }

    /// The rows of a room that have not expired.
    fn index(&self, room: &str, now_s: i64) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .index_name(ROOM_INDEX)
            .key_condition_expression("room = :room")
            .filter_expression("expiresAt > :now")
            .expression_attribute_values(":room", AttributeValue::S(room.to_owned()))
            .expression_attribute_values(":now", AttributeValue::N(now_s.to_string()))
    }

    /// One attribute of the rows of a room, of all its partitions in parallel; or of those of one user.
    fn room_index(
        &self,
        room: &str,
        now_s: i64,
        attribute: &'static str,
        user: Option<&str>,
    ) -> impl Stream<Item = Result<Vec<String>, TableError>> + use<> {
        let partitions = partitions(room).into_iter();
        stream::select_all(
            partitions
                .map(|partition| Box::pin(self.partition(&partition, now_s, attribute, user))),
        )
    }

    /// One attribute of the rows of a partition of the index, or of those of one user.
    fn partition(
        &self,
        room: &str,
        now_s: i64,
        attribute: &'static str,
        user: Option<&str>,
    ) -> impl Stream<Item = Result<Vec<String>, TableError>> + use<> {
        let query = self.index(room, now_s);
        let query = match user {
            Some(user) => query
                .filter_expression("expiresAt > :now AND #user = :user")
                .expression_attribute_names("#user", "user")
                .expression_attribute_values(":user", AttributeValue::S(user.to_owned())),
            None => query,
        };
        let query = query
            .projection_expression("#wanted")
            .expression_attribute_names("#wanted", attribute);
        pages(query.set_limit(self.page_size), move |page| {
            texts(page, attribute)
        })
    }

    /// Deletes a row: one DeleteItem. Returns the row, or none if it was missing.
    pub async fn delete(
        &self,
        connection_id: &str,
        room: &str,
    ) -> Result<Option<Departed>, TableError> {
        const DOING: &str = "deleting the connection's row";
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(connection_id, room)))
            .return_values(ReturnValue::AllOld)
            .send();
        let deleted = delete
            .await
            .map_err(|error| TableError::new(DOING, &error))?;
        departed(DOING, deleted)
    }

    /// Deletes a row unless it has been written anew since: one DeleteItem, on condition that the row is no younger
    /// than `born_before_ms`. A younger row stays, which is not an error. Returns the row that was deleted, if any.
    pub async fn delete_if_old(
        &self,
        connection_id: &str,
        room: &str,
        born_before_ms: i64,
    ) -> Result<Option<Departed>, TableError> {
        const DOING: &str = "deleting a dead connection's row";
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(connection_id, room)))
            .condition_expression("attribute_not_exists(connectedAt) OR connectedAt <= :born")
            .expression_attribute_values(":born", AttributeValue::N(born_before_ms.to_string()))
            .return_values(ReturnValue::AllOld)
            .send();
        match delete.await {
            Ok(deleted) => departed(DOING, deleted),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(TableError::new(DOING, &error)),
        }
    }

    fn own_rows(&self, connection_id: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("connectionId = :id")
            .expression_attribute_values(":id", AttributeValue::S(connection_id.to_owned()))
            .consistent_read(true)
            .set_limit(self.page_size)
    }
}

/// The partitions of the index in which the connections of a room stand. Nobody joins a room of two users: its connections
/// are those of the two.
fn partitions(room: &str) -> Vec<String> {
    match Private::of(room) {
        Some(private) => private.users().into_iter().flatten().map(inbox).collect(),
        None => vec![room.to_owned()],
    }
}

/// The pages of a Query of the index, each as `read` reads it. Ends after the first error.
fn pages<T, F: Fn(QueryOutput) -> Vec<T> + Copy>(
    query: QueryFluentBuilder,
    read: F,
) -> impl Stream<Item = Result<Vec<T>, TableError>> + use<T, F> {
    let pages = query.into_paginator().send();
    stream::unfold(Some(pages), move |pages| async move {
        let mut pages = pages?;
        match pages
            .next()
            .await?
            .map_err(|error| TableError::new("reading the room's members", &error))
        {
            Ok(page) => Some((Ok(read(page)), Some(pages))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// All items of all pages of a Query.
pub(super) async fn all<T: DeserializeOwned>(
    doing: &'static str,
    query: QueryFluentBuilder,
) -> Result<Vec<T>, TableError> {
    let mut items = query.into_paginator().items().send();
    let mut rows = Vec::new();
    while let Some(item) = items.next().await {
        let item = item.map_err(|error| TableError::new(doing, &error))?;
        rows.push(
            serde_dynamo::from_item(item).map_err(|error| TableError::unreadable(doing, &error))?,
        );
    }
    Ok(rows)
}

/// True if an update on condition that the row exists has found the row.
fn exists(
    doing: &'static str,
    updated: Result<UpdateItemOutput, SdkError<UpdateItemError>>,
) -> Result<bool, TableError> {
    match updated {
        Ok(_) => Ok(true),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
        {
            Ok(false)
        }
        Err(error) => Err(TableError::new(doing, &error)),
    }
}

/// A room can hold many thousands: the texts are taken out of the items without going through serde.
fn texts(page: QueryOutput, attribute: &str) -> Vec<String> {
    page.items
        .unwrap_or_default()
        .into_iter()
        .filter_map(|mut item| match item.remove(attribute) {
            Some(AttributeValue::S(text)) => Some(text),
            _ => None,
        })
        .collect()
}

fn recipients(page: QueryOutput) -> Vec<Recipient> {
    let items = page.items.unwrap_or_default().into_iter();
    let recipient = |mut item: HashMap<String, AttributeValue>| {
        let batch = matches!(item.get("batch"), Some(AttributeValue::Bool(true)));
        match item.remove("connectionId") {
            Some(AttributeValue::S(connection_id)) => Some(Recipient {
                connection_id,
                batch,
            }),
            _ => None,
        }
    };
    items.filter_map(recipient).collect()
}

/// The row that a DeleteItem has deleted.
fn departed(
    doing: &'static str,
    deleted: DeleteItemOutput,
) -> Result<Option<Departed>, TableError> {
    let row = deleted.attributes.map(serde_dynamo::from_item).transpose();
    row.map_err(|error| TableError::unreadable(doing, &error))
}

fn key(connection_id: &str, room: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([
        (
            "connectionId".to_owned(),
            AttributeValue::S(connection_id.to_owned()),
        ),
        ("room".to_owned(), AttributeValue::S(room.to_owned())),
    ])
}
