//! The table `users`: bans and revocations of a user, for all connections.
//!
//! Its key is `user` and `about`. The rows that this file reads:
//!
//! | `about` | attributes |
//! |---|---|
//! | `ban#ROOM`, `ban#*` | `kind` (`ban` or `mute`), `until` (seconds since 1970; absent: for good), `reason`, `by`, `at` (milliseconds) |
//! | `ban#*flood` | the same, of a user who has sent too many messages: it ends by itself and replaces no other row |
//! | `ban#revoked` | `revokedBefore` (seconds since 1970): tokens that were issued earlier are refused |
//!
//! A row has `expiresAt`, its `until`, so that DynamoDB deletes it when it is over.
//!
//! They are read after the row of a connection is written. A ban is written before the rows of connections are read.
//! So when a join and a ban run in parallel, at least one sees the other. A failed read refuses the user.

use anyhow::anyhow;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use super::connections::{Mute, all};
use crate::errors::TableError;
use crate::identity::Identity;
use crate::protocol::{ErrorName, Failure};
use crate::settings::UsersTable;

const BAN: &str = "ban#";
const EVERYWHERE: [&str; 2] = ["ban#*", "ban#*flood"];
const REVOKED: &str = "ban#revoked";

/// The room of a penalty that holds everywhere. No room has this name.
pub const ANY_ROOM: &str = "*";

/// The room of a ban for a flood, which holds everywhere. No room has this name.
///
/// It is not [`ANY_ROOM`]: a row of that room would be replaced, and a user who is muted or banned could flood to end that.
pub const FLOODED: &str = "*flood";

/// The forms of a penalty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PenaltyKind {
    /// The user is not let in.
    Ban,
    /// The user may read and not write.
    Mute,
}

impl PenaltyKind {
    /// The value of `kind` in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ban => "ban",
            Self::Mute => MUTE,
        }
    }
}

/// A ban or a mute, as a moderator imposes it.
#[derive(Debug, Clone, Copy)]
pub struct Penalty<'a> {
    /// Ban or mute.
    pub kind: PenaltyKind,
    /// The user it concerns.
    pub user: &'a str,
    /// The room, or [`ANY_ROOM`].
    pub room: &'a str,
    /// The end, in seconds since 1970; none if it is permanent.
    pub until: Option<i64>,
    /// The reason, for the user.
    pub reason: Option<&'a str>,
    /// The moderator.
    pub by: &'a str,
    /// The time at which it was imposed, in milliseconds since 1970.
    pub at: i64,
}

/// A mute lets a user in.
const MUTE: &str = "mute";

/// A row about a user's bans.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ban {
    /// The user.
    #[serde(default)]
    pub user: String,
    about: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_before: Option<i64>,
}

/// The table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Users {
    client: Client,
    table: Option<String>,
}

impl Users {
    /// The table of `settings`, reached through `client`.
    pub fn new(client: Client, settings: UsersTable) -> Self {
        Self {
            client,
            table: settings.name,
        }
    }

    /// Refuses a user who is banned from `room`, or whose token is revoked: one consistent Query. Without a room only bans
    /// from everywhere count. Returns the mute of a user who may read there and not write.
    ///
    /// # Errors
    ///
    /// `banned`, `token_expired`, or an error of DynamoDB.
    pub async fn check(
        &self,
        identity: &Identity,
        room: Option<&str>,
        now_s: i64,
    ) -> Result<Option<Mute>, Failure> {
        let bans = self.bans_of(&identity.user).await?;
        bans.iter()
            .try_for_each(|ban| ban.check(identity, room, now_s))?;
        Ok(longest_mute(&bans, room, now_s))
    }

    /// The mute of `user` that holds in `room`: one consistent Query.
    ///
    /// # Errors
    ///
    /// DynamoDB's.
    pub async fn mute(&self, user: &str, room: &str, now_s: i64) -> Result<Option<Mute>, Failure> {
        let bans = self.bans_of(user).await?;
        Ok(longest_mute(&bans, Some(room), now_s))
    }

