//! Counts the calls of each table, for the status page.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::call::{Call, Effect};

/// Calls to one table since the gateway started. A call that names several tables counts at each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Calls that read, whatever they found.
    pub(crate) reads: u64,
    /// Calls that wrote.
    pub(crate) writes: u64,
    /// Calls that a fault rule throttled.
    pub(crate) throttles: u64,
}

/// By table. It holds only tables that exist.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<BTreeMap<String, Counts>>);

impl Counters {
    pub(crate) fn new<'a>(tables: impl Iterator<Item = &'a str>) -> Counters {
        let none = tables.map(|table| (table.to_owned(), Counts::default()));
        Counters(Mutex::new(none.collect()))
    }

    /// Counts a call that succeeded, so its tables exist.
    pub(super) fn served(&self, call: &Call) {
        let effect = call.effect();
        if !matches!(effect, Effect::Read | Effect::Write) {
            return;
        }
        let mut tables = self.lock();
        for table in &call.tables {
            let counts = tables.entry(table.clone()).or_default();
            match effect {
                Effect::Write => counts.writes += 1,
                _ => counts.reads += 1,
            }
        }
    }

    pub(super) fn throttled(&self, call: &Call) {
        let mut tables = self.lock();
        for table in &call.tables {
            // A caller that invents names must not fill the memory.
            if let Some(counts) = tables.get_mut(table) {
                counts.throttles += 1;
            }
        }
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<String, Counts> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
