//! What is due: every frame that should be on its way and is not.

use super::commands::What;
use super::link::{Join, Link, Role};
use super::retry::{Clock, Retry};
use super::room::Place;
use super::{Core, Exit, send, unique};
use crate::wire::Request;

/// Messages asked for at a time, to fill a gap; the service's own limit.
const FILL_PAGE: u16 = 100;

/// How often a question of the user's is asked before it is given up.
const ASK_ATTEMPTS: u32 = 5;

impl Core {
    pub(super) fn advance(&mut self, clock: &mut Clock) {
        self.links_due(clock);
        self.joins_due(clock);
        self.fills_due(clock);
        self.publishes_due(clock);
        self.asked_due(clock);
        self.leaves_due(clock);
        self.end_if_done(clock);
    }

    /// Joins every room on every connection that is to be used.
    fn joins_due(&mut self, clock: &mut Clock) {
        for link in &mut self.links {
            if link.open.is_none() || link.role == Role::Retiring {
                continue;
            }
            for room in &self.rooms {
                let known = link.rooms.entry(room.name.clone()).or_default();
                let wanted = !known.joined || known.poll || room.at().is_none();
                if known.join.is_none() && wanted {
                    known.poll = false;
                    known.join = Some(Join {
                        id: unique(&mut self.rng),
                        quiet: known.joined,
                        since: room.at().cloned(),
                        retry: Retry::default(),
                    });
                }
                let Some(join) = &mut known.join else {
                    continue;
                };
                if join.retry.send(clock, link.id, self.settings.ack_timeout) {
                    let since = join.since.as_ref();
                    let request = Request::Join {
                        room: &room.name,
                        id: &join.id,
                        since,
                        // Only a new start shows where the log can be read from again.
                        history: Some(self.settings.history)
                            .filter(|&history| since.is_none() && history > 0),
                    };
                    send(&mut self.out, link.id, &request);
                }
            }
        }
    }

    /// Asks for what is missing in rooms whose later messages are known to exist.
    fn fills_due(&mut self, clock: &mut Clock) {
        let Some(link) = usable(&self.links) else {
            return;
        };
        for room in &mut self.rooms {
            if !room.behind() || !link.in_room(&room.name) {
                continue;
            }
            let Place::At(here) = &room.place else {
                continue;
            };
            let (id, retry) = room
                .fill
                .get_or_insert_with(|| (unique(&mut self.rng), Retry::default()));
            if retry.send(clock, link.id, self.settings.ack_timeout) {
                let request = Request::History {
                    room: &room.name,
                    id,
                    after: Some(here.seq),
                    before: None,
                    limit: FILL_PAGE,
                };
                send(&mut self.out, link.id, &request);
            }
        }
    }

    /// Sends the first message of each outbox.
    fn publishes_due(&mut self, clock: &mut Clock) {
        let Some(link) = usable(&self.links) else {
            return;
        };
        for room in &mut self.rooms {
            let Place::At(here) = &room.place else {
                continue;
            };
            let Some(message) = room.outbox.front_mut() else {
                continue;
            };
            if link.in_room(&room.name)
                && message
                    .retry
                    .send(clock, link.id, self.settings.ack_timeout)
            {
                let after = message.after(here);
                let request = Request::Publish {
                    room: &room.name,
                    id: &message.id,
                    after,
                    data: &message.data,
                };
                send(&mut self.out, link.id, &request);
            }
        }
    }

    /// Asks what the user asked.
    fn asked_due(&mut self, clock: &mut Clock) {
        let Some(link) = usable(&self.links) else {
            return;
        };
        let mut given_up = Vec::new();
        for asked in &mut self.asked {
            let Some(room) = self.rooms.iter().find(|room| room.name == asked.room) else {
                continue;
            };
            if room.at().is_none() || !link.in_room(&room.name) {
                continue;
            }
            let due = asked.retry.send(clock, link.id, self.settings.ack_timeout);
            if due && asked.retry.attempts() > ASK_ATTEMPTS {
                given_up.push(asked.id.clone());
            } else if due {
                let request = match &mut asked.what {
                    What::Members => Request::Members {
                        room: &asked.room,
                        id: &asked.id,
                    },
                    What::History { before, limit } => Request::History {
                        room: &asked.room,
                        id: &asked.id,
                        after: None,
                        before: Some(*before.get_or_insert(room.oldest)),
                        limit: *limit,
                    },
                };
                send(&mut self.out, link.id, &request);
            }
        }
        for id in given_up {
            self.asked.retain(|asked| asked.id != id);
            self.complain(
                None,
                Some(&id),
                "no_answer",
                "The service does not answer; ask again later.",
            );
        }
    }

    /// Leaves rooms whose messages are all acknowledged.
    fn leaves_due(&mut self, clock: &mut Clock) {
        let done: Vec<String> = self
            .rooms
            .iter()
            .filter(|room| room.leaving && room.outbox.is_empty())
            .map(|room| room.name.clone())
            .collect();
        for name in done {
            self.forget(&name);
            self.leave_later(name);
        }
        let Some(link) = usable(&self.links) else {
            return;
        };
        for leaving in &mut self.leaving {
            if leaving
                .retry
                .send(clock, link.id, self.settings.ack_timeout)
            {
                let request = Request::Leave {
                    room: &leaving.room,
                    id: &leaving.id,
                };
                // Another connection may be in the room as well: the next one, or the one before.
                for other in self.links.iter().filter(|other| other.open.is_some()) {
                    send(&mut self.out, other.id, &request);
                }
            }
        }
    }

    /// Ends, if that is wanted and nothing is open any more.
    fn end_if_done(&mut self, clock: &mut Clock) {
        let Some(by) = self.end_by else { return };
        let unsent: usize = self.rooms.iter().map(|room| room.outbox.len()).sum();
        let settled = self
            .rooms
            .iter()
            .all(|room| room.at().is_some() && !room.behind());
        let answered = self.asked.is_empty() && self.leaving.is_empty();
        if unsent == 0 && settled && answered {
            self.exit(Exit::Done);
        } else if clock.due(by) {
            self.exit(Exit::Unsent(unsent));
        }
    }
}

/// The connection to send on.
fn usable(links: &[Link]) -> Option<&Link> {
    links
        .iter()
        .find(|link| link.role == Role::Current && link.open.is_some())
}