    async fn bans_of(&self, user: &str) -> Result<Vec<Ban>, Failure> {
        let query = self
            .client
            .query()
            .table_name(self.table()?)
            .key_condition_expression("#user = :user AND begins_with(about, :ban)")
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":user", AttributeValue::S(user.to_owned()))
            .expression_attribute_values(":ban", AttributeValue::S(BAN.to_owned()))
            .consistent_read(true);
        Ok(all("reading the user's bans", query).await?)
    }

    /// Writes a ban or a mute: one UpdateItem. It replaces an earlier penalty of the same kind in the room. A mute does
    /// not replace a ban that holds.
    ///
    /// # Errors
    ///
    /// `bad_request` for a mute of a user who is banned, and DynamoDB's.
    pub async fn impose(&self, penalty: &Penalty<'_>) -> Result<(), Failure> {
        const DOING: &str = "writing the ban";
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let number = |number: i64| AttributeValue::N(number.to_string());
        let mut set = vec!["kind = :kind", "#by = :by", "#at = :at"];
        let mut remove = Vec::new();
        let mut update = self
            .client
            .update_item()
            .table_name(self.table()?)
            .key("user", text(penalty.user))
            .key("about", text(&about(penalty.room)))
            .expression_attribute_names("#by", "by")
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":kind", text(penalty.kind.as_str()))
            .expression_attribute_values(":by", text(penalty.by))
            .expression_attribute_values(":at", number(penalty.at));
        match penalty.until {
            Some(until) => {
                set.push("#until = :until");
                update = update.expression_attribute_values(":until", number(until));
            }
            None => remove.push("#until"),
        }
        // A revocation in the same row has no end.
        match penalty.until.filter(|_| about(penalty.room) != REVOKED) {
            Some(_) => set.push("expiresAt = :until"),
            None => remove.push("expiresAt"),
        }
        match penalty.reason {
            Some(reason) => {
                set.push("reason = :reason");
                update = update.expression_attribute_values(":reason", text(reason));
            }
            None => remove.push("reason"),
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression.push_str(&format!(" REMOVE {}", remove.join(", ")));
        }
        if penalty.kind == PenaltyKind::Mute {
            update = update
                .condition_expression(
                    "attribute_not_exists(kind) OR kind = :kind OR #until <= :now",
                )
                .expression_attribute_values(":now", number(penalty.at / 1000));
        }
        match update.update_expression(expression).send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Err(Failure::bad_request(
                    "the user is banned there, which is more than a mute; unban first",
                ))
            }
            Err(error) => Err(TableError::new(DOING, &error).into()),
        }
    }

    /// Ends a ban or a mute: one DeleteItem, on condition that the row is of this kind. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// DynamoDB's.
    pub async fn lift(&self, kind: PenaltyKind, user: &str, room: &str) -> Result<bool, Failure> {
        const DOING: &str = "deleting the ban";
        let text = |text: &str| AttributeValue::S(text.to_owned());
        if about(room) == REVOKED {
            // A revocation in the same row stays.
            let update = self
                .client
                .update_item()
                .table_name(self.table()?)
                .key("user", text(user))
                .key("about", text(REVOKED))
                .condition_expression("kind = :kind AND attribute_exists(revokedBefore)")
                .expression_attribute_values(":kind", text(kind.as_str()))
                .expression_attribute_names("#until", "until")
                .update_expression("REMOVE kind, #until, reason");
            match update.send().await {
                Ok(_) => return Ok(true),
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {}
                Err(error) => return Err(TableError::new(DOING, &error).into()),
            }
        }
        let delete = self
            .client
            .delete_item()
            .table_name(self.table()?)
            .key("user", text(user))
            .key("about", text(&about(room)))
            .condition_expression("kind = :kind")
            .expression_attribute_values(":kind", text(kind.as_str()));
        match delete.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(TableError::new(DOING, &error).into()),
        }
    }

    /// Refuses every token of the user that was issued before `before_s`, in seconds since 1970: one UpdateItem.
    ///
    /// # Errors
    ///
    /// DynamoDB's.
    pub async fn revoke(&self, user: &str, before_s: i64) -> Result<(), Failure> {
        self.client
            .update_item()
            .table_name(self.table()?)
            .key("user", AttributeValue::S(user.to_owned()))
            .key("about", AttributeValue::S(REVOKED.to_owned()))
            .update_expression("SET revokedBefore = :before REMOVE expiresAt")
            .expression_attribute_values(":before", AttributeValue::N(before_s.to_string()))
            .send()
            .await
            .map_err(|error| TableError::new("revoking tokens", &error))?;
        Ok(())
    }

    /// The bans, mutes and revocations that hold at `now_s`, those of `room` alone if one is given: a Scan of the table.
    ///
    /// # Errors
    ///
    /// DynamoDB's.
    pub async fn bans(&self, room: Option<&str>, now_s: i64) -> Result<Vec<Ban>, Failure> {
        const DOING: &str = "listing bans";
        let mut scan = self
            .client
            .scan()
            .table_name(self.table()?)
            .filter_expression("begins_with(about, :ban)")
            .expression_attribute_values(":ban", AttributeValue::S(BAN.to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut bans: Vec<Ban> = Vec::new();
        while let Some(item) = scan.next().await {
            let item = item.map_err(|error| TableError::new(DOING, &error))?;
            let ban = serde_dynamo::from_item(item);
            bans.push(ban.map_err(|error| TableError::unreadable(DOING, &error))?);
        }
        bans.retain(|ban| {
            ban.until.is_none_or(|until| until > now_s)
                && room.is_none_or(|room| ban.about == about(room))
        });
        bans.sort_by(|a, b| (&a.about, &a.user).cmp(&(&b.about, &b.user)));
        Ok(bans)
    }

    fn table(&self) -> Result<&str, Failure> {
        self.table.as_deref().ok_or_else(|| {
            let cause = anyhow!("USERS_TABLE is not set: nothing says whether the user is banned");
            Failure::internal("the service failed; try again", cause)
        })
    }

    /// True if users are verified, so that a ban binds them.
    pub fn are_verified(&self) -> bool {
        self.table.is_some()
    }
}

/// The mute that holds longest.
fn longest_mute(bans: &[Ban], room: Option<&str>, now_s: i64) -> Option<Mute> {
    let mutes = bans.iter().filter(|ban| ban.mutes_in(room, now_s));
    let longest = mutes.max_by_key(|ban| ban.until.unwrap_or(i64::MAX))?;
    Some(Mute {
        until: longest.until,
        reason: longest.reason.clone(),
    })
}

/// The sort key of a room's bans.
fn about(room: &str) -> String {
    format!("{BAN}{room}")
}

impl Ban {
    fn check(&self, identity: &Identity, room: Option<&str>, now_s: i64) -> Result<(), Failure> {
        if self.revokes(identity.iat) {
            return Err(Failure::new(
                ErrorName::TokenExpired,
                "the token is revoked; connect again with a fresh one",
            ));
        }
        if !self.bans_from(room) || self.until.is_some_and(|until| until <= now_s) {
            return Ok(());
        }
        let place = match room {
            Some(room) if !self.is_everywhere() => format!("the room {room}"),
            _ => "this service".to_owned(),
        };
        Err(Failure {
            until: self.until,
            reason: self.reason.clone(),
            ..Failure::new(
                ErrorName::Banned,
                format!("this user is banned from {place}"),
            )
        })
    }

    /// A token without the time of its issue is revoked with all others, and so is every token by a row without a time.
    fn revokes(&self, iat: Option<i64>) -> bool {
        self.about == REVOKED
            && match self.revoked_before {
                Some(before) => iat.is_none_or(|iat| iat < before),
                // A ban from a room of this name.
                None => self.kind.is_none(),
            }
    }

    fn mutes_in(&self, room: Option<&str>, now_s: i64) -> bool {
        let here = room.is_some_and(|room| self.about == about(room));
        self.kind.as_deref() == Some(MUTE)
            && (here || self.is_everywhere())
            && self.until.is_none_or(|until| until > now_s)
    }

    fn bans_from(&self, room: Option<&str>) -> bool {
        let here = room.is_some_and(|room| self.about.strip_prefix(BAN) == Some(room));
        let is_ban = match self.kind.as_deref() {
            Some(kind) => kind != MUTE,
            None => self.about != REVOKED,
        };
        is_ban && (here || self.is_everywhere())
    }

    fn is_everywhere(&self) -> bool {
        EVERYWHERE.contains(&self.about.as_str())
    }
}
