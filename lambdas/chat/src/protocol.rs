//! The frames of the wire and the names of its errors. PROTOCOL.md is this file for client authors.
//!
//! Frames are JSON objects in text. A client's frame carries `action`, a server's `type`; keys are camelCase; unknown
//! fields are ignored, so that an older function understands a newer client.

mod failure;
mod frame;
mod reply;

use serde::Serialize;
use serde_json::value::RawValue;

pub use failure::{ErrorName, Failure};
pub use frame::{Correlation, Frame, MAX_ID_CHARS, Position};
pub use reply::{History, Joined, Left, Member, Members};

/// The longest frame a client can be sent, in bytes.
///
/// API Gateway refuses a longer post with 413 (WebSocket quotas: message payload size 128 KB).
pub const MAX_FRAME_BYTES: usize = 131_072;

/// How much of a frame its messages may take where it holds several, in bytes. The rest of it is names, positions and
/// the id of the frame it answers: 0.8 KB at most.
pub const MAX_PAGE_BYTES: usize = MAX_FRAME_BYTES - 1_024;

/// The longest `message` frame, in bytes: a page with nothing else holds it.
pub const MAX_MESSAGE_BYTES: usize = MAX_PAGE_BYTES - 1;

/// How to say something: part of every text for somebody who typed something else.
const EXAMPLE: &str = r#"to say something, send {"action":"publish","data":"hi"}"#;

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

/// A server frame as text.
pub fn render(frame: &impl Serialize) -> String {
    // Serialising fails only for maps with keys that are no strings, and no frame holds a map.
    serde_json::to_string(frame).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_look_like_this() {
        let failure = Failure {
            retry_after_ms: Some(1_000),
            ..Failure::new(ErrorName::SlowDown, "busy")
        };
        let to = Correlation {
            id: Some("m".to_owned()),
            action: Some("publish".to_owned()),
        };
        assert_eq!(
            failure.render(&to),
            r#"{"type":"error","id":"m","action":"publish","code":429,"name":"slow_down","message":"busy","temporary":true,"retryAfterMs":1000}"#
        );
        let ack = Ack {
            id: None,
            room: "r",
            seq: 7,
            epoch: "E",
            at: 5,
            duplicate: false,
            delivered: 1,
            gone: 2,
            failed: 3,
            partial: false,
        };
        assert_eq!(
            render(&ack),
            r#"{"type":"ack","room":"r","seq":7,"epoch":"E","at":5,"delivered":1,"gone":2,"failed":3}"#
        );
        let ack = Ack {
            id: Some("m"),
            duplicate: true,
            partial: true,
            ..ack
        };
        assert_eq!(
            render(&ack),
            r#"{"type":"ack","id":"m","room":"r","seq":7,"epoch":"E","at":5,"duplicate":true,"delivered":1,"gone":2,"failed":3,"partial":true}"#
        );
    }
}
