//! The frames of the wire and the names of its errors. PROTOCOL.md is this file for client authors.
//!
//! Frames are JSON objects in text. A client's frame carries `action`, a server's `type`; keys are camelCase; unknown
//! fields are ignored, so that an older function understands a newer client.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::names::Name;

/// The longest client-chosen message id, in characters.
pub const MAX_ID_CHARS: usize = 64;

/// The longest frame a client can be sent, in bytes.
///
/// API Gateway refuses a longer post with 413 (WebSocket quotas: message payload size 128 KB).
pub const MAX_FRAME_BYTES: usize = 131_072;

/// How to say something: part of every text for somebody who typed something else.
const EXAMPLE: &str = r#"to say something, send {"action":"publish","data":"hi"}"#;

/// A frame from a client: an object whose values have not been looked at yet.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The last one counts where a key is given twice, as for API Gateway's route selection and `JSON.parse`.
    fields: BTreeMap<String, &'a RawValue>,
}

impl<'a> Frame<'a> {
    /// Reads the text of a frame.
    ///
    /// # Errors
    ///
    /// `bad_request` for anything but a JSON object, in words that help a person at a terminal.
    pub fn parse(text: &'a str) -> Result<Self, Failure> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        if text.is_empty() {
            return Err(Failure::bad_request(format!(
                "the frame is empty; {EXAMPLE}"
            )));
        }
        if !text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok() {
            return Err(Failure::bad_request(format!(
                "the frame is not a JSON object; {EXAMPLE}"
            )));
        }
        match serde_json::from_str(text) {
            Ok(fields) => Ok(Self { fields }),
            Err(error) => Err(Failure::bad_request(format!(
                "the frame is not JSON (line {}, column {}); {EXAMPLE}",
                error.line(),
                error.column()
            ))),
        }
    }

    /// What the answer is correlated by. Never fails: a part that cannot be read is left out.
    pub fn correlation(&self) -> Correlation {
        Correlation {
            id: self.id().ok().flatten(),
            action: self
                .action()
                .ok()
                .flatten()
                .filter(|action| action.chars().count() <= MAX_ID_CHARS),
        }
    }

    /// The field `action`.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is no string.
    pub fn action(&self) -> Result<Option<String>, Failure> {
        self.text("action")
    }

    /// The field `id`: the client's own name for its message.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is no string of 1 to 64 characters. An empty one is refused because a client that sends
    /// one has most likely lost a variable, and all its messages would pass for one and the same.
    pub fn id(&self) -> Result<Option<String>, Failure> {
        match self.text("id")? {
            Some(id) if id.is_empty() || id.chars().count() > MAX_ID_CHARS => Err(
                Failure::bad_request(format!("id must have 1 to {MAX_ID_CHARS} characters")),
            ),
            id => Ok(id),
        }
    }

    /// The field `room`.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is no string or no name a room can have.
    pub fn room(&self) -> Result<Option<Name>, Failure> {
        let Some(room) = self.text("room")? else {
            return Ok(None);
        };
        Name::parse(&room)
            .map(Some)
            .map_err(|error| Failure::bad_request(format!("room {error}")))
    }

    /// The field `data`, exactly as the client wrote it: any JSON, `null` included.
    ///
    /// # Errors
    ///
    /// `bad_request` when there is none.
    pub fn data(&self) -> Result<&'a RawValue, Failure> {
        self.fields
            .get("data")
            .copied()
            .ok_or_else(|| Failure::bad_request(format!("data is missing; {EXAMPLE}")))
    }

    /// An optional field that must be a string; `null` counts as absent.
    fn text(&self, field: &str) -> Result<Option<String>, Failure> {
        let Some(raw) = self.fields.get(field) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get())
            .map_err(|_| Failure::bad_request(format!("{field} must be a string")))
    }
}

/// What connects an answer to the frame it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Correlation {
    /// The client's id, when it gave a valid one.
    pub id: Option<String>,
    /// The action it asked for, when it is a string of at most 64 characters.
    pub action: Option<String>,
}

