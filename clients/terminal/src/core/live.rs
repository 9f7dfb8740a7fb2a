//! Presence, states, and signals such as typing (rules 15 to 17 of PROTOCOL.md).

use std::time::Duration;

use rand::RngExt as _;
use serde_json::value::RawValue;

use super::due::usable;
use super::retry::{Clock, Retry};
use super::room::{Look, Room, Tell};
use super::{Core, send, unique};
use crate::event::{Event, Shown};
use crate::wire::{Done, Failure, Happened, Members, Presence, Request, Signal};

/// The time after a `join` at which the members are listed: two that join at the same moment do not find each other in
/// the index.
const LOOK_AFTER_JOIN: Duration = Duration::from_secs(3);

/// The interval in seconds at which the members are listed from then on.
const LOOK_EVERY: std::ops::RangeInclusive<f64> = 240.0..=360.0;

/// The longest wait in seconds before the client says that it is there.
const HEAL_WITHIN: f64 = 1.0;

/// The shortest time between two times that it says so.
const HEAL_EVERY: Duration = Duration::from_secs(30);

/// The shortest time between two signals that the user is typing.
const TYPING_EVERY: Duration = Duration::from_secs(6);

impl Room {
    /// Notes whether the room is live, as an answer says. `looks`: the members are listed soon.
    pub(super) fn mode(
        &mut self,
        now: Duration,
        mode: &str,
        count: Option<u64>,
        looks: bool,
        events: &mut Vec<Event>,
    ) {
        if mode == "live" {
            self.told_crowd = false;
            let soon = now + LOOK_AFTER_JOIN;
            if looks || self.look_at.is_none() {
                self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
            }
        } else {
            self.crowded(count, events);
        }
    }

    /// Shows nobody from now on.
    pub(super) fn crowded(&mut self, count: Option<u64>, events: &mut Vec<Event>) {
        // The next answer to a `join` tells whether the room is live again.
        let was_live = self.look_at.take().is_some();
        self.look = None;
        self.present.clear();
        if was_live || !self.told_crowd {
            self.told_crowd = true;
            events.push(Event::Presence {
                room: self.name.clone(),
                event: Shown::Count,
                user: None,
                name: None,
                state: None,
                count,
            });
        }
    }
}

impl Core {
    /// Changes the state that others in a room see.
    pub(super) fn set_state(
        &mut self,
        name: &str,
        state: Option<Box<RawValue>>,
        command: Option<String>,
    ) {
        if !self.settings.presence {
            let sentence = "Nobody is told of you: start the client with --presence.";
            self.complain(Some(name), command.as_deref(), "bad_request", sentence);
            return;
        }
        let id = unique(&mut self.rng);
        if let Some(room) = self.room(name) {
            room.state = state;
            // An earlier change that is not answered is replaced by this one.
            room.tell = Some(Tell {
                id,
                command: Some(command),
                retry: Retry::default(),
            });
        }
    }

    /// Sends a signal, if the client is connected. `typing` is sent every 6 seconds at most.
    pub(super) fn signal(
        &mut self,
        now: Duration,
        name: &str,
        kind: &str,
        data: Option<&RawValue>,
        to: Option<&str>,
        command: Option<String>,
    ) {
        let id = unique(&mut self.rng);
        let Some(link) = usable(&mut self.links).filter(|link| link.in_room(name)) else {
            return;
        };
        let link = link.id;
        let Some(room) = self.rooms.iter_mut().find(|room| room.name == name) else {
            return;
        };
        if room.too_large {
            return;
        }
        if kind == "typing" {
            if now < room.typed_until {
                return;
            }
            room.typed_until = now + TYPING_EVERY;
        } else if kind == "stopped" {
            room.typed_until = now;
        }
        let request = Request::Signal {
            room: name,
            id: &id,
            kind,
            data,
            to,
        };
        send(&mut self.out, link, &request);
        room.signal = Some((id, command));
    }

    /// The user is typing a message to the current room.
    pub(super) fn types(&mut self, now: Duration) {
        let here = self.here.clone();
        let is_live = |room: &mut Room| room.look_at.is_some() || room.look.is_some();
        if self.settings.presence && self.room(&here).is_some_and(is_live) {
            self.signal(now, &here, "typing", None, None, None);
        }
    }

    /// Takes in an error that answers a signal. Returns false if it answers something else.
    pub(super) fn signal_failed(&mut self, id: &str, failure: &Failure) -> bool {
        let mut rooms = self.rooms.iter_mut();
        let room = rooms.find(|room| room.signal.as_ref().is_some_and(|(signal, _)| signal == id));
        let Some(room) = room else { return false };
        let command = room.signal.take().and_then(|(_, command)| command);
        room.too_large |= failure.name == "room_too_large";
        let name = room.name.clone();
        // A `typing` of the client's own is of no concern to the user.
        if command.is_some() || failure.name != "room_too_large" {
            self.complain(
                Some(&name),
                command.as_deref(),
                &failure.name,
                &failure.message,
            );
        }
        true
    }

