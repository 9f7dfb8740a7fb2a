//! Functions of time.

use chrono::{DateTime, Datelike as _, FixedOffset, SecondsFormat, TimeDelta, Timelike as _, Utc};

use super::{Arguments, Function};
use crate::terraform::value::Value;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("formatdate", formatdate),
    ("plantimestamp", |_| Ok(now())),
    ("timeadd", |args| {
        let time = time(&args.string(0)?)?;
        let later = time.checked_add_signed(duration(&args.string(1)?)?);
        let later = later.ok_or("the time is out of range")?;
        Ok(later.to_rfc3339_opts(SecondsFormat::Secs, true).into())
    }),
    ("timecmp", |args| {
        let order = time(&args.string(0)?)?.cmp(&time(&args.string(1)?)?);
        Ok(bigdecimal::BigDecimal::from(order as i8).into())
    }),
    ("timestamp", |_| Ok(now())),
];

fn now() -> Value {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true).into()
}

fn time(text: &str) -> Result<DateTime<FixedOffset>, String> {
    DateTime::parse_from_rfc3339(text).map_err(|error| format!("\"{text}\" is not a time: {error}"))
}

/// A duration as Go writes it: `1h30m`, `-1.5s`.
fn duration(text: &str) -> Result<TimeDelta, String> {
    let invalid = || format!("\"{text}\" is not a duration such as 1h30m");
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanoseconds = 0.0;
    while !rest.is_empty() && rest != "0" {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        nanoseconds += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(invalid()),
            };
        rest = &rest[end..];
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float that is too large saturates"
    )]
    let nanoseconds = nanoseconds.round() as i64;
    let delta = TimeDelta::nanoseconds(nanoseconds);
    Ok(if is_negative { -delta } else { delta })
}

/// Replaces each run of a letter by what it stands for; text in apostrophes stays.
fn formatdate(args: &Arguments<'_>) -> Result<Value, String> {
    let (format, time) = (args.string(0)?, time(&args.string(1)?)?);
    let mut out = String::new();
    let mut rest = format.as_str();
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let inner = &rest[1..];
            let end = quoted_end(inner).ok_or("an apostrophe is not closed")?;
            out.push_str(&inner[..end].replace("''", "'"));
            rest = &inner[end + 1..];
            continue;
        }
        let length = rest.find(|c| c != first).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        rest = after;
        if !first.is_ascii_alphabetic() {
            out.push_str(run);
            continue;
        }
        out.push_str(&part(run, &time).ok_or_else(|| format!("the format has no \"{run}\""))?);
    }
    Ok(out.into())
}

/// The apostrophe that ends a quoted text; two of them stand for one.
fn quoted_end(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find('\'')?;
        if text.get(at + 1..)?.starts_with('\'') {
            from = at + 2;
        } else {
            return Some(at);
        }
    }
}

fn part(run: &str, time: &DateTime<FixedOffset>) -> Option<String> {
    let (is_pm, hour12) = time.hour12();
    let offset = time.offset().local_minus_utc() / 60;
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
    Some(match run {
        "YYYY" => format!("{:04}", time.year()),
        "YY" => format!("{:02}", time.year().rem_euclid(100)),
        "MMMM" => time.format("%B").to_string(),
        "MMM" => time.format("%b").to_string(),
        "MM" => format!("{:02}", time.month()),
        "M" => time.month().to_string(),
        "DD" => format!("{:02}", time.day()),
        "D" => time.day().to_string(),
        "EEEE" => time.format("%A").to_string(),
        "EEE" => time.format("%a").to_string(),
        "hh" => format!("{:02}", time.hour()),
        "h" => time.hour().to_string(),
        "HH" => format!("{hour12:02}"),
        "H" => hour12.to_string(),
        "AA" => if is_pm { "PM" } else { "AM" }.to_owned(),
        "aa" => if is_pm { "pm" } else { "am" }.to_owned(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "ZZZZZ" => format!("{sign}{hours:02}:{minutes:02}"),
        "ZZZ" if offset == 0 => "UTC".to_owned(),
        "ZZZZ" | "ZZZ" => format!("{sign}{hours:02}{minutes:02}"),
        "Z" if offset == 0 => "Z".to_owned(),
        "Z" => format!("{sign}{hours:02}:{minutes:02}"),
        _ => return None,
    })
}
