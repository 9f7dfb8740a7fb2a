//! The frames, as PROTOCOL.md describes them.
//!
//! The `data` of a message is kept as raw text: the client shows it and passes it on, and never interprets it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

/// The largest frame that API Gateway accepts, in bytes. It closes the connection on a larger one.
pub const MAX_FRAME: usize = 32 * 1024;

/// A position in a room's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The name of the log's epoch. A room whose whole log has been trimmed begins a new epoch.
    pub epoch: String,
    /// The number of a message in this epoch, or 0 before the first one.
    pub seq: u64,
}

/// A message in a room's log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Entry {
    /// The epoch of the log. Entries of an answer may omit it and take the epoch of the answer.
    #[serde(default)]
    pub epoch: String,
    /// The number of the message in the log.
    pub seq: u64,
    /// The id that the sender gave to the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The kind of a log entry that is not an ordinary message. Absent for an ordinary message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The number of ordinary messages of the epoch up to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// The user who sent the message.
    #[serde(default)]
    pub from: String,
    /// The content, as the sender wrote it; `null` where the entry has none.
    #[serde(default = "null")]
    pub data: Box<RawValue>,
    /// The time at which the service received the message, in milliseconds since 1970.
    #[serde(default)]
    pub at: i64,
    /// The number of the message that an edit, a deletion or a reaction changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u64>,
    /// The reaction, such as an emoji.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// False where the reaction is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// The reason of a deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last edit of the message, if it was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edited>,
    /// The deletion of the message, if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted>,
    /// The reactions to the message, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reactions: BTreeMap<String, Reaction>,
    /// The number of connections in a room that has too many for presence.
    #[serde(default, skip_serializing)]
    pub count: Option<u64>,
}

/// The last edit of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited {
    /// The time, in milliseconds since 1970.
    #[serde(default)]
    pub at: i64,
    /// The number of the edit in the log.
    pub seq: u64,
}

/// The deletion of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The time, in milliseconds since 1970.
    #[serde(default)]
    pub at: i64,
    /// The user who deleted the message.
    #[serde(default)]
    pub by: String,
    /// The reason, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The users who have reacted to a message with the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// The number of users.
    pub count: u64,
    /// True if the client's user is one of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mine: bool,
}

/// Reads a field that is there, `null` included, which an `Option` alone takes for a missing one.
pub(crate) fn present<'de, D: Deserializer<'de>>(
    field: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(field).map(Some)
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// The answer to a `publish`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ack {
    /// The id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The room of the message.
    pub room: String,
    /// The epoch of the log.
    pub epoch: String,
    /// The number of the message in the log.
    pub seq: u64,
    /// The number of ordinary messages of the epoch up to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// The time at which the service received the message, in milliseconds since 1970.
    #[serde(default)]
    pub at: i64,
    /// True if an earlier try had stored the message already.
    #[serde(default)]
    pub duplicate: bool,
    /// The stored data, if they differ from the sender's: a review has replaced them, or the message was changed since.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub data: Option<Box<RawValue>>,
    /// The number of connections to which the message was delivered.
    #[serde(default)]
    pub delivered: u64,
    /// The number of connections that no longer exist.
    #[serde(default)]
    pub gone: u64,
    /// The number of connections that did not get the message and will find it in the log.
    #[serde(default)]
    pub failed: u64,
}

/// The answer to a `join`.
#[derive(Debug, Clone, Deserialize)]
pub struct Joined {
    /// The id of the `join`.
    pub id: Option<String>,
    /// The room.
    pub room: String,
    /// The name by which the others in the room see this connection.
    pub user: Option<String>,
    /// The epoch of the room's log.
    pub epoch: String,
    /// The number of the oldest message in the log.
    #[serde(default)]
    pub first: u64,
    /// The number of the newest message in the log; 0 in an empty log.
    #[serde(default)]
    pub head: u64,
    /// True if `messages` begins right after `since`; absent without `since`.
    pub recovered: Option<bool>,
    /// The messages after `since`, or the newest messages.
    #[serde(default)]
    pub messages: Vec<Entry>,
    /// True if there are more messages after `since` than these.
    #[serde(default)]
    pub more: bool,
    /// `live` or `count`, if presence was asked for and the service has it.
    pub presence: Option<String>,
    /// The number of connections in the room, if presence was asked for.
    pub count: Option<u64>,
}

