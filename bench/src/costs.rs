//! Section `costs`: prints the cost of each action. The test `cost` of tests/ measures and asserts it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::report::Report;
use crate::service::Places;

const CONTRACT: &str = "tests/cost/contract.json";

/// The measured usage of each action, and the prices.
#[derive(Debug, Deserialize)]
pub(crate) struct Contract {
    #[serde(rename = "usdPerMillion")]
    pub(crate) prices: Prices,
    actions: Vec<Action>,
}

/// US dollars for a million.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Prices {
    pub(crate) message: f64,
    pub(crate) invocation: f64,
    pub(crate) read_unit: f64,
    pub(crate) write_unit: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Action {
    action: String,
    pub(crate) messages: u64,
    pub(crate) callbacks: u64,
    invocations: u64,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
    pub(crate) usd_per_million: f64,
}

impl Contract {
    /// Reads the contract of the repository at `root`.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub(crate) fn read(root: &Path) -> Result<Contract> {
        let file = root.join(CONTRACT);
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).context(CONTRACT)
    }

    /// # Errors
    /// Fails if the contract has no such action.
    pub(crate) fn action(&self, name: &str) -> Result<&Action> {
        let found = self.actions.iter().find(|action| action.action == name);
        found.with_context(|| format!("{CONTRACT} has no action \"{name}\""))
    }

    /// Dollars for a million of an action, without the duration of its function.
    ///
    /// # Errors
    /// Fails if the contract has no such action.
    pub(crate) fn usd(&self, name: &str) -> Result<f64> {
        Ok(self.action(name)?.usd_per_million)
    }
}

/// # Errors
/// Fails if the contract cannot be read.
pub(crate) fn run(report: &mut Report, places: &Places) -> Result<()> {
    let contract = Contract::read(&places.root)?;
    let mut table = vec![format!(
        "{:<52} {:>8} {:>9} {:>11} {:>10} {:>11} {:>14}",
        "action",
        "messages",
        "callbacks",
        "invocations",
        "read units",
        "write units",
        "$ a million"
    )];
    for action in contract.actions {
        table.push(format!(
            "{:<52} {:>8} {:>9} {:>11} {:>10} {:>11} {:>14.3}",
            action.action,
            action.messages,
            action.callbacks,
            action.invocations,
            action.read_units,
            action.write_units,
            action.usd_per_million
        ));
    }
    let title = "Requests and units of each action, as `cargo test -p roomchat-tests --test cost` asserts them";
    report.tables.push((title.to_owned(), table));
    Ok(())
}
