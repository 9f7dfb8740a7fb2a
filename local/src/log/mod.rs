//! The gateway's log on standard output: one line for each event. At a terminal the lines are text, elsewhere JSON.
//!
//! A thread of its own renders and writes the lines: a terminal that has stopped (Ctrl-S, or a pipe that is not read) must
//! not stop the service.

mod redact;
mod short;

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;
use serde_json::{Value, json};

pub(crate) use redact::{looks_secret, redacted};
use short::Short;

/// The most lines that wait for the terminal; further ones are dropped and counted.
const WAITING_LINES: usize = 10_000;

/// The most lines of one write.
const BATCH: usize = 1_000;

/// The form of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Short lines at a terminal, JSON otherwise
    Auto,
    /// One short line for each event, without what functions and Lambda log beside it
    Short,
    /// One line for each event and each line of a function, with all details
    Text,
    /// One JSON object for each event
    Json,
}

/// The form of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    json: bool,
    short: bool,
    colour: bool,
    /// Log the events of functions too, without bodies and secrets.
    pub(crate) verbose: bool,
    /// Log bodies and secrets in those events.
    pub(crate) bodies: bool,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Sets the form of all lines that follow. Until then they are plain text.
pub(crate) fn init(format: Format, verbose: bool, bodies: bool) {
    let terminal = std::io::stdout().is_terminal();
    let json = match format {
        Format::Auto => !terminal,
        Format::Short | Format::Text => false,
        Format::Json => true,
    };
    // https://no-color.org
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // With more details, lines are no longer short.
    let short = !json && format != Format::Text && !verbose && !bodies;
    let _ = SETTINGS.set(Settings {
        json,
        short,
        colour: terminal && wanted,
        verbose: verbose || bodies,
        bodies,
    });
}

pub(crate) fn settings() -> Settings {
    SETTINGS.get().copied().unwrap_or(Settings {
        json: false,
        short: false,
        colour: false,
        verbose: false,
        bodies: false,
    })
}

