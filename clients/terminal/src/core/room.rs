//! A room: the client's position in its log, and the messages that wait for their turn.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::value::RawValue;

use super::changes::Changes;
use super::presence::Present;
use super::retry::Retry;
use crate::event::Event;
use crate::wire::{Change, Entry, Position, Request};

/// The number of messages that may wait for earlier ones. Beyond it they are dropped and read from the log later.
const MAX_HELD: usize = 1000;

/// The client's place in the log of a room.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Not known yet.
    New,
    /// Everything up to here was shown.
    At(Position),
    /// Everything up to here was shown, and the log no longer holds what follows.
    Lost(Position),
}

/// The result of taking a message in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The message was shown, waits for earlier ones, or was known already.
    Fine,
    /// The message is of another epoch than the client's position.
    OtherEpoch,
}

/// A change of the user to a message.
#[derive(Debug)]
pub(super) struct Changing {
    pub(super) change: Change,
    pub(super) target: u64,
    /// The reason of a deletion.
    pub(super) reason: Option<String>,
    /// The key of a reaction.
    pub(super) key: Option<String>,
    /// False where a reaction is taken back.
    pub(super) on: Option<bool>,
}

/// A message of the user, or a change to one, that is not known to be in the log.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: String,
    /// The content; `null` in a deletion and a reaction.
    pub(super) data: Box<RawValue>,
    pub(super) change: Option<Changing>,
    /// The position at which the message was first sent: an earlier copy of it can only come later.
    after: Option<Position>,
    pub(super) retry: Retry,
}

impl Outgoing {
    pub(super) fn new(id: String, data: Box<RawValue>, change: Option<Changing>) -> Self {
        Self {
            id,
            data,
            change,
            after: None,
            retry: Retry::default(),
        }
    }

    /// Returns the number after which the service searches for an earlier copy. It is the same at every try.
    pub(super) fn after(&mut self, here: &Position) -> u64 {
        let after = self.after.get_or_insert_with(|| here.clone());
        if after.epoch != here.epoch {
            // In an epoch that began since then, an earlier copy may be anywhere.
            *after = Position {
                epoch: here.epoch.clone(),
                seq: 0,
            };
        }
        after.seq
    }

    /// Returns the frame.
    pub(super) fn request<'a>(&'a self, room: &'a str, after: u64) -> Request<'a> {
        let (id, data) = (&self.id, &self.data);
        let Some(changing) = &self.change else {
            return Request::Publish {
                room,
                id,
                after,
                data,
            };
        };
        Request::Change {
            action: changing.change,
            room,
            id,
            after,
            target: changing.target,
            data: (changing.change == Change::Edit).then_some(data),
            reason: changing.reason.as_deref(),
            key: changing.key.as_deref(),
            on: changing.on,
        }
    }
}

/// A room that the user wants to be in, or is about to leave.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: String,
    /// The id of the command that joined the room, until it is answered.
    pub(super) command: Option<String>,
    pub(super) place: Place,
    /// Messages that came before their turn, each with the head of the log in the answer that brought it.
    held: BTreeMap<u64, (Entry, u64)>,
    pub(super) changes: Changes,
    /// The highest number known to exist in the epoch of the client's position.
    target: u64,
    /// The number of the oldest message shown since the client has its position.
    pub(super) oldest: u64,
    /// The log is to be read once more, whether or not messages are known to be missing.
    pub(super) check: bool,
    /// The request for the messages after the position.
    pub(super) fill: Option<(String, Retry)>,
    /// The missing messages were left out of an answer for its size, so they cannot be on their way.
    pub(super) cut_short: bool,
    /// Messages not known to be in the log, in order. Only the first one is sent: its `ack` lets the next one go, which
    /// keeps their order.
    pub(super) outbox: VecDeque<Outgoing>,
    /// The user has left the room, and the service is to be told once everything in it is answered.
    pub(super) leaving: bool,
    /// The id of the command that left the room.
    pub(super) leave_command: Option<String>,
    /// The users who are present, where the client wants presence.
    pub(super) present: Present,
    /// The state that others see.
    pub(super) state: Option<Box<RawValue>>,
    /// The change of the state that is not answered.
    pub(super) tell: Option<Tell>,
    /// The time at which the members are listed once more, where the room is live.
    pub(super) look_at: Option<Duration>,
    /// The list of members that is asked for, and the user after whom it begins.
    pub(super) look: Option<Look>,
    /// The user was told that the room has too many connections to show who is there.
    pub(super) told_crowd: bool,
    /// The time at which the client says that it is there, after a `leave` of its own user.
    pub(super) heal_at: Option<Duration>,
    /// The time before which it does not say so again.
    pub(super) healed_until: Duration,
    /// The service has answered that the room is too large for signals.
    pub(super) too_large: bool,
    /// The id of the last signal, and that of its command.
    pub(super) signal: Option<(String, Option<String>)>,
    /// The time before which no further `typing` is sent.
    pub(super) typed_until: Duration,
}

