//! The log for a person at a terminal: one short line for each event.
//!
//! A function that logs with `tracing` writes a line with `connection_id` for each event, and the gateway has a line for
//! the same event. The function's has more details, the gateway's knows the name of the client, and either can be first.
//! So the first one waits a moment for the other, and the function's text is shown with the client's name. A line whose
//! counterpart does not come is shown by itself. Lambda's REPORT lines are left out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use regex_lite::Regex;
use serde_json::Value;

use super::shown;

/// The time for which a line waits for the other line of its event.
const WAIT: Duration = Duration::from_millis(500);

/// The span in which the Rust runtime runs a handler, with the level before it.
const SPAN: &str = r#"^\s*(TRACE|DEBUG|INFO|WARN|ERROR) Lambda runtime invoke\{[^}]*\}: "#;

/// A field at the end of a line: `name=value` or `name="value"`.
const FIELD: &str = r#" ([A-Za-z_.]+)=("(?:[^"\\]|\\.)*"|[^ "]*)"#;

/// The state from which lines are made.
pub(super) struct Short {
    span: Regex,
    field: Regex,
    /// The names of connected clients, by connection id.
    names: HashMap<String, String>,
    /// Lines that wait for the other line of their event, the oldest first.
    held: Vec<Held>,
}

/// A line that waits for the other line of its event.
struct Held {
    until: Instant,
    time: String,
    id: String,
    text: String,
    side: Side,
}

/// The source of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Function,
    Gateway,
    /// The gateway, about the end of a connection.
    End,
}

impl Short {
    /// # Errors
    /// Fails if an expression is invalid, which a test excludes.
    pub(super) fn new() -> Result<Short, regex_lite::Error> {
        Ok(Short {
            span: Regex::new(SPAN)?,
            field: Regex::new(FIELD)?,
            names: HashMap::new(),
            held: Vec::new(),
        })
    }

    /// Returns the lines to show after an event of `now`. `time` is the time of day.
    pub(super) fn lines(
        &mut self,
        now: Instant,
        time: &str,
        kind: &str,
        fields: &Value,
    ) -> Vec<String> {
        let mut lines = self.late(now);
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let id = text("connectionId");
        if let Some(name) = fields.get("name").and_then(Value::as_str) {
            self.names.insert(id.to_owned(), name.to_owned());
        }
        let what = match kind {
            "open" => "connected",
            "message" => text("route"),
            "close" => "disconnected",
            "refuse" => "refused",
            other => other,
        };
        let side = match kind {
            "close" | "refuse" => Side::End,
            _ => Side::Gateway,
        };
        match kind {
            "notice" => lines.push(shown(text("text"))),
            "log" => lines.extend(self.log(now, time, text("source"), text("text"))),
            // A failure is shown beside the function's line, which may tell of a success.
            "open" | "message" | "close" | "refuse" if fields.get("error").is_none() => {
                lines.extend(self.pair(now, time, id, described(what, fields), side));
            }
            _ => lines.push(self.subject(time, id, &described(what, fields), side)),
        }
        lines
    }

    /// Returns the lines that have waited long enough by `now`.
    pub(super) fn late(&mut self, now: Instant) -> Vec<String> {
        self.released(|held| held.until <= now)
    }

    /// Returns all lines that wait.
    pub(super) fn rest(&mut self) -> Vec<String> {
        self.released(|_| true)
    }

    /// Returns the time at which the next line has waited long enough.
    pub(super) fn next(&self) -> Option<Instant> {
        self.held.first().map(|held| held.until)
    }

    fn released(&mut self, is_due: impl Fn(&Held) -> bool) -> Vec<String> {
        let (due, held): (Vec<Held>, _) =
            std::mem::take(&mut self.held).into_iter().partition(is_due);
        self.held = held;
        due.iter()
            .map(|held| self.subject(&held.time, &held.id, &held.text, held.side))
            .collect()
    }

