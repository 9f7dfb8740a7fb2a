//! The state of the user over all devices: how far the user has read, unread messages, and messages to one user.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::commands::{Asked, What};
use super::due::usable;
use super::retry::{Clock, Retry};
use super::room::{Place, Room};
use super::{Core, send, unique};
use crate::event::Event;
use crate::wire::{Entry, Heads, Mark, Marks, Page, Position, Request, Signal};

/// The shortest time between two marks of a room.
const MARK_EVERY: Duration = Duration::from_secs(5);

/// The most rooms of one `heads`.
const HEADS: usize = 50;

/// The number of conversations that are looked at: the newest ones of the inbox.
pub(super) const CONVERSATIONS: u16 = 100;

/// The position up to which the user has read a room.
#[derive(Debug)]
pub(super) struct Reading {
    mark: Mark,
    /// The service knows it.
    told: bool,
    /// The time before which no further mark of the room is sent.
    rest_until: Duration,
}

/// A message to a user, from before the client knows its own name.
#[derive(Debug)]
pub(super) struct Addressed {
    to: String,
    id: Option<String>,
    data: Box<RawValue>,
}

/// The data of an entry of the inbox.
#[derive(Debug, Deserialize)]
struct Conversation {
    room: String,
}

/// Returns whether nobody joins or leaves the room, because its name says who is in it.
pub(super) fn is_private(room: &str) -> bool {
    room.starts_with('@')
}

/// Returns the room of two users.
fn pair(one: &str, other: &str) -> String {
    let (first, second) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    format!("@{first}&{second}")
}

/// Returns whether the room is one of this user and another.
fn is_pair_of(room: &str, user: &str) -> bool {
    let users = room
        .strip_prefix('@')
        .and_then(|users| users.split_once('&'));
    users.is_some_and(|(one, other)| (one == user || other == user) && one < other)
}

fn is_newer(one: &Mark, other: &Mark) -> bool {
    (&one.epoch, one.seq) > (&other.epoch, other.seq)
}

impl Core {
    /// Sends a message to a user: to the room of the two, which the client enters.
    pub(super) fn address(&mut self, to: String, id: Option<String>, data: Box<RawValue>) {
        if !self.knows_user {
            self.addressed.push(Addressed { to, id, data });
            return;
        }
        if to == self.settings.user {
            let sentence = "A message to yourself is not possible.";
            self.complain(None, id.as_deref(), "bad_request", sentence);
            return;
        }
        let room = pair(&self.settings.user, &to);
        match self.room(&room) {
            Some(room) => room.leaving = false,
            None => self.rooms.push(Room::new(room.clone(), None)),
        }
        self.publish(&room, id, data, None);
    }

    /// The service has told the client its name.
    pub(super) fn named(&mut self) {
        self.knows_user = true;
        for Addressed { to, id, data } in std::mem::take(&mut self.addressed) {
            self.address(to, id, data);
        }
    }

    /// Enters the room of a message that another user has sent to this one, right before the message. Returns whether it is
    /// such a room.
    pub(super) fn is_addressed(&mut self, name: &str, entry: &Entry) -> bool {
        if !is_pair_of(name, &self.settings.user) {
            return false;
        }
        let mut room = Room::new(name.to_owned(), None);
        room.place = Place::At(Position {
            epoch: entry.epoch.clone(),
            seq: entry.seq.saturating_sub(1),
        });
        room.oldest = entry.seq;
        self.rooms.push(room);
        true
    }

    /// Notes that the user has seen a message.
    pub(super) fn has_read(&mut self, room: &str, entry: &Entry) {
        let Some(n) = entry.n.filter(|_| self.settings.marks) else {
            return;
        };
        let mark = Mark {
            epoch: entry.epoch.clone(),
            seq: entry.seq,
            n,
        };
        match self.reading.get_mut(room) {
            Some(reading) if !is_newer(&mark, &reading.mark) => {}
            Some(reading) => {
                reading.mark = mark;
                reading.told = false;
            }
            None => {
                let reading = Reading {
                    mark,
                    told: false,
                    rest_until: Duration::ZERO,
                };
                self.reading.insert(room.to_owned(), reading);
            }
        }
    }

