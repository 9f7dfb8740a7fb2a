//! The frames that the service sends, all but errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message for a member.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct Message<'a> {
    /// The room.
    pub room: &'a str,
    /// Its number in the log of the room.
    pub seq: u64,
    /// The epoch of the number.
    pub epoch: &'a str,
    /// The number of ordinary messages of the epoch, with this one.
    pub n: u64,
    /// The sender's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The sender.
    pub from: &'a str,
    /// The kind of the entry; absent for an ordinary message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'a str>,
    /// The number of the message that the entry changes; absent for an ordinary message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<u64>,
    /// The reaction; absent for all other entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// False for the end of a reaction; absent for all other entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// The reason of a deletion; absent for all other entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The payload, byte for byte as it was sent; `null` for an entry without one, absent for a deleted message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
    /// The last edit of the message; absent for a message that was not edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edited>,
    /// The deletion of the message; absent for a message that was not deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted<'a>>,
    /// The reactions to the message, by key; absent if there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reactions: BTreeMap<&'a str, Reaction>,
    /// The time of its receipt, in seconds since 1970.
    pub received: i64,
    /// The same moment in milliseconds.
    pub at: i64,
    /// The number of connections in a room that has too many for presence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

impl Message<'_> {
    /// The frame of an ordinary message without changes, to be completed.
    pub const PLAIN: Self = Self {
        room: "",
        seq: 0,
        epoch: "",
        n: 0,
        id: None,
        from: "",
        kind: None,
        target: None,
        key: None,
        on: None,
        reason: None,
        data: None,
        edited: None,
        deleted: None,
        reactions: BTreeMap::new(),
        received: 0,
        at: 0,
        count: None,
    };
}

/// Several messages for a member.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "messages")]
pub struct Messages<'a> {
    /// The room.
    pub room: &'a str,
    /// The epoch of the numbers.
    pub epoch: &'a str,
    /// `message` frames, in order and without a hole.
    pub messages: &'a [Box<RawValue>],
}

/// The last edit of a message.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Edited {
    /// Its time, in milliseconds since 1970.
    pub at: i64,
    /// Its number.
    pub seq: u64,
}

/// The deletion of a message.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Deleted<'a> {
    /// Its time, in milliseconds since 1970.
    pub at: i64,
    /// The user who has deleted it.
    pub by: &'a str,
    /// The reason, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// The reactions with one key.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Reaction {
    /// The number of users.
    pub count: usize,
    /// True if the reader is one of them.
    pub mine: bool,
}

/// The answer to the sender: the message is stored, and its delivery counts.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct Ack<'a> {
    /// The sender's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The room.
    pub room: &'a str,
    /// Its number in the log of the room.
    pub seq: u64,
    /// The epoch of the number.
    pub epoch: &'a str,
    /// The number of ordinary messages of the epoch, with this one.
    pub n: u64,
    /// The time of its first receipt, in milliseconds since 1970.
    pub at: i64,
    /// True when it was stored before, by an earlier frame of the same user with the same id. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// The stored data, if they differ from those of the frame: a review has replaced them, or the message of a duplicate was
    /// edited since. `null` if the message was deleted. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
    /// Other connections for which API Gateway accepted it. Absent like the next two if `paced`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<usize>,
    /// Members whose connections had ended unnoticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<usize>,
    /// Members that did not get it, or may not have got it, for any other reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<usize>,
    /// True when the message is delivered a moment later, with others. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paced: bool,
    /// True when the list of members was not read to its end, for lack of time or for a failure: members beyond those
    /// counted did not get it. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A receiver of a `leave` waits so long, in milliseconds, before it shows it: a `join` or `update` of the user that comes
/// meanwhile makes it void.
pub const HOLD_MS: u64 = 10_000;

/// The event of a [`Presence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceEvent {
    /// The user is in the room now.
    Join,
    /// The user is in the room, with this state.
    Update,
    /// The user has left the room.
    Leave,
}

impl PresenceEvent {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Update => "update",
            Self::Leave => "leave",
        }
    }
}

/// An event of presence, for the members that want it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "presence", rename_all = "camelCase")]
pub struct Presence<'a> {
    /// The room.
    pub room: &'a str,
    /// The event.
    pub event: PresenceEvent,
    /// The user that it is about.
    pub user: &'a str,
    /// The name to show to people, if the user has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// The user's connections that are present.
    pub connections: usize,
    /// The state, byte for byte as it was sent, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'a RawValue>,
    /// The time of the event, in milliseconds since 1970.
    pub at: i64,
    /// The time for which a `leave` is to be held back, in milliseconds. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// The number of connections in the room.
    pub count: usize,
}

/// A signal for a member. It is not stored, and has no number.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "signal")]
pub struct Signal<'a> {
    /// The room.
    pub room: &'a str,
    /// The kind of signal.
    pub kind: &'a str,
    /// The sender.
    pub from: &'a str,
    /// The payload, byte for byte as it was sent, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
    /// The time of its receipt, in milliseconds since 1970.
    pub at: i64,
}

/// The data of the signal `read`: how far a user has read.
#[derive(Debug, Serialize)]
pub struct ReadUpTo<'a> {
    /// The epoch of the numbers.
    pub epoch: &'a str,
    /// The last message that the user has read.
    pub seq: u64,
    /// The number of ordinary messages of the epoch up to this one.
    pub n: u64,
}

/// The answer to an action that stores no message: it is done.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct Done<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The room that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<&'a str>,
    /// The user that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The time of its receipt, in milliseconds since 1970.
    pub at: i64,
}

