//! The search of the tests that run an algorithm through every interleaving.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Stands for a state: two of a million share a fingerprint with a chance of one in ten million.
fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Visits every state that can be reached from the first once, and returns their number. `visit` checks a state and
/// returns those that may follow.
pub(crate) fn explore<S: Hash>(first: S, mut visit: impl FnMut(&S) -> Vec<S>) -> usize {
    let mut met = HashSet::from([fingerprint(&first)]);
    let mut open = vec![first];
    while let Some(state) = open.pop() {
        for next in visit(&state) {
            if met.insert(fingerprint(&next)) {
                open.push(next);
            }
        }
    }
    met.len()
}