    /// Takes the signal that the user has read on another device. Returns whether the signal is such a one.
    pub(super) fn read_elsewhere(&mut self, signal: &Signal) -> bool {
        if signal.kind != "read" || signal.from != self.settings.user {
            return false;
        }
        let data = signal.data.as_ref().map(|data| data.get());
        let mark = data.and_then(|data| serde_json::from_str::<Mark>(data).ok());
        if let (Some(mark), Some(reading)) = (mark, self.reading.get_mut(&signal.room)) {
            reading.told |= !is_newer(&reading.mark, &mark);
        }
        true
    }

    /// Tells the service how far the user has read. A mark that is lost is made good by the next one.
    pub(super) fn marks_due(&mut self, clock: &mut Clock) {
        let Some(link) = usable(&mut self.links) else {
            return;
        };
        for (room, reading) in &mut self.reading {
            if reading.told || !link.in_room(room) || !clock.due(reading.rest_until) {
                continue;
            }
            reading.told = true;
            reading.rest_until = clock.now + MARK_EVERY;
            let request = Request::Mark {
                room,
                id: &unique(&mut self.rng),
                epoch: &reading.mark.epoch,
                seq: reading.mark.seq,
                n: reading.mark.n,
            };
            send(&mut self.out, link.id, &request);
        }
    }

    /// Begins to look for what is unread: first the marks, then the conversations, then the heads of all these rooms.
    pub(super) fn look_for_unread(&mut self, command: Option<String>) {
        self.ask_next(command, What::Marks);
    }

    fn ask_next(&mut self, command: Option<String>, what: What) {
        self.asked.push(Asked {
            id: unique(&mut self.rng),
            command,
            room: self.here.clone(),
            what,
            retry: Retry::default(),
        });
    }

    /// Takes the question with this id out, if it is one of this kind.
    pub(super) fn answered(
        &mut self,
        id: Option<&String>,
        is_it: fn(&What) -> bool,
    ) -> Option<Asked> {
        let index = self
            .asked
            .iter()
            .position(|asked| id == Some(&asked.id) && is_it(&asked.what))?;
        Some(self.asked.remove(index))
    }

    pub(super) fn marks_read(&mut self, marks: Marks) {
        let is_it = |what: &What| matches!(what, What::Marks);
        let Some(asked) = self.answered(marks.id.as_ref(), is_it) else {
            return;
        };
        let inbox = format!("@{}", self.settings.user);
        let marks = marks.marks;
        self.ask_next(asked.command, What::Inbox { inbox, marks });
    }

    /// Takes the conversations of the inbox in. Returns the page if it is another one.
    pub(super) fn inbox_read(&mut self, page: Page) -> Option<Page> {
        let is_it = |what: &What| matches!(what, What::Inbox { .. });
        let Some(Asked {
            command,
            what: What::Inbox { marks, .. },
            ..
        }) = self.answered(page.id.as_ref(), is_it)
        else {
            return Some(page);
        };
        let conversations = page.messages.iter().filter_map(|entry| {
            let conversation: Conversation = serde_json::from_str(entry.data.get()).ok()?;
            Some(conversation.room)
        });
        let mut rooms: BTreeSet<String> = conversations.collect();
        rooms.extend(self.rooms.iter().map(|room| room.name.clone()));
        // Of more rooms those come first that the client is in or talks in.
        rooms.extend(marks.keys().cloned());
        let rooms: Vec<String> = rooms.into_iter().take(HEADS).collect();
        self.ask_next(command, What::Heads { rooms, marks });
        None
    }

    pub(super) fn heads_read(&mut self, heads: Heads) {
        let is_it = |what: &What| matches!(what, What::Heads { .. });
        let Some(Asked {
            command,
            what: What::Heads { marks, .. },
            ..
        }) = self.answered(heads.id.as_ref(), is_it)
        else {
            return;
        };
        let mut rooms = BTreeMap::new();
        for (room, head) in heads.heads {
            let Some(head) = head else { continue };
            let known = [
                marks.get(&room),
                self.reading.get(&room).map(|reading| &reading.mark),
            ];
            // In another epoch, everything is unread.
            let read = known
                .into_iter()
                .flatten()
                .filter(|mark| mark.epoch == head.epoch)
                .map(|mark| mark.n)
                .max();
            let unread = head.n.saturating_sub(read.unwrap_or(0));
            if unread > 0 {
                rooms.insert(room, unread);
            }
        }
        self.show(Event::Unread { id: command, rooms });
    }
}
