//! Events for the user: lines of text for people, lines of JSON for programs.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::text::{line, lines};
use crate::wire::{Ack, Change, Entry, Members, Moderated, Position, Removed, Signal};

/// An event for the user.
#[derive(Debug, Clone, Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// A connection is open.
    Connected {
        /// True if the connection replaces another that still works but has to end soon.
        renewed: bool,
    },
    /// The connection is lost. The client connects again by itself.
    Disconnected {
        /// The reason.
        reason: String,
        /// The wait before the client connects again; absent when another connection is open already.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
    /// The client is in a room, for the first time or again.
    Joined {
        /// The id of the command, if it had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The room.
        room: String,
        /// The epoch of the room's log.
        epoch: String,
        /// The number of the oldest message in the log.
        first: u64,
        /// The number of the newest message in the log.
        head: u64,
        /// True if all missed messages follow; absent when the room is joined for the first time.
        recovered: Option<bool>,
    },
    /// The client has left a room.
    Left {
        /// The id of the command, if it had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The room.
        room: String,
    },
    /// The next message of a room's log. The user's own messages come at their place in the log, after their `ack`.
    Message {
        /// The room.
        room: String,
        /// The message.
        #[serde(flatten)]
        entry: Box<Entry>,
    },
    /// A message that was shown, or an older one, is changed: the entry of the log that changes it.
    Changed {
        /// The room.
        room: String,
        /// The entry.
        #[serde(flatten)]
        entry: Box<Entry>,
    },
    /// A message of the user is stored.
    Ack(Ack),
    /// The log no longer holds the messages after the last one shown. The next message shown does not follow it.
    Lost {
        /// The room.
        room: String,
        /// The position of the last message shown.
        after: Position,
        /// The position from which the client goes on.
        resumed: Position,
        /// The number of messages between the two positions; absent when they are of different epochs.
        #[serde(skip_serializing_if = "Option::is_none")]
        missing: Option<u64>,
    },
    /// The older messages that the user asked for.
    History {
        /// The id of the command, if it had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The room.
        room: String,
        /// The messages, in order.
        messages: Vec<Entry>,
        /// True if there are older messages.
        more: bool,
    },
    /// The users in a room, as the user asked for.
    Members(Members),
    /// The number of unread messages, of each room that has some.
    Unread {
        /// The id of the command, if it had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The numbers, by room.
        rooms: BTreeMap<String, u64>,
    },
    /// Somebody comes, goes, or changes its state; or the room has too many connections to tell.
    Presence {
        /// The room.
        room: String,
        /// The event.
        event: Shown,
        /// The user; absent in `count`.
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The name of the user to show to people.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The state of the user.
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<Box<RawValue>>,
        /// The number of connections, in `count` only.
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
    },
    /// The users who are typing in a room, whenever that changes.
    Typing {
        /// The room.
        room: String,
        /// The users, in order of their names.
        users: Vec<String>,
    },
    /// A signal of another kind.
    Signal(Signal),
    /// The answer to a moderator.
    Moderated(Moderated),
    /// A moderator has removed the user from a room.
    Removed(Removed),
    /// The state of the user is changed.
    #[serde(rename = "ack")]
    Done {
        /// The id of the command, if it had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The room.
        room: String,
    },
    /// A command or a request of the client failed.
    Error {
        /// The id of the command or the message, if it had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The room.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<String>,
        /// The stable name of the error, as in PROTOCOL.md.
        name: String,
        /// One sentence for people.
        message: String,
        /// True if the client tries again by itself.
        retrying: bool,
    },
}

/// The event of an [`Event::Presence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// The user has come, or was there already.
    Join,
    /// The user has changed its state.
    Update,
    /// The user has gone.
    Leave,
    /// From now on nobody is shown: the room has too many connections.
    Count,
}

impl Event {
    /// Returns the event as one line of JSON.
    pub fn json(&self) -> String {
        // `data` is passed on as the sender wrote it and may hold line breaks between its values. Inside a JSON string
        // a line break is always escaped, so replacing them changes no value.
        serde_json::to_string(self)
            .unwrap_or_default()
            .replace(['\n', '\r'], " ")
    }

