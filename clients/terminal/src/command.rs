//! Reads the lines that a person types, and those that a program writes with `--json`.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::issue::duration;
use crate::wire::present;

/// The number of messages that `/history` shows when it is given none.
const HISTORY: u16 = 20;

/// The largest `limit` that the service accepts in a `history`.
const MAX_HISTORY: u16 = 100;

/// The longest `id` that the service accepts, in characters.
const MAX_ID_CHARS: usize = 64;

/// The ids that the service refuses: programs write them for a variable that has no value.
const NO_VALUE: [&str; 4] = ["undefined", "null", "NaN", "None"];

/// The text that `/help` shows.
pub const HELP: &str = "\
A line is sent to the room in the prompt.
/join ROOM    join another room, and send there from now on
/room ROOM    send to another of your rooms from now on
/leave [ROOM] leave a room
/who [ROOM]   list the users in a room
/status TEXT  tell the room your status (with --presence); without a text, clear it
/history [N]  show N older messages (20)
/edit N TEXT  give your message with the number #N another text
/delete N [REASON]  take the text of the message #N out
/react N EMOJI  react to the message #N; /unreact takes it back
/msg USER TEXT  write to one user, where the service verifies names
/unread       count the messages that you have not read, where it does
/kick USER [REASON]  remove a user, as a moderator; also /ban USER [1h] [REASON],
              /unban USER, /mute USER [1h] [REASON] and /unmute USER
/quit         quit; Ctrl-D does the same
To send a line that begins with a slash, type two slashes.";

impl Command {
    fn id(&self) -> Option<&str> {
        match self {
            Self::Publish { id, .. }
            | Self::Join { id, .. }
            | Self::Leave { id, .. }
            | Self::Switch { id, .. }
            | Self::Members { id, .. }
            | Self::Unread { id }
            | Self::Presence { id, .. }
            | Self::Signal { id, .. }
            | Self::Edit { id, .. }
            | Self::Delete { id, .. }
            | Self::React { id, .. }
            | Self::History { id, .. } => id.as_deref(),
            Self::Kick(about)
            | Self::Ban(about)
            | Self::Unban(about)
            | Self::Mute(about)
            | Self::Unmute(about) => about.id.as_deref(),
        }
    }
}

/// A command of the user. A command without a room is about the current room.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Command {
    /// Sends a message.
    Publish {
        /// The room.
        room: Option<String>,
        /// The user to whom it goes, instead of a room.
        to: Option<String>,
        /// The id of the message.
        id: Option<String>,
        /// The content: any JSON.
        #[serde(skip)]
        data: Box<RawValue>,
    },
    /// Gives a message other data.
    Edit {
        /// The room.
        room: Option<String>,
        /// The number of the message.
        target: u64,
        /// The id of the edit.
        id: Option<String>,
        /// The content: any JSON.
        #[serde(skip)]
        data: Box<RawValue>,
    },
    /// Takes the data out of a message.
    Delete {
        /// The room.
        room: Option<String>,
        /// The number of the message.
        target: u64,
        /// The reason, for everybody.
        reason: Option<String>,
        /// The id of the deletion.
        id: Option<String>,
    },
    /// Adds a reaction to a message, or takes it back.
    React {
        /// The room.
        room: Option<String>,
        /// The number of the message.
        target: u64,
        /// The reaction, such as an emoji.
        key: String,
        /// False takes the reaction back.
        #[serde(default = "yes")]
        on: bool,
        /// The id of the reaction.
        id: Option<String>,
    },
    /// Removes a user from a room.
    Kick(About),
    /// Removes a user from a room, and keeps it out.
    Ban(About),
    /// Ends a ban.
    Unban(About),
    /// Lets a user read and not write.
    Mute(About),
    /// Ends a mute.
    Unmute(About),
    /// Counts the unread messages in the user's rooms and conversations.
    Unread {
        /// The id that the answer repeats.
        id: Option<String>,
    },
    /// Joins a room and makes it the current one.
    Join {
        /// The room.
        room: String,
        /// The id that the answer repeats.
        id: Option<String>,
    },
    /// Leaves a room.
    Leave {
        /// The room.
        room: Option<String>,
        /// The id that the answer repeats.
        id: Option<String>,
    },
    /// Makes another of the joined rooms the current one.
    #[serde(rename = "room")]
    Switch {
        /// The room.
        room: String,
        /// The id that an error repeats.
        id: Option<String>,
    },
    /// Lists the users in a room.
    Members {
        /// The room.
        room: Option<String>,
        /// The id that the answer repeats.
        id: Option<String>,
    },
    /// Changes the state that others in a room see.
    Presence {
        /// The room.
        room: Option<String>,
        /// The state: any JSON; `null` clears it.
        #[serde(default)]
        state: Option<Box<RawValue>>,
        /// The id that the answer repeats.
        id: Option<String>,
    },
    /// Sends a signal, such as typing. It is lost if there is no connection.
    Signal {
        /// The room.
        room: Option<String>,
        /// The meaning of the signal.
        kind: String,
        /// The content: any JSON.
        #[serde(skip)]
        data: Option<Box<RawValue>>,
        /// The only user who gets it.
        to: Option<String>,
        /// The id that an error repeats.
        id: Option<String>,
    },
    /// Shows older messages.
    History {
        /// The room.
        room: Option<String>,
        /// The number of messages.
        #[serde(default = "default_limit")]
        limit: u16,
        /// The id that the answer repeats.
        id: Option<String>,
    },
}

