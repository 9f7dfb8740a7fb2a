//! The oracle of the other clients: plays scenarios from the standard input against this client's core, and prints for
//! each `ok`, or where the core leaves it. The scenarios are separated by empty lines.

#![expect(
    clippy::unwrap_used,
    reason = "a scenario that cannot be read ends the oracle"
)]

use std::io::{Read as _, Write as _};

#[path = "../tests/it/player.rs"]
mod player;

fn main() -> std::io::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let mut out = std::io::stdout().lock();
    for scenario in text.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let verdict = player::play(scenario).err();
        let verdict = verdict.as_deref().unwrap_or("ok").replace('\n', " ");
        writeln!(out, "{verdict}")?;
    }
    Ok(())
}
