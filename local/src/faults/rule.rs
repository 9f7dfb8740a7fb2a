//! A rule: its site, its matcher, the occurrences that it takes, and its act.

use std::collections::BTreeMap;

use super::act::Act;
use super::point::Point;
use super::site::Site;

/// The scope of a count. Without one, all occurrences are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Per {
    /// Each open connection has its own count.
    Connection,
    /// Each invocation of the calling function has its own count.
    Invocation,
}

/// The properties that an occurrence must have. An empty matcher matches every occurrence at the site.
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

/// Selects among the matching occurrences. Every condition that is set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Which {
    /// The n-th occurrence, from 1.
    pub(super) nth: Option<u64>,
    /// Every n-th occurrence.
    pub(super) every: Option<u64>,
    /// The first n occurrences.
    pub(super) first: Option<u64>,
    /// A probability from 0 to 1.
    pub(super) probability: Option<f64>,
    /// At most this many occurrences.
    pub(super) times: Option<u64>,
    pub(super) per: Option<Per>,
}

impl Which {
    /// Reports whether the counts allow the n-th occurrence to be taken.
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
    /// The rule as it was written, with its name.
    pub(super) source: serde_json::Value,
}