enum Entry {
    Event(DateTime<Utc>, &'static str, Value),
    /// A request to report that everything before it is written.
    Flush(SyncSender<()>),
}

static WRITER: LazyLock<SyncSender<Entry>> = LazyLock::new(|| {
    let (sender, entries) = sync_channel(WAITING_LINES);
    thread::spawn(move || {
        let mut short = Short::new().ok().filter(|_| settings().short);
        loop {
            let due = short.as_ref().and_then(Short::next);
            let first = match due {
                Some(due) => entries.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => entries.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if matches!(first, Err(RecvTimeoutError::Disconnected)) {
                return;
            }
            let waiting = entries.try_iter().take(BATCH);
            write(first.into_iter().chain(waiting), short.as_mut());
        }
    });
    sender
});

/// Writes the waiting entries, and lines that were held back until now.
fn write(entries: impl Iterator<Item = Entry>, mut short: Option<&mut Short>) {
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    let mut print = |lines: &[String]| {
        for line in lines {
            // The service goes on if the reader has left.
            let _ = writeln!(stdout, "{line}");
        }
    };
    let mut flushed = Vec::new();
    let now = Instant::now();
    for entry in entries {
        match (entry, &mut short) {
            (Entry::Event(time, kind, fields), Some(short)) => {
                let time = time.format("%H:%M:%S").to_string();
                print(&short.lines(now, &time, kind, &fields));
            }
            (Entry::Event(time, kind, fields), None) => print(&[render(time, kind, fields)]),
            (Entry::Flush(done), _) => flushed.push(done),
        }
    }
    if let Some(short) = short {
        print(&if flushed.is_empty() {
            short.late(now)
        } else {
            short.rest()
        });
    }
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        let text = format!("… {dropped} lines were not printed");
        print(&[render(Utc::now(), "notice", json!({ "text": text }))]);
    }
    let _ = stdout.flush();
    for done in flushed {
        let _ = done.send(());
    }
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Logs an event: its kind, and an object of details. The `connectionId`, or the function's key as the `source`, is its
/// subject. The details must not hold bodies or secrets.
pub(crate) fn event(kind: &'static str, fields: Value) {
    let entry = Entry::Event(Utc::now(), kind, fields);
    if WRITER.try_send(entry).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Logs a line that a function wrote, or a line about it.
pub(crate) fn line(source: &str, text: &str) {
    event("log", json!({ "source": source, "text": text.trim_end() }));
}

/// Logs a notice for the user.
pub(crate) fn plain(text: &str) {
    event("notice", json!({ "text": text }));
}

/// Reports whether the lines are JSON.
pub(crate) fn is_json() -> bool {
    settings().json
}

/// Waits until everything is written, but no longer than `limit`.
pub fn flush(limit: Duration) {
    let (done, written) = sync_channel(1);
    if WRITER.try_send(Entry::Flush(done)).is_ok() {
        let _ = written.recv_timeout(limit);
    }
}

fn render(now: DateTime<Utc>, kind: &'static str, fields: Value) -> String {
    let settings = settings();
    if settings.json {
        let time = now.to_rfc3339_opts(SecondsFormat::Millis, true);
        return json_line(&time, kind, fields);
    }
    text_line(
        &now.format("%H:%M:%S%.3f").to_string(),
        kind,
        &fields,
        settings.colour,
    )
}

fn json_line(time: &str, kind: &str, mut fields: Value) -> String {
    // Last, so that no detail replaces them.
    fields["time"] = time.into();
    fields["event"] = kind.into();
    escaped(&fields.to_string(), |c| format!("\\u{:04x}", u32::from(c)))
}

/// Escapes the characters that a terminal would obey, or that would change the order of what is shown: clients and
/// functions choose much of a line.
fn escaped(text: &str, escape: impl Fn(char) -> String) -> String {
    let is_unsafe = |c: char| {
        (c.is_control() && c != '\t')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_unsafe) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            escaped.push_str(&escape(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Returns a text as a terminal may show it.
fn shown(text: &str) -> String {
    escaped(text, |c| c.escape_default().to_string())
}

/// `12:30:00.123 T0aBceHkDoECIQw= message bytes=64 route=publish`. The text of a function's line stands alone.
fn text_line(time: &str, kind: &str, fields: &Value, colour: bool) -> String {
    let text = fields.get("text").and_then(Value::as_str);
    if kind == "notice" {
        return shown(text.unwrap_or_default());
    }
    let (dim, hue, end) = if colour {
        ("\u{1b}[2m", hue(kind, fields), "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    let subject = fields.get("connectionId").or_else(|| fields.get("source"));
    let subject = shown(subject.and_then(Value::as_str).unwrap_or_default());
    let mut line = format!("{dim}{time}{end} {hue}{subject:<16}{end}");
    if kind != "log" {
        line.push_str(&format!(" {hue}{kind}{end}"));
    }
    if let Some(text) = text {
        line.push(' ');
        line.push_str(&shown(text));
    }
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value {
            _ if matches!(name.as_str(), "text" | "connectionId" | "source") => {}
            // A client may have chosen the text.
            Value::String(value) => {
                line.push_str(&format!(" {dim}{name}={end}{}", value.escape_debug()));
            }
            value => line.push_str(&format!(" {dim}{name}={end}{}", shown(&value.to_string()))),
        }
    }
    line
}

/// Returns the colour of an event: red for a failure, yellow for an injected one.
fn hue(kind: &str, fields: &Value) -> &'static str {
    match kind {
        _ if fields.get("error").is_some() => "\u{1b}[31m",
        "fault" | "throttled" => "\u{1b}[33m",
        "connect" | "open" => "\u{1b}[32m",
        "disconnect" | "close" => "\u{1b}[35m",
        "message" | "reply" | "post" => "\u{1b}[36m",
        "log" => "",
        _ => "\u{1b}[34m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_in_either_form() {
        let fields = json!({"connectionId": "T0aBceHkDoECIQw=", "bytes": 64, "reason": "by\ne"});
        assert_eq!(
            text_line("12:30:00.123", "close", &fields, false),
            r"12:30:00.123 T0aBceHkDoECIQw= close bytes=64 reason=by\ne"
        );
        assert_eq!(
            text_line(
                "12:30:00.123",
                "log",
                &json!({"source": "publish", "text": "hi"}),
                false
            ),
            "12:30:00.123 publish          hi"
        );
        assert_eq!(
            json_line("T", "close", fields),
            r#"{"bytes":64,"connectionId":"T0aBceHkDoECIQw=","event":"close","reason":"by\ne","time":"T"}"#
        );
    }

    #[test]
    fn no_line_moves_the_terminal() {
        let evil = "a\u{1b}[2J\u{9b}1m\u{7f}\r\nb\u{202e}c\u{2028}";
        let inside = json!({"headers": {"X": evil}, "query": {evil: evil}});
        for (kind, fields) in [
            (
                "@connections",
                json!({"connectionId": evil, "method": evil}),
            ),
            ("event", json!({"source": evil, "input": inside})),
            ("log", json!({"source": "publish", "text": evil})),
            ("notice", json!({"text": evil})),
            ("close", json!({"reason": evil, "list": [evil]})),
        ] {
            let text = text_line("T", kind, &fields, false);
            let json = json_line("T", kind, fields.clone());
            for line in [&text, &json] {
                let is_unsafe = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}');
                assert!(!line.contains(is_unsafe), "{line:?}");
            }
            let read: Value = serde_json::from_str(&json).unwrap();
            for (name, value) in fields.as_object().unwrap() {
                assert_eq!(&read[name], value);
            }
        }
    }

    #[test]
    fn colour_is_only_around_words() {
        let coloured = text_line("T", "fault", &json!({"rule": "slow"}), true);
        assert!(coloured.contains("\u{1b}[33mfault\u{1b}[0m"), "{coloured}");
        assert!(
            coloured.contains("\u{1b}[2mrule=\u{1b}[0mslow"),
            "{coloured}"
        );
    }

    #[test]
    fn details_cannot_pass_for_the_line_itself() {
        let line = json_line("T", "log", json!({"event": "ready", "text": "x"}));
        assert!(line.contains(r#""event":"log""#), "{line}");
    }
}
