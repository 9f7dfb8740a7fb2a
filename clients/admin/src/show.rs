//! Text for people. Whatever users have written is escaped, so that it cannot control the terminal.

use chrono::DateTime;
use roomchat::event::{Event, changed, spoken};
use roomchat::text::line;
use roomchat::wire::{Ack, Change, Entry, Moderated};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Returns a time in milliseconds since 1970, in UTC.
fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(String::new, |time| {
        time.format("%Y-%m-%d %H:%M:%S").to_string()
    })
}

fn seconds(time_s: Option<i64>) -> String {
    time_s.map_or_else(String::new, |seconds| time(seconds.saturating_mul(1000)))
}

/// Returns an entry of a log.
pub(crate) fn entry(raw: &RawValue) -> String {
    let Ok(entry) = serde_json::from_str::<Entry>(raw.get()) else {
        return line(raw.get());
    };
    let what = match entry.kind.as_deref() {
        None => spoken(&entry),
        Some("audit") => format!("#{} {}", entry.seq, audited(&entry.data)),
        Some(kind) if Change::of(kind).is_some() => {
            format!("#{} * {}", entry.seq, changed(&entry))
        }
        Some(kind) => format!("#{} ({}) {}", entry.seq, line(kind), spoken(&entry)),
    };
    format!("{}  {what}", time(entry.at))
}

/// The data of an entry of the audit.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Audited {
    action: String,
    room: Option<String>,
    user: Option<String>,
    connection_id: Option<String>,
    by: String,
    reason: Option<String>,
    target: Option<u64>,
    for_seconds: Option<i64>,
}

fn audited(data: &RawValue) -> String {
    let Ok(audited) = serde_json::from_str::<Audited>(data.get()) else {
        return line(data.get());
    };
    let mut words = vec![format!("{}:", line(&audited.by)), line(&audited.action)];
    words.extend(audited.target.map(|seq| format!("#{seq}")));
    words.extend(
        audited
            .user
            .or(audited.connection_id)
            .map(|whom| line(&whom)),
    );
    words.extend(audited.room.map(|room| format!("in {}", line(&room))));
    words.extend(audited.for_seconds.map(|time| format!("for {time} s")));
    words.extend(audited.reason.map(|reason| format!("({})", line(&reason))));
    words.join(" ")
}

/// Returns a table with aligned columns, a line each.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        let cells = all().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let aligned = all().map(|row| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    });
    aligned.collect()
}

/// A user in a room.
#[derive(Deserialize)]
struct Member {
    user: String,
    connections: u64,
    name: Option<String>,
    state: Option<Box<RawValue>>,
    since: Option<i64>,
}

/// A ban, a mute or a revocation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ban {
    user: String,
    about: String,
    kind: Option<String>,
    until: Option<i64>,
    by: Option<String>,
    reason: Option<String>,
    revoked_before: Option<i64>,
}

/// The end of a log.
#[derive(Deserialize)]
struct Head {
    room: String,
    epoch: Option<String>,
    head: Option<u64>,
    n: Option<u64>,
}

/// The position up to which a user has read a room.
#[derive(Deserialize)]
struct Mark {
    room: String,
    epoch: String,
    seq: u64,
    n: u64,
    at: Option<i64>,
}

/// The names of the columns of a list, and a function that makes a row of an item.
type Columns = (&'static [&'static str], fn(&RawValue) -> Vec<String>);