    /// Returns the event as text for people, or `None` for an event that they need not see. Messages of rooms other
    /// than `here`, the current room, are marked with their room.
    pub fn text(&self, here: &str) -> Option<String> {
        let at = |room: &str| {
            if room == here {
                String::new()
            } else {
                format!("[{}] ", line(room))
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
                    || "another connection is open".to_owned(),
                    |wait| {
                        format!(
                            "connecting again in {}.{} s",
                            wait / 1000,
                            wait % 1000 / 100
                        )
                    },
                );
                format!("* connection lost: {}; {then}", line(reason))
            }
            Self::Joined {
                room,
                head,
                recovered: None,
                ..
            } => format!("* in {}, which has {}", line(room), count(*head)),
            Self::Joined { room, .. } => format!("* back in {}", line(room)),
            Self::Left { room, .. } => format!("* left {}", line(room)),
            Self::Message { room, entry } => format!("{}{}", at(room), spoken(entry)),
            Self::Changed { room, entry } => format!("* {}{}", at(room), changed(entry)),
            Self::Ack(ack) if ack.failed > 0 => format!(
                "* {}#{} is stored, but not yet delivered to {}",
                at(&ack.room),
                ack.seq,
                counted(ack.failed, "connection")
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
                            "the log of the room is a new one, continuing after #{}",
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
                ..
            } => {
                let mut lines = vec![format!(
                    "* {}{} before the oldest one shown:",
                    at(room),
                    count(messages.len() as u64)
                )];
                lines.extend(messages.iter().map(|entry| format!("  {}", spoken(entry))));
                if messages.is_empty() {
                    lines = vec![format!("* {}there are no older messages", at(room))];
                }
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
                        0 | 1 => (member, String::new()),
                        many => (member, format!(" ({many} connections)")),
                    })
                    .map(|(member, connections)| {
                        let state = member.state.as_deref().map(status).unwrap_or_default();
                        let name = member.name.as_deref().unwrap_or(&member.user);
                        format!("{}{connections}{state}", line(name))
                    })
                    .collect();
                if members.more {
                    names.push("and more".to_owned());
                }
                format!("* in {}: {}", line(&members.room), names.join(", "))
            }
            Self::Presence {
                room,
                event: Shown::Count,
                count,
                ..
            } => {
                let count = counted(count.unwrap_or_default(), "connection");
                format!("* {}{count}: too many to show who comes and goes", at(room))
            }
            Self::Presence {
                room,
                event,
                user,
                name,
                state,
                ..
            } => {
                let who = line(name.as_ref().or(user.as_ref()).map_or("", String::as_str));
                let state = state.as_deref().map(status).unwrap_or_default();
                let what = match event {
                    Shown::Join => "is here",
                    Shown::Update if state.is_empty() => "has no status any more",
                    Shown::Update => "is now",
                    Shown::Leave | Shown::Count => "has left",
                };
                format!("* {}{who} {what}{state}", at(room))
            }
            Self::Typing { users, .. } if users.is_empty() => return None,
            Self::Typing { room, users } => {
                let verb = if users.len() == 1 { "is" } else { "are" };
                let users: Vec<String> = users.iter().map(|user| line(user)).collect();
                format!("* {}{} {verb} typing", at(room), users.join(", "))
            }
            Self::Signal(_) | Self::Done { .. } => return None,
            Self::Unread { rooms, .. } if rooms.is_empty() => "* nothing is unread".to_owned(),
            Self::Unread { rooms, .. } => {
                let rooms: Vec<String> = rooms
                    .iter()
                    .map(|(room, unread)| format!("{unread} in {}", line(room)))
                    .collect();
                format!("* unread: {}", rooms.join(", "))
            }
            Self::Moderated(done) => {
                let verb = match done.action.as_str() {
                    "kick" => "is removed from",
                    "ban" => "is banned from",
                    "unban" => "is not banned any more from",
                    "mute" => "may not write any more in",
                    _ => "may write again in",
                };
                let (user, room) = (line(&done.user), line(&done.room));
                format!("* {user} {verb} {room}{}", until(done.until))
            }
            Self::Removed(removed) => {
                let verb = match removed.reason.as_str() {
                    "banned" => "has banned you from",
                    _ => "has removed you from",
                };
                let (by, room) = (line(&removed.by), line(&removed.room));
                // The line under edit keeps the prompt of the room that it was begun in.
                let now = if removed.room == here {
                    String::new()
                } else {
                    format!("; you are writing to {}", line(here))
                };
                format!("* {by} {verb} {room}{}{now}", until(removed.until))
            }
            Self::Error {
                room,
                message,
                retrying,
                ..
            } => {
                let again = if *retrying { " (trying again)" } else { "" };
                let room = room.as_deref().map(at).unwrap_or_default();
                format!("! {room}{}{again}", line(message))
            }
        };
        Some(line)
    }
}

