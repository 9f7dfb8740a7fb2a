//! Edits, deletions and reactions: entries of the log that change an earlier message (rule 20 of PROTOCOL.md).

use std::collections::BTreeMap;

use crate::wire::{Change, Entry};

/// The number of messages whose changes are remembered. Beyond it those of the oldest are forgotten.
const MAX_KNOWN: usize = 1000;

/// The changes that are in a message already.
#[derive(Debug, Default)]
struct Known {
    /// The number of the last edit.
    edit: u64,
    /// Reactions up to this number are counted.
    reactions: u64,
    deleted: bool,
}

/// The changes that messages of a room had when they came, and the messages that are deleted. A message that is read from
/// the log shows its present state, and the entries that led there follow it in the log.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<u64, Known>);

impl Changes {
    /// Notes the changes with which a message came. `head`: the head of the log in the answer that brought it.
    pub(super) fn came(&mut self, entry: &Entry, head: u64) {
        let reactions = if entry.reactions.is_empty() { 0 } else { head };
        let edit = entry.edited.as_ref().map_or(0, |edited| edited.seq);
        let deleted = entry.deleted.is_some();
        if edit > 0 || reactions > 0 || deleted {
            self.know(entry.seq).edit = edit;
            self.know(entry.seq).reactions = reactions;
            self.know(entry.seq).deleted = deleted;
        }
    }

    /// Returns whether an entry changes its message, and does not only repeat a change that is in it.
    pub(super) fn apply(&mut self, entry: &Entry, change: Change) -> bool {
        let Some(target) = entry.target else {
            return false;
        };
        let known = self.0.get(&target);
        if known.is_some_and(|known| known.deleted) {
            return false;
        }
        match change {
            Change::Edit => known.is_none_or(|known| entry.seq > known.edit),
            Change::React => known.is_none_or(|known| entry.seq > known.reactions),
            Change::Delete => {
                self.know(target).deleted = true;
                true
            }
        }
    }

    /// Forgets everything: another epoch begins.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn know(&mut self, seq: u64) -> &mut Known {
        if self.0.len() > MAX_KNOWN {
            self.0.pop_first();
        }
        self.0.entry(seq).or_default()
    }
}