    /// Makes the line of a function's own line.
    fn log(&mut self, now: Instant, time: &str, source: &str, text: &str) -> Option<String> {
        if text.starts_with("REPORT RequestId: ") && !text.contains("\tStatus: ") {
            return None;
        }
        let Some(span) = self.span.captures(text) else {
            return Some(format!("{time} {source:<10} {}", shown(text)));
        };
        let level = span.get(1).map_or("", |level| level.as_str());
        let mut said = text.get(span.get(0)?.end()..)?.to_owned();
        let mut fields = String::new();
        let (mut id, mut duration) = (String::new(), String::new());
        for field in self.field.captures_iter(&said) {
            let (name, value) = (field.get(1)?.as_str(), field.get(2)?.as_str());
            let value = value.trim_matches('"');
            match name {
                "connection_id" => value.clone_into(&mut id),
                "duration_ms" => duration = value.parse().map(milliseconds).unwrap_or_default(),
                "request_id" => {}
                _ if matches!(value, "" | "0" | "false") || value == source => {}
                _ => fields.push_str(&format!(" {name}={value}")),
            }
        }
        let end = self
            .field
            .find(&said)
            .map_or(said.len(), |field| field.start());
        said.truncate(end);
        // "published" tells which function it is.
        if !said.starts_with(source) {
            said.insert_str(0, &format!("{source}: "));
        }
        let said = format!("{said}{fields}{duration}");
        if level != "INFO" || id.is_empty() {
            let level = if level == "INFO" { "" } else { level };
            let said = format!("{level} {said}");
            return Some(self.subject(time, &id, said.trim_start(), Side::Function));
        }
        self.pair(now, time, &id, said, Side::Function)
    }

    /// Returns the line to show if the other line of the event has come before. Otherwise holds this one.
    fn pair(
        &mut self,
        now: Instant,
        time: &str,
        id: &str,
        text: String,
        side: Side,
    ) -> Option<String> {
        let is_other = |held: &Held| {
            held.id == id && (held.side == Side::Function) != (side == Side::Function)
        };
        let Some(other) = self.held.iter().position(is_other) else {
            self.held.push(Held {
                until: now + WAIT,
                time: time.to_owned(),
                id: id.to_owned(),
                text,
                side,
            });
            return None;
        };
        let other = self.held.remove(other);
        let line = match side {
            Side::Function => self.subject(&other.time, id, &text, other.side),
            Side::Gateway | Side::End => self.subject(&other.time, id, &other.text, side),
        };
        Some(line)
    }

    /// Makes a line about a connection: the name of its client, or else its id. After the end the name is forgotten.
    fn subject(&mut self, time: &str, id: &str, text: &str, side: Side) -> String {
        let name = self.names.get(id).filter(|name| !name.is_empty());
        let name = shown(name.map_or(id, String::as_str));
        if side == Side::End {
            self.names.remove(id);
        }
        format!("{time} {name:<10} {}", shown(text))
    }
}

/// Describes the gateway's own event.
fn described(what: &str, fields: &Value) -> String {
    let mut text = what.to_owned();
    // 1005 means that the client sent no code, and its reason says the same.
    let no_code = fields.get("code").is_some_and(|code| code == 1005);
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value {
            _ if matches!(
                name.as_str(),
                "connectionId" | "source" | "text" | "route" | "ms" | "name"
            ) => {}
            Value::Null => {}
            _ if name == "reason" && no_code => {}
            Value::String(value) if value.is_empty() => {}
            Value::String(value) => text.push_str(&format!(" {name}={value}")),
            value => text.push_str(&format!(" {name}={value}")),
        }
    }
    if let Some(ms) = fields.get("ms").and_then(Value::as_f64) {
        text.push_str(&milliseconds(ms));
    }
    text
}