fn count(messages: u64) -> String {
    match messages {
        0 => "no messages".to_owned(),
        some => counted(some, "message"),
    }
}

fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Returns a message as text for people: its number, its user, its words, and the changes to it.
pub fn spoken(entry: &Entry) -> String {
    let text = match &entry.deleted {
        Some(deleted) => format!(
            "(deleted by {}{})",
            line(&deleted.by),
            because(deleted.reason.as_deref())
        ),
        None => words(&entry.data),
    };
    let edited = if entry.edited.is_some() {
        " (edited)"
    } else {
        ""
    };
    let reactions: String = entry
        .reactions
        .iter()
        .map(|(key, reaction)| format!(" [{} {}]", lines(key), reaction.count))
        .collect();
    format!(
        "#{} {}: {text}{edited}{reactions}",
        entry.seq,
        line(&entry.from)
    )
}

/// Returns a change to a message as text for people.
pub fn changed(entry: &Entry) -> String {
    let from = line(&entry.from);
    let target = entry.target.unwrap_or_default();
    match entry.kind.as_deref().and_then(Change::of) {
        Some(Change::Delete) => {
            let reason = because(entry.reason.as_deref());
            format!("{from} has deleted #{target}{reason}")
        }
        Some(Change::React) => {
            let key = lines(entry.key.as_deref().unwrap_or_default());
            match entry.on {
                Some(false) => format!("{from} takes {key} back from #{target}"),
                _ => format!("{from} reacts with {key} to #{target}"),
            }
        }
        _ => format!("{from} has edited #{target}: {}", words(&entry.data)),
    }
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {}", lines(reason)))
}

/// Returns the end of a ban, in seconds since 1970, as text for people.
fn until(seconds: Option<i64>) -> String {
    seconds
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .map_or_else(String::new, |end| {
            end.format(" until %Y-%m-%d %H:%M:%S UTC").to_string()
        })
}

/// Returns a state in parentheses: the `status` of an object, a string itself, or the JSON of anything else.
fn status(state: &RawValue) -> String {
    let value = serde_json::from_str::<serde_json::Value>(state.get()).unwrap_or_default();
    let text = value.as_str().or_else(|| value.get("status")?.as_str());
    format!(" ({})", line(text.unwrap_or_else(|| state.get())))
}

