//! The answers to `join`, `leave`, `history` and `members`.

use serde::Serialize;
use serde_json::value::RawValue;

/// The connection is in the room, and gets everything after `head` as it is said.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "joined")]
pub struct Joined<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Where.
    pub room: &'a str,
    /// Who the connection is there.
    pub user: &'a str,
    /// Which numbers: they count within one epoch.
    pub epoch: &'a str,
    /// The oldest message there is.
    pub first: u64,
    /// The newest; `first` - 1 where there is none.
    pub head: u64,
    /// Whether nothing that came after the client's position is lost; null where it gave none.
    pub recovered: Option<bool>,
    /// What came after the client's position, or the newest messages; each as its `message` frame, in order.
    pub messages: Vec<Box<RawValue>>,
    /// True when more came after the client's position than fits. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The connection is not in the room, any more or anyway.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "left")]
pub struct Left<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Where.
    pub room: &'a str,
}

/// A page of a room's log.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "history")]
pub struct History<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Where.
    pub room: &'a str,
    /// Which numbers; null where nothing is stored.
    pub epoch: Option<&'a str>,
    /// The oldest message there is.
    pub first: u64,
    /// The newest; `first` - 1 where there is none.
    pub head: u64,
    /// Each as its `message` frame, in order.
    pub messages: Vec<Box<RawValue>>,
    /// Whether there are further ones in the direction that was asked for.
    pub more: bool,
}

/// Who is in a room.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "members")]
pub struct Members<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Where.
    pub room: &'a str,
    /// How many connections are in the room.
    pub count: usize,
    /// Users in order of their names.
    pub members: Vec<Member<'a>>,
    /// Whether there are further ones.
    pub more: bool,
}

/// A user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Member<'a> {
    /// The name.
    pub user: &'a str,
    /// How many connections have it.
    pub connections: usize,
}
