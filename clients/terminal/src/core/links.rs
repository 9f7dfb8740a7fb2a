//! Connections: opened, lost, replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::{Link, Role};
use super::retry::{Clock, full_jitter};
use super::{Core, Exit, LinkId, Output};
use crate::event::Event;
use crate::wire::Request;

/// A handshake takes a moment, or nothing comes of it.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// API Gateway answers a ping without a function, so at once.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after a join its room is looked at again. The index that publishes read follows the table within a
/// moment; a message of that moment is in the log and not delivered.
const SETTLE: Duration = Duration::from_secs(3);

/// How long a connection that was replaced is listened to: until the index knows the new one, and acks under way
/// have come.
const LINGER: Duration = Duration::from_secs(5);

impl Core {
    pub(super) fn opened(&mut self, now: Duration, id: LinkId) {
        let heartbeat = self.settings.heartbeat;
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return;
        };
        link.open = Some(now);
        link.heartbeat_at = now + heartbeat;
        let (role, room) = (link.role, link.room.clone());
        self.ever_open = true;
        if role == Role::Current {
            self.show(Event::Connected { renewed: false });
            self.schedule_successor(now);
        }
        if self.room(&room).is_none() {
            // Left while the handshake was under way, which joined it.
            self.leave_later(room);
        }
    }

    /// Plans the connection that replaces the one opened now. Up to a tenth earlier than it must be, at random:
    /// clients that came together do not come again together.
    fn schedule_successor(&mut self, opened: Duration) {
        let early = 0.1 * self.chance();
        self.dial_at = Some(opened + self.settings.max_life.mul_f64(1.0 - early));
    }

    pub(super) fn closed(&mut self, now: Duration, id: LinkId, reason: &str, refused: bool) {
        let Some(index) = self.links.iter().position(|link| link.id == id) else {
            return;
        };
        let link = self.links.remove(index);
        if refused && !self.ever_open {
            self.exit(Exit::Refused(reason.to_owned()));
            return;
        }
        for (_, retry) in self.retries() {
            retry.closed(now, id);
        }
        match link.role {
            Role::Retiring => {}
            Role::Next => {
                self.dial_later(now);
            }
            Role::Current => {
                let successor = self.links.iter_mut().find(|link| link.role == Role::Next);
                let retry_in_ms = if let Some(successor) = successor {
                    successor.role = Role::Current;
                    if let Some(opened) = successor.open {
                        self.schedule_successor(opened);
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

    fn dial_later(&mut self, now: Duration) -> Duration {
        let wait = full_jitter(self.chance(), self.failures);
        self.failures = self.failures.saturating_add(1);
        self.dial_at = Some(now + wait);
        wait
    }

    /// What the clock demands of connections.
    pub(super) fn links_due(&mut self, clock: &mut Clock) {
        self.close_what_is_dead(clock);
        self.promote(clock);
        for link in &mut self.links {
            if link.open.is_none() || link.role == Role::Retiring {
                continue;
            }
            if link.settle_at.is_some_and(|at| clock.due(at)) {
                link.settle_at = None;
                link.poll_all();
            }
            if clock.due(link.heartbeat_at) {
                link.heartbeat_at = clock.now + self.settings.heartbeat;
                let pong_by = clock.now + PONG_TIMEOUT;
                link.pong_by = Some(pong_by);
                // The ping is answered without a function: it shows that the connection lives when the service
                // does not. The joins show what the connection alone cannot: that the last message was lost.
                super::send(&mut self.out, link.id, &Request::Ping);
                link.poll_all();
                clock.due(pong_by);
                clock.due(link.heartbeat_at);
            }
        }
        if self.dial_at.is_some_and(|at| clock.due(at)) {
            self.dial_at = None;
            self.dial(clock);
        }
    }

    fn dial(&mut self, clock: &mut Clock) {
        let Some(room) = self.rooms.first().map(|room| room.name.clone()) else {
            return;
        };
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
            heartbeat_at: Duration::MAX,
            pong_by: None,
            settle_at: None,
            close_at: None,
            rooms: BTreeMap::new(),
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
            self.closed(clock.now, id, reason, false);
        }
    }

    /// Makes the next connection the current one, once it is in every room.
    fn promote(&mut self, clock: &mut Clock) {
        let ready = self.links.iter().position(|link| {
            link.role == Role::Next && self.rooms.iter().all(|room| link.in_room(&room.name))
        });
        let Some(ready) = ready else { return };
        if let Some(old) = self.current() {
            old.role = Role::Retiring;
            old.pong_by = None;
            old.close_at = Some(clock.now + LINGER);
            clock.due(clock.now + LINGER);
        }
        self.links[ready].role = Role::Current;
        if let Some(opened) = self.links[ready].open {
            self.schedule_successor(opened);
        }
        self.show(Event::Connected { renewed: true });
    }

    /// A connection has proved itself: it is in a room.
    pub(super) fn proved(&mut self, now: Duration, id: LinkId) {
        self.failures = 0;
        if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
            link.settle_at = Some(now + SETTLE);
        }
    }
}