/// Returns the text of a message: a string itself, the `text` of an object, or the JSON of anything else.
fn words(data: &RawValue) -> String {
    let value = serde_json::from_str::<serde_json::Value>(data.get()).unwrap_or_default();
    let text = value.as_str().or_else(|| value.get("text")?.as_str());
    lines(text.unwrap_or_else(|| data.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(data: &str) -> Event {
        Event::Message {
            room: "lobby".to_owned(),
            entry: Box::new(Entry {
                epoch: "e".to_owned(),
                seq: 7,
                from: "bob".to_owned(),
                data: RawValue::from_string(data.to_owned()).unwrap(),
                at: 1,
                ..Entry::default()
            }),
        }
    }

    #[test]
    fn people_see_the_text_of_a_message() {
        let text = |data, here| message(data).text(here).unwrap();
        assert_eq!(text(r#""hi""#, "lobby"), "#7 bob: hi");
        assert_eq!(text(r#"{"text":"hi"}"#, "tea"), "[lobby] #7 bob: hi");
        assert_eq!(text(r#"{"n":1}"#, "lobby"), r#"#7 bob: {"n":1}"#);
    }

    #[test]
    fn people_see_changes() {
        let shown = |fields: &str| {
            let text = format!(r#"{{"seq":7,"from":"bob",{fields}}}"#);
            let entry: Box<Entry> = serde_json::from_str(&text).unwrap();
            let room = "lobby".to_owned();
            let event = match entry.kind {
                None => Event::Message { room, entry },
                Some(_) => Event::Changed { room, entry },
            };
            event.text("lobby").unwrap()
        };
        for (fields, text) in [
            (
                r#""data":"hi","edited":{"at":1,"seq":9},"reactions":{"❤️":{"count":2,"mine":true}}"#,
                "#7 bob: hi (edited) [❤️ 2]",
            ),
            (
                r#""deleted":{"at":1,"by":"mod","reason":"spam"}"#,
                "#7 bob: (deleted by mod: spam)",
            ),
            (
                r#""kind":"edit","target":3,"data":"hi\u202e""#,
                "* bob has edited #3: hi\\u{202e}",
            ),
            (
                r#""kind":"delete","target":3,"data":null"#,
                "* bob has deleted #3",
            ),
            (
                r#""kind":"react","target":3,"key":"👍","on":true"#,
                "* bob reacts with 👍 to #3",
            ),
            (
                r#""kind":"react","target":3,"key":"👍","on":false"#,
                "* bob takes 👍 back from #3",
            ),
        ] {
            assert_eq!(shown(fields), text);
        }
        let removed = Event::Removed(Removed {
            room: "tea".to_owned(),
            reason: "banned".to_owned(),
            by: "mod\n".to_owned(),
            until: Some(1_793_250_000),
        });
        assert_eq!(
            removed.text("lobby").unwrap(),
            "* mod\\n has banned you from tea until 2026-10-29 05:00:00 UTC; you are writing to lobby"
        );
    }

    #[test]
    fn people_see_who_comes_and_goes() {
        let presence = |event, state: Option<&str>| {
            let state = state.map(|state| RawValue::from_string(state.to_owned()).unwrap());
            let event = Event::Presence {
                room: "lobby".to_owned(),
                event,
                user: Some("bob".to_owned()),
                name: None,
                state,
                count: Some(143),
            };
            event.text("lobby").unwrap()
        };
        assert_eq!(presence(Shown::Join, None), "* bob is here");
        let away = Some(r#"{"status":"away\n#8 eve: hi"}"#);
        assert_eq!(
            presence(Shown::Update, away),
            "* bob is now (away\\n#8 eve: hi)"
        );
        assert_eq!(presence(Shown::Leave, None), "* bob has left");
        assert_eq!(
            presence(Shown::Count, None),
            "* 143 connections: too many to show who comes and goes"
        );
        let typing = |users: &[&str]| Event::Typing {
            room: "tea".to_owned(),
            users: users.iter().map(|&user| user.to_owned()).collect(),
        };
        let text = typing(&["a", "b"]).text("lobby").unwrap();
        assert_eq!(text, "* [tea] a, b are typing");
        assert_eq!(typing(&[]).text("lobby"), None);
    }

    #[test]
    fn nobody_steers_anothers_terminal() {
        let text = message(r#""\u001b[2Jhi\u202e\n#8 eve: there""#)
            .text("lobby")
            .unwrap();
        assert_eq!(text, "#7 bob: \\u{1b}[2Jhi\\u{202e}\n    #8 eve: there");
        let mut spoofed = message("1");
        if let Event::Message { room, entry } = &mut spoofed {
            entry.from = "bob\n#8 eve".to_owned();
            *room = "r\u{2028}".to_owned();
        }
        assert_eq!(
            spoofed.text("lobby").unwrap(),
            r"[r\u{2028}] #7 bob\n#8 eve: 1"
        );
    }

    #[test]
    fn json_is_one_line_whatever_was_sent() {
        assert_eq!(
            message("{\n\"a\":\t\"b\\n\"}").json(),
            "{\"type\":\"message\",\"room\":\"lobby\",\"epoch\":\"e\",\"seq\":7,\"from\":\"bob\",\"data\":{ \"a\":\t\"b\\n\"},\"at\":1}"
        );
    }
}
