//! The errors that clients get.

use serde::Serialize;

use super::{Correlation, EXAMPLE, MAX_ID_CHARS, Right, render};

/// The stable names of errors, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorName {
    /// The frame breaks the protocol. The same frame is refused each time.
    BadRequest,
    /// The token has ended.
    TokenExpired,
    /// The token does not grant the right, or there is no verified user.
    Forbidden,
    /// The connection is not in the room.
    NotAMember,
    /// The message to be changed is not there.
    NoSuchMessage,
    /// There is no such action.
    UnknownAction,
    /// The review of messages refuses the message.
    Rejected,
    /// The user is banned from the room or from the service.
    Banned,
    /// The connection is in as many rooms as are allowed.
    TooMany,
    /// The same user has used the same id for other data.
    IdConflict,
    /// The message for the members is longer than [`super::MAX_MESSAGE_BYTES`].
    PayloadTooLarge,
    /// The room has more connections than a live room may have.
    RoomTooLarge,
    /// Too much at once; the same frame may succeed later.
    SlowDown,
    /// The service failed; the same frame may succeed later.
    Internal,
    /// The review of messages failed; the same frame may succeed later.
    Unavailable,
}

impl ErrorName {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::NoSuchMessage,
        Self::BadRequest,
        Self::TokenExpired,
        Self::Forbidden,
        Self::NotAMember,
        Self::UnknownAction,
        Self::Rejected,
        Self::Banned,
        Self::TooMany,
        Self::IdConflict,
        Self::PayloadTooLarge,
        Self::RoomTooLarge,
        Self::SlowDown,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::NotAMember => "not_a_member",
            Self::NoSuchMessage => "no_such_message",
            Self::UnknownAction => "unknown_action",
            Self::Rejected => "rejected",
            Self::Banned => "banned",
            Self::TooMany => "too_many",
            Self::IdConflict => "id_conflict",
            Self::PayloadTooLarge => "payload_too_large",
            Self::RoomTooLarge => "room_too_large",
            Self::SlowDown => "slow_down",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The error of a name on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.as_str() == name)
    }

    /// The HTTP status that means the same.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::TokenExpired => 401,
            Self::Forbidden | Self::NotAMember | Self::Banned => 403,
            Self::NoSuchMessage | Self::UnknownAction => 404,
            Self::Rejected => 406,
            Self::TooMany => 409,
            Self::IdConflict => 409,
            Self::PayloadTooLarge | Self::RoomTooLarge => 413,
            Self::SlowDown => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// True if the same frame may succeed later.
    pub fn temporary(self) -> bool {
        matches!(self, Self::SlowDown | Self::Internal | Self::Unavailable)
    }
}

/// The reason why a frame was refused or failed. It reaches the client as an error frame.
#[derive(Debug)]
pub struct Failure {
    /// For programs.
    pub name: ErrorName,
    /// For people.
    pub message: String,
    /// The wait before the client tries again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The missing right.
    pub right: Option<Right>,
    /// The end of a ban, in seconds since 1970.
    pub until: Option<i64>,
    /// The reason for a ban or a refusal, in the words of the moderator or the review.
    pub reason: Option<String>,
    /// True if the user may read and not write.
    pub mute: bool,
    /// The cause, for the function's log only: it may name tables and hosts.
    pub cause: Option<anyhow::Error>,
    /// The id by which the log lines of a failure of the service are found.
    pub request_id: Option<String>,
}

impl Failure {
    /// A failure that the client caused.
    pub fn new(name: ErrorName, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
            retry_after_ms: None,
            right: None,
            until: None,
            reason: None,
            mute: false,
            cause: None,
            request_id: None,
        }
    }

    /// `forbidden`: the token does not grant `right` in `room`.
    pub fn forbidden(right: Right, room: &str) -> Self {
        Self {
            right: Some(right),
            ..Self::new(
                ErrorName::Forbidden,
                format!("the token does not grant the right {right} in the room {room}"),
            )
        }
    }

    /// `bad_request`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorName::BadRequest, message)
    }

    /// `unknown_action`, with the known actions.
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

    /// `bad_request` for a frame without an action, with the known actions.
    pub fn no_action(known: &[String]) -> Self {
        Self::bad_request(format!(
            "action is missing; there are {}; {EXAMPLE}",
            known.join(", ")
        ))
    }

    /// `internal`, with the cause for the log.
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
            right: self.right,
            until: self.until,
            reason: self.reason.as_deref(),
            mute: self.mute,
            request_id: self.request_id.as_deref(),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    right: Option<Right>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mute: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// The beginning of a user's text, short enough for a sentence.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_ID_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

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
            (ErrorName::TokenExpired, 401, "token_expired", false),
            (ErrorName::Forbidden, 403, "forbidden", false),
            (ErrorName::NotAMember, 403, "not_a_member", false),
            (ErrorName::NoSuchMessage, 404, "no_such_message", false),
            (ErrorName::UnknownAction, 404, "unknown_action", false),
            (ErrorName::Rejected, 406, "rejected", false),
            (ErrorName::Banned, 403, "banned", false),
            (ErrorName::TooMany, 409, "too_many", false),
            (ErrorName::IdConflict, 409, "id_conflict", false),
            (ErrorName::PayloadTooLarge, 413, "payload_too_large", false),
            (ErrorName::RoomTooLarge, 413, "room_too_large", false),
            (ErrorName::SlowDown, 429, "slow_down", true),
            (ErrorName::Internal, 500, "internal", true),
            (ErrorName::Unavailable, 503, "unavailable", true),
        ] {
            assert_eq!(rendered(name), (code, text.into(), temporary));
        }
    }
}
