//! What the client tells its user: lines for people, JSON for programs.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::wire::{Ack, Entry, Members, Position};

/// Something happened that the user should know.
#[derive(Debug, Clone, Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// There is a connection.
    Connected {
        /// It takes the place of one that still works but comes of age.
        renewed: bool,
    },
    /// The connection is lost; the client connects again by itself.
    Disconnected {
        /// Why.
        reason: String,
        /// When it connects again, if it waits.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
    /// In the room, at first or again.
    Joined {
        /// Which.
        room: String,
        /// The room's log.
        epoch: String,
        /// The oldest message in it.
        first: u64,
        /// The newest message in it.
        head: u64,
        /// After a reconnect: whether all that was missed follows.
        recovered: Option<bool>,
    },
    /// Out of the room.
    Left {
        /// Which.
        room: String,
    },
    /// The next message of a room's log. One's own comes at its place, once it is acknowledged.
    Message {
        /// Where.
        room: String,
        /// What.
        #[serde(flatten)]
        entry: Entry,
    },
    /// A message of one's own is stored.
    Ack(Ack),
    /// The log does not hold what follows the last message shown. What comes next is not what came next.
    Lost {
        /// Where.
        room: String,
        /// The last message before.
        after: Position,
        /// What is shown next follows this.
        resumed: Position,
        /// How many messages lie between, unless the log itself is another.
        #[serde(skip_serializing_if = "Option::is_none")]
        missing: Option<u64>,
    },
    /// Older messages, as asked for.
    History {
        /// Of which room.
        room: String,
        /// In order.
        messages: Vec<Entry>,
        /// Whether there are older ones.
        more: bool,
    },
    /// Who is in a room, as asked for.
    Members(Members),
    /// Something did not work.
    Error {
        /// Of which message or request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Where.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<String>,
        /// A stable name, as in PROTOCOL.md.
        name: String,
        /// One sentence.
        message: String,
        /// Whether the client tries again by itself.
        retrying: bool,
    },
}

impl Event {
    /// The event as one line of JSON.
    pub fn json(&self) -> String {
        // Outside of strings a line break is mere space, and inside of one it is always escaped.
        serde_json::to_string(self)
            .unwrap_or_default()
            .replace(['\n', '\r'], " ")
    }

    /// The event for people, or nothing where they need no words. `here` is the room they look at.
    pub fn text(&self, here: &str) -> Option<String> {
        let at = |room: &str| {
            if room == here {
                String::new()
            } else {
                format!("[{}] ", clean(room))
            }
        };
        let line = match self {
            Self::Connected { renewed: true } => return None,
            Self::Connected { renewed: false } => "* connected".to_owned(),
            Self::Disconnected {
                reason,
                retry_in_ms,
            } => {
                let then = retry_in_ms.map_or_else(
                    || "another connection takes over".to_owned(),
                    |wait| {
                        format!(
                            "connecting again in {}.{} s",
                            wait / 1000,
                            wait % 1000 / 100
                        )
                    },
                );
                format!("* connection lost: {}; {then}", clean(reason))
            }
            Self::Joined {
                room,
                head,
                recovered: None,
                ..
            } => format!("* in {}, which has {}", clean(room), count(*head)),
            Self::Joined { room, .. } => format!("* back in {}", clean(room)),
            Self::Left { room } => format!("* left {}", clean(room)),
            Self::Message { room, entry } => format!("{}{}", at(room), spoken(entry)),
            Self::Ack(ack) if ack.failed > 0 => format!(
                "* {}#{} is stored; {} connections have yet to fetch it",
                at(&ack.room),
                ack.seq,
                ack.failed
            ),
            Self::Ack(_) => return None,
            Self::Lost {
                room,
                missing,
                resumed,
                ..
            } => {
                let what = missing.map_or_else(
                    || {
                        format!(
                            "the room's log began anew and goes on after #{}",
                            resumed.seq
                        )
                    },
                    |missing| format!("{} may be missing", count(missing)),
                );
                format!("* {}position lost: {what}", at(room))
            }
            Self::History {
                room,
                messages,
                more,
            } => {
                let mut lines = vec![format!(
                    "* {}{} before that:",
                    at(room),
                    count(messages.len() as u64)
                )];
                lines.extend(messages.iter().map(|entry| format!("  {}", spoken(entry))));
                if *more {
                    lines.push("  (/history shows more)".to_owned());
                }
                lines.join("\n")
            }
            Self::Members(members) => {
                let mut names: Vec<String> = members
                    .members
                    .iter()
                    .map(|member| match member.connections {
                        0 | 1 => clean(&member.user),
                        many => format!("{} ({many} connections)", clean(&member.user)),
                    })
                    .collect();
                if members.more {
                    names.push("and more".to_owned());
                }
                format!("* in {}: {}", clean(&members.room), names.join(", "))
            }
            Self::Error {
                room,
                message,
                retrying,
                ..
            } => {
                let again = if *retrying { " (trying again)" } else { "" };
                let room = room.as_deref().map(at).unwrap_or_default();
                format!("! {room}{}{again}", clean(message))
            }
        };
        Some(line)
    }
}

fn count(messages: u64) -> String {
    match messages {
        0 => "no messages".to_owned(),
        1 => "1 message".to_owned(),
        many => format!("{many} messages"),
    }
}

fn spoken(entry: &Entry) -> String {
    format!(
        "#{} {}: {}",
        entry.seq,
        clean(&entry.from),
        words(&entry.data)
    )
}

/// A string as itself, an object's `text` as that, all else as JSON.
fn words(data: &RawValue) -> String {
    let value = serde_json::from_str::<serde_json::Value>(data.get()).unwrap_or_default();
    let text = value.as_str().or_else(|| value.get("text")?.as_str());
    clean(text.unwrap_or_else(|| data.get()))
}

/// Escapes what would steer the terminal or turn a line's direction: others choose these texts.
fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .flat_map(|c| {
            let escaped = steers(c).then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &str) -> Event {
        Event::Message {
            room: "lobby".to_owned(),
            entry: Entry {
                epoch: "e".to_owned(),
                seq: 7,
                id: None,
                from: "bob".to_owned(),
                data: RawValue::from_string(data.to_owned()).unwrap(),
                at: 1,
            },
        }
    }

    #[test]
    fn what_people_see() {
        let text = |data, here| message(data).text(here).unwrap();
        assert_eq!(text(r#""hi""#, "lobby"), "#7 bob: hi");
        assert_eq!(text(r#"{"text":"hi"}"#, "tea"), "[lobby] #7 bob: hi");
        assert_eq!(text(r#"{"n":1}"#, "lobby"), r#"#7 bob: {"n":1}"#);
    }

    #[test]
    fn nobody_steers_anothers_terminal() {
        let line = message(r#""\u001b[2Jhi\nthere\u202e""#)
            .text("lobby")
            .unwrap();
        assert_eq!(line, r"#7 bob: \u{1b}[2Jhi\nthere\u{202e}");
    }

    #[test]
    fn json_is_one_line_whatever_was_sent() {
        assert_eq!(
            message("{\n\"a\":\t\"b\\n\"}").json(),
            "{\"type\":\"message\",\"room\":\"lobby\",\"epoch\":\"e\",\"seq\":7,\"from\":\"bob\",\"data\":{ \"a\":\t\"b\\n\"},\"at\":1}"
        );
    }
}
