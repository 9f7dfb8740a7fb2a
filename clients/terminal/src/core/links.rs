//! Opens, loses and replaces connections.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;

use super::link::{Link, Role};
use super::personal::is_private;
use super::retry::{Clock, Pace, full_jitter};
use super::{Core, Exit, LinkId, Output, Why};
use crate::event::Event;
use crate::wire::{Bye, Reconnect, Request};

/// The time that a handshake may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// The time that a `pong` may take. API Gateway answers a `ping` without a function, so at once.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// The time for which a replaced connection is kept: until the index knows the new one, and the acks under way have
/// come.
const LINGER: Duration = Duration::from_secs(5);

/// The part of the longest life of a connection by which it may be replaced earlier, at random: clients that came
/// together do not come again together.
const EARLY: f64 = 10.0 / 115.0;

/// The part of its token's life after which a connection is replaced.
const TOKEN_PART: f64 = 0.8;

/// The shortest time between two replacements, whatever the token says.
const MIN_LIFE: Duration = Duration::from_secs(2);

/// The number of refused handshakes in a row after which the client gives up.
const MAX_REFUSALS: u32 = 3;

impl Core {
    pub(super) fn opened(&mut self, now: Duration, id: LinkId, token_life: Option<Duration>) {
        let heartbeat = self.heartbeat();
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return;
        };
        link.open = Some(now);
        link.token_life = token_life;
        link.heartbeat_at = now + heartbeat;
        let (role, room) = (link.role, link.room.clone());
        self.ever_open = true;
        if role == Role::Current {
            self.show(Event::Connected { renewed: false });
            self.schedule_successor(now, token_life);
        }
        if self.room(&room).is_none() {
            // The user left the room while the handshake, which joins it, was under way.
            self.leave_later(room, None);
        }
    }

    /// Returns a random time around the interval of heartbeats: clients that came together do not stay in step.
    fn heartbeat(&mut self) -> Duration {
        self.settings
            .heartbeat
            .mul_f64(self.rng.random_range(0.9..=1.1))
    }

    /// Plans the connection that replaces the one opened now.
    fn schedule_successor(&mut self, opened: Duration, token_life: Option<Duration>) {
        let early = EARLY * self.chance();
        let longest = self.settings.max_life.mul_f64(1.0 - early);
        let life = token_life.map_or(longest, |token| {
            longest.min(token.mul_f64(TOKEN_PART).max(MIN_LIFE))
        });
        self.dial_at = Some(opened + life);
    }

    pub(super) fn closed(&mut self, now: Duration, id: LinkId, reason: &str, why: Why) {
        let Some(index) = self.links.iter().position(|link| link.id == id) else {
            return;
        };
        let link = self.links.remove(index);
        if why == Why::Refused {
            self.refusals += 1;
        }
        let open = self.links.iter().any(|link| link.open.is_some());
        let enough = match why {
            Why::Lost => false,
            Why::Refused if self.ever_open || self.settings.has_tokens => {
                !open && self.refusals >= MAX_REFUSALS
            }
            // The next try would fail in the same way.
            Why::Refused | Why::Hopeless => !self.ever_open,
        };
        if enough {
            self.exit(Exit::Refused(reason.to_owned()));
            return;
        }
        for (_, retry) in self.retries() {
            retry.closed(now, id);
        }
        for leaving in &mut self.leaving {
            // The membership ends with its connection.
            leaving.pending.remove(&id);
        }
        match link.role {
            Role::Retiring => {}
            Role::Next => {
                self.dial_later(now);
                if why == Why::Refused {
                    self.show(Event::Error {
                        id: None,
                        room: None,
                        name: "refused".to_owned(),
                        message: format!("The connection cannot be renewed: {reason}"),
                        retrying: true,
                    });
                }
            }
            Role::Current => {
                let successor = self.links.iter_mut().find(|link| link.role == Role::Next);
                let retry_in_ms = if let Some(successor) = successor {
                    successor.role = Role::Current;
                    if let (Some(opened), life) = (successor.open, successor.token_life) {
                        self.schedule_successor(opened, life);
                    }
                    None
                } else {
                    let wait = self.dial_later(now);
                    Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
                };
                self.show(Event::Disconnected {
                    reason: reason.to_owned(),
                    retry_in_ms,
                });
            }
        }
    }

    /// The service closes the connection, and says whether to come back.
    pub(super) fn bye(&mut self, now: Duration, bye: &Bye) {
        let retrying = bye.reconnect != Reconnect::Never;
        let message = format!("The service closes the connection: {}.", bye.reason);
        if !retrying {
            self.exit(Exit::Refused(message));
            return;
        }
        let wait = Duration::from_millis(bye.retry_after_ms.unwrap_or_default());
        self.not_before = self.not_before.max(now + wait);
        self.show(Event::Error {
            id: None,
            room: None,
            name: "bye".to_owned(),
            message,
            retrying,
        });
    }

    fn dial_later(&mut self, now: Duration) -> Duration {
        let wait = full_jitter(self.chance(), self.failures);
        // A `bye` says how long to stay away. The random part is added, since others may have got one at the same moment.
        let wait = wait + self.not_before.saturating_sub(now);
        self.failures = self.failures.saturating_add(1);
        self.dial_at = Some(now + wait);
        wait
    }

    /// Does what is due for connections.
    pub(super) fn links_due(&mut self, clock: &mut Clock) {
        self.close_what_is_dead(clock);
        self.promote(clock);
        for index in 0..self.links.len() {
            let link = &self.links[index];
            if link.open.is_none() || link.role == Role::Retiring || !clock.due(link.heartbeat_at) {
                continue;
            }
            let next = clock.now + self.heartbeat();
            let pong_by = clock.now + PONG_TIMEOUT;
            let link = &mut self.links[index];
            link.heartbeat_at = next;
            link.pong_by = Some(pong_by);
            // API Gateway answers the `ping` without a function, so it shows that the connection works when the service
            // does not. The joins show what a connection cannot: that the last message of a room was lost.
            super::send(&mut self.out, link.id, &Request::Ping);
            link.poll_all();
            clock.due(pong_by);
            clock.due(next);
        }
        if self.dial_at.is_some_and(|at| clock.due(at)) {
            self.dial_at = None;
            self.dial(clock);
        }
    }

    fn dial(&mut self, clock: &mut Clock) {
        let named = self.rooms.iter().filter(|room| !is_private(&room.name));
        let mut rooms: Vec<_> = named.clone().filter(|room| !room.leaving).collect();
        if rooms.is_empty() {
            rooms.extend(named.take(1));
        }
        if rooms.is_empty() {
            return;
        }
        // Another room after each failure: the user may be banned from the last one.
        let room = rooms[self.failures as usize % rooms.len()].name.clone();
        let role = if self.current().is_some() {
            Role::Next
        } else {
            Role::Current
        };
        self.links_made += 1;
        let link = Link {
            id: self.links_made,
            role,
            room: room.clone(),
            open: None,
            open_by: clock.now + OPEN_TIMEOUT,
            token_life: None,
            heartbeat_at: Duration::MAX,
            pong_by: None,
            close_at: None,
            rooms: BTreeMap::new(),
            joins: Pace::default(),
            reads: Pace::default(),
        };
        clock.due(link.open_by);
        self.out.push(Output::Connect {
            link: link.id,
            room,
        });
        self.links.push(link);
    }

    fn close_what_is_dead(&mut self, clock: &mut Clock) {
        let mut dead = Vec::new();
        for link in &self.links {
            if link.open.is_none() && clock.due(link.open_by) {
                dead.push((link.id, "the service does not answer"));
            } else if link.pong_by.is_some_and(|at| clock.due(at)) {
                dead.push((link.id, "the connection is silent"));
            } else if link.close_at.is_some_and(|at| clock.due(at)) {
                dead.push((link.id, "replaced"));
            }
        }
        for (id, reason) in dead {
            self.out.push(Output::Close(id));
            self.closed(clock.now, id, reason, Why::Lost);
        }
    }

    /// Makes the next connection the current one, once it is in every room.
    fn promote(&mut self, clock: &mut Clock) {
        let ready = self.links.iter().position(|link| {
            let mut rooms = self.rooms.iter();
            link.role == Role::Next && rooms.all(|room| room.leaving || link.in_room(&room.name))
        });
        let Some(ready) = ready else { return };
        if self.links[ready].open.is_none() {
            return;
        }
        if let Some(old) = self.current() {
            old.role = Role::Retiring;
            old.pong_by = None;
            old.close_at = Some(clock.now + LINGER);
            clock.due(clock.now + LINGER);
        }
        self.links[ready].role = Role::Current;
        if let (Some(opened), life) = (self.links[ready].open, self.links[ready].token_life) {
            self.schedule_successor(opened, life);
        }
        self.show(Event::Connected { renewed: true });
    }

    /// Notes that the service accepts the client: a connection is in a room.
    pub(super) fn proved(&mut self) {
        self.failures = 0;
        self.refusals = 0;
    }
}
