//! What the frames of the service change.

use std::time::Duration;

use super::commands::What;
use super::room::{Place, Taken};
use super::{Core, LinkId};
use crate::event::Event;
use crate::wire::{Ack, Entry, Frame, Joined, Page, Position};

impl Core {
    pub(super) fn frame(&mut self, now: Duration, link: LinkId, frame: Frame) {
        match frame {
            Frame::Message(room, entry) => self.take(&room, [entry]),
            Frame::Ack(ack) => self.acked(ack),
            Frame::Joined(joined) => self.joined(now, link, joined),
            Frame::Left(room) => self.left(&room),
            Frame::History(page) => self.page(page),
            Frame::Members(members) => {
                let before = self.asked.len();
                self.asked.retain(|asked| {
                    asked.room != members.room || !matches!(asked.what, What::Members)
                });
                if self.asked.len() < before {
                    self.show(Event::Members(members));
                }
            }
            Frame::Error(failure) => self.failed(now, link, failure),
            Frame::Gateway(words) => self.gateway_failed(now, link, &words),
            Frame::Pong | Frame::Unknown => {}
        }
    }

    /// Takes messages in, from wherever they came.
    fn take(&mut self, name: &str, entries: impl IntoIterator<Item = Entry>) {
        let mut shown = Vec::new();
        let Some(room) = self.room(name) else { return };
        let mut other_log = false;
        for entry in entries {
            other_log |= room.take(entry, &mut shown) == Taken::OtherLog;
        }
        for event in shown {
            self.show(event);
        }
        if other_log {
            self.verify(name);
        }
    }

    fn acked(&mut self, ack: Ack) {
        let user = self.settings.user.clone();
        let Some(room) = self.room(&ack.room) else {
            return;
        };
        if room.outbox.front().map(|message| &message.id) != ack.id.as_ref() {
            // Of a message that was acknowledged before; still, it tells how far the log goes.
            room.reaches(&ack.epoch, ack.seq);
            return;
        }
        let Some(message) = room.outbox.pop_front() else {
            return;
        };
        let name = ack.room.clone();
        let entry = Entry {
            epoch: ack.epoch.clone(),
            seq: ack.seq,
            id: Some(message.id),
            from: user,
            data: message.data,
            at: ack.at,
        };
        self.show(Event::Ack(ack));
        // The service sends no copy of one's own: it is shown at its place in the log.
        self.take(&name, [entry]);
    }

    fn joined(&mut self, now: Duration, id: LinkId, joined: Joined) {
        let name = joined.room.clone();
        let Some(room) = self.rooms.iter_mut().find(|room| room.name == name) else {
            // Left while the join was under way, and the service may have seen them in the other order.
            self.leave_later(name);
            return;
        };
        let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
            return;
        };
        let known = link.rooms.entry(name.clone()).or_default();
        known.joined = true;
        // The answer to an earlier try of the join is as good; one to an earlier join only brings its messages.
        let answered = known
            .join
            .take_if(|join| joined.id.is_none() || joined.id.as_deref() == Some(&join.id));
        let mut events = Vec::new();
        let mut lost = false;
        if answered.as_ref().is_some_and(|join| !join.quiet) {
            events.push(Event::Joined {
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
            // Asked before the position was lost; another join asks for a new start.
            (Place::New | Place::Lost(_), _) => {}
            (Place::At(here), Some(false)) => match &answered {
                Some(join) if join.since.as_ref() == Some(here) => lost = true,
                // Messages came meanwhile: what was lost before them is not lost any more.
                Some(_) => known.poll = true,
                None => {}
            },
            (Place::At(here), _) if here.epoch != joined.epoch => known.poll = answered.is_some(),
            (Place::At(_), _) => {}
        }
        room.reaches(&joined.epoch, joined.head);
        if lost {
            room.lose();
            // Whatever they answer, it is older than the loss.
            for known in self
                .links
                .iter_mut()
                .filter_map(|link| link.rooms.get_mut(&name))
            {
                known.join = None;
            }
        }
        if answered.is_some_and(|join| !join.quiet) {
            self.proved(now, id);
        }
        for event in events {
            self.show(event);
        }
        // Without a place they are of no use: `start` has not accepted them as a beginning.
        if self.room(&name).is_some_and(|room| room.at().is_some()) {
            let epoch = joined.epoch;
            let entries = joined.messages.into_iter();
            self.take(&name, entries.filter(|entry| entry.epoch == epoch));
        }
    }

    fn page(&mut self, page: Page) {
        let asked = self.asked.iter().position(|asked| {
            // A page of what was asked for lies before it; a page that fills a gap lies after all that was shown.
            let before = match asked.what {
                What::History { before, .. } => before,
                What::Members => None,
            };
            asked.room == page.room
                && before.is_some_and(|before| page.messages.iter().all(|entry| entry.seq < before))
        });
        let Some(room) = self.rooms.iter_mut().find(|room| room.name == page.room) else {
            return;
        };
        let Place::At(here) = &room.place else { return };
        let epoch = page.epoch.unwrap_or_default();
        let empty = epoch.is_empty() && here.seq == 0 && !room.behind();
        if !empty && (here.epoch != epoch || here.seq + 1 < page.first) {
            // Another log, or the gap was trimmed: the join says which, and what can still be had.
            self.verify(&page.room);
            return;
        }
        let fills =
            !page.messages.is_empty() && page.messages.iter().any(|entry| entry.seq > here.seq);
        if let Some(asked) = asked.filter(|_| !fills) {
            if page.messages.is_empty() && room.fill.is_some() {
                return;
            }
            if let Some(oldest) = page.messages.first() {
                room.oldest = room.oldest.min(oldest.seq);
            }
            self.asked.remove(asked);
            self.show(Event::History {
                room: page.room,
                messages: page.messages,
                more: page.more,
            });
            return;
        }
        room.reaches(&epoch, page.head);
        if fills {
            // There is progress: the next page is asked for at once.
            room.fill = None;
            self.take(&page.room, page.messages);
        }
    }

    pub(super) fn left(&mut self, room: &str) {
        let before = self.leaving.len();
        self.leaving.retain(|leaving| leaving.room != room);
        if self.leaving.len() < before {
            self.show(Event::Left {
                room: room.to_owned(),
            });
        }
    }
}