/// The answer to a `history`: a page of a room's log.
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    /// The id of the `history`.
    pub id: Option<String>,
    /// The room.
    pub room: String,
    /// The epoch of the room's log; absent when the room has no log.
    pub epoch: Option<String>,
    /// The number of the oldest message in the log.
    #[serde(default)]
    pub first: u64,
    /// The number of the newest message in the log.
    #[serde(default)]
    pub head: u64,
    /// The messages of the page, in order.
    #[serde(default)]
    pub messages: Vec<Entry>,
    /// True if the log has further messages in the requested direction.
    #[serde(default)]
    pub more: bool,
}

/// The answer to a `members`: the users in a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Members {
    /// The id of the `members`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The room.
    pub room: String,
    /// The number of connections in the room.
    #[serde(default)]
    pub count: u64,
    /// The users, in order of their names.
    #[serde(default)]
    pub members: Vec<Member>,
    /// True if there are more users than these.
    #[serde(default)]
    pub more: bool,
    /// `live` or `count`, if states were asked for and the service has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The time of the list, in milliseconds since 1970, if `mode` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
}

/// A user in a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// The name of the user.
    pub user: String,
    /// The number of the user's connections in this room.
    #[serde(default)]
    pub connections: u64,
    /// True if the others are told who it is and what it does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub presence: bool,
    /// The name to show to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The state that the user has set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Box<RawValue>>,
    /// The time at which the oldest of its present connections connected, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
}

/// The event of a [`Presence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Happened {
    /// The user is in the room now.
    Join,
    /// The user is in the room, with this state.
    Update,
    /// The user has left.
    Leave,
    /// An event that this client does not know, which is ignored.
    #[serde(other)]
    Unknown,
}

/// An event of presence.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// The room.
    pub room: String,
    /// The event.
    pub event: Happened,
    /// The user that it is about.
    pub user: String,
    /// The name to show to people.
    pub name: Option<String>,
    /// The state of the user.
    pub state: Option<Box<RawValue>>,
    /// The time of the event, in milliseconds since 1970.
    #[serde(default)]
    pub at: i64,
    /// The time for which a `leave` is held back, in milliseconds.
    pub hold_ms: Option<u64>,
}

/// A signal, such as typing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Signal {
    /// The room.
    pub room: String,
    /// The meaning of the signal.
    pub kind: String,
    /// The user who sent it.
    #[serde(default)]
    pub from: String,
    /// The content, as the sender wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The time at which the service received it, in milliseconds since 1970.
    #[serde(default)]
    pub at: i64,
}

/// The answer to a frame that is done and has no number.
#[derive(Debug, Clone, Deserialize)]
pub struct Done {
    /// The id of the frame.
    pub id: Option<String>,
}

/// The position up to which the user has read a room.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mark {
    /// The epoch of the numbers.
    pub epoch: String,
    /// The last message that the user has read.
    pub seq: u64,
    /// The number of ordinary messages of the epoch up to this one.
    pub n: u64,
}

/// The answer to a `marks`.
#[derive(Debug, Clone, Deserialize)]
pub struct Marks {
    /// The id of the `marks`.
    pub id: Option<String>,
    /// The marks, by room.
    pub marks: BTreeMap<String, Mark>,
}

/// The end of a room's log.
#[derive(Debug, Clone, Deserialize)]
pub struct Head {
    /// The epoch of the log.
    pub epoch: String,
    /// The number of ordinary messages of the epoch.
    pub n: u64,
}

/// The answer to a `heads`.
#[derive(Debug, Clone, Deserialize)]
pub struct Heads {
    /// The id of the `heads`.
    pub id: Option<String>,
    /// The ends of the logs, by room; `None` for a room without messages.
    pub heads: BTreeMap<String, Option<Head>>,
}

