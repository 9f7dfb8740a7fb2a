//! The table `users`: bans and revocations of a user, for all connections.
//!
//! Its key is `user` and `about`. The rows that this file reads:
//!
//! | `about` | attributes |
//! |---|---|
//! | `ban#ROOM`, `ban#*` | `kind` (`ban` or `mute`), `until` (seconds since 1970; absent: for good), `reason` |
//! | `ban#revoked` | `revokedBefore` (seconds since 1970): tokens that were issued earlier are refused |
//!
//! They are read after the row of a connection is written. A ban is written before the rows of connections are read.
//! So when a join and a ban run in parallel, at least one sees the other. A failed read refuses the user.

use anyhow::anyhow;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::Deserialize;

use super::connections::all;
use crate::identity::Identity;
use crate::protocol::{ErrorName, Failure};
use crate::settings::UsersTable;

const BAN: &str = "ban#";
const EVERYWHERE: &str = "ban#*";
const REVOKED: &str = "ban#revoked";

/// A mute lets a user in.
const MUTE: &str = "mute";

/// A row about a user's bans.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ban {
    about: String,
    kind: Option<String>,
    until: Option<i64>,
    reason: Option<String>,
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
    /// from everywhere count.
    ///
    /// # Errors
    ///
    /// `banned`, `token_expired`, or an error of DynamoDB.
    pub async fn check(
        &self,
        identity: &Identity,
        room: Option<&str>,
        now_s: i64,
    ) -> Result<(), Failure> {
        let Some(table) = &self.table else {
            let cause = anyhow!("USERS_TABLE is not set: nothing says whether the user is banned");
            return Err(Failure::internal("the service failed; try again", cause));
        };
        let query = self
            .client
            .query()
            .table_name(table)
            .key_condition_expression("#user = :user AND begins_with(about, :ban)")
            .expression_attribute_names("#user", "user")
            .expression_attribute_values(":user", AttributeValue::S(identity.user.clone()))
            .expression_attribute_values(":ban", AttributeValue::S(BAN.to_owned()))
            .consistent_read(true);
        let bans: Vec<Ban> = all("reading the user's bans", query).await?;
        bans.iter()
            .try_for_each(|ban| ban.check(identity, room, now_s))
    }
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
            Some(room) if self.about != EVERYWHERE => format!("the room {room}"),
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

    fn bans_from(&self, room: Option<&str>) -> bool {
        let here = room.is_some_and(|room| self.about.strip_prefix(BAN) == Some(room));
        let is_ban = match self.kind.as_deref() {
            Some(kind) => kind != MUTE,
            None => self.about != REVOKED,
        };
        is_ban && (here || self.about == EVERYWHERE)
    }
}