/// Returns the end of a line: `, 8.1 ms` or `, 93 ms`.
fn milliseconds(ms: f64) -> String {
    let digits = usize::from(ms < 10.0);
    format!(", {ms:.digits$} ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "acFjRqEN76-8wHk=";

    fn function(message: &str) -> Value {
        let text = format!(
            "  INFO Lambda runtime invoke{{requestId=\"844c\" xrayTraceId=\"Root=1-6b;Sampled=0\"}}: {message} connection_id=\"{ID}\" \
             request_id=\"VDVr=\" room=\"lobby\" seq=1 gone=0 duplicate=false delivered=2 duration_ms=8.1"
        );
        json!({"source": "publish", "text": text})
    }

    fn message() -> Value {
        json!({"connectionId": ID, "route": "publish", "bytes": 64, "ms": 9.5})
    }

    /// The lines of some events at the same moment, and of those that waited for another.
    fn shows(short: &mut Short, events: &[(&str, Value)]) -> Vec<String> {
        let now = Instant::now();
        let mut lines = Vec::new();
        for (kind, fields) in events {
            lines.extend(short.lines(now, "T", kind, fields));
        }
        assert!(short.late(now + WAIT / 2).is_empty());
        lines.extend(short.late(now + WAIT));
        assert_eq!(short.next(), None);
        lines
    }

    #[test]
    fn an_event_is_one_line_whoever_logs_first() {
        let mut short = Short::new().unwrap();
        let open = json!({"connectionId": ID, "name": "alice"});
        let connect = [("log", function("connected")), ("open", open)];
        let connected = "T alice      publish: connected room=lobby seq=1 delivered=2, 8.1 ms";
        assert_eq!(shows(&mut short, &connect), [connected]);
        let published = "T alice      published room=lobby seq=1 delivered=2, 8.1 ms";
        let mut publish = [("log", function("published")), ("message", message())];
        for _ in 0..2 {
            assert_eq!(shows(&mut short, &publish), [published]);
            publish.reverse();
            assert_eq!(shows(&mut short, &publish), [published]);
        }
        let alone = "T alice      publish bytes=64, 9.5 ms";
        assert_eq!(shows(&mut short, &publish[1..]), [alone]);
        let close = json!({"connectionId": ID, "code": 1005, "reason": "none was sent"});
        let end = [
            ("log", function("published")),
            ("close", close),
            ("log", function("disconnected")),
        ];
        assert_eq!(
            shows(&mut short, &end[1..2]),
            ["T alice      disconnected code=1005"]
        );
        assert!(short.names.is_empty());
        shows(&mut short, &connect);
        let disconnected = published.replace("published", "publish: disconnected");
        assert_eq!(shows(&mut short, &end[1..]), [disconnected.as_str()]);
        assert!(short.names.is_empty());
    }

    #[test]
    fn a_refused_client_is_named() {
        let mut short = Short::new().unwrap();
        let refuse = json!({"connectionId": ID, "name": "mallory", "status": 403});
        let refused = [("refuse", refuse.clone()), ("log", function("refused"))];
        assert_eq!(
            shows(&mut short, &refused),
            ["T mallory    publish: refused room=lobby seq=1 delivered=2, 8.1 ms"]
        );
        let alone = [("refuse", refuse)];
        assert_eq!(
            shows(&mut short, &alone),
            ["T mallory    refused status=403"]
        );
    }

    #[test]
    fn what_fails_is_shown() {
        let mut short = Short::new().unwrap();
        let mut failed = message();
        failed["error"] = "Internal server error".into();
        let lines = shows(
            &mut short,
            &[("log", function("published")), ("message", failed)],
        );
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].contains("error=Internal server error"),
            "{lines:?}"
        );
        let report = |status: &str| {
            let text = format!("REPORT RequestId: x\tDuration: 1 ms\t{status}");
            [("log", json!({"source": "publish", "text": text}))]
        };
        assert!(shows(&mut short, &report("")).is_empty());
        assert_eq!(shows(&mut short, &report("Status: timeout")).len(), 1);
        let mut warned = function("GetConnection failed");
        warned["text"] = warned["text"]
            .as_str()
            .unwrap()
            .replace("INFO", "WARN")
            .into();
        for _ in 0..2 {
            let lines = shows(&mut short, &[("log", warned.clone())]);
            assert!(
                lines[0].contains("WARN publish: GetConnection failed"),
                "{lines:?}"
            );
        }
        let plain = json!({"source": "mine", "text": "printed by hand"});
        assert_eq!(
            shows(&mut short, &[("log", plain)]),
            ["T mine       printed by hand"]
        );
    }

    #[test]
    fn no_line_moves_the_terminal() {
        let evil = "a\u{1b}[2J\r\n\u{202e}";
        let mut short = Short::new().unwrap();
        let mut named = function(evil);
        named["source"] = evil.into();
        for (kind, fields) in [
            ("open", json!({"connectionId": "x", "name": evil})),
            ("log", named),
            ("log", json!({"source": "x", "text": evil})),
            ("close", json!({"connectionId": "x", "reason": evil})),
            ("notice", json!({"text": evil})),
            (
                "@connections",
                json!({"connectionId": evil, "method": evil}),
            ),
        ] {
            for line in shows(&mut short, &[(kind, fields)]) {
                assert!(
                    !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
                    "{line:?}"
                );
            }
        }
    }
}
