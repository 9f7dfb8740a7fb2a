//! The frames of clients.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ijson::{self, NotIJson};
use super::names::{MAX_CHARS, NO_VALUE, Name};
use super::{EXAMPLE, Failure};

/// The longest client-chosen message id, in characters.
pub const MAX_ID_CHARS: usize = 64;

/// The longest kind of a signal, in characters.
pub const MAX_KIND_CHARS: usize = 32;

/// The most bytes of JSON in a signal, and in the state of a connection.
pub const MAX_SMALL_BYTES: usize = 1_024;

/// The longest reason that a moderator can give, in characters.
pub const MAX_REASON_CHARS: usize = 200;

/// A frame from a client: an object whose values are not parsed yet.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The last one counts where a key is given twice, as for API Gateway's route selection and `JSON.parse`.
    fields: BTreeMap<String, &'a RawValue>,
}

/// Checks the payload of a message.
///
/// # Errors
///
/// `bad_request` when it is not I-JSON.
pub(crate) fn check_data(data: &RawValue) -> Result<(), Failure> {
    ijson::check(data).map_err(|error| Failure::bad_request(format!("data {error}")))
}

/// True for a text that every client can read.
pub(crate) fn is_readable(text: &str) -> bool {
    ijson::check_text(text).is_ok()
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

    /// The parts that the answer repeats. Never fails: a part that cannot be read is left out.
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
    /// `bad_request` when it is not a string.
    pub fn action(&self) -> Result<Option<String>, Failure> {
        self.text("action")
    }

    /// The field `id`: the client's own name for its message.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not a string of 1 to 64 characters, or holds a noncharacter, which would reach the others
    /// in the `message`. An empty one and `undefined` are refused because a client that sends them has most likely lost
    /// a variable, and all its messages would be taken for one.
    pub fn id(&self) -> Result<Option<String>, Failure> {
        self.word("id", MAX_ID_CHARS)
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
        Name::of_any_room(&room)
            .map(Some)
            .map_err(|error| Failure::bad_request(format!("room {error}")))
    }

    /// The field `data`, exactly as the client wrote it: any I-JSON, `null` included.
    ///
    /// # Errors
    ///
    /// `bad_request` when there is none, or when it is not I-JSON.
    pub fn data(&self) -> Result<&'a RawValue, Failure> {
        let data = self
            .fields
            .get("data")
            .copied()
            .ok_or_else(|| Failure::bad_request(format!("data is missing; {EXAMPLE}")))?;
        check_data(data)?;
        Ok(data)
    }

    /// The field `data` of a signal, exactly as the client wrote it: any I-JSON of at most [`MAX_SMALL_BYTES`], or none.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is larger, or not I-JSON.
    pub fn small_data(&self) -> Result<Option<&'a RawValue>, Failure> {
        let data = self.fields.get("data").copied();
        data.map(|data| small("data", data)).transpose()
    }

    /// The field `state`: any I-JSON of at most [`MAX_SMALL_BYTES`]. `null` is no state.
    ///
    /// # Errors
    ///
    /// `bad_request` when there is none, when it is larger, or not I-JSON.
    pub fn state(&self) -> Result<Option<&'a RawValue>, Failure> {
        let state = self
            .fields
            .get("state")
            .copied()
            .ok_or_else(|| Failure::bad_request("state is missing; null clears it"))?;
        stated("state", state)
    }

    /// The field `presence`: `true`, or an object that may have a `state`. `false` and `null` count as absent.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is anything else, or when the state breaks the rules of [`Self::state`].
    pub fn presence(&self) -> Result<Option<Stated<'a>>, Failure> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow, default)]
            state: Option<&'a RawValue>,
        }
        let Some(raw) = self.fields.get("presence").copied() else {
            return Ok(None);
        };
        match raw.get() {
            "true" => Ok(Some(Stated(None))),
            "false" | "null" => Ok(None),
            text if text.starts_with('{') => {
                let fields: Fields<'a> = serde_json::from_str(text)
                    .map_err(|_| Failure::bad_request("presence must have one state"))?;
                let state = fields.state.map(|state| stated("presence.state", state));
                Ok(Some(Stated(state.transpose()?.flatten())))
            }
            _ => Err(Failure::bad_request(
                r#"presence must be true or an object, such as {"state":…}"#,
            )),
        }
    }

    /// A field that is `true` or `false`; `null` and no field are `false`.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is anything else.
    pub fn flag(&self, field: &str) -> Result<bool, Failure> {
        match self.fields.get(field).map(|raw| raw.get()) {
            None | Some("null" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Failure::bad_request(format!(
                "{field} must be true or false"
            ))),
        }
    }

    /// True for a field that is `false`.
    pub fn is_false(&self, field: &str) -> bool {
        self.fields
            .get(field)
            .is_some_and(|raw| raw.get() == "false")
    }

    /// The field `kind`.
    ///
    /// # Errors
    ///
    /// `bad_request` when there is none, or when it is not a string of 1 to 32 characters.
    pub fn kind(&self) -> Result<String, Failure> {
        self.word("kind", MAX_KIND_CHARS)?
            .ok_or_else(|| Failure::bad_request("kind is missing"))
    }

    /// The field `to`: the name of a user.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not a string of 1 to 64 characters.
    pub fn to_user(&self) -> Result<Option<String>, Failure> {
        self.word("to", MAX_CHARS)
    }

    /// The field `room`, where it says what the frame is about.
    ///
    /// # Errors
    ///
    /// `bad_request` as for [`Self::room`], and when there is none.
    pub fn this_room(&self) -> Result<Name, Failure> {
        self.room()?
            .ok_or_else(|| Failure::bad_request("room is missing"))
    }

    /// The field `room`, where only a room that has members will do.
    ///
    /// # Errors
    ///
    /// `bad_request` as for [`Self::room`], and when the room belongs to a user or to two of them.
    pub fn shared_room(&self) -> Result<Option<Name>, Failure> {
        let room = self.room()?;
        if room.as_ref().is_some_and(Name::is_private) {
            return Err(Failure::bad_request(
                "room must not begin with @: nobody joins or leaves such a room, and it has no list of members",
            ));
        }
        Ok(room)
    }

    /// The field `rooms`: 1 to `most` rooms, each once.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not a list of names that rooms can have.
    pub fn rooms(&self, most: usize) -> Result<BTreeSet<String>, Failure> {
        let count = || {
            Failure::bad_request(format!(
                "rooms must be a list of 1 to {most} names of rooms"
            ))
        };
        let raw = self.fields.get("rooms").ok_or_else(count)?;
        let names: Vec<String> = serde_json::from_str(raw.get()).map_err(|_| count())?;
        if !(1..=most).contains(&names.len()) {
            return Err(count());
        }
        for name in &names {
            Name::of_any_room(name)
                .map_err(|error| Failure::bad_request(format!("rooms: {name:?} {error}")))?;
        }
        Ok(names.into_iter().collect())
    }

    /// The fields `epoch`, `seq` and `n` of a mark.
    ///
    /// # Errors
    ///
    /// `bad_request` when one of them is missing or cannot be that of a message.
    pub fn read_up_to(&self) -> Result<(Position, u64), Failure> {
        let wrong = |text: &str| Failure::bad_request(text.to_owned());
        let epoch = self
            .word("epoch", MAX_ID_CHARS)?
            .ok_or_else(|| wrong("epoch is missing"))?;
        let seq = self.number("seq")?.ok_or_else(|| wrong("seq is missing"))?;
        let n = self
            .number("n")?
            .ok_or_else(|| wrong("n is missing: it is the n of the message with this seq"))?;
        if n > seq {
            return Err(wrong("n must be at most seq"));
        }
        Ok((Position { epoch, seq }, n))
    }

    /// The field `after`: the client has seen every message up to this number.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not a whole number of 0 or more.
    pub fn after(&self) -> Result<Option<u64>, Failure> {
        self.number("after")
    }

    /// The field `target`: the number of the message that the frame changes.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is missing, or not a whole number of 1 or more.
    pub fn target(&self) -> Result<u64, Failure> {
        self.number("target")?
            .filter(|target| *target > 0)
            .ok_or_else(|| Failure::bad_request("target must be the seq of a message, 1 or more"))
    }

    /// The field `key`: a reaction, such as an emoji.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is missing, not a string of 1 to 32 characters, or holds a control character.
    pub fn key(&self) -> Result<String, Failure> {
        let key = self.word("key", MAX_KIND_CHARS)?;
        let key = key.ok_or_else(|| Failure::bad_request("key is missing"))?;
        if key.chars().any(char::is_control) {
            return Err(Failure::bad_request("key must not hold control characters"));
        }
        Ok(key)
    }

    /// The field `on`: false for the end of a reaction. Absent is true.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not true or false.
    pub fn on(&self) -> Result<bool, Failure> {
        let Some(raw) = self.fields.get("on") else {
            return Ok(true);
        };
        serde_json::from_str(raw.get())
            .map_err(|_| Failure::bad_request("on must be true or false"))
    }

    /// The field `user`: the user that the frame is about.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is missing, or not a string.
    pub fn this_user(&self) -> Result<String, Failure> {
        self.text("user")?
            .ok_or_else(|| Failure::bad_request("user is missing"))
    }

    /// The field `reason`: a moderator's words, for the user and for the audit.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not a string of at most [`MAX_REASON_CHARS`] characters that a client can read.
    pub fn reason(&self) -> Result<Option<String>, Failure> {
        let Some(reason) = self.text("reason")?.filter(|reason| !reason.is_empty()) else {
            return Ok(None);
        };
        if reason.chars().count() > MAX_REASON_CHARS {
            return Err(Failure::bad_request(format!(
                "reason must have at most {MAX_REASON_CHARS} characters"
            )));
        }
        ijson::check_text(&reason)
            .map_err(|error| Failure::bad_request(format!("reason {error}")))?;
        Ok(Some(reason))
    }

    /// True if the field `room` is this text, which need not be a name that a room can have.
    pub fn is_about(&self, room: &str) -> bool {
        matches!(self.text("room"), Ok(Some(named)) if named == room)
    }

    /// The field `after` of a list of users: the last user of the page before.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not a string.
    pub fn after_user(&self) -> Result<Option<String>, Failure> {
        self.text("after")
    }

    /// The field `before`: only messages below this number.
    ///
    /// # Errors
    ///
    /// As for [`Self::after`].
    pub fn before(&self) -> Result<Option<u64>, Failure> {
        self.number("before")
    }

    /// A field with a number from `least` to `most`.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not a whole number in these bounds.
    pub fn count<T>(&self, field: &str, least: T, most: T) -> Result<Option<T>, Failure>
    where
        T: DeserializeOwned + PartialOrd + Display + Copy,
    {
        let Some(raw) = self.fields.get(field) else {
            return Ok(None);
        };
        match serde_json::from_str::<Option<T>>(raw.get()) {
            Ok(None) => Ok(None),
            Ok(Some(count)) if (least..=most).contains(&count) => Ok(Some(count)),
            _ => Err(Failure::bad_request(format!(
                "{field} must be a whole number, {least} to {most}"
            ))),
        }
    }

    /// The field `since`: the position of the client.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not an object with an `epoch`, a string, and a `seq`, a whole number of 0 or more.
    pub fn since(&self) -> Result<Option<Position>, Failure> {
        let Some(raw) = self.fields.get("since") else {
            return Ok(None);
        };
        // An array would be read as the fields in their order.
        let is_array = raw.get().starts_with('[');
        let position = serde_json::from_str(raw.get()).ok().filter(|_| !is_array);
        position.ok_or_else(|| {
            Failure::bad_request(r#"since must be a position: {"epoch":"…","seq":…}"#)
        })
    }

    /// An optional number; `null` counts as absent.
    fn number(&self, field: &str) -> Result<Option<u64>, Failure> {
        let Some(raw) = self.fields.get(field) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get())
            .map_err(|_| Failure::bad_request(format!("{field} must be a whole number, 0 or more")))
    }

    /// An optional string of 1 to `most` characters that reaches other clients.
    fn word(&self, field: &str, most: usize) -> Result<Option<String>, Failure> {
        let Some(word) = self.text(field)? else {
            return Ok(None);
        };
        if word.is_empty() || word.chars().count() > most {
            return Err(Failure::bad_request(format!(
                "{field} must have 1 to {most} characters"
            )));
        }
        if NO_VALUE.contains(&word.as_str()) {
            return Err(Failure::bad_request(format!(
                "{field} must not be {word:?}: the client's variable has no value"
            )));
        }
        ijson::check_text(&word)
            .map_err(|error| Failure::bad_request(format!("{field} {error}")))?;
        Ok(Some(word))
    }

    /// A further field that must be a string; `null` counts as absent.
    ///
    /// # Errors
    ///
    /// `bad_request` when it is not a string.
    pub fn text_of(&self, field: &str) -> Result<Option<String>, Failure> {
        self.text(field)
    }

    /// An optional field that must be a string; `null` counts as absent.
    fn text(&self, field: &str) -> Result<Option<String>, Failure> {
        let Some(raw) = self.fields.get(field) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get()).map_err(|_| {
            // A JSON string that cannot be read holds half a surrogate pair.
            Failure::bad_request(if raw.get().starts_with('"') {
                format!("{field} {}", NotIJson::LoneSurrogate)
            } else {
                format!("{field} must be a string")
            })
        })
    }
}

