//! Carries out the commands of the user.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;

use super::personal::is_private;
use super::retry::Retry;
use super::room::{Changing, Outgoing, Room};
use super::{Core, LinkId, unique};
use crate::command::{About, Command};
use crate::event::Event;
use crate::wire::{Change, MAX_FRAME, Mark, Moderation};

/// The longest id of a message, in characters.
const MAX_ID_CHARS: usize = 64;

/// A question of the user that is not answered yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: String,
    /// The id of the command, which the answer repeats.
    pub(super) command: Option<String>,
    pub(super) room: String,
    pub(super) what: What,
    pub(super) retry: Retry,
}

/// The subject of a question.
#[derive(Debug)]
pub(super) enum What {
    /// The users in the room.
    Members,
    /// Messages before the oldest one shown.
    History { limit: u16 },
    /// An action of a moderator.
    Moderate(Moderation, About),
    /// The user's marks: the first step towards the unread messages.
    Marks,
    /// The conversations of the user: the second step.
    Inbox {
        inbox: String,
        marks: BTreeMap<String, Mark>,
    },
    /// The ends of the logs: the last step.
    Heads {
        rooms: Vec<String>,
        marks: BTreeMap<String, Mark>,
    },
}

/// A room that was left, on connections whose `leave` is not answered yet.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) id: String,
    pub(super) room: String,
    /// The command of the user, with its id. `None` where the client leaves a room again by itself.
    pub(super) command: Option<Option<String>>,
    pub(super) pending: BTreeMap<LinkId, Retry>,
}

impl Core {
    pub(super) fn command(&mut self, now: Duration, command: Command) {
        match command {
            Command::Join { room, id } => self.enter(room, id),
            Command::Publish {
                to: Some(to),
                room: None,
                id,
                data,
            } => self.address(to, id, data),
            Command::Publish {
                to: Some(_), id, ..
            } => {
                let sentence = "A message goes to a room or to a user, not to both.";
                self.complain(None, id.as_deref(), "bad_request", sentence);
            }
            Command::Unread { id } => self.look_for_unread(id),
            Command::Publish { room, id, data, .. } => {
                if let Some(room) = self.inside(room, id.as_ref()) {
                    self.publish(&room, id, data, None);
                }
            }
            Command::Edit {
                room,
                target,
                id,
                data,
            } => {
                let change = Changing {
                    change: Change::Edit,
                    target,
                    reason: None,
                    key: None,
                    on: None,
                };
                self.change(room, id, data, change);
            }
            Command::Delete {
                room,
                target,
                reason,
                id,
            } => {
                let change = Changing {
                    change: Change::Delete,
                    target,
                    reason,
                    key: None,
                    on: None,
                };
                self.change(room, id, Box::default(), change);
            }
            Command::React {
                room,
                target,
                key,
                on,
                id,
            } => {
                let change = Changing {
                    change: Change::React,
                    target,
                    reason: None,
                    key: Some(key),
                    on: Some(on),
                };
                self.change(room, id, Box::default(), change);
            }
            Command::Kick(about) => self.moderate(Moderation::Kick, about),
            Command::Ban(about) => self.moderate(Moderation::Ban, about),
            Command::Unban(about) => self.moderate(Moderation::Unban, about),
            Command::Mute(about) => self.moderate(Moderation::Mute, about),
            Command::Unmute(about) => self.moderate(Moderation::Unmute, about),
            Command::Leave { room, id } => {
                if let Some(room) = self.inside(room, id.as_ref()) {
                    self.leave(&room, id);
                }
            }
            Command::Switch { room, id } => {
                if let Some(room) = self.inside(Some(room), id.as_ref()) {
                    self.here = room;
                }
            }
            Command::Members { room, id } => {
                if let Some(room) = self.inside(room, id.as_ref()) {
                    self.ask(room, id, What::Members);
                }
            }
            Command::Presence { room, state, id } => {
                if let Some(room) = self.inside(room, id.as_ref()) {
                    self.set_state(&room, state, id);
                }
            }
            Command::Signal {
                room,
                kind,
                data,
                to,
                id,
            } => {
                if let Some(room) = self.inside(room, id.as_ref()) {
                    self.signal(now, &room, &kind, data.as_deref(), to.as_deref(), id);
                }
            }
            Command::History { room, limit, id } => {
                if let Some(room) = self.inside(room, id.as_ref()) {
                    self.ask(room, id, What::History { limit });
                }
            }
        }
    }

