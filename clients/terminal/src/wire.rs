//! The frames, as PROTOCOL.md describes them.
//!
//! A message's `data` stays the text it was: it is shown and passed on, never understood.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

/// The largest frame API Gateway takes; beyond it the connection is closed.
pub const MAX_FRAME: usize = 32 * 1024;

/// A place in a room's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which log: a room whose log ran empty begins a new one.
    pub epoch: String,
    /// The number of a message in it, or 0 before the first.
    pub seq: u64,
}

/// A message in a room's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// The log it is in. The pages of an answer may leave it to the answer itself.
    #[serde(default)]
    pub epoch: String,
    /// Its number in the log.
    pub seq: u64,
    /// The sender's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who sent it.
    pub from: String,
    /// What was sent.
    pub data: Box<RawValue>,
    /// When the service received it, in milliseconds since 1970.
    #[serde(default)]
    pub at: i64,
}

/// The answer to a publish.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ack {
    /// The message's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where it went.
    pub room: String,
    /// The log it is in.
    pub epoch: String,
    /// Its number there.
    pub seq: u64,
    /// When it was received.
    #[serde(default)]
    pub at: i64,
    /// Whether an earlier try had stored it already.
    #[serde(default)]
    pub duplicate: bool,
    /// Connections it was delivered to.
    #[serde(default)]
    pub delivered: u64,
    /// Connections that turned out to be gone.
    #[serde(default)]
    pub gone: u64,
    /// Connections that did not get it; they will find it in the log.
    #[serde(default)]
    pub failed: u64,
}

/// The answer to a join.
#[derive(Debug, Clone, Deserialize)]
pub struct Joined {
    /// The join's own name.
    pub id: Option<String>,
    /// Which room.
    pub room: String,
    /// The room's log.
    pub epoch: String,
    /// The oldest message in it.
    #[serde(default)]
    pub first: u64,
    /// The newest message in it; 0 in an empty one.
    #[serde(default)]
    pub head: u64,
    /// Whether `messages` begins right after `since`; nothing without `since`.
    pub recovered: Option<bool>,
    /// What was missed, or the last few.
    #[serde(default)]
    pub messages: Vec<Entry>,
}

/// A page of a room's log.
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    /// Which room.
    pub room: String,
    /// The room's log; nothing when it is empty.
    pub epoch: Option<String>,
    /// The oldest message in it.
    #[serde(default)]
    pub first: u64,
    /// The newest message in it.
    #[serde(default)]
    pub head: u64,
    /// The page, in order.
    #[serde(default)]
    pub messages: Vec<Entry>,
    /// Whether there is more in the direction asked for.
    #[serde(default)]
    pub more: bool,
}

/// Who is in a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Members {
    /// Which room.
    pub room: String,
    /// How many connections.
    #[serde(default)]
    pub count: u64,
    /// The users.
    #[serde(default)]
    pub members: Vec<Member>,
    /// Whether there are users beyond these.
    #[serde(default)]
    pub more: bool,
}

/// A user in a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// The user's name.
    pub user: String,
    /// The user's connections in this room.
    #[serde(default)]
    pub connections: u64,
}

/// An `error` frame.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Of the frame it answers.
    pub id: Option<String>,
    /// What a program looks at.
    #[serde(default)]
    pub name: String,
    /// What people read.
    #[serde(default)]
    pub message: String,
    /// Whether the same frame may succeed later.
    #[serde(default)]
    pub temporary: bool,
    /// How long to wait before that.
    pub retry_after_ms: Option<u64>,
}

/// A frame from the service.
#[derive(Debug, Clone)]
pub enum Frame {
    /// Somebody said something in this room.
    Message(String, Entry),
    /// What became of a publish.
    Ack(Ack),
    /// The answer to a join.
    Joined(Joined),
    /// The answer to a leave: which room.
    Left(String),
    /// A page of a log.
    History(Page),
    /// Who is in a room.
    Members(Members),
    /// The answer to a ping.
    Pong,
    /// The answer to a frame that failed.
    Error(Failure),
    /// API Gateway's own words: the function could not answer.
    Gateway(String),
    /// A type of a later version.
    Unknown,
}

/// The frame is none of this protocol.
#[derive(Debug, Error)]
#[error("the service sent what this client cannot read: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Kind {
    r#type: Option<String>,
    message: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Room {
    room: String,
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// When it is no JSON, or lacks what its type needs.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        // In two steps: serde's tagged enums copy what they hold, which raw JSON does not survive.
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
            "ack" => Self::Ack(serde_json::from_str(text)?),
            "joined" => {
                let mut joined: Joined = serde_json::from_str(text)?;
                complete(&mut joined.messages, &joined.epoch);
                Self::Joined(joined)
            }
            "left" => Self::Left(serde_json::from_str::<Room>(text)?.room),
            "history" => {
                let mut page: Page = serde_json::from_str(text)?;
                complete(
                    &mut page.messages,
                    page.epoch.as_deref().unwrap_or_default(),
                );
                Self::History(page)
            }
            "members" => Self::Members(serde_json::from_str(text)?),
            "pong" => Self::Pong,
            "error" => Self::Error(serde_json::from_str(text)?),
            _ => Self::Unknown,
        })
    }
}

/// Gives the entries of an answer its epoch where they name none.
fn complete(messages: &mut [Entry], epoch: &str) {
    for entry in messages {
        if entry.epoch.is_empty() {
            epoch.clone_into(&mut entry.epoch);
        }
    }
}

/// A frame to the service.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Request<'a> {
    /// Say something.
    Publish {
        /// Where.
        room: &'a str,
        /// The message's own name.
        id: &'a str,
        /// Where to look for an earlier copy: after this message.
        after: u64,
        /// What.
        data: &'a RawValue,
    },
    /// Be in a room.
    Join {
        /// Which.
        room: &'a str,
        /// The join's own name.
        id: &'a str,
        /// Send what came after this.
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<&'a Position>,
        /// Send the last few.
        #[serde(skip_serializing_if = "Option::is_none")]
        history: Option<u16>,
    },
    /// Be in a room no more.
    Leave {
        /// Which.
        room: &'a str,
        /// The leave's own name.
        id: &'a str,
    },
    /// Read the log.
    History {
        /// Of which room.
        room: &'a str,
        /// The request's own name.
        id: &'a str,
        /// Forwards from here.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// Backwards from here.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        /// How many at most.
        limit: u16,
    },
    /// Who is there?
    Members {
        /// In which room.
        room: &'a str,
        /// The request's own name.
        id: &'a str,
    },
    /// Is anybody there?
    Ping,
}

impl Request<'_> {
    /// The frame's text.
    pub fn text(&self) -> String {
        // Strings, numbers and JSON that was parsed before: nothing in it can fail to be written.
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
    fn frames_that_are_not_the_services() {
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
            r#"{"type":"ack","room":"a"}"#,
            r#"{"type":"message","room":"a"}"#,
        ] {
            assert!(Frame::read(text).is_err(), "{text}");
        }
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