/// A client that wants presence, with its state if it has one.
#[derive(Debug, Clone, Copy)]
pub struct Stated<'a>(pub Option<&'a RawValue>);

/// A state; `null` is none.
fn stated<'a>(field: &str, raw: &'a RawValue) -> Result<Option<&'a RawValue>, Failure> {
    let state = small(field, raw)?;
    Ok((state.get() != "null").then_some(state))
}

/// Checks the size of a small field, and that it is I-JSON.
fn small<'a>(field: &str, raw: &'a RawValue) -> Result<&'a RawValue, Failure> {
    let bytes = raw.get().len();
    if bytes > MAX_SMALL_BYTES {
        return Err(Failure::bad_request(format!(
            "{field} is too large: {bytes} bytes, at most {MAX_SMALL_BYTES}"
        )));
    }
    ijson::check(raw).map_err(|error| Failure::bad_request(format!("{field} {error}")))?;
    Ok(raw)
}

/// A place in the log of a room: the client has seen every message of the epoch up to `seq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch that the number is of.
    pub epoch: String,
    /// The last number seen; 0 before the first.
    pub seq: u64,
}

/// The parts of a frame that its answer repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Correlation {
    /// The client's id, when it gave a valid one.
    pub id: Option<String>,
    /// The action it asked for, when it is a string of at most 64 characters.
    pub action: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ErrorName, Message, render};
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
            ("id", r#"{"id":"undefined"}"#.to_owned()),
            ("id", r#"{"id":"a\uffff"}"#.to_owned()),
            ("id holds a lone", r#"{"id":"a\ud800"}"#.to_owned()),
            ("room", r#"{"room":7}"#.to_owned()),
            ("room holds a lone", r#"{"room":"\udfff"}"#.to_owned()),
            ("room", r#"{"room":""}"#.to_owned()),
            ("room", r#"{"room":"@x y"}"#.to_owned()),
            ("room", r#"{"room":"@bob&alice"}"#.to_owned()),
        ] {
            let frame = frame(&text);
            let message = if field.starts_with("id") {
                refusal(frame.id())
            } else {
                refusal(frame.room())
            };
            assert!(message.starts_with(field), "{text}: {message}");
        }
    }

    #[test]
    fn data_that_some_clients_cannot_read_is_refused() {
        let deep = format!("{}{}", "[".repeat(15_000), "]".repeat(15_000));
        let digits = "7".repeat(20_000);
        for (data, rule) in [
            (deep.as_str(), "data is nested deeper"),
            (r#""\ud800""#, "data holds a lone surrogate"),
            (&digits, "data holds a number of more than"),
            ("1e400", "data holds a number outside"),
            (r#"{"a":1,"a":2}"#, "data holds the key"),
        ] {
            let text = format!(r#"{{"action":"publish","data":{data},"id":"m"}}"#);
            let frame = Frame::parse(&text).unwrap();
            let message = refusal(frame.data());
            assert!(message.starts_with(rule), "{message}");
            // The answer still says which frame it is about.
            assert_eq!(frame.correlation().id.as_deref(), Some("m"));
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

    /// JSON texts, with the white space and the spellings that a value forgets.
    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|b| b.to_string()),
            "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
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
            let Ok(raw) = frame.data() else {
                prop_assert!(ijson::check(frame.fields["data"]).is_err());
                return Ok(());
            };
            prop_assert_eq!(raw.get(), &data);
            let message = Message { room: "r", seq: 1, epoch: "E", n: 1, from: "u", data: Some(raw), received: 1, at: 1, ..Message::PLAIN };
            let expected = format!(
                r#"{{"type":"message","room":"r","seq":1,"epoch":"E","n":1,"from":"u","data":{data},"received":1,"at":1}}"#
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
