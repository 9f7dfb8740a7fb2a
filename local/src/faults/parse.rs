//! The rule language: JSON, read strictly. What does not belong is an error that names the rule and the key.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use super::fields::{Fields, list, milliseconds};
use super::rule::{Act, Fault, Matcher, Per, Place, Rule, When, Which};

/// How many rules a document may hold.
const MAX_RULES: usize = 1000;
/// How long an occurrence is held back for others, unless the rule says: a second, in milliseconds.
const REORDER_MS: u64 = 1000;
const MAX_NAME_BYTES: usize = 64;

/// What any rule may have.
const COMMON: [&str; 9] = [
    "name",
    "on",
    "do",
    "nth",
    "every",
    "first",
    "probability",
    "times",
    "per",
];

/// What a document holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Document {
    pub(crate) seed: Option<u64>,
    pub(super) rules: Vec<Rule>,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no document of rules.
    pub(crate) fn load(path: &Path) -> Result<Document> {
        let name = path.display();
        let text = std::fs::read(path).with_context(|| format!("cannot read {name} (--faults)"))?;
        Document::parse(&text).with_context(|| format!("{name} (--faults)"))
    }

    /// Reads `{"seed": 7, "rules": […]}`, an array of rules, or one rule.
    ///
    /// # Errors
    /// When it is not one of these, or a rule says what no rule can.
    pub(crate) fn parse(json: &[u8]) -> Result<Document> {
        let document: Value = serde_json::from_slice(json).context("it is not JSON")?;
        let (seed, rules) = match document {
            Value::Array(rules) => (None, rules),
            Value::Object(mut document) if document.contains_key("rules") => {
                let rules = document.remove("rules");
                let seed = document.remove("seed").map(|seed| {
                    seed.as_u64()
                        .context("\"seed\" is no whole number from 0 to 18446744073709551615")
                });
                if let Some(key) = document.keys().next() {
                    bail!(
                        "the key \"{key}\" is unknown beside \"rules\": only \"seed\" can be there"
                    );
                }
                let Some(Value::Array(rules)) = rules else {
                    bail!("\"rules\" is no array");
                };
                (seed.transpose()?, rules)
            }
            rule @ Value::Object(_) => (None, vec![rule]),
            _ => bail!("it is no array of rules, no rule, and no object with \"rules\""),
        };
        if rules.len() > MAX_RULES {
            bail!(
                "there are {} rules, and {MAX_RULES} is the most",
                rules.len()
            );
        }
        let mut names = BTreeSet::new();
        let mut parsed = Vec::with_capacity(rules.len());
        for (index, rule) in rules.into_iter().enumerate() {
            let rule = read_rule(rule, index + 1)?;
            if !rule.name.is_empty() && !names.insert(rule.name.clone()) {
                bail!("two rules are called \"{}\"", rule.name);
            }
            parsed.push(rule);
        }
        Ok(Document {
            seed,
            rules: parsed,
        })
    }
}

fn read_rule(source: Value, number: usize) -> Result<Rule> {
    let Value::Object(map) = &source else {
        bail!("rule {number} is no object");
    };
    let name = match map.get("name") {
        None => String::new(),
        Some(Value::String(name)) if is_name(name) => name.clone(),
        Some(_) => bail!(
            "rule {number}: \"name\" must be 1 to {MAX_NAME_BYTES} letters, digits, or any of . _ -"
        ),
    };
    let who = if name.is_empty() {
        format!("rule {number}")
    } else {
        format!("rule \"{name}\"")
    };
    let read = || -> Result<(Place, Matcher, Which, Act)> {
        let fields = Fields(map);
        let places = Place::ALL.map(Place::name);
        let on = fields
            .one_of("on", &places)?
            .context(format!("\"on\" is missing: it is one of {}", list(&places)))?;
        let on = Place::ALL[on];
        let fitting: Vec<&str> = acts(on).collect();
        let act = match fields.text("do")? {
            Some(act) if fitting.contains(&act.as_str()) => act,
            Some(act) => bail!(
                "\"do\": \"{}\" is nothing that can be done on \"{}\": there it is one of {}",
                act.escape_debug(),
                on.name(),
                list(&fitting)
            ),
            None => bail!(
                "\"do\" is missing: on \"{}\" it is one of {}",
                on.name(),
                list(&fitting)
            ),
        };
        let known: Vec<&str> = COMMON
            .into_iter()
            // It is a write that lags, and a write names no index.
            .chain(matchers(on).filter(|key| act != "lag" || *key != "index"))
            .chain(parameters(&act, on).iter().copied())
            .collect();
        if let Some(key) = map.keys().find(|key| !known.contains(&key.as_str())) {
            bail!(
                "the key \"{}\" has no meaning for \"{act}\" on \"{}\": there are {}",
                key.escape_debug(),
                on.name(),
                list(&known)
            );
        }
        Ok((
            on,
            matcher(&fields)?,
            which(&fields, on)?,
            read_act(&fields, &act)?,
        ))
    };
    let (on, matcher, which, act) = read().with_context(|| who)?;
    Ok(Rule {
        name,
        on,
        matcher,
        which,
        act,
        source,
    })
}

