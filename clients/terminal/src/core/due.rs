//! Sends every frame that is due.

use std::time::Duration;

use rand::RngExt as _;

use super::commands::What;
use super::link::{Join, Link, Role};
use super::personal::CONVERSATIONS;
use super::retry::{Clock, Retry};
use super::room::Place;
use super::{Core, Exit, send, unique};
use crate::event::Event;
use crate::wire::{Request, Stated};

/// The number of messages in a request that fills a gap; the largest that the service accepts.
const FILL_PAGE: u16 = 100;

/// The time in seconds for which the client waits for a missing message before it asks for it. The message may be on
/// its way, and otherwise all clients that miss it would ask at the same moment.
const FILL_WAIT: std::ops::RangeInclusive<f64> = 0.1..=0.3;

/// The number of tries after which a question of the user is given up.
const ASK_ATTEMPTS: u32 = 5;

impl Core {
    pub(super) fn advance(&mut self, clock: &mut Clock) {
        self.links_due(clock);
        self.joins_due(clock);
        self.fills_due(clock);
        self.publishes_due(clock);
        self.asked_due(clock);
        self.marks_due(clock);
        self.presence_due(clock);
        self.leaves_due(clock);
        self.end_if_done(clock);
    }

    /// Joins every room on every connection that is in use.
    fn joins_due(&mut self, clock: &mut Clock) {
        for link in &mut self.links {
            if link.open.is_none() || link.role == Role::Retiring {
                continue;
            }
            for room in &mut self.rooms {
                // The service may take up a `join` and an earlier `leave` in either order.
                if self.leaving.iter().any(|left| left.room == room.name) {
                    continue;
                }
                let known = link.rooms.entry(room.name.clone()).or_default();
                let settle = known.settle.len();
                known.settle.retain(|at| !clock.due(*at));
                room.check |= known.settle.len() < settle;
                let wanted = !known.joined || known.poll || room.at().is_none();
                let over = room.leaving
                    && room.command.is_none()
                    && room.outbox.is_empty()
                    && self.asked.iter().all(|asked| asked.room != room.name);
                if known.join.is_none() && wanted && !over {
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
                if join
                    .retry
                    .send_paced(clock, &mut link.joins, link.id, self.settings.ack_timeout)
                {
                    let since = join.since.as_ref();
                    let request = Request::Join {
                        room: &room.name,
                        id: &join.id,
                        batch: true,
                        since,
                        // A `join` with `since` needs none: if the position is lost, a `join` without it follows.
                        history: Some(self.settings.history)
                            .filter(|&history| since.is_none() && history > 0),
                        presence: self.settings.presence.then_some(Stated {
                            state: room.state.as_deref(),
                        }),
                    };
                    send(&mut self.out, link.id, &request);
                }
            }
        }
    }

    /// Reads the log after the position: in rooms where messages are missing, and some time after each `join`.
    fn fills_due(&mut self, clock: &mut Clock) {
        let Some(link) = usable(&mut self.links) else {
            return;
        };
        for room in &mut self.rooms {
            if !(room.behind() || room.check) || !link.in_room(&room.name) {
                continue;
            }
            let Place::At(here) = &room.place else {
                continue;
            };
            let wait = if room.cut_short || !room.behind() {
                Duration::ZERO
            } else {
                Duration::from_secs_f64(self.rng.random_range(FILL_WAIT))
            };
            let (id, retry) = room
                .fill
                .get_or_insert_with(|| (unique(&mut self.rng), Retry::at(clock.now + wait)));
            if retry.send_paced(clock, &mut link.reads, link.id, self.settings.ack_timeout) {
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
        let Some(link) = usable(&mut self.links) else {
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
                send(&mut self.out, link.id, &message.request(&room.name, after));
            }
        }
    }

    /// Sends the questions of the user.
    fn asked_due(&mut self, clock: &mut Clock) {
        let Some(link) = usable(&mut self.links) else {
            return;
        };
        let mut given_up = Vec::new();
        let mut reading = Vec::new();
        for asked in &mut self.asked {
            let Some(room) = self.rooms.iter().find(|room| room.name == asked.room) else {
                continue;
            };
            if room.at().is_none() || !link.in_room(&room.name) {
                continue;
            }
            if matches!(asked.what, What::History { .. }) {
                // The next page begins where the one before it ends, so they are read one after the other.
                if reading.contains(&&room.name) {
                    continue;
                }
                reading.push(&room.name);
            }
            let due = asked.retry.send(clock, link.id, self.settings.ack_timeout);
            if due && asked.retry.attempts() > ASK_ATTEMPTS {
                given_up.push(asked.id.clone());
            } else if due {
                let request = match &asked.what {
                    What::Members => Request::Members {
                        room: &asked.room,
                        id: &asked.id,
                        after: None,
                        state: self.settings.presence,
                        probe: false,
                    },
                    What::Moderate(action, about) => Request::Moderate {
                        action: *action,
                        room: &asked.room,
                        user: &about.user,
                        id: &asked.id,
                        for_seconds: about.for_seconds,
                        reason: about.reason.as_deref(),
                    },
                    What::Marks => Request::Marks { id: &asked.id },
                    What::Inbox { inbox, .. } => Request::History {
                        room: inbox,
                        id: &asked.id,
                        after: None,
                        before: None,
                        limit: CONVERSATIONS,
                    },
                    What::Heads { rooms, .. } => Request::Heads {
                        rooms,
                        id: &asked.id,
                    },
                    What::History { limit } => Request::History {
                        room: &asked.room,
                        id: &asked.id,
                        after: None,
                        before: Some(room.oldest),
                        limit: *limit,
                    },
                };
                send(&mut self.out, link.id, &request);
            }
        }
        for id in given_up {
            self.unask(
                &id,
                "no_answer",
                "The service does not answer; ask again later.",
            );
        }
    }

    /// Leaves rooms in which every message and every question is answered.
    fn leaves_due(&mut self, clock: &mut Clock) {
        // The service may take up a `leave` before an earlier `join`, so the answer to the `join` must be there.
        let joining = |name: &str| {
            let mut known = self.links.iter().filter_map(|link| link.rooms.get(name));
            known.any(|known| known.join.is_some())
        };
        let done: Vec<_> = self
            .rooms
            .iter()
            .filter(|room| room.leaving && room.outbox.is_empty() && !joining(&room.name))
            // A program has yet to be told that it has joined.
            .filter(|room| room.command.is_none())
            .filter(|room| self.asked.iter().all(|asked| asked.room != room.name))
            .map(|room| (room.name.clone(), room.leave_command.clone()))
            .collect();
        for (name, command) in done {
            self.forget(&name);
            self.leave_later(name, Some(command));
        }
        for leaving in &mut self.leaving {
            for (&link, retry) in &mut leaving.pending {
                if retry.send(clock, link, self.settings.ack_timeout) {
                    let request = Request::Leave {
                        room: &leaving.room,
                        id: &leaving.id,
                    };
                    send(&mut self.out, link, &request);
                }
            }
        }
        let (left, pending) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|leaving| leaving.pending.is_empty());
        self.leaving = pending;
        for leaving in left {
            self.left_at.insert(leaving.room.clone(), clock.now);
            if let Some(id) = leaving.command {
                self.show(Event::Left {
                    id,
                    room: leaving.room.clone(),
                });
            }
            if self.room(&leaving.room).is_some() {
                // The user has joined the room again meanwhile: its `join` is due now.
                self.left_at.remove(&leaving.room);
                self.joins_due(clock);
            }
        }
    }

    /// Ends, if the user wants that and nothing is unanswered or the time for it is over.
    fn end_if_done(&mut self, clock: &mut Clock) {
        let Some(by) = self.end_by else { return };
        let messages: usize = self.rooms.iter().map(|room| room.outbox.len()).sum();
        let unread = self
            .rooms
            .iter()
            .filter(|room| room.at().is_none() || room.behind());
        let rooms = unread.count();
        let questions = self.asked.len() + self.leaving.len();
        if messages + rooms + questions == 0 {
            self.exit(Exit::Done);
        } else if clock.due(by) {
            self.exit(Exit::Unanswered {
                messages,
                questions,
                rooms,
            });
        }
    }
}

/// Returns the connection to send on.
pub(super) fn usable(links: &mut [Link]) -> Option<&mut Link> {
    links
        .iter_mut()
        .find(|link| link.role == Role::Current && link.open.is_some())
}