/// An `error` frame.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The id of the frame that this error answers.
    pub id: Option<String>,
    /// The stable name of the error, for programs.
    #[serde(default)]
    pub name: String,
    /// The description of the error, for people.
    #[serde(default)]
    pub message: String,
    /// True if the same frame may succeed later.
    #[serde(default)]
    pub temporary: bool,
    /// The time to wait before the frame is sent again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// The service closes the connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bye {
    /// The reason.
    #[serde(default)]
    pub reason: String,
    /// The instruction to connect again or not.
    #[serde(default)]
    pub reconnect: Reconnect,
    /// The time to wait before the next connection, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// A moderator has removed the user from a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The room.
    pub room: String,
    /// `kicked` or `banned`.
    #[serde(default)]
    pub reason: String,
    /// The moderator, or a name of the backend.
    #[serde(default)]
    pub by: String,
    /// The end of the ban, in seconds since 1970; absent for a ban without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// The answer to a moderator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moderated {
    /// The id of the frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The action.
    pub action: String,
    /// The room.
    pub room: String,
    /// The user.
    pub user: String,
    /// The end of the ban or mute, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// The number of connections that were removed, muted or unmuted.
    #[serde(default)]
    pub connections: u64,
}

/// The instruction of a `bye`: to connect again or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reconnect {
    /// Not at all.
    Never,
    /// After a time.
    Later,
    /// Yes. A word that this client does not know means the same.
    #[default]
    #[serde(other)]
    Now,
}

/// A frame from the service.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A message in a room: the room and the message.
    Message(String, Entry),
    /// Several messages in a room: the room and the messages.
    Messages(String, Vec<Entry>),
    /// The answer to a `publish`.
    Ack(Ack),
    /// The answer to a `join`.
    Joined(Joined),
    /// The answer to a `leave`.
    Left(Left),
    /// The answer to a `history`.
    History(Page),
    /// The answer to a `members`.
    Members(Members),
    /// The answer to a `presence` or a `mark`.
    Done(Done),
    /// The answer to a `marks`.
    Marks(Marks),
    /// The answer to a `heads`.
    Heads(Heads),
    /// Somebody comes, goes, or changes its state.
    Presence(Presence),
    /// A signal of another connection.
    Signal(Signal),
    /// The answer to a `ping`.
    Pong,
    /// The answer to a frame that failed.
    Error(Failure),
    /// The service closes the connection.
    Bye(Bye),
    /// The answer to a moderator.
    Moderated(Moderated),
    /// A moderator has removed the user from a room.
    Removed(Removed),
    /// A frame of API Gateway's own, sent when a function could not answer: its text.
    Gateway(String),
    /// A frame of a type that this client does not know, which is ignored.
    Unknown,
}

/// The frame does not follow the protocol.
#[derive(Debug, Error)]
#[error("the service sent a frame that this client cannot read: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Kind {
    r#type: Option<String>,
    message: Option<serde_json::Value>,
    seq: Option<serde_json::Value>,
}

/// The answer to a `leave`.
#[derive(Debug, Clone, Deserialize)]
pub struct Left {
    /// The id of the `leave`.
    pub id: Option<String>,
    /// The room.
    pub room: String,
}

#[derive(Deserialize)]
struct Room {
    room: String,
}

#[derive(Deserialize)]
struct Batch {
    room: String,
    epoch: String,
    messages: Vec<Entry>,
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// Fails if the text is not JSON, or lacks a field that its type requires.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        // The type is read first: serde's tagged enums buffer their content, which `RawValue` does not support.
        let kind: Kind = serde_json::from_str(text)?;
        let Some(name) = kind.r#type else {
            let words = kind
                .message
                .as_ref()
                .and_then(|words| words.as_str())
                .unwrap_or("no reason given");
            return Ok(Self::Gateway(words.to_owned()));
        };
        Ok(match name.as_str() {
            "message" => {
                let Room { room } = serde_json::from_str(text)?;
                Self::Message(room, serde_json::from_str(text)?)
            }
            "messages" => {
                let mut batch: Batch = serde_json::from_str(text)?;
                complete(&mut batch.messages, &batch.epoch);
                Self::Messages(batch.room, batch.messages)
            }
            // A message has a number, and what else is done has none.
            "ack" if kind.seq.is_none() => Self::Done(serde_json::from_str(text)?),
            "ack" => Self::Ack(serde_json::from_str(text)?),
            "joined" => {
                let mut joined: Joined = serde_json::from_str(text)?;
                complete(&mut joined.messages, &joined.epoch);
                Self::Joined(joined)
            }
            "left" => Self::Left(serde_json::from_str(text)?),
            "history" => {
                let mut page: Page = serde_json::from_str(text)?;
                complete(
                    &mut page.messages,
                    page.epoch.as_deref().unwrap_or_default(),
                );
                Self::History(page)
            }
            "members" => Self::Members(serde_json::from_str(text)?),
            // Events may be lost, so one that cannot be read is as good as lost.
            "presence" => serde_json::from_str(text).map_or(Self::Unknown, Self::Presence),
            "signal" => serde_json::from_str(text).map_or(Self::Unknown, Self::Signal),
            "marks" => Self::Marks(serde_json::from_str(text)?),
            "heads" => Self::Heads(serde_json::from_str(text)?),
            "pong" => Self::Pong,
            "bye" => Self::Bye(serde_json::from_str(text)?),
            "moderated" => Self::Moderated(serde_json::from_str(text)?),
            "removed" => Self::Removed(serde_json::from_str(text)?),
            "error" => Self::Error(serde_json::from_str(text)?),
            _ => Self::Unknown,
        })
    }
}

