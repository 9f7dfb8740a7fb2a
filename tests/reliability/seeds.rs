//! The seeds of random tests.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seeds of a test: its fixed ones, n new ones with `ROOMCHAT_SEEDS=n`, or the seed in `ROOMCHAT_SEED`.
pub(crate) fn seeds(own: &[u64]) -> Vec<u64> {
    if let Some(seed) = number("ROOMCHAT_SEED") {
        return vec![seed];
    }
    let Some(count) = number("ROOMCHAT_SEEDS") else {
        return own.to_vec();
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = now.as_secs() * 1_000;
    println!("seeds {first} to {}", first + count - 1);
    (first..first + count).collect()
}

/// Reads a number from an environment variable.
pub(crate) fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a whole number, not {value:?}")),
    )
}
