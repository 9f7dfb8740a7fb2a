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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// The text of the failure, which is `bad_request`.
    fn refusal<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        let failure = result.unwrap_err();
        assert_eq!(failure.name, ErrorName::BadRequest);
        failure.message
    }

    #[test]
    fn what_is_no_object_gets_help() {
        for (text, message) in [
            ("", "the frame is empty; "),
            (" \r\n\t", "the frame is empty; "),
            (
                "hello everybody",
                "the frame is not JSON (line 1, column 1); ",
            ),
            (
                "{\"data\":\n \"hi",
                "the frame is not JSON (line 2, column 4); ",
            ),
            ("{} {}", "the frame is not JSON (line 1, column 4); "),
            ("\u{feff}{}", "the frame is not JSON (line 1, column 1); "),
            ("[]", "the frame is not a JSON object; "),
            (" \"publish\" ", "the frame is not a JSON object; "),
            ("5", "the frame is not a JSON object; "),
            ("null", "the frame is not a JSON object; "),
        ] {
            assert_eq!(
                refusal(Frame::parse(text)),
                format!("{message}{EXAMPLE}"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn fields_are_read_by_their_rules() {
        fn frame(text: &str) -> Frame<'_> {
            Frame::parse(text).unwrap()
        }
        // Absent and null are the same, but for data, whose null is a value.
        for text in ["{}", r#"{"id":null,"room":null,"action":null}"#] {
            let frame = frame(text);
            assert_eq!((frame.id().unwrap(), frame.room().unwrap()), (None, None));
            assert_eq!(frame.correlation(), Correlation::default());
        }
        assert!(frame("{}").data().is_err());
        assert_eq!(frame(r#"{"data":null}"#).data().unwrap().get(), "null");

        // 64 characters, whatever their bytes.
        let id = "語".repeat(64);
        assert_eq!(
            frame(&format!(r#"{{"id":"{id}"}}"#)).id().unwrap(),
            Some(id)
        );
        for (field, text) in [
            ("id", format!(r#"{{"id":"{}"}}"#, "x".repeat(65))),
            ("id", r#"{"id":""}"#.to_owned()),
            ("id", r#"{"id":7}"#.to_owned()),
            ("room", r#"{"room":7}"#.to_owned()),
            ("room", r#"{"room":""}"#.to_owned()),
            ("room", r#"{"room":"@x"}"#.to_owned()),
        ] {
            let frame = frame(&text);
            let message = match field {
                "id" => refusal(frame.id()),
                _ => refusal(frame.room()),
            };
            assert!(message.starts_with(field), "{text}: {message}");
        }
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let frame = Frame::parse(r#"{"action":"a","data":1,"action":"b","data":2}"#).unwrap();
        assert_eq!(frame.action().unwrap().as_deref(), Some("b"));
        assert_eq!(frame.data().unwrap().get(), "2");
    }

    #[test]
    fn an_answer_is_correlated_by_whatever_can_be_read() {
        let correlation = |text| Frame::parse(text).unwrap().correlation();
        let both = Correlation {
            id: Some("m".to_owned()),
            action: Some("x".to_owned()),
        };
        assert_eq!(correlation(r#"{"action":"x","id":"m"}"#), both);
        assert_eq!(
            correlation(r#"{"action":["x"],"id":"m"}"#),
            Correlation {
                action: None,
                ..both.clone()
            }
        );
        assert_eq!(
            correlation(r#"{"action":"x","id":7}"#),
            Correlation { id: None, ..both }
        );
        let long = format!(r#"{{"action":"{}"}}"#, "x".repeat(65));
        assert_eq!(correlation(&long), Correlation::default());
    }

    #[test]
    fn every_error_has_its_code_and_name() {
        let rendered = |name| {
            let frame: Value =
                serde_json::from_str(&Failure::new(name, "why").render(&Correlation::default()))
                    .unwrap();
            (
                frame["code"].as_u64().unwrap(),
                frame["name"].clone(),
                frame["temporary"].as_bool().unwrap(),
            )
        };
        for (name, code, text, temporary) in [
            (ErrorName::BadRequest, 400, "bad_request", false),
            (ErrorName::NotAMember, 403, "not_a_member", false),
            (ErrorName::UnknownAction, 404, "unknown_action", false),
            (ErrorName::PayloadTooLarge, 413, "payload_too_large", false),
            (ErrorName::SlowDown, 429, "slow_down", true),
            (ErrorName::Internal, 500, "internal", true),
        ] {
            assert_eq!(rendered(name), (code, text.into(), temporary));
        }
    }

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
            at: 5,
            delivered: 1,
            gone: 2,
            failed: 3,
            partial: false,
        };
        assert_eq!(
            render(&ack),
            r#"{"type":"ack","room":"r","at":5,"delivered":1,"gone":2,"failed":3}"#
        );
        let ack = Ack {
            id: Some("m"),
            partial: true,
            ..ack
        };
        assert_eq!(
            render(&ack),
            r#"{"type":"ack","id":"m","room":"r","at":5,"delivered":1,"gone":2,"failed":3,"partial":true}"#
        );
    }

    /// JSON texts, with the white space and the spellings that a value forgets.
    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|b| b.to_string()),
            "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
            any::<String>().prop_map(|text| json!(text).to_string()),
            "\"(\\\\u[0-9a-fA-F]{4}|\\\\/|a){0,5}\"",
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let space = "[ \t\r\n]{0,2}";
            prop_oneof![
                (prop::collection::vec(inner.clone(), 0..4), space)
                    .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(","))),
                (prop::collection::vec((any::<String>(), inner), 0..4), space).prop_map(
                    |(items, space)| {
                        let fields: Vec<String> = items
                            .iter()
                            .map(|(key, value)| format!("{}{space}:{value}", json!(key)))
                            .collect();
                        format!("{{{}}}", fields.join(","))
                    }
                ),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            if let Err(failure) = Frame::parse(&text) {
                prop_assert_eq!(failure.name, ErrorName::BadRequest);
            }
        }

        #[test]
        fn any_value_is_passed_on_byte_for_byte(data in any_json(), space in "[ \t\r\n]{0,3}") {
            let text = format!("{{\"data\":{space}{data}{space},\"action\":\"publish\"}}");
            let frame = Frame::parse(&text).unwrap();
            let raw = frame.data().unwrap();
            prop_assert_eq!(raw.get(), &data);
            let message = Message { room: "r", id: None, from: "u", data: raw, received: 1, at: 1 };
            let expected = format!(
                r#"{{"type":"message","room":"r","from":"u","data":{data},"received":1,"at":1}}"#
            );
            prop_assert_eq!(render(&message), expected);
        }

        #[test]
        fn any_field_may_be_of_any_type(id in any_json(), room in any_json(), action in any_json()) {
            let text = format!(r#"{{"id":{id},"room":{room},"action":{action}}}"#);
            let frame = Frame::parse(&text).unwrap();
            let to = frame.correlation();
            let id = frame.id().ok().flatten();
            prop_assert_eq!(id.as_ref(), to.id.as_ref());
            let _ = (frame.room(), frame.action());
            let error: Value = serde_json::from_str(&Failure::bad_request("x").render(&to)).unwrap();
            prop_assert_eq!(&error["type"], "error");
        }
    }
}