/// A change of the user's state.
#[derive(Debug)]
pub(super) struct Tell {
    pub(super) id: String,
    /// The id of the command. `None` where the client tells it by itself.
    pub(super) command: Option<Option<String>>,
    pub(super) retry: Retry,
}

/// A question for the members.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) id: String,
    pub(super) after: Option<String>,
    pub(super) retry: Retry,
}

impl Room {
    pub(super) fn new(name: String, command: Option<String>) -> Self {
        Self {
            name,
            command,
            place: Place::New,
            held: BTreeMap::new(),
            changes: Changes::default(),
            target: 0,
            oldest: 0,
            check: false,
            fill: None,
            cut_short: false,
            outbox: VecDeque::new(),
            leaving: false,
            leave_command: None,
            present: Present::default(),
            state: None,
            tell: None,
            look_at: None,
            look: None,
            told_crowd: false,
            heal_at: None,
            healed_until: Duration::ZERO,
            too_large: false,
            signal: None,
            typed_until: Duration::ZERO,
        }
    }

    /// Returns the client's position, if it has one.
    pub(super) fn at(&self) -> Option<&Position> {
        match &self.place {
            Place::At(position) => Some(position),
            Place::New | Place::Lost(_) => None,
        }
    }

    /// Returns whether messages are known to exist that were not shown.
    pub(super) fn behind(&self) -> bool {
        self.at().is_some_and(|here| here.seq < self.target)
    }

    /// Notes that the log of an epoch goes at least up to a number.
    pub(super) fn reaches(&mut self, epoch: &str, seq: u64) {
        if self.at().is_some_and(|here| here.epoch == epoch) {
            self.target = self.target.max(seq);
        }
    }

    /// Takes a message in, and shows every message whose turn has come. `head`: the head of the log in the answer that
    /// brought it.
    pub(super) fn take(&mut self, entry: Entry, head: u64, shown: &mut Vec<Event>) -> Taken {
        match &self.place {
            // The position is not known yet. `start` picks the messages that follow it.
            Place::New | Place::Lost(_) => {}
            Place::At(here) if here.epoch != entry.epoch => return Taken::OtherEpoch,
            Place::At(here) if entry.seq <= here.seq => return Taken::Fine,
            Place::At(_) => self.target = self.target.max(entry.seq),
        }
        if self.held.len() < MAX_HELD {
            self.held.insert(entry.seq, (entry, head));
        }
        self.drain(shown);
        Taken::Fine
    }

    /// Sets the position, for the first time or after a loss.
    pub(super) fn start(&mut self, from: Position, shown: &mut Vec<Event>) {
        if let Place::Lost(after) = &self.place {
            shown.push(Event::Lost {
                room: self.name.clone(),
                after: after.clone(),
                missing: (after.epoch == from.epoch).then(|| from.seq.saturating_sub(after.seq)),
                resumed: from.clone(),
            });
        }
        if !matches!(&self.place, Place::Lost(after) if after.epoch == from.epoch) {
            self.changes.clear();
        }
        self.held
            .retain(|seq, (entry, _)| entry.epoch == from.epoch && *seq > from.seq);
        self.target = self.held.keys().next_back().map_or(from.seq, |&last| last);
        self.oldest = from.seq + 1;
        self.fill = None;
        self.place = Place::At(from);
        self.drain(shown);
    }

    /// Notes that the log does not hold what follows the position.
    pub(super) fn lose(&mut self) {
        if let Place::At(here) = &self.place {
            self.place = Place::Lost(here.clone());
            self.fill = None;
            self.cut_short = false;
        }
    }

    fn drain(&mut self, shown: &mut Vec<Event>) {
        let Place::At(here) = &mut self.place else {
            return;
        };
        while let Some((entry, head)) = self.held.remove(&(here.seq + 1)) {
            here.seq = entry.seq;
            let entry = Box::new(entry);
            let room = self.name.clone();
            match &entry.kind {
                None => {
                    self.changes.came(&entry, head);
                    shown.push(Event::Message { room, entry });
                }
                // An entry of a kind that this client does not know takes its number, and is not shown.
                Some(kind) => {
                    if let Some(change) = Change::of(kind)
                        && self.changes.apply(&entry, change)
                    {
                        shown.push(Event::Changed { room, entry });
                    }
                }
            }
        }
        self.rest();
    }

    /// Asks for nothing more, once nothing is missing and the log need not be read once more.
    pub(super) fn rest(&mut self) {
        if !self.behind() {
            self.cut_short = false;
            if !self.check {
                self.fill = None;
            }
        }
    }
}
