//! A room as the client knows it: how far its log was shown, and what waits for its turn.

use std::collections::{BTreeMap, VecDeque};

use serde_json::value::RawValue;

use super::retry::Retry;
use crate::event::Event;
use crate::wire::{Entry, Position};

/// Messages that may wait for earlier ones. The log has them all; this only saves asking for them.
const MAX_HELD: usize = 1000;

/// How far the client is in a room's log.
#[derive(Debug)]
pub(super) enum Place {
    /// Nowhere yet.
    New,
    /// Everything up to here was shown.
    At(Position),
    /// Everything up to here was shown, and what follows is gone from the log.
    Lost(Position),
}

/// What became of a message that was taken in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Shown, held back, or known already.
    Fine,
    /// It belongs to another log than the one the client is in.
    OtherLog,
}

/// A message on its way to the log.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: String,
    pub(super) data: Box<RawValue>,
    /// The last message seen when this was first sent: an earlier copy of it can only come later.
    after: Option<Position>,
    pub(super) retry: Retry,
}

impl Outgoing {
    pub(super) fn new(id: String, data: Box<RawValue>) -> Self {
        Self {
            id,
            data,
            after: None,
            retry: Retry::default(),
        }
    }

    /// Where the service looks for an earlier copy; the same at every try.
    pub(super) fn after(&mut self, here: &Position) -> u64 {
        let after = self.after.get_or_insert_with(|| here.clone());
        if after.epoch != here.epoch {
            // In a log that began since, an earlier copy may be anywhere.
            *after = Position {
                epoch: here.epoch.clone(),
                seq: 0,
            };
        }
        after.seq
    }
}

/// A room the user wants to be in.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: String,
    pub(super) place: Place,
    /// Messages that came before their turn.
    held: BTreeMap<u64, Entry>,
    /// The highest number known to exist in the log the client is in.
    target: u64,
    /// The oldest message shown since the client is at its place.
    pub(super) oldest: u64,
    /// The question for what is missing.
    pub(super) fill: Option<(String, Retry)>,
    /// Messages not known to be in the log, in order. Only the first is sent: the order is kept by waiting.
    pub(super) outbox: VecDeque<Outgoing>,
    /// To be left once the outbox is empty.
    pub(super) leaving: bool,
}

impl Room {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            place: Place::New,
            held: BTreeMap::new(),
            target: 0,
            oldest: 0,
            fill: None,
            outbox: VecDeque::new(),
            leaving: false,
        }
    }

    /// Where the client is, if it is somewhere.
    pub(super) fn at(&self) -> Option<&Position> {
        match &self.place {
            Place::At(position) => Some(position),
            Place::New | Place::Lost(_) => None,
        }
    }

    /// Whether messages are known to exist that were not shown.
    pub(super) fn behind(&self) -> bool {
        self.at().is_some_and(|here| here.seq < self.target)
    }

    /// Learns that the log of that epoch goes at least this far.
    pub(super) fn reaches(&mut self, epoch: &str, seq: u64) {
        if self.at().is_some_and(|here| here.epoch == epoch) {
            self.target = self.target.max(seq);
        }
    }

    /// Takes a message in, from wherever it came, and shows all whose turn it is.
    pub(super) fn take(&mut self, entry: Entry, shown: &mut Vec<Event>) -> Taken {
        match &self.place {
            // Where the client begins is not known yet; `start` sorts out what it can use.
            Place::New | Place::Lost(_) => {}
            Place::At(here) if here.epoch != entry.epoch => return Taken::OtherLog,
            Place::At(here) if entry.seq <= here.seq => return Taken::Fine,
            Place::At(_) => self.target = self.target.max(entry.seq),
        }
        if self.held.len() < MAX_HELD {
            self.held.insert(entry.seq, entry);
        }
        self.drain(shown);
        Taken::Fine
    }

    /// Begins, or begins again, with what follows `from`.
    pub(super) fn start(&mut self, from: Position, shown: &mut Vec<Event>) {
        if let Place::Lost(after) = &self.place {
            shown.push(Event::Lost {
                room: self.name.clone(),
                after: after.clone(),
                missing: (after.epoch == from.epoch).then(|| from.seq.saturating_sub(after.seq)),
                resumed: from.clone(),
            });
        }
        self.held
            .retain(|seq, entry| entry.epoch == from.epoch && *seq > from.seq);
        self.target = self.held.keys().next_back().map_or(from.seq, |&last| last);
        self.oldest = from.seq + 1;
        self.fill = None;
        self.place = Place::At(from);
        self.drain(shown);
    }

    /// The log does not hold what follows.
    pub(super) fn lose(&mut self) {
        if let Place::At(here) = &self.place {
            self.place = Place::Lost(here.clone());
            self.fill = None;
        }
    }

    fn drain(&mut self, shown: &mut Vec<Event>) {
        let Place::At(here) = &mut self.place else {
            return;
        };
        while let Some(entry) = self.held.remove(&(here.seq + 1)) {
            here.seq = entry.seq;
            shown.push(Event::Message {
                room: self.name.clone(),
                entry,
            });
        }
        if here.seq >= self.target {
            self.fill = None;
        }
    }
}