/// The positions up to which a user has read, by room.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "marks")]
pub struct Marks<'a, T> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The marks, in order of the rooms.
    pub marks: &'a BTreeMap<String, T>,
    /// True when there are marks of rooms that come after these. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The ends of the logs of several rooms.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "heads")]
pub struct Heads<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The end of each log, in order of the rooms; null where a room has none.
    pub heads: BTreeMap<&'a str, Option<Head>>,
}

/// The end of a log.
#[derive(Debug, Serialize)]
pub struct Head {
    /// The epoch of the numbers.
    pub epoch: String,
    /// The newest message.
    pub head: u64,
    /// The number of ordinary messages of the epoch.
    pub n: u64,
}

/// The connection is in the room, and gets every message after `head`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "joined")]
pub struct Joined<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The room.
    pub room: &'a str,
    /// The user of the connection.
    pub user: &'a str,
    /// The epoch of the number.
    pub epoch: &'a str,
    /// The oldest message.
    pub first: u64,
    /// The newest message; `first` - 1 where there is none.
    pub head: u64,
    /// The number of ordinary messages of the epoch up to `head`.
    #[serde(rename = "headN")]
    pub head_n: u64,
    /// True if no message after the client's position is lost; null where the client gave no position.
    pub recovered: Option<bool>,
    /// The messages after the client's position, or the newest ones: `message` frames in order.
    pub messages: Vec<Box<RawValue>>,
    /// True if more messages came after the client's position than fit. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// `live`, or `count` in a room with too many connections. Absent if the join asked for no presence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<&'static str>,
    /// The number of connections in the room, where presence was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// The connection is not in the room.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "left")]
pub struct Left<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The room.
    pub room: &'a str,
}

/// A page of a room's log.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "history")]
pub struct History<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The room.
    pub room: &'a str,
    /// The epoch of the numbers; null where nothing is stored.
    pub epoch: Option<&'a str>,
    /// The oldest message.
    pub first: u64,
    /// The newest message; `first` - 1 where there is none.
    pub head: u64,
    /// The number of ordinary messages of the epoch up to `head`.
    #[serde(rename = "headN")]
    pub head_n: u64,
    /// The `message` frames, in order.
    pub messages: Vec<Box<RawValue>>,
    /// True if there are more messages in the same direction.
    pub more: bool,
}

/// The members of a room.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "members")]
pub struct Members<'a> {
    /// The client's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The room.
    pub room: &'a str,
    /// The number of connections in the room.
    pub count: usize,
    /// Users in order of their names.
    pub members: Vec<Member<'a>>,
    /// True if more of the counted users come after these.
    pub more: bool,
    /// True if the room has more connections than are counted, and `members` may lack the users of the others. Absent
    /// otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// `live`, or `count` in a room with too many connections. Absent if neither states nor a probe were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// The time of the list, in milliseconds since 1970, where `mode` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
}

/// A user in a room.
#[derive(Debug, Serialize)]
pub struct Member<'a> {
    /// The name.
    pub user: &'a str,
    /// The number of connections with this name.
    pub connections: usize,
    /// The presence of the user, in a list with states.
    #[serde(flatten)]
    pub present: Option<Present<'a>>,
}

/// A user that the others are told of.
#[derive(Debug, Serialize)]
pub struct Present<'a> {
    /// True.
    pub presence: bool,
    /// The name to show to people, if the user has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// The state that was set last, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'a RawValue>,
    /// The time at which the oldest of the user's present connections connected, in milliseconds since 1970.
    pub since: i64,
}

/// The answer to a moderator: what was asked for holds.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "moderated")]
pub struct Moderated<'a> {
    /// The moderator's id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The action, as it was asked for.
    pub action: &'a str,
    /// The room.
    pub room: &'a str,
    /// The user.
    pub user: &'a str,
    /// The end of a ban or mute, in seconds since 1970. Absent for one without an end, and for other actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The number of connections of the user that it concerned.
    pub connections: usize,
}

/// Tells a connection that a moderator has removed it from a room.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "removed")]
pub struct Removed<'a> {
    /// The room.
    pub room: &'a str,
    /// `kicked` or `banned`.
    pub reason: &'static str,
    /// The moderator.
    pub by: &'a str,
    /// The end of a ban, in seconds since 1970; absent for a kick, and for a ban without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// Tells a connection that the service closes it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "bye", rename_all = "camelCase")]
pub struct Bye {
    /// `banned`, `revoked`, `disconnected` or `too_many_frames`.
    pub reason: &'static str,
    /// `never`, `later` or `now`.
    pub reconnect: &'static str,
    /// The wait before the client connects again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The answer to the backend: connections of a user are closed.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "done")]
pub struct Closed<'a> {
    /// The id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The action, as it was asked for.
    pub action: &'a str,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The number of connections that it concerned.
    pub connections: usize,
}

/// The answer to the backend: messages of a user are deleted.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "erased")]
pub struct Erased<'a> {
    /// The id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The room.
    pub room: &'a str,
    /// The user.
    pub user: &'a str,
    /// The number of messages that this call has deleted.
    pub messages: usize,
    /// The number of reactions that this call has taken back.
    pub reactions: usize,
    /// True if there are further rows. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// The position from which the next call goes on, if there are further rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// The answer to the backend: a new epoch has begun.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "epoch")]
pub struct Epoch<'a> {
    /// The id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The room.
    pub room: &'a str,
    /// The new epoch.
    pub epoch: &'a str,
    /// The number of its beginning; the next message has the next number.
    pub head: u64,
}

/// The answer to the backend: the bans, mutes and revocations that hold.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "bans")]
pub struct Bans<'a, T> {
    /// The id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The rows, in order of rooms and users.
    pub bans: &'a [T],
}