/// Returns the columns of a list.
pub(crate) fn columns(list: &str) -> Columns {
    fn read<'a, T: Deserialize<'a>>(
        raw: &'a RawValue,
        row: impl FnOnce(T) -> Vec<String>,
    ) -> Vec<String> {
        serde_json::from_str(raw.get()).map_or_else(|_| vec![line(raw.get())], row)
    }
    match list {
        "members" => (&["USER", "CONNECTIONS", "NAME", "SINCE", "STATE"], |raw| {
            read(raw, |member: Member| {
                let state = member.state.as_deref().map(RawValue::get);
                vec![
                    line(&member.user),
                    member.connections.to_string(),
                    line(&member.name.unwrap_or_default()),
                    member.since.map(time).unwrap_or_default(),
                    line(state.unwrap_or_default()),
                ]
            })
        }),
        "bans" => (&["USER", "ROOM", "KIND", "UNTIL", "BY", "REASON"], |raw| {
            read(raw, |ban: Ban| {
                let room = ban.about.strip_prefix("ban#").unwrap_or(&ban.about);
                let (room, kind) = match ban.revoked_before {
                    Some(_) => ("*", "revoked"),
                    None => (room, ban.kind.as_deref().unwrap_or("ban")),
                };
                vec![
                    line(&ban.user),
                    line(room),
                    line(kind),
                    match ban.revoked_before {
                        Some(_) => format!("tokens before {}", seconds(ban.revoked_before)),
                        None => seconds(ban.until),
                    },
                    line(&ban.by.unwrap_or_default()),
                    line(&ban.reason.unwrap_or_default()),
                ]
            })
        }),
        "heads" => (&["ROOM", "HEAD", "MESSAGES", "EPOCH"], |raw| {
            read(raw, |head: Head| {
                let number =
                    |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
                vec![
                    line(&head.room),
                    number(head.head),
                    number(head.n),
                    head.epoch.unwrap_or_default(),
                ]
            })
        }),
        _ => (&["ROOM", "SEQ", "MESSAGES", "AT", "EPOCH"], |raw| {
            read(raw, |mark: Mark| {
                vec![
                    line(&mark.room),
                    mark.seq.to_string(),
                    mark.n.to_string(),
                    mark.at.map(time).unwrap_or_default(),
                    mark.epoch,
                ]
            })
        }),
    }
}

/// Returns the answer to an action that changes something.
pub(crate) fn answer(raw: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Other {
        r#type: String,
        #[serde(default)]
        action: String,
        room: Option<String>,
        user: Option<String>,
        seq: Option<u64>,
        connections: Option<u64>,
        messages: Option<u64>,
        reactions: Option<u64>,
        head: Option<u64>,
        #[serde(default)]
        message: String,
    }
    let text = raw.get();
    let Ok(other) = serde_json::from_str::<Other>(text) else {
        return line(text);
    };
    let room = line(other.room.as_deref().unwrap_or_default());
    let user = line(other.user.as_deref().unwrap_or_default());
    let counted = |number: Option<u64>, noun: &str| match number.unwrap_or_default() {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    };
    let connections = counted(other.connections, "connection");
    match other.r#type.as_str() {
        "ack" if other.seq.is_none() => format!("Sent to {room}."),
        "ack" => {
            let Ok(ack) = serde_json::from_str::<Ack>(text) else {
                return line(text);
            };
            let delivered = counted(Some(ack.delivered), "connection");
            let failed = match ack.failed {
                0 => String::new(),
                failed => format!(", not yet delivered to {failed}"),
            };
            let again = if ack.duplicate {
                " It was stored before."
            } else {
                ""
            };
            format!(
                "Stored as #{} in {room}, delivered to {delivered}{failed}.{again}",
                ack.seq
            )
        }
        "moderated" => match serde_json::from_str::<Moderated>(text) {
            Ok(mut done) => {
                if done.room == "*" {
                    "every room".clone_into(&mut done.room);
                }
                let said = Event::Moderated(done).text("").unwrap_or_default();
                format!("{} ({connections}).", said.trim_start_matches("* "))
            }
            Err(_) => line(text),
        },
        "erased" => format!(
            "{} of {user} in {room} deleted, {} taken back.",
            counted(other.messages, "message"),
            counted(other.reactions, "reaction")
        ),
        "error" => format!("{room}: {}", line(&other.message)),
        _ if other.head.is_some() => format!(
            "A new epoch of {room} begins after #{}.",
            other.head.unwrap_or_default()
        ),
        _ if other.connections.is_some() => match other.action.as_str() {
            "revoke" => format!("The tokens of {user} are revoked ({connections} closed)."),
            _ => format!("Closed {connections}."),
        },
        _ => line(text),
    }
}