/// The user whom a moderator means.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The room.
    pub room: Option<String>,
    /// The user.
    pub user: String,
    /// The length of a ban or mute, in seconds. Without it there is no end.
    pub for_seconds: Option<u64>,
    /// The reason, for the user and for the audit.
    pub reason: Option<String>,
    /// The id that the answer repeats.
    pub id: Option<String>,
}

/// The meaning of a line.
#[derive(Debug)]
pub enum Line {
    /// An empty line.
    Empty,
    /// A request for the list of commands.
    Help,
    /// A request to quit.
    Quit,
    /// A command.
    Command(Command),
}

/// A line that cannot be carried out.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The `id` in the line, where it can be read.
    pub id: Option<String>,
    /// One sentence that says what is wrong with the line.
    pub message: String,
}

impl From<String> for Mistake {
    fn from(message: String) -> Self {
        Self { id: None, message }
    }
}

fn default_limit() -> u16 {
    HISTORY
}

fn yes() -> bool {
    true
}

/// Reads a line that a person typed.
///
/// # Errors
///
/// Fails if the line is not a command, or lacks an argument.
pub fn typed(line: &[u8]) -> Result<Line, Mistake> {
    let line = utf8(line)?.trim();
    let Some(command) = line.strip_prefix('/') else {
        return speak(line);
    };
    if command.starts_with('/') {
        return speak(command);
    }
    if let Some(text) = command.strip_prefix("status")
        && (text.is_empty() || text.starts_with(char::is_whitespace))
    {
        return status(text.trim());
    }
    if let Some(message) = command.strip_prefix("msg ") {
        return address(message.trim_start());
    }
    if let Some(change) = about_a_message(command).or_else(|| about_a_user(command)) {
        return change.map(Line::Command);
    }
    let mut words = command.split_whitespace();
    let name = words.next().unwrap_or_default();
    let argument = words.next().map(str::to_owned);
    if words.next().is_some() {
        return Err(
            format!("/{name} takes at most one argument; /help lists the commands.").into(),
        );
    }
    let id = None;
    let needed = || {
        argument
            .clone()
            .ok_or_else(|| format!("The room is missing: /{name} ROOM."))
    };
    Ok(Line::Command(match name {
        "join" => Command::Join {
            room: needed()?,
            id,
        },
        "room" => Command::Switch {
            room: needed()?,
            id,
        },
        "leave" => Command::Leave { room: argument, id },
        "unread" if argument.is_none() => Command::Unread { id },
        "msg" | "unread" => {
            return Err(format!("/{name} does not go like this; /help lists the commands.").into());
        }
        "who" => Command::Members { room: argument, id },
        "history" => {
            let limit = argument.map_or(Ok(HISTORY), |number| {
                number
                    .parse()
                    .map_err(|_| format!("/history takes a number from 1 to {MAX_HISTORY}."))
            })?;
            let room = None;
            checked(Command::History { room, limit, id })?
        }
        "help" => return Ok(Line::Help),
        "quit" => return Ok(Line::Quit),
        _ => {
            return Err(format!("There is no command /{name}; /help lists the commands.").into());
        }
    }))
}