/// Gives the epoch of an answer to its entries that name none.
fn complete(messages: &mut [Entry], epoch: &str) {
    for entry in messages {
        if entry.epoch.is_empty() {
            epoch.clone_into(&mut entry.epoch);
        }
    }
}

/// A change to a message: the action of the client, and the `kind` of the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Gives the message other data.
    Edit,
    /// Takes the data out of the message.
    Delete,
    /// Adds a reaction to the message, or takes it back.
    React,
}

impl Change {
    /// Returns the change of this `kind`, if it is one.
    pub fn of(kind: &str) -> Option<Self> {
        [Self::Edit, Self::Delete, Self::React]
            .into_iter()
            .find(|change| change.as_str() == kind)
    }

    /// Returns the `kind` of the entry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Delete => "delete",
            Self::React => "react",
        }
    }
}

/// An action of a moderator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Moderation {
    /// Removes the user from the room.
    Kick,
    /// Removes the user from the room, and keeps it out.
    Ban,
    /// Ends a ban.
    Unban,
    /// Lets the user read, and not write.
    Mute,
    /// Ends a mute.
    Unmute,
}

/// A frame to the service.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Request<'a> {
    /// Publishes a message.
    Publish {
        /// The room.
        room: &'a str,
        /// The id of the message.
        id: &'a str,
        /// The number after which the service searches for an earlier copy of the message.
        after: u64,
        /// The content.
        data: &'a RawValue,
    },
    /// Joins a room.
    Join {
        /// The room.
        room: &'a str,
        /// The id of the request.
        id: &'a str,
        /// True if several messages may come in one frame.
        batch: bool,
        /// The position after which messages are wanted.
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<&'a Position>,
        /// The number of newest messages that are wanted.
        #[serde(skip_serializing_if = "Option::is_none")]
        history: Option<u16>,
        /// The wish for presence, with a state.
        #[serde(skip_serializing_if = "Option::is_none")]
        presence: Option<Stated<'a>>,
    },
    /// Changes the state.
    Presence {
        /// The room.
        room: &'a str,
        /// The id of the request.
        id: &'a str,
        /// The state; `null` clears it.
        state: Option<&'a RawValue>,
    },
    /// Sends a signal, which is not answered.
    Signal {
        /// The room.
        room: &'a str,
        /// The id of the request, which an error repeats.
        id: &'a str,
        /// The meaning of the signal.
        kind: &'a str,
        /// The content.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
        /// The only user who gets it.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<&'a str>,
    },
    /// Leaves a room.
    Leave {
        /// The room.
        room: &'a str,
        /// The id of the request.
        id: &'a str,
    },
    /// Reads a page of the log.
    History {
        /// The room.
        room: &'a str,
        /// The id of the request.
        id: &'a str,
        /// Reads the oldest messages after this number.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// Reads the newest messages before this number.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        /// The largest number of messages in the answer.
        limit: u16,
    },
    /// Lists the users in a room.
    Members {
        /// The room.
        room: &'a str,
        /// The id of the request.
        id: &'a str,
        /// The user after whom the list begins.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<&'a str>,
        /// True if states are wanted.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        state: bool,
        /// True if the service is to probe some connections of the room.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        probe: bool,
    },
    /// Tells how far the user has read.
    Mark {
        /// The room.
        room: &'a str,
        /// The id of the request.
        id: &'a str,
        /// The epoch of the numbers.
        epoch: &'a str,
        /// The last message that the user has read.
        seq: u64,
        /// The number of ordinary messages up to this one.
        n: u64,
    },
    /// Asks how far the user has read.
    Marks {
        /// The id of the request.
        id: &'a str,
    },
    /// Asks where logs end.
    Heads {
        /// The rooms.
        rooms: &'a [String],
        /// The id of the request.
        id: &'a str,
    },
    /// Keeps the connection open and shows that it works.
    Ping,
    /// Changes a message.
    #[serde(untagged)]
    Change {
        /// The change.
        action: Change,
        /// The room.
        room: &'a str,
        /// The id of the change.
        id: &'a str,
        /// The number after which the service searches for an earlier copy of the change.
        after: u64,
        /// The number of the message.
        target: u64,
        /// The data of an edit.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
        /// The reason of a deletion.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        /// The reaction.
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        /// False takes the reaction back.
        #[serde(skip_serializing_if = "Option::is_none")]
        on: Option<bool>,
    },
    /// Moderates a user.
    #[serde(untagged, rename_all = "camelCase")]
    Moderate {
        /// The action.
        action: Moderation,
        /// The room.
        room: &'a str,
        /// The user.
        user: &'a str,
        /// The id of the request.
        id: &'a str,
        /// The length of a ban or mute, in seconds; absent for one without an end.
        #[serde(skip_serializing_if = "Option::is_none")]
        for_seconds: Option<u64>,
        /// The reason, for the user and for the audit.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
}

