//! The log for a person at a terminal: one short line for each event.
//!
//! A function that logs with `tracing` writes a line with `connection_id` for each event. It has more details than the
//! gateway's own line for the same event, so only the first of the two is shown. Lambda's REPORT lines are left out.

use std::collections::{HashMap, HashSet};

use regex_lite::Regex;
use serde_json::Value;

use super::shown;

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
    /// For each connection, the lines of functions less the messages of the gateway that were shown.
    ahead: HashMap<String, i64>,
    /// Connections whose end was shown, and whose `$disconnect` has logged nothing yet.
    closed: HashSet<String>,
}

impl Short {
    /// # Errors
    /// Fails if an expression is invalid, which a test excludes.
    pub(super) fn new() -> Result<Short, regex_lite::Error> {
        Ok(Short {
            span: Regex::new(SPAN)?,
            field: Regex::new(FIELD)?,
            names: HashMap::new(),
            ahead: HashMap::new(),
            closed: HashSet::new(),
        })
    }

    /// Returns the line of an event, if it is shown. `time` is the time of day.
    pub(super) fn line(&mut self, time: &str, kind: &str, fields: &Value) -> Option<String> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let (id, source) = (text("connectionId"), text("source"));
        match kind {
            "notice" => Some(shown(text("text"))),
            "log" => self.log(time, source, text("text")),
            "open" => {
                self.names.insert(id.to_owned(), text("name").to_owned());
                self.turn(id, -1)
                    .then(|| self.event(time, id, "connected", fields))
            }
            "message" => {
                let is_first = self.turn(id, -1);
                (is_first || fields.get("error").is_some())
                    .then(|| self.event(time, id, text("route"), fields))
            }
            "close" => {
                let line = self.event(time, id, "disconnected", fields);
                self.names.remove(id);
                self.ahead.remove(id);
                self.closed.insert(id.to_owned());
                Some(line)
            }
            _ => Some(self.event(time, id, kind, fields)),
        }
    }

    /// Makes the line of a function's own line.
    fn log(&mut self, time: &str, source: &str, text: &str) -> Option<String> {
        if text.starts_with("REPORT RequestId: ") && !text.contains("\tStatus: ") {
            return None;
        }
        let Some(span) = self.span.captures(text) else {
            return Some(format!("{time} {source:<10} {}", shown(text)));
        };
        let level = span.get(1).map_or("", |level| level.as_str());
        let mut rest = text.get(span.get(0)?.end()..)?.to_owned();
        let mut fields = String::new();
        let (mut id, mut duration) = (String::new(), String::new());
        for field in self.field.captures_iter(&rest) {
            let (name, value) = (field.get(1)?.as_str(), field.get(2)?.as_str());
            let value = value.trim_matches('"');
            match name {
                "connection_id" => value.clone_into(&mut id),
                "duration_ms" => duration = format!(", {value} ms"),
                "request_id" => {}
                _ if matches!(value, "" | "0" | "false") => {}
                _ => fields.push_str(&format!(" {name}={value}")),
            }
        }
        let end = self
            .field
            .find(&rest)
            .map_or(rest.len(), |field| field.start());
        rest.truncate(end);
        if level == "INFO" && (self.closed.remove(&id) || (!id.is_empty() && !self.turn(&id, 1))) {
            return None;
        }
        let level = if level == "INFO" {
            String::new()
        } else {
            format!("{level} ")
        };
        let line = format!("{level}{source}: {rest}{fields}{duration}");
        Some(format!("{time} {:<10} {}", self.name(&id), shown(&line)))
    }

    /// Counts a line of a function (1) or of the gateway (-1), and reports whether it is the first of its pair.
    fn turn(&mut self, id: &str, step: i64) -> bool {
        let ahead = self.ahead.entry(id.to_owned()).or_default();
        let is_first = *ahead * step >= 0;
        *ahead += step;
        is_first
    }

    /// Makes the line of the gateway's own event.
    fn event(&self, time: &str, id: &str, what: &str, fields: &Value) -> String {
        let mut line = format!("{time} {:<10} {}", self.name(id), shown(what));
        for (name, value) in fields.as_object().into_iter().flatten() {
            match value {
                _ if matches!(
                    name.as_str(),
                    "connectionId" | "source" | "text" | "route" | "ms" | "name"
                ) => {}
                Value::Null => {}
                Value::String(text) if text.is_empty() => {}
                Value::String(text) => line.push_str(&format!(" {name}={}", shown(text))),
                value => line.push_str(&format!(" {name}={}", shown(&value.to_string()))),
            }
        }
        if let Some(ms) = fields.get("ms") {
            line.push_str(&format!(", {ms} ms"));
        }
        line
    }

    /// Returns the name of a client, or else its connection id.
    fn name(&self, id: &str) -> String {
        let name = self.names.get(id).filter(|name| !name.is_empty());
        shown(name.map_or(id, String::as_str))
    }
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

    #[test]
    fn an_event_is_one_line_whoever_logs_first() {
        let published = "T alice      publish: published room=lobby seq=1 delivered=2, 8.1 ms";
        let mut short = Short::new().unwrap();
        let open = json!({"connectionId": ID, "name": "alice"});
        assert_eq!(
            short.line("T", "open", &open).unwrap(),
            "T alice      connected"
        );
        // The function's line of the same event.
        assert_eq!(short.line("T", "log", &function("connected")), None);
        for _ in 0..2 {
            let line = short.line("T", "log", &function("published"));
            assert_eq!(line.as_deref(), Some(published));
            assert_eq!(short.line("T", "message", &message()), None);
        }
        assert_eq!(
            short.line("T", "message", &message()).unwrap(),
            "T alice      publish bytes=64, 9.5 ms"
        );
        assert_eq!(short.line("T", "log", &function("published")), None);
        let close = json!({"connectionId": ID, "code": 1000, "reason": ""});
        assert_eq!(
            short.line("T", "close", &close).unwrap(),
            "T alice      disconnected code=1000"
        );
        assert_eq!(short.line("T", "log", &function("disconnected")), None);
    }

    #[test]
    fn what_fails_is_shown() {
        let mut short = Short::new().unwrap();
        let mut failed = message();
        failed["error"] = "Internal server error".into();
        short.line("T", "log", &function("published"));
        let line = short.line("T", "message", &failed).unwrap();
        assert!(line.contains("error=Internal server error"), "{line}");
        let report = |status: &str| json!({"source": "publish", "text": format!("REPORT RequestId: x\tDuration: 1 ms\t{status}")});
        assert_eq!(short.line("T", "log", &report("")), None);
        assert!(short.line("T", "log", &report("Status: timeout")).is_some());
        let mut warned = function("GetConnection failed");
        warned["text"] = warned["text"]
            .as_str()
            .unwrap()
            .replace("INFO", "WARN")
            .into();
        for _ in 0..2 {
            let line = short.line("T", "log", &warned).unwrap();
            assert!(
                line.contains("WARN publish: GetConnection failed"),
                "{line}"
            );
        }
        let plain = json!({"source": "mine", "text": "printed by hand"});
        assert_eq!(
            short.line("T", "log", &plain).unwrap(),
            "T mine       printed by hand"
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
            let line = short.line("T", kind, &fields).unwrap_or_default();
            assert!(
                !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
                "{line:?}"
            );
        }
    }
}