    /// Returns the room that a command is about, if the user is in it.
    fn inside(&mut self, room: Option<String>, id: Option<&String>) -> Option<String> {
        let name = room.unwrap_or_else(|| self.here.clone());
        if self.room(&name).is_some_and(|room| !room.leaving) {
            return Some(name);
        }
        let sentence = format!("You are not in {name}; join it first.");
        let id = id.map(String::as_str);
        self.complain(Some(&name), id, "not_a_member", &sentence);
        None
    }

    fn enter(&mut self, name: String, id: Option<String>) {
        self.left_at.remove(&name);
        match self.room(&name) {
            Some(room) => room.leaving = false,
            None => self.rooms.push(Room::new(name.clone(), id)),
        }
        self.here = name;
    }

    fn change(
        &mut self,
        room: Option<String>,
        id: Option<String>,
        data: Box<RawValue>,
        change: Changing,
    ) {
        if let Some(room) = self.inside(room, id.as_ref()) {
            self.publish(&room, id, data, Some(change));
        }
    }

    fn moderate(&mut self, action: Moderation, about: About) {
        if let Some(room) = self.inside(about.room.clone(), about.id.as_ref()) {
            self.ask(room, about.id.clone(), What::Moderate(action, about));
        }
    }

    /// Appends a message, or a change to one, to the log.
    pub(super) fn publish(
        &mut self,
        name: &str,
        id: Option<String>,
        data: Box<RawValue>,
        change: Option<Changing>,
    ) {
        let id = id.unwrap_or_else(|| unique(&mut self.rng));
        if id.is_empty() || id.chars().count() > MAX_ID_CHARS {
            let sentence = format!("The id of a message must have 1 to {MAX_ID_CHARS} characters.");
            self.complain(Some(name), Some(&id), "bad_request", &sentence);
            return;
        }
        let message = Outgoing::new(id, data, change);
        // API Gateway would close the connection at every try.
        if message.request(name, u64::MAX).text().len() > MAX_FRAME {
            let sentence = format!(
                "The message was not sent: it is larger than {} KB.",
                MAX_FRAME / 1024
            );
            self.complain(
                Some(name),
                Some(&message.id),
                "payload_too_large",
                &sentence,
            );
            return;
        }
        if let Some(room) = self.room(name) {
            room.outbox.push_back(message);
        }
    }

    fn leave(&mut self, name: &str, id: Option<String>) {
        if is_private(name) {
            // Nobody is in it by a membership that could end.
            self.forget(name);
            self.show(Event::Left {
                id,
                room: name.to_owned(),
            });
            return;
        }
        let stays = |room: &&Room| !room.leaving && !is_private(&room.name);
        if self.rooms.iter().filter(stays).count() == 1 {
            // A connection is in a room from its handshake on.
            let sentence = "This is the only room you are in; join another room first, or quit.";
            self.complain(Some(name), id.as_deref(), "bad_request", sentence);
            return;
        }
        if let Some(room) = self.room(name) {
            room.leaving = true;
            room.leave_command = id;
        }
        self.be_somewhere();
    }

    fn ask(&mut self, room: String, command: Option<String>, what: What) {
        let id = unique(&mut self.rng);
        self.asked.push(Asked {
            id,
            command,
            room,
            what,
            retry: Retry::default(),
        });
    }

    /// Drops the state of a room.
    pub(super) fn forget(&mut self, name: &str) {
        self.rooms.retain(|room| room.name != name);
        for link in &mut self.links {
            link.rooms.remove(name);
        }
        self.be_somewhere();
    }

    /// Leaves a room on every open connection, until the service has answered on each.
    pub(super) fn leave_later(&mut self, room: String, command: Option<Option<String>>) {
        if is_private(&room) || self.leaving.iter().any(|leaving| leaving.room == room) {
            return;
        }
        // The client may be in the room on several connections: the current one, the next one, the one before.
        let open = self.links.iter().filter(|link| link.open.is_some());
        self.leaving.push(Leaving {
            id: unique(&mut self.rng),
            room,
            command,
            pending: open.map(|link| (link.id, Retry::default())).collect(),
        });
    }

    /// Makes sure that the current room is one that the user is in.
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
