//! The rows of the table `messages`.
//!
//! A row without `user` and `data` is a **genesis**: it begins an epoch, holds its place and is never delivered.

use serde::{Deserialize, Serialize};

/// How old a row is at most, in milliseconds, while a read may find it and miss the one before: both were written during
/// that read, by invocations of half a minute. Twice that allows for clocks.
const YOUNG_MS: i64 = 60_000;

/// What a row says of itself, all but the message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its place in the log of its room.
    pub seq: u64,
    /// The ULID of the unbroken sequence it belongs to.
    pub epoch: String,
    /// The client's own id of the message.
    pub id: Option<String>,
    /// Who sent it. A genesis has none.
    pub user: Option<String>,
    /// Who wrote the row: a ULID of the invocation. A writer knows its own row by it when the reply was lost.
    #[serde(default)]
    pub nonce: String,
    /// When it was received, in milliseconds since 1970.
    pub at: i64,
    /// When the row is void, in seconds since 1970: what DynamoDB's TTL counts in.
    pub expires_at: i64,
}

impl Header {
    /// Whether the row counts as trimmed, whether or not DynamoDB has deleted it yet.
    pub fn is_expired(&self, now_s: i64) -> bool {
        self.expires_at <= now_s
    }

    /// Whether a row that is missing before this one may have been written since. Before an older row it is trimmed.
    pub fn is_young(&self, now_ms: i64) -> bool {
        self.at > now_ms - YOUNG_MS
    }

    /// Whether the row begins an epoch and holds no message.
    pub fn is_genesis(&self) -> bool {
        self.user.is_none()
    }
}

/// A row as it is written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row<'a> {
    pub(super) room: &'a str,
    pub(super) seq: u64,
    pub(super) epoch: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<&'a str>,
    pub(super) at: i64,
    pub(super) expires_at: i64,
    pub(super) nonce: &'a str,
}

impl Row<'_> {
    /// What the row says of itself once it is written.
    pub(super) fn header(&self) -> Header {
        Header {
            seq: self.seq,
            epoch: self.epoch.to_owned(),
            id: self.id.map(str::to_owned),
            user: self.user.map(str::to_owned),
            nonce: self.nonce.to_owned(),
            at: self.at,
            expires_at: self.expires_at,
        }
    }
}
