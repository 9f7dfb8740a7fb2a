//! The functions of `$util`, the methods of values, and the conversion of values to text.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::ast::{Method, Util};

/// The characters that Java's `URLEncoder` escapes. It makes a blank a `+`.
const URL_ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*')
    .remove(b' ');

/// The empty text, which is the value of everything that is missing.
pub(super) fn nothing() -> Value {
    Value::String(String::new())
}

/// Returns a value as rendered text: a map as Java prints it, a list as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}={}", text(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

pub(super) fn util(function: Util, argument: &Value) -> Value {
    let argument = text(argument);
    match function {
        Util::EscapeJavaScript => escape_java_script(&argument).into(),
        Util::Base64Encode => STANDARD.encode(argument).into(),
        Util::Base64Decode => STANDARD.decode(argument).map_or_else(
            |_| nothing(),
            |bytes| String::from_utf8_lossy(&bytes).into(),
        ),
        Util::UrlEncode => utf8_percent_encode(&argument, URL_ENCODED)
            .to_string()
            .replace(' ', "+")
            .into(),
        Util::UrlDecode => percent_decode_str(&argument.replace('+', " "))
            .decode_utf8_lossy()
            .into(),
        Util::ParseJson => serde_json::from_str(&argument).unwrap_or_else(|_| nothing()),
    }
}

/// As Apache Commons escapes JavaScript, single quotes included: AWS's own page warns that JSON knows no `\'`.
fn escape_java_script(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' | '/' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04X}");
                }
            }
        }
    }
    out
}

/// Calls a method of a text, a list or a map. The result is the empty text if the value has no such method.
pub(super) fn method(method: Method, value: &Value, arguments: &[Value]) -> Value {
    let first = arguments.first().map(text).unwrap_or_default();
    match (method, value) {
        (Method::ToString, value) => text(value).into(),
        (Method::Equals, value) => arguments.first().is_some_and(|other| other == value).into(),
        (Method::Contains, Value::String(text)) => text.contains(&first).into(),
        (Method::StartsWith, Value::String(text)) => text.starts_with(&first).into(),
        (Method::EndsWith, Value::String(text)) => text.ends_with(&first).into(),
        (Method::IsEmpty, Value::String(text)) => text.is_empty().into(),
        // Java counts UTF-16 units.
        (Method::Length, Value::String(text)) => text.encode_utf16().count().into(),
        (Method::Replace, Value::String(text)) => {
            let new = arguments.get(1).map(self::text).unwrap_or_default();
            text.replace(&first, &new).into()
        }
        (Method::ToLowerCase, Value::String(text)) => text.to_lowercase().into(),
        (Method::ToUpperCase, Value::String(text)) => text.to_uppercase().into(),
        (Method::Trim, Value::String(text)) => text.trim().into(),
        (Method::Contains, Value::Array(items)) => items
            .iter()
            .any(|item| arguments.first() == Some(item))
            .into(),
        (Method::Get, Value::Array(_)) => arguments
            .first()
            .map_or_else(nothing, |at| index(value, at)),
        (Method::IsEmpty, Value::Array(items)) => items.is_empty().into(),
        (Method::Size, Value::Array(items)) => items.len().into(),
        (Method::ContainsKey, Value::Object(map)) => map.contains_key(&first).into(),
        (Method::EntrySet, Value::Object(map)) => map
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect(),
        (Method::Get, Value::Object(_)) => property(value, &first),
        (Method::IsEmpty, Value::Object(map)) => map.is_empty().into(),
        (Method::KeySet, Value::Object(map)) => map.keys().cloned().collect(),
        (Method::Size, Value::Object(map)) => map.len().into(),
        (Method::Values, Value::Object(map)) => map.values().cloned().collect(),
        _ => nothing(),
    }
}

/// Returns a value of a map; the empty text if it is missing.
pub(super) fn property(value: &Value, name: &str) -> Value {
    match value.get(name) {
        None | Some(Value::Null) => nothing(),
        Some(value) => value.clone(),
    }
}

/// Returns `value[at]`, of a list or a map.
pub(super) fn index(value: &Value, at: &Value) -> Value {
    let found = match value {
        Value::Array(items) => at
            .as_u64()
            .and_then(|at| items.get(usize::try_from(at).ok()?)),
        _ => value.get(text(at)),
    };
    found
        .filter(|found| !found.is_null())
        .cloned()
        .unwrap_or_else(nothing)
}
