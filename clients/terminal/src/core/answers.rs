//! Takes in the frames of the service.

use std::time::Duration;

use super::commands::What;
use super::room::{Place, Taken};
use super::{Core, LinkId};
use crate::event::Event;
use crate::wire::{Ack, Entry, Frame, Joined, Left, Members, Moderated, Page, Position, Removed};

/// The times after a `join` at which the log is read once more (rule 5 of PROTOCOL.md).
///
/// The index of the room's members follows the table within a moment, so a message of the moment of the `join` may be
/// stored, and not delivered to this connection: the first question finds it. An invocation of `publish` that began
/// before the `join` can live for 28 seconds: the second question finds its message.
const SETTLE: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(31)];

/// The time after the answer to a `leave` within which messages of the room may still come, because the index of its members
/// follows within a moment.
const INDEX_LAG: Duration = Duration::from_secs(5);

impl Core {
    pub(super) fn frame(&mut self, now: Duration, link: LinkId, frame: Frame) {
        match frame {
            Frame::Message(room, entry) => self.message(now, &room, entry),
            Frame::Messages(room, entries) => {
                for entry in entries {
                    self.message(now, &room, entry);
                }
            }
            Frame::Ack(ack) => self.acked(ack),
            Frame::Joined(joined) => self.joined(now, link, joined),
            Frame::Left(left) => self.left(link, &left),
            Frame::History(page) => self.page(page),
            Frame::Members(members) => self.members(now, members),
            Frame::Done(done) => self.done(&done),
            Frame::Presence(event) => self.happened(now, &event),
            Frame::Signal(signal) => {
                if !self.read_elsewhere(&signal) {
                    self.signalled(now, signal);
                }
            }
            Frame::Marks(marks) => self.marks_read(marks),
            Frame::Heads(heads) => self.heads_read(heads),
            Frame::Error(failure) => self.failed(now, link, failure),
            Frame::Gateway(words) => self.gateway_failed(now, link, &words),
            Frame::Bye(bye) => self.bye(now, &bye),
            Frame::Moderated(moderated) => self.moderated(moderated),
            Frame::Removed(removed) => self.removed(now, removed),
            Frame::Pong | Frame::Unknown => {}
        }
    }

    fn message(&mut self, now: Duration, room: &str, entry: Entry) {
        if self.room(room).is_some() {
            self.crowded(room, entry.count);
            self.take(room, 0, [entry]);
        } else if self.is_addressed(room, &entry) {
            self.take(room, 0, [entry]);
        } else {
            self.stay_out(now, room.to_owned());
        }
    }

    /// Takes messages in. `head`: the head of the log in the answer that brought them, or 0 if none did.
    fn take(&mut self, name: &str, head: u64, entries: impl IntoIterator<Item = Entry>) {
        let mut shown = Vec::new();
        let Some(room) = self.room(name) else { return };
        let mut other_epoch = false;
        for entry in entries {
            room.present.spoke(name, &entry.from, &mut shown);
            other_epoch |= room.take(entry, head, &mut shown) == Taken::OtherEpoch;
        }
        for event in shown {
            if let Event::Message { room, entry } = &event {
                self.has_read(room, entry);
            }
            self.show(event);
        }
        if other_epoch {
            self.verify(name);
        }
    }

    /// Leaves a room again whose messages still come long after the `leave` was answered: a `join` that was sent before
    /// the `leave` has been taken up after it.
    fn stay_out(&mut self, now: Duration, room: String) {
        if let Some(left) = self.left_at.get(&room)
            && *left + INDEX_LAG <= now
        {
            self.leave_later(room, None);
        }
    }

    fn acked(&mut self, ack: Ack) {
        let user = self.settings.user.clone();
        let Some(room) = self.room(&ack.room) else {
            return;
        };
        if room.outbox.front().map(|message| &message.id) != ack.id.as_ref() {
            // The message was acknowledged before. The `ack` still tells how far the log goes.
            room.reaches(&ack.epoch, ack.seq);
            return;
        }
        let Some(message) = room.outbox.pop_front() else {
            return;
        };
        let name = ack.room.clone();
        let mut entry = Entry {
            epoch: ack.epoch.clone(),
            seq: ack.seq,
            id: Some(message.id),
            n: ack.n,
            from: user,
            // A review may have replaced the data, and the message of a duplicate may have been changed.
            data: ack.data.clone().unwrap_or(message.data),
            at: ack.at,
            ..Entry::default()
        };
        if let Some(changing) = message.change {
            entry.kind = Some(changing.change.as_str().to_owned());
            entry.target = Some(changing.target);
            entry.reason = changing.reason;
            entry.key = changing.key;
            entry.on = changing.on;
        }
        self.show(Event::Ack(ack));
        // The service sends the sender no copy: the message is shown here, at its place in the log.
        self.take(&name, 0, [entry]);
    }