/// The wish for presence in a room.
#[derive(Debug, Serialize)]
pub struct Stated<'a> {
    /// The state; `null` for none.
    pub state: Option<&'a RawValue>,
}

impl Request<'_> {
    /// Returns the text of the frame.
    pub fn text(&self) -> String {
        // Strings, numbers and JSON that was parsed before: serialization cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_stays_as_it_was_written() {
        let text = r#"{"type":"message","room":"a","seq":1,"epoch":"e","from":"x","data":{"n": 1.00, "b":[ ]},"at":5,"new":1}"#;
        let Ok(Frame::Message(room, entry)) = Frame::read(text) else {
            panic!("no message");
        };
        assert_eq!((room.as_str(), entry.seq), ("a", 1));
        assert_eq!(entry.data.get(), r#"{"n": 1.00, "b":[ ]}"#);
        let publish = Request::Publish {
            room: "a",
            id: "i",
            after: 0,
            data: &entry.data,
        };
        assert_eq!(
            publish.text(),
            r#"{"action":"publish","room":"a","id":"i","after":0,"data":{"n": 1.00, "b":[ ]}}"#
        );
    }

    #[test]
    fn a_frame_of_another_shape_is_told_apart() {
        let own =
            r#"{"message": "Internal server error", "connectionId":"T0=", "requestId":"T0="}"#;
        assert!(
            matches!(Frame::read(own), Ok(Frame::Gateway(words)) if words == "Internal server error")
        );
        assert!(matches!(
            Frame::read(r#"{"type":"dance"}"#),
            Ok(Frame::Unknown)
        ));
        for text in [
            "",
            "[]",
            "hello",
            r#"{"type":"ack","room":"a","seq":1}"#,
            r#"{"type":"message","room":"a"}"#,
        ] {
            assert!(Frame::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_read_whatever_it_lacks() {
        let text = r#"{"type":"message","room":"a","seq":4,"epoch":"e","kind":"wave","at":5}"#;
        let Ok(Frame::Message(_, entry)) = Frame::read(text) else {
            panic!("the entry cannot be read");
        };
        assert_eq!((entry.seq, entry.data.get()), (4, "null"));
        assert_eq!(entry.kind.as_deref(), Some("wave"));
    }

    #[test]
    fn entries_of_a_page_have_its_epoch() {
        let text = r#"{"type":"history","room":"a","epoch":"e","first":1,"head":1,"messages":[{"seq":1,"from":"x","data":1}],"more":false}"#;
        let Ok(Frame::History(page)) = Frame::read(text) else {
            panic!("no page");
        };
        assert_eq!(page.messages[0].epoch, "e");
    }
}
