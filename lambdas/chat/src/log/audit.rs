//! The audit: a room whose messages say what moderators and the backend have done.

use serde::Serialize;

/// The room of the audit. No client can join it.
pub const AUDIT: &str = "@audit";

/// The data of an entry. A retry of the same frame gives the same data, so it holds no time.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry<'a> {
    /// The action, as it was asked for.
    pub action: &'a str,
    /// The room it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<&'a str>,
    /// The user it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The connection it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<&'a str>,
    /// The moderator, or the name of the backend.
    pub by: &'a str,
    /// The reason, in the words of the moderator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The number of the message it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<u64>,
    /// The duration of a ban or mute, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<i64>,
}