    fn joined(&mut self, now: Duration, id: LinkId, joined: Joined) {
        let name = joined.room.clone();
        let Some(room) = self.rooms.iter_mut().find(|room| room.name == name) else {
            // The user has left the room since the `join`, and the service may have taken up the two in reverse order.
            self.leave_later(name, None);
            return;
        };
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return;
        };
        if let Some(user) = joined.user {
            self.settings.user = user;
        }
        let is_named = !self.knows_user;
        let known = link.rooms.entry(name.clone()).or_default();
        known.joined = true;
        // All tries of a `join` have the same id. The answer to an earlier `join` only brings its messages.
        let answered = known
            .join
            .take_if(|join| joined.id.is_none() || joined.id.as_deref() == Some(&join.id));
        let mut events = Vec::new();
        let mut lost = false;
        if let (Some(_), Some(mode)) = (&answered, &joined.presence) {
            let quiet = answered.as_ref().is_some_and(|join| join.quiet);
            room.mode(now, mode, joined.count, !quiet, &mut events);
        }
        if answered.as_ref().is_some_and(|join| !join.quiet) {
            known.settle = SETTLE.map(|wait| now + wait).into();
            events.push(Event::Joined {
                id: room.command.take(),
                room: name.clone(),
                epoch: joined.epoch.clone(),
                first: joined.first,
                head: joined.head,
                recovered: joined.recovered,
            });
        }
        match (&room.place, joined.recovered) {
            (Place::New | Place::Lost(_), None) if answered.is_some() => {
                let first = joined.messages.first().map(|entry| entry.seq);
                let from = Position {
                    epoch: joined.epoch.clone(),
                    seq: first.map_or(joined.head, |first| first.saturating_sub(1)),
                };
                room.start(from, &mut events);
            }
            // The `join` was sent before the position was lost. Another one asks for a new beginning.
            (Place::New | Place::Lost(_), _) => {}
            (Place::At(here), Some(false)) => match &answered {
                Some(join) if join.since.as_ref() == Some(here) => lost = true,
                // The position has moved since the `join`, so the new one may not be lost.
                Some(_) => known.poll = true,
                None => {}
            },
            (Place::At(here), _) if here.epoch != joined.epoch => known.poll = answered.is_some(),
            (Place::At(_), _) => {}
        }
        room.reaches(&joined.epoch, joined.head);
        if lost {
            self.lose(&name);
        }
        if answered.is_some_and(|join| !join.quiet) {
            self.proved();
        }
        for event in events {
            if let Event::Message { room, entry } = &event {
                self.has_read(room, entry);
            }
            self.show(event);
        }
        // Without a position, `start` did not accept them as a beginning.
        if self.room(&name).is_some_and(|room| room.at().is_some()) {
            let epoch = joined.epoch;
            let entries = joined.messages.into_iter();
            self.take(
                &name,
                joined.head,
                entries.filter(|entry| entry.epoch == epoch),
            );
            if let Some(room) = self.room(&name) {
                room.cut_short |= joined.more && room.behind();
            }
        }
        if is_named {
            self.named();
        }
    }

    /// Notes that the position of a room is lost.
    pub(super) fn lose(&mut self, name: &str) {
        if let Some(room) = self.room(name) {
            room.lose();
        }
        // Any answer to the joins under way is older than the loss.
        for link in &mut self.links {
            if let Some(known) = link.rooms.get_mut(name) {
                known.join = None;
            }
        }
    }

    fn page(&mut self, page: Page) {
        let Some(page) = self.inbox_read(page) else {
            return;
        };
        let asked = self
            .asked
            .iter()
            .position(|asked| page.id.as_ref() == Some(&asked.id));
        let Some(room) = self.rooms.iter_mut().find(|room| room.name == page.room) else {
            return;
        };
        let Place::At(here) = room.place.clone() else {
            return;
        };
        let epoch = page.epoch.unwrap_or_default();
        let empty = epoch.is_empty() && here.seq == 0 && !room.behind();
        if !empty && (here.epoch != epoch || here.seq + 1 < page.first) {
            // Another epoch, or the missing messages are trimmed. The answer to a `join` tells which.
            room.check = false;
            room.rest();
            self.verify(&page.room);
            return;
        }
        if let Some(asked) = asked {
            if let Some(oldest) = page.messages.first() {
                room.oldest = room.oldest.min(oldest.seq);
            }
            let id = self.asked.remove(asked).command;
            let mut messages = page.messages;
            messages.retain(|entry| entry.kind.is_none());
            for entry in &messages {
                room.changes.came(entry, page.head);
            }
            self.show(Event::History {
                id,
                room: page.room,
                messages,
                more: page.more,
            });
            return;
        }
        room.reaches(&epoch, page.head);
        room.check &= room.fill.as_ref().map(|(id, _)| id) != page.id.as_ref();
        room.rest();
        if page.messages.iter().any(|entry| entry.seq > here.seq) {
            // The rest did not fit this page, so the next page is read at once.
            room.fill = None;
            room.cut_short = true;
            self.take(&page.room, page.head, page.messages);
        }
    }

    fn members(&mut self, now: Duration, mut members: Members) {
        if self.looked(now, &members) {
            return;
        }
        let asked = self.asked.iter().position(|asked| {
            members.id.as_ref() == Some(&asked.id) && matches!(asked.what, What::Members)
        });
        if let Some(asked) = asked {
            members.id = self.asked.remove(asked).command;
            self.show(Event::Members(members));
        }
    }

    fn moderated(&mut self, mut moderated: Moderated) {
        let is_it = |what: &What| matches!(what, What::Moderate(..));
        if let Some(asked) = self.answered(moderated.id.as_ref(), is_it) {
            moderated.id = asked.command;
            self.show(Event::Moderated(moderated));
        }
    }

    /// A moderator has removed the user from a room. The client does not join it again by itself.
    fn removed(&mut self, now: Duration, removed: Removed) {
        let name = removed.room.clone();
        if self.room(&name).is_none() {
            return;
        }
        let why = format!("{} has removed you from {name}", removed.by);
        self.show(Event::Removed(removed));
        // A `join` under way may be taken up after the removal.
        self.left_at.insert(name.clone(), now);
        self.drop_room(&name, &why);
    }

    fn left(&mut self, link: LinkId, left: &Left) {
        for leaving in &mut self.leaving {
            if leaving.room == left.room && left.id.as_ref().is_none_or(|id| *id == leaving.id) {
                leaving.pending.remove(&link);
            }
        }
    }
}
