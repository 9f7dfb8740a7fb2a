//! Fault injection. A rule names a site, the occurrences there that it takes, and the fault.
//!
//! The gateway asks for a verdict at each site that a rule can name, and carries the verdict out. The random numbers of
//! a rule depend only on the seed, its name and the number of the match. The same seed and the same order of
//! occurrences give the same faults.

mod act;
mod fields;
mod live;
mod parse;
mod point;
mod rule;
mod site;
mod verdict;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use act::Act;
pub(crate) use act::{Fault, When};
use live::Live;
pub use parse::Document;
pub(crate) use point::{FunctionName, Handshake, Invocation, Point};
use rule::Rule;
pub(crate) use site::Site;
pub(crate) use verdict::Verdict;

/// The rules in force, with their counters.
#[derive(Debug)]
pub struct Faults {
    /// Set if there is a rule: without rules nothing here costs more than a read of it.
    active: AtomicBool,
    /// Set if a rule makes indexes lag.
    lagging: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seed: u64,
    /// The last serial number given to a rule.
    serial: u64,
    rules: Vec<Live>,
}

/// The reason why rules could not be changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The name of a new rule is taken.
    #[error("there is already a rule \"{0}\": delete it first, or choose another name")]
    Taken(String),
    /// The seed belongs to all rules.
    #[error("a seed can only be given when all rules are replaced: use PUT")]
    Seed,
}

impl Faults {
    /// Makes the rules of a document. `seed` is used if the document has none.
    pub fn new(document: Document, seed: u64) -> Faults {
        let faults = Faults {
            active: AtomicBool::new(false),
            lagging: AtomicBool::new(false),
            state: Mutex::new(State {
                seed,
                serial: 0,
                rules: Vec::new(),
            }),
        };
        faults.replace(document);
        faults
    }

    pub(crate) fn seed(&self) -> u64 {
        self.lock().seed
    }

    /// Returns the number of rules.
    pub(crate) fn len(&self) -> usize {
        self.lock().rules.len()
    }

    /// Replaces all rules, and the seed if the document has one. All counters start again.
    pub fn replace(&self, document: Document) {
        let mut state = self.lock();
        state.seed = document.seed.unwrap_or(state.seed);
        state.rules.clear();
        state.add(document.rules);
        self.changed(&state);
    }

    /// Adds rules after the existing ones.
    ///
    /// # Errors
    /// Fails if a name is taken or the document has a seed; then nothing is added.
    pub(crate) fn add(&self, document: Document) -> Result<(), ChangeError> {
        let mut state = self.lock();
        if document.seed.is_some() {
            return Err(ChangeError::Seed);
        }
        if let Some(rule) = document.rules.iter().find(|rule| state.has(&rule.name)) {
            return Err(ChangeError::Taken(rule.name.clone()));
        }
        state.add(document.rules);
        self.changed(&state);
        Ok(())
    }

    /// Removes a rule. Returns false if no rule has that name.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let mut state = self.lock();
        let before = state.rules.len();
        state.rules.retain(|live| live.rule.name != name);
        self.changed(&state);
        state.rules.len() < before
    }

    /// Describes the seed and the rules: each as it was written, with its numbers of matches and applications.
    pub fn describe(&self) -> Value {
        let state = self.lock();
        let rules = state.rules.iter().map(|live| {
            json!({
                "name": live.rule.name,
                "matched": live.matched,
                "applied": live.applied,
                "rule": live.rule.source,
            })
        });
        json!({ "seed": state.seed, "rules": rules.collect::<Vec<_>>() })
    }

    /// Decides about an occurrence, and counts it.
    pub(crate) fn decide(&self, point: &Point<'_>) -> Verdict {
        let mut verdict = Verdict::default();
        if !self.is_active() {
            return verdict;
        }
        let mut state = self.lock();
        let seed = state.seed;
        for live in &mut state.rules {
            if !matches!(live.rule.act, Act::Lag(_)) {
                live.judge(point, seed, &mut verdict);
            }
        }
        verdict
    }

    /// Reports whether there is a rule.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Reports whether a rule makes indexes lag.
    pub(crate) fn lagging(&self) -> bool {
        self.lagging.load(Ordering::Relaxed)
    }

    /// Returns the time by which a write reaches the indexes later than the table. It is called once for each item that
    /// was written, with a point at [`Site::Table`]. The first rule that matches decides.
    pub(crate) fn lag(&self, point: &Point<'_>) -> Option<Duration> {
        if !self.lagging() {
            return None;
        }
        let mut state = self.lock();
        let seed = state.seed;
        let mut lag = None;
        for live in &mut state.rules {
            let Act::Lag(spread) = live.rule.act.clone() else {
                continue;
            };
            if let Some(mut seen) = live.count(point, seed)
                && seen.taken
                && lag.is_none()
            {
                lag = Some(seen.draw(&spread));
                live.apply(point, &seen, seed, lag);
            }
        }
        lag
    }

    fn changed(&self, state: &State) {
        let lagging = state
            .rules
            .iter()
            .any(|live| matches!(live.rule.act, Act::Lag(_)));
        self.lagging.store(lagging, Ordering::Relaxed);
        self.active
            .store(!state.rules.is_empty(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has(&self, name: &str) -> bool {
        self.rules.iter().any(|live| live.rule.name == name)
    }

    /// Adds rules whose names are free, and names those without a name.
    fn add(&mut self, rules: Vec<Rule>) {
        let (named, nameless): (Vec<_>, Vec<_>) =
            rules.iter().partition(|rule| !rule.name.is_empty());
        let wanted: Vec<&str> = named.iter().map(|rule| rule.name.as_str()).collect();
        let mut names = (1..)
            .map(|n| format!("rule-{n}"))
            .filter(|name| !wanted.contains(&name.as_str()) && !self.has(name))
            .take(nameless.len())
            .collect::<Vec<_>>()
            .into_iter();
        for mut rule in rules {
            if rule.name.is_empty() {
                rule.name = names.next().unwrap_or_default();
            }
            rule.source["name"] = rule.name.as_str().into();
            self.serial += 1;
            self.rules.push(Live::new(rule, self.serial));
        }
    }
}

#[cfg(test)]
mod tests;