fn status(text: &str) -> Result<Line, Mistake> {
    let state = serde_json::json!({ "status": text });
    let state = (!text.is_empty()).then(|| to_raw_value(&state));
    Ok(Line::Command(Command::Presence {
        room: None,
        state: state.transpose().map_err(|error| error.to_string())?,
        id: None,
    }))
}

/// Reads the user and the text of a message to one user.
fn address(message: &str) -> Result<Line, Mistake> {
    let Some((to, text)) = message.split_once(char::is_whitespace) else {
        return Err("The text is missing: /msg USER TEXT.".to_owned().into());
    };
    let data = to_raw_value(text.trim_start()).map_err(|error| error.to_string())?;
    Ok(Line::Command(Command::Publish {
        room: None,
        to: Some(to.to_owned()),
        id: None,
        data,
    }))
}

/// Takes the first word off a text.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

/// Reads a command that changes a message, if the line is one. The message is named by the number that is shown with it.
fn about_a_message(command: &str) -> Option<Result<Command, Mistake>> {
    let (name, rest) = word(command);
    let usage = match name {
        "edit" => "/edit NUMBER TEXT",
        "delete" => "/delete NUMBER [REASON]",
        "react" | "unreact" => "/react NUMBER EMOJI, and /unreact NUMBER EMOJI",
        _ => return None,
    };
    let (number, text) = word(rest);
    let (room, id) = (None, None);
    let Ok(target) = number.strip_prefix('#').unwrap_or(number).parse() else {
        let sentence = format!("The number of the message is missing: {usage}.");
        return Some(Err(sentence.into()));
    };
    if name == "delete" {
        let reason = (!text.is_empty()).then(|| text.to_owned());
        return Some(Ok(Command::Delete {
            room,
            target,
            reason,
            id,
        }));
    }
    if text.is_empty() {
        return Some(Err(format!("Something is missing: {usage}.").into()));
    }
    Some(match name {
        "edit" => to_raw_value(text)
            .map(|data| Command::Edit {
                room,
                target,
                id,
                data,
            })
            .map_err(|error| error.to_string().into()),
        _ => Ok(Command::React {
            room,
            target,
            key: text.to_owned(),
            on: name == "react",
            id,
        }),
    })
}

/// Reads a command of a moderator, if the line is one. `/ban bob 1h spam` ends after an hour, `/ban bob spam` does not end.
fn about_a_user(command: &str) -> Option<Result<Command, Mistake>> {
    let (name, rest) = word(command);
    let make = match name {
        "kick" => Command::Kick,
        "ban" => Command::Ban,
        "unban" => Command::Unban,
        "mute" => Command::Mute,
        "unmute" => Command::Unmute,
        _ => return None,
    };
    let (user, rest) = word(rest);
    if user.is_empty() {
        return Some(Err(format!("The user is missing: /{name} USER.").into()));
    }
    let (first, others) = word(rest);
    let (for_seconds, reason) = match duration(first) {
        Ok(time) if matches!(name, "ban" | "mute") => (Some(time.as_secs()), others),
        _ => (None, rest),
    };
    Some(Ok(make(About {
        room: None,
        user: user.to_owned(),
        for_seconds,
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        id: None,
    })))
}

fn speak(text: &str) -> Result<Line, Mistake> {
    if text.is_empty() {
        return Ok(Line::Empty);
    }
    let data = to_raw_value(text).map_err(|error| error.to_string())?;
    Ok(Line::Command(Command::Publish {
        room: None,
        to: None,
        id: None,
        data,
    }))
}

#[derive(Deserialize)]
struct Action {
    action: String,
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
}

