//! The frames of the wire and the names of its errors. PROTOCOL.md is this file for client authors.
//!
//! Frames are JSON objects in text. A client's frame carries `action`, a server's `type`; keys are camelCase; unknown
//! fields are ignored, so that an older function understands a newer client.

mod failure;
mod frame;
mod ijson;
mod names;
mod private;
mod reply;
mod rights;

use serde::Serialize;

pub use failure::{ErrorName, Failure};
pub use frame::{
    Correlation, Frame, MAX_ID_CHARS, MAX_KIND_CHARS, MAX_REASON_CHARS, MAX_SMALL_BYTES, Position,
    Stated,
};
pub(crate) use frame::{check_data, is_readable};
pub use names::{
    DEFAULT_ROOM, MAX_BYTES, MAX_CHARS, MAX_MARKS, Name, NameError, UserError, check_user,
};
pub use private::{Private, inbox, pair};
pub use reply::{
    Ack, Bans, Bye, Closed, Deleted, Done, Edited, Epoch, Erased, HOLD_MS, Head, Heads, History,
    Joined, Left, Marks, Member, Members, Message, Messages, Moderated, Presence, PresenceEvent,
    Present, Reaction, ReadUpTo, Removed, Signal,
};
pub use rights::{Grants, GrantsError, MAX_PATTERN_CHARS, MAX_PATTERNS, MAX_STARS, Right, matches};

/// The WebSocket subprotocol. The handshake of a client that offers it selects it.
pub const SUBPROTOCOL: &str = "roomchat.v1";

/// The longest frame a client can be sent, in bytes.
///
/// API Gateway refuses a longer post with 413 (WebSocket quotas: message payload size 128 KB).
pub const MAX_FRAME_BYTES: usize = 131_072;

/// The most bytes of messages in a frame that holds several. The rest of the frame is names, positions and the id of the
/// frame that it answers: less than 1 KB.
pub const MAX_PAGE_BYTES: usize = MAX_FRAME_BYTES - 1_024;

/// The longest `message` frame, in bytes: a page with nothing else holds it.
pub const MAX_MESSAGE_BYTES: usize = MAX_PAGE_BYTES - 1;

/// The longest frame with several messages for a member, in bytes: API Gateway meters a frame by 32 KB.
pub const MAX_BATCH_BYTES: usize = 32_768;

/// An example of a message: part of the error for a person who typed something else.
const EXAMPLE: &str = r#"to say something, send {"action":"publish","data":"hi"}"#;

/// A server frame as text.
pub fn render(frame: &impl Serialize) -> String {
    // Serialising fails only for maps with keys that are no strings, and no frame holds such a map.
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
            n: 6,
            at: 5,
            duplicate: false,
            data: None,
            delivered: Some(1),
            gone: Some(2),
            failed: Some(3),
            paced: false,
            partial: false,
        };
        assert_eq!(
            render(&ack),
            r#"{"type":"ack","room":"r","seq":7,"epoch":"E","n":6,"at":5,"delivered":1,"gone":2,"failed":3}"#
        );
        let ack = Ack {
            id: Some("m"),
            duplicate: true,
            partial: true,
            ..ack
        };
        assert_eq!(
            render(&ack),
            r#"{"type":"ack","id":"m","room":"r","seq":7,"epoch":"E","n":6,"at":5,"duplicate":true,"delivered":1,"gone":2,"failed":3,"partial":true}"#
        );
        let ack = Ack {
            id: None,
            duplicate: false,
            delivered: None,
            gone: None,
            failed: None,
            paced: true,
            partial: false,
            ..ack
        };
        assert_eq!(
            render(&ack),
            r#"{"type":"ack","room":"r","seq":7,"epoch":"E","n":6,"at":5,"paced":true}"#
        );
    }
}
