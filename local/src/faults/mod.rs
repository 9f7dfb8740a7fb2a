//! Faults on purpose: rules say what goes wrong, where, and which time.
//!
//! The gateway asks [`Faults::decide`] at each place a rule can name and carries out the verdict. What a rule draws
//! depends on the seed, its name and the number of the match alone: neither on other rules nor on time. The same seed
//! and the same order of occurrences give the same faults.

#![allow(
    dead_code,
    reason = "the admin port and the tables' front call the rest"
)]

pub(crate) mod admin;
mod calls;
mod frames;
pub(crate) mod invocations;
mod parse;
mod point;
mod rule;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::lambda::callers::Caller;
use crate::log;
pub(crate) use parse::Document;
pub(crate) use point::{FunctionName, Marks, Point, Tally};
use rule::{Act, Per, Rule, Spread, When};
pub(crate) use rule::{Fault, Place};

/// The rules that hold now, and how far each has counted.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Whether there is any rule: without one nothing here costs more than this.
    active: AtomicBool,
    /// Whether there is a rule that makes indexes lag.
    lagging: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seed: u64,
    /// The last one given to a rule.
    serial: u64,
    rules: Vec<Live>,
}

/// A rule and its counters.
#[derive(Debug)]
struct Live {
    rule: Rule,
    /// No other rule of this process ever has it.
    serial: u64,
    matched: u64,
    applied: u64,
    /// By what the rule counts by: the occurrence that is held back until others are through.
    held: HashMap<String, Held>,
}

#[derive(Debug)]
struct Held {
    /// The one held back goes on when all copies are dropped.
    gate: mpsc::Sender<()>,
    /// How many it still lets by.
    by: u64,
}

/// What is to happen at a point. The default is nothing.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Verdict {
    delay: Duration,
    held_back: Vec<(mpsc::Receiver<()>, Duration)>,
    /// Others are held back until this is dropped: it is kept until the occurrence is through.
    lets_by: Vec<mpsc::Sender<()>>,
    /// Once it has waited. Of several rules the first one's.
    pub(crate) fault: Option<Fault>,
}

impl Verdict {
    /// Waits as long as the rules want the occurrence to wait.
    pub(crate) async fn wait(&mut self) {
        for (mut gate, at_most) in self.held_back.drain(..) {
            // It is closed, nothing is ever sent.
            let _ = timeout(at_most, gate.recv()).await;
        }
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
    }

    /// Whether it has to wait.
    pub(crate) fn waits(&self) -> bool {
        !self.delay.is_zero() || !self.held_back.is_empty()
    }
}

/// Why rules could not be changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// A name is taken by a rule that holds already.
    #[error("there is already a rule \"{0}\": delete it first, or choose another name")]
    Taken(String),
    /// The seed belongs to all rules.
    #[error("a seed can only be given when all rules are replaced: use PUT")]
    Seed,
}

impl Faults {
    /// `seed` is for documents that have none.
    pub(crate) fn new(document: Document, seed: u64) -> Faults {
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

    /// How many rules hold.
    pub(crate) fn len(&self) -> usize {
        self.lock().rules.len()
    }

    /// Replaces all rules, and the seed if the document has one. Every count begins anew.
    pub(crate) fn replace(&self, document: Document) {
        let mut state = self.lock();
        state.seed = document.seed.unwrap_or(state.seed);
        state.rules.clear();
        state.add(document.rules);
        self.changed(&state);
    }

    /// Adds rules behind those that hold.
    ///
    /// # Errors
    /// When a name is taken or the document has a seed; then nothing is added.
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

    /// Removes a rule; false when there is none of that name.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let mut state = self.lock();
        let before = state.rules.len();
        state.rules.retain(|live| live.rule.name != name);
        self.changed(&state);
        state.rules.len() < before
    }

    /// The rules as they were written, how often each matched and was applied, and the seed.
    pub(crate) fn describe(&self) -> Value {
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

    /// What is to happen at the point. Each call is one occurrence: it is counted.
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

    /// Whether there is any rule.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether any rule makes an index lag.
    pub(crate) fn lagging(&self) -> bool {
        self.lagging.load(Ordering::Relaxed)
    }

    /// How much later than the table its indexes learn of a write: asked once for each item that was written, with a
    /// point at [`Place::Table`]. Of several rules the first one's.
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

    /// Adds rules, whose names are free. One without a name gets one.
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
            self.rules.push(Live {
                rule,
                serial: self.serial,
                matched: 0,
                applied: 0,
                held: HashMap::new(),
            });
        }
    }
}

/// An occurrence that matches a rule.
struct Match {
    /// Its number among those that are counted together.
    n: u64,
    taken: bool,
    random: StdRng,
}

impl Match {
    fn draw(&mut self, spread: &Spread) -> Duration {
        Duration::from_millis(self.random.random_range(spread.clone()))
    }
}

impl Live {
    /// Counts the occurrence if it matches, and says whether the rule takes it.
    fn count(&mut self, point: &Point<'_>, seed: u64) -> Option<Match> {
        let rule = &self.rule;
        if rule.on != point.place || !rule.matcher.matches(point) {
            return None;
        }
        let n = match rule.which.per {
            None => self.matched + 1,
            Some(Per::Connection) => point.client?.marks.tally.next(self.serial),
            Some(Per::Invocation) => point.caller?.count(self.serial)?,
        };
        self.matched += 1;
        let mut random = StdRng::seed_from_u64(mix(seed, &rule.name, self.matched));
        // Drawn in any case, so that a delay is the same with and without a probability.
        let chance: f64 = random.random();
        let likely = rule.which.probability.is_none_or(|p| chance < p);
        let taken = likely && rule.which.takes(n, self.applied);
        Some(Match { n, taken, random })
    }

    fn judge(&mut self, point: &Point<'_>, seed: u64, verdict: &mut Verdict) {
        let Some(mut seen) = self.count(point, seed) else {
            return;
        };
        match self.rule.act.clone() {
            // Whatever matches goes by one that is held back.
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
            // An earlier rule has done something else. Lag is asked for by itself.
            Act::Do(_) | Act::Lag(_) => {}
        }
    }

    /// Has the occurrence go by one that is held back; false when there is none.
    fn let_by(&mut self, point: &Point<'_>, verdict: &mut Verdict) -> bool {
        // Those that no longer wait.
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

    /// What the occurrence is counted with.
    fn scope(&self, point: &Point<'_>) -> String {
        let scope = match self.rule.which.per {
            None => None,
            Some(Per::Connection) => point.connection.map(str::to_owned),
            Some(Per::Invocation) => point.caller.and_then(Caller::invocation),
        };
        scope.unwrap_or_default()
    }

    /// Counts an application and logs it.
    fn apply(&mut self, point: &Point<'_>, seen: &Match, seed: u64, wait: Option<Duration>) {
        self.applied += 1;
        let mut fields = json!({
            "rule": self.rule.name,
            "on": point.place.name(),
            "do": self.rule.does(),
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
        log::event("fault", "", fields);
    }
}

/// What the n-th match of a rule draws from: FNV-1a over all three.
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

#[cfg(test)]
mod tests;
