//! The frames that the service sends, all but errors.

use serde::Serialize;
use serde_json::value::RawValue;

/// What members get: somebody said something.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct Message<'a> {
    /// Where.
    pub room: &'a str,
    /// Its number in the log of the room.
    pub seq: u64,
    /// Which numbers: they count within one epoch.
    pub epoch: &'a str,
    /// The sender's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Who, by the name given when connecting.
    pub from: &'a str,
    /// What, byte for byte as it was sent.
    pub data: &'a RawValue,
    /// When it was received, in seconds since 1970.
    pub received: i64,
    /// The same moment in milliseconds.
    pub at: i64,
}

/// What the sender gets: the message is stored, and what became of it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct Ack<'a> {
    /// The sender's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Where it went.
    pub room: &'a str,
    /// Its number in the log of the room.
    pub seq: u64,
    /// Which numbers: they count within one epoch.
    pub epoch: &'a str,
    /// When it was first received, in milliseconds since 1970.
    pub at: i64,
    /// True when it was stored before, by an earlier frame of the same user with the same id. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// To how many other connections API Gateway accepted it.
    pub delivered: usize,
    /// How many members turned out to have left without saying so.
    pub gone: usize,
    /// How many members did not get it, or not surely, for any other reason.
    pub failed: usize,
    /// True when the list of members was not read to its end, for lack of time or for a failure: members beyond those
    /// counted did not get it. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

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
    /// Whether further users of the connections counted come after these.
    pub more: bool,
    /// True when the room has more connections than are counted, and `members` may lack the users of those. Absent
    /// otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A user in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Member<'a> {
    /// The name.
    pub user: &'a str,
    /// How many connections have it.
    pub connections: usize,
}
