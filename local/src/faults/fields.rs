//! Typed reads of the keys of a rule. An error names the key.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Map, Value};

/// The longest delay: an hour, in milliseconds.
const MAX_MS: u64 = 3_600_000;

/// A rule's keys.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl Fields<'_> {
    pub(super) fn text(&self, key: &str) -> Result<Option<String>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => bail!("\"{key}\" must be a string"),
        }
    }

    /// Reads one of the words, and returns its position.
    pub(super) fn one_of(&self, key: &str, words: &[&str]) -> Result<Option<usize>> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let found = words.iter().position(|word| *word == text);
        Ok(Some(found.with_context(|| {
            format!(
                "\"{key}\": \"{}\" is not one of {}",
                text.escape_debug(),
                list(words)
            )
        })?))
    }

    pub(super) fn texts(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let wrong = || anyhow!("\"{key}\" must be an object whose values are strings");
        match self.0.get(key) {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map
                .iter()
                .map(|(name, value)| {
                    Ok((name.clone(), value.as_str().ok_or_else(wrong)?.to_owned()))
                })
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool> {
        match self.0.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => bail!("\"{key}\" must be true or false"),
        }
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<u64>> {
        match self.0.get(key) {
            None => Ok(None),
            Some(value) => {
                Ok(Some(value.as_u64().filter(|n| *n > 0).with_context(
                    || format!("\"{key}\" must be a whole number from 1"),
                )?))
            }
        }
    }

    /// Reads `"ms"`: one number or `[from, to]`.
    pub(super) fn spread(&self) -> Result<RangeInclusive<u64>> {
        match self.0.get("ms") {
            None => bail!("\"ms\" is missing: milliseconds, or [from, to]"),
            Some(Value::Array(ends)) => {
                let [from, to] = ends.as_slice() else {
                    bail!("\"ms\" has {} numbers: expected [from, to]", ends.len());
                };
                let (from, to) = (milliseconds(from)?, milliseconds(to)?);
                if from > to {
                    bail!("\"ms\": [{from}, {to}] must begin with the smaller number");
                }
                Ok(from..=to)
            }
            Some(value) => milliseconds(value).map(|ms| ms..=ms),
        }
    }

    /// Reads `"close"`: a close code that an endpoint may send (RFC 6455, 7.4).
    pub(super) fn close_code(&self) -> Result<Option<u16>> {
        let Some(value) = self.0.get("close") else {
            return Ok(None);
        };
        let code = value.as_u64().and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999));
        Ok(Some(code.context(
            "\"close\" must be a code that an endpoint may send (1000 to 1003, 1007 to 1014, 3000 to 4999); without \"close\" there is no close frame",
        )?))
    }
}

pub(super) fn milliseconds(value: &Value) -> Result<u64> {
    value
        .as_u64()
        .filter(|ms| *ms <= MAX_MS)
        .with_context(|| format!("\"ms\": {value} is not a whole number from 0 to {MAX_MS}"))
}

pub(super) fn list(words: &[&str]) -> String {
    words.join(", ")
}
