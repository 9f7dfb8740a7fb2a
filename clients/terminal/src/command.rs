//! What the user types, and what a program writes with `--json`.

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

/// Messages that `/history` shows without a number.
const HISTORY: u16 = 20;

/// The most that the service gives at a time.
const MAX_HISTORY: u16 = 100;

/// What `/help` shows.
pub const HELP: &str = "\
What you type is sent to the room in the prompt.
/join ROOM    be in another room too, and speak there
/room ROOM    speak in another of your rooms
/leave [ROOM] leave a room
/who [ROOM]   who is there
/history [N]  N older messages (20)
/quit         end; Ctrl-D does the same
A line that begins with a slash is sent by typing two.";

/// Something for the client to do. Without a room it is about the one the user is looking at.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Command {
    /// Say something.
    Publish {
        /// Where.
        room: Option<String>,
        /// The message's own name.
        id: Option<String>,
        /// What.
        #[serde(skip)]
        data: Box<RawValue>,
    },
    /// Be in a room, and look at it.
    Join {
        /// Which.
        room: String,
    },
    /// Be in a room no more.
    Leave {
        /// Which.
        room: Option<String>,
    },
    /// Look at another room.
    #[serde(rename = "room")]
    Switch {
        /// Which.
        room: String,
    },
    /// Who is there?
    Members {
        /// Where.
        room: Option<String>,
    },
    /// Older messages.
    History {
        /// Of which room.
        room: Option<String>,
        /// How many.
        #[serde(default = "default_limit")]
        limit: u16,
    },
}

/// What a line asks for.
#[derive(Debug)]
pub enum Line {
    /// Nothing.
    Nothing,
    /// The list of commands.
    Help,
    /// The end.
    Quit,
    /// This.
    Do(Command),
}

fn default_limit() -> u16 {
    HISTORY
}

/// Reads what a person typed.
///
/// # Errors
///
/// One sentence: what the line lacks.
pub fn typed(line: &str) -> Result<Line, String> {
    let line = line.trim();
    let Some(command) = line.strip_prefix('/') else {
        return speak(line);
    };
    if command.starts_with('/') {
        return speak(command);
    }
    let mut words = command.split_whitespace();
    let name = words.next().unwrap_or_default();
    let argument = words.next().map(str::to_owned);
    if words.next().is_some() {
        return Err(format!(
            "/{name} takes one word at most; /help lists the commands."
        ));
    }
    let needed = || {
        argument
            .clone()
            .ok_or_else(|| format!("Say which room: /{name} ROOM."))
    };
    Ok(Line::Do(match name {
        "join" => Command::Join { room: needed()? },
        "room" => Command::Switch { room: needed()? },
        "leave" => Command::Leave { room: argument },
        "who" => Command::Members { room: argument },
        "history" => {
            let limit = argument.map_or(Ok(HISTORY), |number| {
                number
                    .parse()
                    .map_err(|_| format!("/history takes a number from 1 to {MAX_HISTORY}."))
            })?;
            checked(Command::History { room: None, limit })?
        }
        "help" => return Ok(Line::Help),
        "quit" => return Ok(Line::Quit),
        _ => return Err(format!("There is no /{name}; /help lists the commands.")),
    }))
}

fn speak(text: &str) -> Result<Line, String> {
    if text.is_empty() {
        return Ok(Line::Nothing);
    }
    let data = to_raw_value(text).map_err(|error| error.to_string())?;
    Ok(Line::Do(Command::Publish {
        room: None,
        id: None,
        data,
    }))
}

#[derive(Deserialize)]
struct Action {
    action: String,
    data: Option<Box<RawValue>>,
}

/// Reads what a program wrote: the frames of PROTOCOL.md with the actions `publish`, `join`, `leave`, `members` and
/// `history`, and `room` and `quit`.
///
/// # Errors
///
/// One sentence: what is wrong with the line.
pub fn written(line: &str) -> Result<Line, String> {
    if line.trim().is_empty() {
        return Ok(Line::Nothing);
    }
    let wrong = |error: serde_json::Error| {
        format!(
            "The line is no command ({error}): write for instance {{\"action\":\"publish\",\"data\":\"hi\"}}."
        )
    };
    let Action { action, data } = serde_json::from_str(line).map_err(wrong)?;
    if action == "quit" {
        return Ok(Line::Quit);
    }
    let mut command: Command = serde_json::from_str(line).map_err(wrong)?;
    if let Command::Publish { data: publish, .. } = &mut command {
        *publish = data.ok_or("A publish needs \"data\": add it, whatever JSON it is.")?;
    }
    Ok(Line::Do(checked(command)?))
}

fn checked(command: Command) -> Result<Command, String> {
    match command {
        Command::History { limit, .. } if !(1..=MAX_HISTORY).contains(&limit) => Err(format!(
            "The history is shown 1 to {MAX_HISTORY} messages at a time."
        )),
        fine => Ok(fine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sent_as_it_is() {
        for (line, sent) in [("hi \"you\"", r#""hi \"you\"""#), ("//join", r#""/join""#)] {
            match typed(line) {
                Ok(Line::Do(Command::Publish { data, .. })) => assert_eq!(data.get(), sent),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(typed("  "), Ok(Line::Nothing)));
    }

    #[test]
    fn mistakes_are_told() {
        for line in [
            "/join",
            "/join a b",
            "/dance",
            "/history 0",
            "/history 101",
            "/history x",
            "/room",
            "/",
        ] {
            assert!(typed(line).is_err(), "{line}");
        }
        for line in [
            "hi",
            "[]",
            "{}",
            r#"{"action":"dance"}"#,
            r#"{"action":"publish"}"#,
            r#"{"action":"join"}"#,
        ] {
            assert!(written(line).is_err(), "{line}");
        }
    }

    #[test]
    fn programs_write_frames() {
        let line = r#"{"action":"publish","room":"a","id":"x","data":{"n": 1.0}}"#;
        match written(line) {
            Ok(Line::Do(Command::Publish { room, id, data })) => {
                assert_eq!((room.as_deref(), id.as_deref()), (Some("a"), Some("x")));
                assert_eq!(data.get(), r#"{"n": 1.0}"#);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            written(r#"{"action":"history"}"#),
            Ok(Line::Do(Command::History { limit: 20, .. }))
        ));
        assert!(matches!(written(r#"{"action":"quit"}"#), Ok(Line::Quit)));
    }
}
