//! YAML, in the form in which Terraform writes it.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::terraform::value::{Map, Value, json_string, number_text, parse_number};

/// Reads a document as Terraform does, which follows YAML 1.1 for plain words such as `yes`.
pub(super) fn decode(text: &str) -> Result<Value, String> {
    /// A sequence or mapping that is not complete; a mapping with the key that waits for its value.
    enum Open {
        Sequence(Vec<Value>),
        Mapping(Map, Option<String>),
    }
    let mut open: Vec<(Open, usize)> = Vec::new();
    let mut anchors: HashMap<usize, Value> = HashMap::new();
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let (value, anchor) = match event {
            Event::SequenceStart(anchor, ..) => {
                open.push((Open::Sequence(Vec::new()), anchor));
                continue;
            }
            Event::MappingStart(anchor, ..) => {
                open.push((Open::Mapping(Map::new(), None), anchor));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((Open::Sequence(values), anchor)) => (values.into(), anchor),
                Some((Open::Mapping(map, _), anchor)) => (map.into(), anchor),
                None => return Err("the document is not complete".to_owned()),
            },
            Event::Scalar(text, style, anchor, tag) => {
                (resolve(&text, style, tag.as_deref())?, anchor)
            }
            Event::Alias(anchor) => {
                let value = anchors.get(&anchor).cloned();
                (value.ok_or("an alias has no anchor")?, 0)
            }
            _ => continue,
        };
        if anchor > 0 {
            anchors.insert(anchor, value.clone());
        }
        match open.last_mut() {
            Some((Open::Sequence(values), _)) => values.push(value),
            Some((Open::Mapping(map, key), _)) => match key.take() {
                None => *key = Some(value.text()?),
                Some(key) => {
                    if key == "<<" {
                        for (key, value) in value.entries().ok_or("`<<` needs a mapping")?.iter() {
                            map.entry(key.clone()).or_insert_with(|| value.clone());
                        }
                    } else {
                        map.insert(key, value);
                    }
                }
            },
            None if document.is_some() => return Err("there are several documents".to_owned()),
            None => document = Some(value),
        }
    }
    document.ok_or_else(|| "there is no document".to_owned())
}

/// The value of a scalar.
fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag.map(|tag| tag.suffix.as_str()) {
        Some("str") => return Ok(text.into()),
        Some("int" | "float" | "bool" | "null" | "timestamp") | None => {}
        Some(other) => return Err(format!("the tag {other} is not known here")),
    }
    if style != ScalarStyle::Plain && tag.is_none() {
        return Ok(text.into());
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            true.into()
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            false.into()
        }
        text => number(text)
            .or_else(|| timestamp(text))
            .unwrap_or_else(|| text.into()),
    })
}

fn number(text: &str) -> Option<Value> {
    let radix = |prefix: &str, radix| {
        let digits = text.strip_prefix(prefix)?;
        u64::from_str_radix(digits, radix)
            .ok()
            .map(|number| number.to_string())
    };
    let number = radix("0x", 16).or_else(|| radix("0o", 8));
    let number = number.unwrap_or_else(|| text.trim_start_matches('+').to_owned());
    parse_number(&number).map(Value::Number)
}

fn timestamp(text: &str) -> Option<Value> {
    use chrono::{DateTime, NaiveDate, SecondsFormat};
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return (text.len() == 10).then(|| format!("{date}T00:00:00Z").into());
    }
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into())
}

pub(super) fn encode(value: &Value) -> String {
    let mut out = String::new();
    match (value.elements(), value.entries()) {
        (Some(values), _) if !values.is_empty() => sequence(values, 0, &mut out),
        (_, Some(map)) if !map.is_empty() => mapping(map, 0, &mut out),
        _ => {
            scalar(value, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn mapping(map: &Map, indent: usize, out: &mut String) {
    for (index, (key, value)) in map.iter().enumerate() {
        // The first key of a mapping inside a sequence stands behind the dash.
        if index > 0 || indent == 0 || out.ends_with('\n') {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&json_string_plain(key));
        out.push(':');
        match (value.elements(), value.entries()) {
            // The dashes of a sequence stand below the key.
            (Some(values), _) if !values.is_empty() => {
                out.push('\n');
                sequence(values, indent, out);
            }
            (_, Some(inner)) if !inner.is_empty() => {
                out.push('\n');
                mapping(inner, indent + 2, out);
            }
            _ => {
                out.push(' ');
                scalar(value, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn sequence(values: &[Value], indent: usize, out: &mut String) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 || indent == 0 || out.ends_with('\n') {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str("- ");
        match (value.elements(), value.entries()) {
            (Some(inner), _) if !inner.is_empty() => sequence(inner, indent + 2, out),
            (_, Some(map)) if !map.is_empty() => mapping(map, indent + 2, out),
            _ => {
                scalar(value, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(text) if text.contains('\n') => {
            let lines = text.trim_end_matches('\n');
            out.push_str(match text.len() - lines.len() {
                0 => "|-",
                1 => "|",
                _ => "|+",
            });
            let kept = if text.ends_with('\n') {
                &text[..text.len() - 1]
            } else {
                text
            };
            for line in kept.split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    out.push_str(&" ".repeat(indent.max(2)));
                }
                out.push_str(line);
            }
        }
        Value::String(text) => out.push_str(&json_string_plain(text)),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::Bool(truth) => out.push_str(&truth.to_string()),
        Value::List(_) | Value::Set(_) => out.push_str("[]"),
        Value::Object(_) | Value::Resource { .. } => out.push_str("{}"),
        Value::Null | Value::Unknown(_) => out.push_str("null"),
    }
}

/// A quoted string without the escapes that are for HTML.
fn json_string_plain(text: &str) -> String {
    json_string(text)
        .replace("\\u003c", "<")
        .replace("\\u003e", ">")
        .replace("\\u0026", "&")
}