    /// Notes that a room has too many connections to show who is there, if a message says so.
    pub(super) fn crowded(&mut self, name: &str, count: Option<u64>) {
        let mut shown = Vec::new();
        if self.settings.presence
            && count.is_some()
            && let Some(room) = self.room(name)
        {
            room.crowded(count, &mut shown);
        }
        for event in shown {
            self.show(event);
        }
    }

    pub(super) fn done(&mut self, done: &Done) {
        let mut rooms = self.rooms.iter_mut();
        let Some(room) =
            rooms.find(|room| room.tell.as_ref().map(|tell| &tell.id) == done.id.as_ref())
        else {
            return;
        };
        let Some(tell) = room.tell.take() else { return };
        let name = room.name.clone();
        if let Some(id) = tell.command {
            self.show(Event::Done { id, room: name });
        }
    }

    pub(super) fn happened(&mut self, now: Duration, event: &Presence) {
        let user = self.settings.user.clone();
        let wait = Duration::from_secs_f64(self.chance() * HEAL_WITHIN);
        let mut shown = Vec::new();
        if !self.settings.presence {
            return;
        }
        let Some(room) = self.room(&event.room) else {
            return;
        };
        if event.user != user {
            room.present.event(now, event, &mut shown);
        } else if event.event == Happened::Leave && !room.leaving && room.heal_at.is_none() {
            // Others are told that this user has left, and it has not: it knows best.
            room.heal_at = Some((now + wait).max(room.healed_until));
        }
        for event in shown {
            self.show(event);
        }
    }

    pub(super) fn signalled(&mut self, now: Duration, signal: Signal) {
        let mut shown = Vec::new();
        if self.settings.presence
            && let Some(room) = self.room(&signal.room)
        {
            room.present.signal(now, signal, &mut shown);
        }
        for event in shown {
            self.show(event);
        }
    }

    /// Takes in a list of members that the client has asked for by itself. Returns false if it was the user.
    pub(super) fn looked(&mut self, now: Duration, members: &Members) -> bool {
        let user = self.settings.user.clone();
        let Some(room) = self.rooms.iter_mut().find(|room| {
            let look = room.look.as_ref();
            look.is_some_and(|look| members.id.as_ref() == Some(&look.id))
        }) else {
            return false;
        };
        let next = now + Duration::from_secs_f64(self.rng.random_range(LOOK_EVERY));
        let look = room.look.take();
        let mut shown = Vec::new();
        match members.mode.as_deref() {
            Some("live") => {
                let mut others = members.clone();
                others.members.retain(|member| member.user != user);
                let after = look.as_ref().and_then(|look| look.after.as_deref());
                room.present.list(now, &others, after, &mut shown);
                let last = members.members.last().filter(|_| members.more);
                match last {
                    Some(last) => {
                        room.look = Some(Look {
                            id: unique(&mut self.rng),
                            after: Some(last.user.clone()),
                            retry: Retry::default(),
                        });
                    }
                    None => room.look_at = Some(next),
                }
            }
            _ => {
                room.look_at = Some(next);
                room.crowded(Some(members.count), &mut shown);
            }
        }
        for event in shown {
            self.show(event);
        }
        true
    }

    /// Sends what presence demands, and shows who has left.
    pub(super) fn presence_due(&mut self, clock: &mut Clock) {
        let mut shown = Vec::new();
        for room in &mut self.rooms {
            room.present.due(clock, &room.name, &mut shown);
        }
        for event in shown {
            self.show(event);
        }
        let Some(link) = usable(&mut self.links) else {
            return;
        };
        for room in &mut self.rooms {
            if !link.in_room(&room.name) || room.leaving {
                continue;
            }
            if room.heal_at.is_some_and(|at| clock.due(at)) {
                room.heal_at = None;
                room.healed_until = clock.now + HEAL_EVERY;
                room.tell.get_or_insert_with(|| Tell {
                    id: unique(&mut self.rng),
                    command: None,
                    retry: Retry::default(),
                });
            }
            if let Some(tell) = &mut room.tell
                && tell.retry.send(clock, link.id, self.settings.ack_timeout)
            {
                let request = Request::Presence {
                    room: &room.name,
                    id: &tell.id,
                    state: room.state.as_deref(),
                };
                send(&mut self.out, link.id, &request);
            }
            if room.look_at.is_some_and(|at| clock.due(at)) {
                room.look_at = None;
                room.look = Some(Look {
                    id: unique(&mut self.rng),
                    after: None,
                    retry: Retry::default(),
                });
            }
            if let Some(look) = &mut room.look
                && look.retry.send(clock, link.id, self.settings.ack_timeout)
            {
                let request = Request::Members {
                    room: &room.name,
                    id: &look.id,
                    after: look.after.as_deref(),
                    state: true,
                    probe: true,
                };
                send(&mut self.out, link.id, &request);
            }
        }
    }
}
