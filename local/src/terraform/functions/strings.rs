//! Functions of strings.

use regex_lite::Regex;
use unicode_segmentation::{Graphemes, UnicodeSegmentation as _};

use super::{Arguments, Function};
use crate::terraform::value::{Map, Value};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("chomp", |args| {
        Ok(args.string(0)?.trim_end_matches(['\n', '\r']).into())
    }),
    ("endswith", |args| {
        Ok(args.string(0)?.ends_with(&args.string(1)?).into())
    }),
    ("indent", |args| {
        let spaces = usize::try_from(args.whole(0)?).map_err(|_| "the number is negative")?;
        let text = args.string(1)?;
        Ok(text
            .replace('\n', &format!("\n{}", " ".repeat(spaces)))
            .into())
    }),
    ("join", |args| {
        let mut all = Vec::new();
        for index in 1..args.values.len() {
            all.extend(args.strings(index)?);
        }
        Ok(all.join(&args.string(0)?).into())
    }),
    ("lower", |args| Ok(args.string(0)?.to_lowercase().into())),
    ("regex", |args| {
        let (pattern, text) = (pattern(&args.string(0)?)?, args.string(1)?);
        let found = pattern.captures(&text);
        let found = found.ok_or_else(|| "the pattern does not match".to_owned())?;
        captured(&pattern, &found)
    }),
    ("regexall", |args| {
        let (pattern, text) = (pattern(&args.string(0)?)?, args.string(1)?);
        pattern
            .captures_iter(&text)
            .map(|found| captured(&pattern, &found))
            .collect()
    }),
    ("replace", replace),
    ("split", |args| {
        let (separator, text) = (args.string(0)?, args.string(1)?);
        if text.is_empty() && separator.is_empty() {
            return Ok(Vec::new().into());
        }
        if separator.is_empty() {
            return Ok(text.chars().map(|c| Value::from(c.to_string())).collect());
        }
        Ok(text.split(&separator).map(Value::from).collect())
    }),
    ("startswith", |args| {
        Ok(args.string(0)?.starts_with(&args.string(1)?).into())
    }),
    ("strcontains", |args| {
        Ok(args.string(0)?.contains(&args.string(1)?).into())
    }),
    ("strrev", |args| {
        Ok(graphemes(&args.string(0)?).rev().collect::<String>().into())
    }),
    ("substr", substr),
    ("title", |args| {
        let text = args.string(0)?;
        let mut out = String::new();
        let mut before = ' ';
        for c in text.chars() {
            if before.is_alphanumeric() || before == '_' {
                out.push(c);
            } else {
                out.push(upper(c));
            }
            before = c;
        }
        Ok(out.into())
    }),
    ("trim", |args| {
        let characters: Vec<char> = args.string(1)?.chars().collect();
        Ok(args.string(0)?.trim_matches(characters.as_slice()).into())
    }),
    ("trimprefix", |args| {
        let (text, prefix) = (args.string(0)?, args.string(1)?);
        Ok(text.strip_prefix(&prefix).unwrap_or(&text).into())
    }),
    ("trimspace", |args| Ok(args.string(0)?.trim().into())),
    ("trimsuffix", |args| {
        let (text, suffix) = (args.string(0)?, args.string(1)?);
        Ok(text.strip_suffix(&suffix).unwrap_or(&text).into())
    }),
    ("upper", |args| {
        Ok(args
            .string(0)?
            .chars()
            .map(upper)
            .collect::<String>()
            .into())
    }),
];

/// The upper case of a character, if that is one character.
fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// The characters of a text as Terraform counts them.
pub(super) fn graphemes(text: &str) -> Graphemes<'_> {
    text.graphemes(true)
}

fn pattern(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern)
        .map_err(|error| format!("\"{pattern}\" is not a pattern known here: {error}"))
}

/// The match, a list of its groups, or a map of its named groups.
fn captured(pattern: &Regex, found: &regex_lite::Captures<'_>) -> Result<Value, String> {
    let text =
        |part: Option<regex_lite::Match<'_>>| part.map_or(Value::Null, |m| m.as_str().into());
    let names: Vec<Option<&str>> = pattern.capture_names().skip(1).collect();
    if names.is_empty() {
        return Ok(text(found.get(0)));
    }
    if names.iter().all(Option::is_none) {
        return Ok((1..found.len())
            .map(|group| text(found.get(group)))
            .collect());
    }
    let named: Option<Vec<&str>> = names.into_iter().collect();
    let named = named.ok_or("a pattern cannot have both named and unnamed groups")?;
    let entries = named
        .into_iter()
        .map(|name| (name.to_owned(), text(found.name(name))));
    Ok(entries.collect::<Map>().into())
}

/// Replaces a text, or the matches of a regular expression if the second argument stands between slashes.
fn replace(args: &Arguments<'_>) -> Result<Value, String> {
    let (text, wanted, by) = (args.string(0)?, args.string(1)?, args.string(2)?);
    let inner = wanted
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'));
    Ok(match inner {
        Some(inner) => pattern(inner)?.replace_all(&text, by.as_str()).into_owned(),
        None => text.replace(&wanted, &by),
    }
    .into())
}

fn substr(args: &Arguments<'_>) -> Result<Value, String> {
    let text = args.string(0)?;
    let (offset, length) = (args.whole(1)?, args.whole(2)?);
    let all: Vec<&str> = graphemes(&text).collect();
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
    // A negative offset counts from the end, a negative length reaches to the end.
    let start = if offset < 0 {
        offset.saturating_add(count).max(0)
    } else {
        offset.min(count)
    };
    let end = if length < 0 {
        count
    } else {
        start.saturating_add(length).min(count)
    };
    let start = usize::try_from(start).unwrap_or(0);
    let end = usize::try_from(end).unwrap_or(0);
    Ok(all.get(start..end).unwrap_or_default().concat().into())
}
