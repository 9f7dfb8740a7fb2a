//! Section `costs`: prints the cost of each action. The test `cost` of tests/ measures and asserts it.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::report::Report;
use crate::service::Places;

const CONTRACT: &str = "tests/cost/contract.json";

#[derive(Debug, Deserialize)]
struct Contract {
    actions: Vec<Action>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    action: String,
    messages: u64,
    callbacks: u64,
    invocations: u64,
    read_units: f64,
    write_units: f64,
    usd_per_million: f64,
}

/// # Errors
/// Fails if the contract cannot be read.
pub(crate) fn run(report: &mut Report, places: &Places) -> Result<()> {
    let file = places.root.join(CONTRACT);
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let contract: Contract = serde_json::from_str(&text).context(CONTRACT)?;
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