/// Reads a line that a program wrote: a frame of PROTOCOL.md with the action `publish`, `edit`, `delete`, `react`, `join`,
/// `leave`, `members`, `presence`, `signal`, `history`, `kick`, `ban`, `unban`, `mute` or `unmute`, or one of the client's own actions `room` and `quit`.
///
/// # Errors
///
/// Fails if the line is not UTF-8 or not JSON, or is not such a frame.
pub fn written(line: &[u8]) -> Result<Line, Mistake> {
    read_written(line).map_err(|message| Mistake {
        id: id_of(line),
        message,
    })
}

fn read_written(line: &[u8]) -> Result<Line, String> {
    let line = utf8(line)?;
    if line.trim().is_empty() {
        return Ok(Line::Empty);
    }
    let wrong = |error: serde_json::Error| {
        format!(
            "The line is not a command ({error}). An example of a command: {{\"action\":\"publish\",\"data\":\"hi\"}}"
        )
    };
    let Action { action, data } = serde_json::from_str(line).map_err(wrong)?;
    if action == "quit" {
        return Ok(Line::Quit);
    }
    let mut command: Command = serde_json::from_str(line).map_err(wrong)?;
    match &mut command {
        Command::Publish { data: written, .. } | Command::Edit { data: written, .. } => {
            *written = data.ok_or("The field \"data\" is missing; it can be any JSON.")?;
        }
        Command::Signal { data: signal, .. } => *signal = data,
        _ => {}
    }
    Ok(Line::Command(checked(command)?))
}

fn utf8(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map_err(|error| {
        format!(
            "The line is not UTF-8 (byte {}) and was not sent.",
            error.valid_up_to() + 1
        )
    })
}

/// Returns the `id` of a line that is wrong in another way.
fn id_of(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: Value,
    }
    let line: Named = serde_json::from_str(&String::from_utf8_lossy(line)).ok()?;
    line.id.as_str().map(str::to_owned)
}

/// Checks what the service would refuse in an error without an `id`, which no line could be found by.
fn checked(command: Command) -> Result<Command, String> {
    let id = command.id();
    if let Some(id) = id.filter(|id| id.is_empty() || id.chars().count() > MAX_ID_CHARS) {
        return Err(format!(
            "The id must have 1 to {MAX_ID_CHARS} characters, not {}.",
            id.chars().count()
        ));
    }
    if let Some(id) = id.filter(|id| NO_VALUE.contains(id)) {
        return Err(format!(
            "The id must not be {id:?}: the program's variable has no value."
        ));
    }
    if id.is_some_and(|id| id.chars().map(u32::from).any(is_noncharacter)) {
        return Err("The id must not hold a noncharacter of Unicode.".to_owned());
    }
    match command {
        Command::History { limit, .. } if !(1..=MAX_HISTORY).contains(&limit) => Err(format!(
            "The number of messages must be from 1 to {MAX_HISTORY}."
        )),
        fine => Ok(fine),
    }
}

