//! What a rule is: where it looks, what it matches, which occurrences it takes, and what it does to them.

use std::collections::BTreeMap;

use super::act::Act;
use super::point::Point;
use super::site::Site;

/// What occurrences are counted by, when not all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Per {
    /// Each open connection counts on its own.
    Connection,
    /// Each invocation of the function that calls counts on its own.
    Invocation,
}

/// All that a point must have for the rule to match; nothing set matches everything at the place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Matcher {
    pub(super) route: Option<String>,
    pub(super) connection: Option<String>,
    /// Parameters of the connection's handshake.
    pub(super) query: BTreeMap<String, String>,
    /// A function's name or its Terraform key.
    pub(super) function: Option<String>,
    pub(super) table: Option<String>,
    pub(super) index: Option<String>,
    pub(super) operation: Option<String>,
}

impl Matcher {
    pub(super) fn matches(&self, point: &Point<'_>) -> bool {
        let is = |wanted: &Option<String>, seen: Option<&str>| match wanted {
            None => true,
            Some(wanted) => seen == Some(wanted),
        };
        is(&self.route, point.route)
            && is(&self.connection, point.connection)
            && is(&self.operation, point.operation)
            && is(&self.index, point.index)
            && self
                .table
                .as_ref()
                .is_none_or(|table| point.tables.contains(&table.as_str()))
            && self.function.as_ref().is_none_or(|function| {
                point
                    .function
                    .is_some_and(|name| name.key == function || name.name == function)
            })
            && (self.query.is_empty()
                || point
                    .handshake
                    .is_some_and(|handshake| handshake.has_all(&self.query)))
    }
}

/// Which of the occurrences that match are taken. All that is set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Which {
    /// The n-th, from 1.
    pub(super) nth: Option<u64>,
    /// Each n-th.
    pub(super) every: Option<u64>,
    /// The first n.
    pub(super) first: Option<u64>,
    /// 0 to 1.
    pub(super) probability: Option<f64>,
    /// At most so many in all.
    pub(super) times: Option<u64>,
    pub(super) per: Option<Per>,
}

impl Which {
    /// Whether the n-th is taken, as far as counting says.
    pub(super) fn takes(&self, n: u64, applied: u64) -> bool {
        self.nth.is_none_or(|nth| n == nth)
            && self.every.is_none_or(|every| n.is_multiple_of(every))
            && self.first.is_none_or(|first| n <= first)
            && self.times.is_none_or(|times| applied < times)
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(super) name: String,
    pub(super) on: Site,
    pub(super) matcher: Matcher,
    pub(super) which: Which,
    /// The act's name, as in the rule.
    pub(super) does: &'static str,
    pub(super) act: Act,
    /// As it was written, with its name.
    pub(super) source: serde_json::Value,
}
