//! A rule in force: counts occurrences, draws random numbers, and holds occurrences back.

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::sync::mpsc;

use super::act::{Act, Spread};
use super::point::Point;
use super::rule::{Per, Rule};
use super::verdict::Verdict;
use crate::log;

/// A rule and its counters.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) rule: Rule,
    /// A number that no other rule of this process ever has.
    serial: u64,
    pub(super) matched: u64,
    pub(super) applied: u64,
    /// The occurrence that is held back in each scope, until others are through.
    held: HashMap<String, Held>,
}

#[derive(Debug)]
struct Held {
    /// The occurrence continues when all copies are dropped.
    gate: mpsc::Sender<()>,
    /// The number of occurrences that it still lets by.
    by: u64,
}

/// An occurrence that matches a rule.
pub(super) struct Match {
    /// Its number within the scope.
    n: u64,
    pub(super) taken: bool,
    random: StdRng,
}

impl Match {
    pub(super) fn draw(&mut self, spread: &Spread) -> Duration {
        Duration::from_millis(self.random.random_range(spread.clone()))
    }
}

impl Live {
    pub(super) fn new(rule: Rule, serial: u64) -> Live {
        Live {
            rule,
            serial,
            matched: 0,
            applied: 0,
            held: HashMap::new(),
        }
    }

    /// Counts the occurrence if it matches, and decides whether the rule takes it.
    pub(super) fn count(&mut self, point: &Point<'_>, seed: u64) -> Option<Match> {
        let rule = &self.rule;
        if rule.on != point.site || !rule.matcher.matches(point) {
            return None;
        }
        let n = match rule.which.per {
            None => self.matched + 1,
            Some(Per::Connection) => point.handshake?.tally.next(self.serial),
            Some(Per::Invocation) => point.invocation?.tally.next(self.serial),
        };
        self.matched += 1;
        let mut random = StdRng::seed_from_u64(mix(seed, &rule.name, self.matched));
        // Always drawn, so that a delay is the same with and without a probability.
        let chance: f64 = random.random();
        let likely = rule.which.probability.is_none_or(|p| chance < p);
        let taken = likely && rule.which.takes(n, self.applied);
        Some(Match { n, taken, random })
    }

    pub(super) fn judge(&mut self, point: &Point<'_>, seed: u64, verdict: &mut Verdict) {
        let Some(mut seen) = self.count(point, seed) else {
            return;
        };
        match self.rule.act.clone() {
            // Every match goes past an occurrence that is held back.
            Act::Reorder { .. } if self.let_by(point, verdict) => {}
            _ if !seen.taken => {}
            Act::Reorder { by, at_most } => {
                let (gate, closed) = mpsc::channel(1);
                self.held.insert(self.scope(point), Held { gate, by });
                verdict.held_back.push((closed, at_most));
                self.apply(point, &seen, seed, None);
            }
            Act::Delay(spread) => {
                let delay = seen.draw(&spread);
                verdict.delay += delay;
                self.apply(point, &seen, seed, Some(delay));
            }
            Act::Do(fault) if verdict.fault.is_none() => {
                verdict.fault = Some(fault);
                self.apply(point, &seen, seed, None);
            }
            // An earlier rule has decided. Lag has a function of its own.
            Act::Do(_) | Act::Lag(_) => {}
        }
    }

    /// Lets the occurrence go past one that is held back. Returns false if there is none.
    fn let_by(&mut self, point: &Point<'_>, verdict: &mut Verdict) -> bool {
        // Remove occurrences that no longer wait.
        self.held.retain(|_, held| !held.gate.is_closed());
        let scope = self.scope(point);
        let Some(held) = self.held.get_mut(&scope) else {
            return false;
        };
        verdict.lets_by.push(held.gate.clone());
        held.by -= 1;
        if held.by == 0 {
            self.held.remove(&scope);
        }
        true
    }

    /// Returns the scope in which the occurrence is counted.
    fn scope(&self, point: &Point<'_>) -> String {
        let scope = match self.rule.which.per {
            None => None,
            Some(Per::Connection) => point.connection.map(str::to_owned),
            Some(Per::Invocation) => point.invocation.map(|i| i.request_id.clone()),
        };
        scope.unwrap_or_default()
    }

    /// Counts an application and logs it.
    pub(super) fn apply(
        &mut self,
        point: &Point<'_>,
        seen: &Match,
        seed: u64,
        wait: Option<Duration>,
    ) {
        self.applied += 1;
        let mut fields = json!({
            "rule": self.rule.name,
            "on": point.site.name(),
            "do": self.rule.does,
            "occurrence": seen.n,
            "seed": seed,
        });
        let mut field = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                fields[name] = value.into();
            }
        };
        field("route", point.route);
        field("connectionId", point.connection);
        field("function", point.function.map(|function| function.key));
        field("operation", point.operation);
        field("index", point.index);
        if !point.tables.is_empty() {
            fields["tables"] = json!(point.tables);
        }
        if let Some(wait) = wait {
            fields["ms"] = json!(wait.as_millis());
        }
        log::event("fault", fields);
    }
}

/// Makes the seed of the n-th match of a rule: FNV-1a of all three.
fn mix(seed: u64, name: &str, n: u64) -> u64 {
    let bytes = seed
        .to_le_bytes()
        .into_iter()
        .chain(name.bytes())
        .chain(n.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