/// U+FDD0 to U+FDEF, and the last two code points of each plane.
fn is_noncharacter(c: u32) -> bool {
    (0xfdd0..=0xfdef).contains(&c) || c & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_the_service_refuses_is_not_sent() {
        let long = "x".repeat(65);
        for id in ["", "null", "undefined", "NaN", "None", "\u{ffff}", &long] {
            let line = format!(r#"{{"action":"publish","id":"{id}","data":1}}"#);
            let mistake = written(line.as_bytes()).unwrap_err();
            assert_eq!(mistake.id.as_deref(), Some(id));
            assert!(mistake.message.starts_with("The id must "), "{mistake:?}");
        }
        let longest = format!(r#"{{"action":"leave","id":"{}"}}"#, "é".repeat(64));
        assert!(written(longest.as_bytes()).is_ok());
    }

    #[test]
    fn text_is_sent_as_it_is() {
        for (line, sent) in [("hi \"you\"", r#""hi \"you\"""#), ("//join", r#""/join""#)] {
            match typed(line.as_bytes()) {
                Ok(Line::Command(Command::Publish { data, .. })) => assert_eq!(data.get(), sent),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(typed(b"  "), Ok(Line::Empty)));
    }

    #[test]
    fn commands_about_messages_and_users_are_the_frames_of_the_protocol() {
        for (line, frame) in [
            (
                "/edit 41 two words",
                r#"{"action":"edit","target":41,"data":"two words"}"#,
            ),
            ("/delete #41", r#"{"action":"delete","target":41}"#),
            (
                "/delete 41  spam  and more ",
                r#"{"action":"delete","target":41,"reason":"spam  and more"}"#,
            ),
            (
                "/react 41 👍",
                r#"{"action":"react","target":41,"key":"👍","on":true}"#,
            ),
            (
                "/unreact 41 👍",
                r#"{"action":"react","target":41,"key":"👍","on":false}"#,
            ),
            ("/kick bob", r#"{"action":"kick","user":"bob"}"#),
            (
                "/kick bob 1h",
                r#"{"action":"kick","user":"bob","reason":"1h"}"#,
            ),
            (
                "/ban bob 1h spam and noise",
                r#"{"action":"ban","user":"bob","forSeconds":3600,"reason":"spam and noise"}"#,
            ),
            (
                "/ban bob spam",
                r#"{"action":"ban","user":"bob","reason":"spam"}"#,
            ),
            (
                "/mute bob 90s",
                r#"{"action":"mute","user":"bob","forSeconds":90}"#,
            ),
            ("/unban bob", r#"{"action":"unban","user":"bob"}"#),
            ("/unmute bob", r#"{"action":"unmute","user":"bob"}"#),
        ] {
            let read = |line| match line {
                Ok(Line::Command(command)) => format!("{command:?}"),
                other => panic!("{other:?}"),
            };
            assert_eq!(
                read(typed(line.as_bytes())),
                read(written(frame.as_bytes())),
                "{line}"
            );
        }
    }

    #[test]
    fn mistakes_are_told() {
        let typed_lines: [&[u8]; 15] = [
            b"/edit",
            b"/edit 41",
            b"/edit x y",
            b"/delete",
            b"/react 41",
            b"/ban",
            b"/join",
            b"/join a b",
            b"/dance",
            b"/history 0",
            b"/history 101",
            b"/history x",
            b"/room",
            b"/",
            b"caf\xe9",
        ];
        for line in typed_lines {
            assert!(typed(line).is_err(), "{}", line.escape_ascii());
        }
        let written_lines: [&[u8]; 10] = [
            br#"{"action":"edit","target":1}"#,
            br#"{"action":"kick"}"#,
            b"hi",
            b"[]",
            b"{}",
            br#"{"action":"dance"}"#,
            br#"{"action":"publish"}"#,
            br#"{"action":"join"}"#,
            b"\xe9",
            b"\xef\xbb\xbf{}",
        ];
        for line in written_lines {
            assert!(written(line).is_err(), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_mistake_carries_the_id_of_its_line() {
        let lines: [&[u8]; 5] = [
            br#"{"action":"publish","id":"x","data":"\ud800"}"#,
            br#"{"action":"publish","id":"x"}"#,
            br#"{"action":"dance","id":"x"}"#,
            br#"{"action":"history","limit":0,"id":"x"}"#,
            b"{\"action\":\"publish\",\"id\":\"x\",\"data\":\"caf\xe9\"}",
        ];
        for line in lines {
            let mistake = written(line).unwrap_err();
            assert_eq!(mistake.id.as_deref(), Some("x"), "{mistake:?}");
        }
    }

    #[test]
    fn programs_write_frames() {
        for data in [r#"{"n": 1.0}"#, "null", "false"] {
            let line = format!(r#"{{"action":"publish","room":"a","id":"x","data":{data}}}"#);
            match written(line.as_bytes()) {
                Ok(Line::Command(Command::Publish {
                    room,
                    to: None,
                    id,
                    data: read,
                })) => {
                    assert_eq!((room.as_deref(), id.as_deref()), (Some("a"), Some("x")));
                    assert_eq!(read.get(), data);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            written(br#"{"action":"history"}"#),
            Ok(Line::Command(Command::History { limit: 20, .. }))
        ));
        assert!(matches!(written(br#"{"action":"quit"}"#), Ok(Line::Quit)));
    }
}