/// A name can be part of a URL and of a line of the log.
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// What can be done at a place.
fn acts(on: Place) -> impl Iterator<Item = &'static str> {
    let acts: &[&str] = match on {
        Place::Connect => &[
            "delay",
            "reorder",
            "duplicate",
            "status",
            "hang",
            "cut",
            "early",
        ],
        Place::Message => &["delay", "reorder", "drop", "duplicate", "status", "cut"],
        Place::Disconnect => &["delay", "reorder", "duplicate", "lose"],
        Place::Frame => &["delay", "reorder", "drop", "duplicate", "cut"],
        Place::Post => &[
            "delay",
            "reorder",
            "drop",
            "duplicate",
            "gone",
            "status",
            "hang",
        ],
        Place::Get | Place::Delete => &["delay", "gone", "status", "hang"],
        Place::Table => &["delay", "throttle", "status", "hang", "lag"],
        Place::Call => &["delay", "hang", "kill"],
    };
    acts.iter().copied()
}

/// What can be asked of an occurrence at a place.
fn matchers(on: Place) -> impl Iterator<Item = &'static str> {
    let matchers: &[&str] = match on {
        Place::Connect | Place::Message | Place::Disconnect => {
            &["route", "connection", "query", "function"]
        }
        Place::Frame => &["route", "connection", "query"],
        Place::Post | Place::Get | Place::Delete => &["connection", "query", "function"],
        Place::Table => &["function", "table", "index", "operation"],
        Place::Call => &[
            "function",
            "connection",
            "query",
            "table",
            "index",
            "operation",
        ],
    };
    matchers.iter().copied()
}

/// What an act can be told.
fn parameters(act: &str, on: Place) -> &'static [&'static str] {
    match (act, on) {
        ("delay" | "lag", _) => &["ms"],
        ("reorder", _) => &["by", "ms"],
        ("gone", Place::Post) => &["false", "deliver"],
        ("gone", _) => &["false"],
        // A read has no effect that could be kept.
        ("status", Place::Get) => &["status"],
        ("status", _) => &["status", "deliver"],
        ("hang", Place::Post | Place::Delete | Place::Table) => &["deliver"],
        ("cut", Place::Message) => &["close", "deliver"],
        ("cut", _) => &["close"],
        ("kill", _) => &["when"],
        _ => &[],
    }
}

fn matcher(fields: &Fields<'_>) -> Result<Matcher> {
    Ok(Matcher {
        route: fields.text("route")?,
        connection: fields.text("connection")?,
        query: fields.texts("query")?,
        function: fields.text("function")?,
        table: fields.text("table")?,
        index: fields.text("index")?,
        operation: fields.text("operation")?,
    })
}

fn which(fields: &Fields<'_>, on: Place) -> Result<Which> {
    let probability = match fields.0.get("probability") {
        None => None,
        Some(value) => Some(
            value
                .as_f64()
                .filter(|p| (0.0..=1.0).contains(p))
                .context("\"probability\" is no number from 0 to 1")?,
        ),
    };
    let per = fields.one_of("per", &["connection", "invocation"])?;
    let per = match (per, on) {
        (None, _) => None,
        (
            Some(0),
            Place::Connect
            | Place::Message
            | Place::Disconnect
            | Place::Frame
            | Place::Post
            | Place::Get
            | Place::Delete,
        ) => Some(Per::Connection),
        (Some(1), Place::Post | Place::Get | Place::Delete | Place::Table | Place::Call) => {
            Some(Per::Invocation)
        }
        (Some(0), _) => bail!(
            "\"per\": \"connection\" has no meaning on \"{}\"",
            on.name()
        ),
        (Some(_), _) => bail!(
            "\"per\": \"invocation\" has no meaning on \"{}\": only what a function calls has one",
            on.name()
        ),
    };
    Ok(Which {
        nth: fields.count("nth")?,
        every: fields.count("every")?,
        first: fields.count("first")?,
        probability,
        times: fields.count("times")?,
        per,
    })
}

fn read_act(fields: &Fields<'_>, act: &str) -> Result<Act> {
    let deliver = fields.flag("deliver")?;
    Ok(match act {
        "delay" => Act::Delay(fields.spread()?),
        "lag" => Act::Lag(fields.spread()?),
        "reorder" => Act::Reorder {
            by: fields.count("by")?.unwrap_or(1),
            at_most: Duration::from_millis(match fields.0.get("ms") {
                None => REORDER_MS,
                Some(ms) => milliseconds(ms)?,
            }),
        },
        "drop" => Act::Do(Fault::Drop),
        "duplicate" => Act::Do(Fault::Duplicate),
        "lose" => Act::Do(Fault::Lose),
        "early" => Act::Do(Fault::Early),
        "throttle" => Act::Do(Fault::Throttle),
        "gone" if fields.flag("false")? => Act::Do(Fault::FalseGone { deliver }),
        "gone" if deliver => {
            bail!("\"deliver\" wants \"false\": true: no message reaches a connection that is gone")
        }
        "gone" => Act::Do(Fault::Gone),
        "status" => {
            const STATUSES: [u16; 5] = [429, 500, 502, 503, 504];
            let status = fields.0.get("status").and_then(Value::as_u64);
            let status = STATUSES
                .into_iter()
                .find(|known| status == Some(u64::from(*known)))
                .with_context(|| format!("\"status\" must be one of {STATUSES:?}"))?;
            Act::Do(Fault::Status { status, deliver })
        }
        "hang" => Act::Do(Fault::Hang { deliver }),
        "cut" => Act::Do(Fault::Cut {
            close: fields.close_code()?,
            deliver,
        }),
        "kill" => {
            let when = fields
                .one_of("when", &["before", "after"])?
                .context("\"when\" is missing: it is \"before\" or \"after\"")?;
            Act::Do(Fault::Kill(if when == 0 {
                When::Before
            } else {
                When::After
            }))
        }
        // Checked before; no act is without a line here.
        other => return Err(anyhow!("\"do\": \"{other}\" is unknown")),
    })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
