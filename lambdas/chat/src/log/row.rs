//! The rows of the table `messages`.
//!
//! A row without `user` and `data` is a **genesis**: it begins an epoch, holds its place and is never delivered.

use serde::{Deserialize, Serialize};

/// A row without its message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its place in the log of its room.
    pub seq: u64,
    /// The ULID of the unbroken sequence it belongs to.
    pub epoch: String,
    /// The client's own id of the message.
    pub id: Option<String>,
    /// A hash of the first data, for a message with an `id`.
    pub hash: Option<String>,
    /// The sender. A genesis has none.
    pub user: Option<String>,
    /// A ULID of the invocation that wrote the row. A writer recognises its own row by it when the reply was lost.
    #[serde(default)]
    pub nonce: String,
    /// The time when the message was received, in milliseconds since 1970.
    pub at: i64,
    /// The time when the row expires, in seconds since 1970, the unit of DynamoDB's TTL.
    pub expires_at: i64,
    /// See [`Header::n`].
    pub n: Option<u64>,
}

impl Header {
    /// The number of ordinary messages of the epoch up to and including this row. A row of a version that did not count
    /// them has its own number: all rows were ordinary messages then, so differences between two rows are right.
    pub fn n(&self) -> u64 {
        self.n.unwrap_or(self.seq)
    }

    /// True if the row counts as trimmed, even if DynamoDB has not deleted it yet.
    pub fn is_expired(&self, now_s: i64) -> bool {
        self.expires_at <= now_s
    }

    /// True if the row begins an epoch and holds no message.
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
    pub(super) hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
    pub(super) at: i64,
    pub(super) expires_at: i64,
    pub(super) nonce: &'a str,
    pub(super) n: u64,
}

impl Row<'_> {
    /// The header of the row once it is written.
    pub(super) fn header(&self) -> Header {
        Header {
            seq: self.seq,
            epoch: self.epoch.to_owned(),
            id: self.id.map(str::to_owned),
            hash: self.hash.map(str::to_owned),
            user: self.user.map(str::to_owned),
            nonce: self.nonce.to_owned(),
            at: self.at,
            expires_at: self.expires_at,
            n: Some(self.n),
        }
    }
}
