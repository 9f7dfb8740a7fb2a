//! What the user wants.

use super::retry::Retry;
use super::room::{Outgoing, Room};
use super::{Core, unique};
use crate::command::Command;
use crate::wire::{MAX_FRAME, Request};

/// The longest name of a message.
const MAX_ID_CHARS: usize = 64;

/// A question of the user's.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) room: String,
    pub(super) what: What,
    pub(super) retry: Retry,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum What {
    /// Who is there?
    Members,
    /// What was said before?
    History {
        /// Before which message: decided when it is first asked, since only then the room may be known.
        before: Option<u64>,
        limit: u16,
    },
}

/// A room that was left, and the service does not know it yet.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) id: String,
    pub(super) room: String,
    pub(super) retry: Retry,
}

impl Core {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Join { room } => self.enter(room),
            Command::Publish { room, id, data } => {
                if let Some(room) = self.inside(room) {
                    self.publish(&room, id, data);
                }
            }
            Command::Leave { room } => {
                if let Some(room) = self.inside(room) {
                    self.leave(&room);
                }
            }
            Command::Switch { room } => {
                if let Some(room) = self.inside(Some(room)) {
                    self.here = room;
                }
            }
            Command::Members { room } => {
                if let Some(room) = self.inside(room) {
                    self.ask(room, What::Members);
                }
            }
            Command::History { room, limit } => {
                if let Some(room) = self.inside(room) {
                    let before = None;
                    self.ask(room, What::History { before, limit });
                }
            }
        }
    }

    /// The room meant, if the user is in it.
    fn inside(&mut self, room: Option<String>) -> Option<String> {
        let name = room.unwrap_or_else(|| self.here.clone());
        if self.room(&name).is_some_and(|room| !room.leaving) {
            return Some(name);
        }
        let sentence = format!("You are not in {name}; join it first.");
        self.complain(None, None, "not_a_member", &sentence);
        None
    }

    fn enter(&mut self, name: String) {
        self.leaving.retain(|leaving| leaving.room != name);
        match self.room(&name) {
            Some(room) => room.leaving = false,
            None => self.rooms.push(Room::new(name.clone())),
        }
        self.here = name;
    }

    fn publish(&mut self, name: &str, id: Option<String>, data: Box<serde_json::value::RawValue>) {
        let id = id.unwrap_or_else(|| unique(&mut self.rng));
        if id.is_empty() || id.chars().count() > MAX_ID_CHARS {
            let sentence = format!("A message's id has 1 to {MAX_ID_CHARS} characters.");
            self.complain(Some(name), Some(&id), "bad_request", &sentence);
            return;
        }
        let largest = Request::Publish {
            room: name,
            id: &id,
            after: u64::MAX,
            data: &data,
        };
        // API Gateway would close the connection, at every try.
        if largest.text().len() > MAX_FRAME {
            let sentence = format!(
                "The message is larger than {} KB; send less.",
                MAX_FRAME / 1024
            );
            self.complain(Some(name), Some(&id), "payload_too_large", &sentence);
            return;
        }
        if let Some(room) = self.room(name) {
            room.outbox.push_back(Outgoing::new(id, data));
        }
    }

    fn leave(&mut self, name: &str) {
        if self.rooms.iter().filter(|room| !room.leaving).count() == 1 {
            // A connection is in a room from its handshake on.
            let sentence = "This is the only room you are in; join another first, or quit.";
            self.complain(Some(name), None, "bad_request", sentence);
            return;
        }
        if let Some(room) = self.room(name) {
            room.leaving = true;
        }
        self.be_somewhere();
    }

    fn ask(&mut self, room: String, what: What) {
        let id = unique(&mut self.rng);
        self.asked.push(Asked {
            id,
            room,
            what,
            retry: Retry::default(),
        });
    }

    /// Drops all that is known of a room.
    pub(super) fn forget(&mut self, name: &str) {
        self.rooms.retain(|room| room.name != name);
        self.asked.retain(|asked| asked.room != name);
        for link in &mut self.links {
            link.rooms.remove(name);
        }
        self.be_somewhere();
    }

    /// Tells the service, until it answers, that the user is not in a room.
    pub(super) fn leave_later(&mut self, room: String) {
        if !self.leaving.iter().any(|leaving| leaving.room == room) {
            self.leaving.push(Leaving {
                id: unique(&mut self.rng),
                room,
                retry: Retry::default(),
            });
        }
    }

    /// Plain text goes to a room the user is in.
    fn be_somewhere(&mut self) {
        let stays = |room: &&Room| !room.leaving;
        if !self
            .rooms
            .iter()
            .filter(stays)
            .any(|room| room.name == self.here)
            && let Some(room) = self.rooms.iter().find(stays)
        {
            self.here.clone_from(&room.name);
        }
    }
}