/// What members get: somebody said something.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct Message<'a> {
    /// Where.
    pub room: &'a str,
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

/// What the sender gets: what became of the message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct Ack<'a> {
    /// The sender's own id for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Where it went.
    pub room: &'a str,
    /// When it was received, in milliseconds since 1970.
    pub at: i64,
    /// To how many other connections API Gateway accepted it.
    pub delivered: usize,
    /// How many members turned out to have left without saying so.
    pub gone: usize,
    /// How many members did not get it, or not surely, for any other reason.
    pub failed: usize,
    /// True when time ran out before the list of members was read to its end: members beyond those counted did not
    /// get it. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// The stable names of errors: what a program may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorName {
    /// The frame breaks the protocol; sending it again breaks it again.
    BadRequest,
    /// The connection is not in the room.
    NotAMember,
    /// There is no such action.
    UnknownAction,
    /// What members would be sent is longer than [`MAX_FRAME_BYTES`].
    PayloadTooLarge,
    /// Too much at once; the same frame will do later.
    SlowDown,
    /// Our fault, not the client's; the same frame may do later.
    Internal,
}

impl ErrorName {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NotAMember => "not_a_member",
            Self::UnknownAction => "unknown_action",
            Self::PayloadTooLarge => "payload_too_large",
            Self::SlowDown => "slow_down",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that means the same.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotAMember => 403,
            Self::UnknownAction => 404,
            Self::PayloadTooLarge => 413,
            Self::SlowDown => 429,
            Self::Internal => 500,
        }
    }

    /// Whether the same frame may succeed later.
    pub fn temporary(self) -> bool {
        matches!(self, Self::SlowDown | Self::Internal)
    }
}

/// Why a frame was not done. Every one reaches the client as an error frame.
#[derive(Debug)]
pub struct Failure {
    /// For programs.
    pub name: ErrorName,
    /// For people.
    pub message: String,
    /// How long to wait before trying again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// For our log alone: it may name tables and hosts.
    pub cause: Option<anyhow::Error>,
}

impl Failure {
    /// A failure that the client caused.
    pub fn new(name: ErrorName, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
            retry_after_ms: None,
            cause: None,
        }
    }

    /// `bad_request`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorName::BadRequest, message)
    }

    /// `unknown_action`, with the actions there are.
    pub fn unknown_action(action: &str, known: &[String]) -> Self {
        Self::new(
            ErrorName::UnknownAction,
            format!(
                "there is no action {:?}; there are {}; {EXAMPLE}",
                shorten(action),
                known.join(", ")
            ),
        )
    }

    /// `bad_request` for a frame that asks for nothing, with the actions there are.
    pub fn no_action(known: &[String]) -> Self {
        Self::bad_request(format!(
            "action is missing; there are {}; {EXAMPLE}",
            known.join(", ")
        ))
    }

    /// `internal`, with what the log needs to know.
    pub fn internal(message: impl Into<String>, cause: anyhow::Error) -> Self {
        Self {
            cause: Some(cause),
            ..Self::new(ErrorName::Internal, message)
        }
    }

    /// The error frame as text.
    pub fn render(&self, to: &Correlation) -> String {
        let name = self.name;
        render(&ErrorFrame {
            id: to.id.as_deref(),
            action: to.action.as_deref(),
            code: name.code(),
            name: name.as_str(),
            message: &self.message,
            temporary: name.temporary(),
            retry_after_ms: self.retry_after_ms,
        })
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "error", rename_all = "camelCase")]
struct ErrorFrame<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    code: u16,
    name: &'static str,
    message: &'a str,
    temporary: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// A server frame as text.
pub fn render(frame: &impl Serialize) -> String {
    // Serialising fails only for maps with keys that are no strings, and no frame holds a map.
    serde_json::to_string(frame).unwrap_or_default()
}

/// The head of something a user typed, short enough for a sentence.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_ID_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
