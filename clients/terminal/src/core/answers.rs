//! What the frames of the service change.

use std::time::Duration;

use super::commands::What;
use super::room::{Place, Taken};
use super::{Core, Exit, LinkId, Output};
use crate::event::Event;
use crate::wire::{Ack, Entry, Failure, Frame, Joined, Page, Position};

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

    fn left(&mut self, room: &str) {
        let before = self.leaving.len();
        self.leaving.retain(|leaving| leaving.room != room);
        if self.leaving.len() < before {
            self.show(Event::Left {
                room: room.to_owned(),
            });
        }
    }

    /// API Gateway's own frames name nothing: any frame sent on this connection may be meant. All are such that
    /// sending them again does no harm.
    fn gateway_failed(&mut self, now: Duration, link: LinkId, words: &str) {
        let chance = self.chance();
        for (_, retry) in self.retries() {
            retry.perhaps_failed(now, chance, link);
        }
        self.show(Event::Error {
            id: None,
            room: None,
            name: "internal".to_owned(),
            message: format!("API Gateway: {words}"),
            retrying: true,
        });
    }

    fn failed(&mut self, now: Duration, link: LinkId, failure: Failure) {
        let Some(id) = failure.id.clone() else {
            self.complain(None, None, &failure.name, &failure.message);
            return;
        };
        let Some(subject) = self.subject(&id) else {
            // Another try of the same frame was answered better.
            return;
        };
        let outside = failure.name == "not_a_member";
        if outside && matches!(subject, Subject::Join(_)) {
            // The connection is in no room at all any more; only a handshake changes that.
            self.out.push(Output::Close(link));
            self.closed(now, link, &failure.message, false);
            return;
        }
        if outside {
            // The membership is gone, for instance because it expired: join again, then send again.
            let links = self.links.iter_mut().filter(|known| known.id == link);
            for known in links.filter_map(|known| known.rooms.get_mut(subject.room())) {
                known.joined = false;
            }
        }
        let retrying = match &subject {
            Subject::Leave(room) if outside => {
                self.left(room);
                return;
            }
            Subject::Join(_) => failure.temporary,
            // A gap stays a gap: it is asked for as long as it is there.
            Subject::Fill(_) => true,
            Subject::Message(_) | Subject::Asked(_) | Subject::Leave(_) => {
                failure.temporary || outside
            }
        };
        if retrying {
            let chance = self.chance();
            if let Some((_, retry)) = self.retries().find(|(name, _)| *name == id) {
                retry.later(now, chance, failure.retry_after_ms);
            }
        }
        // What the client asks for by itself is not the user's concern while it can be asked again.
        if !retrying || matches!(subject, Subject::Message(_) | Subject::Asked(_)) {
            self.show(Event::Error {
                id: Some(id.clone()),
                room: Some(subject.room().to_owned()),
                name: failure.name,
                message: failure.message.clone(),
                retrying,
            });
        }
        if !retrying {
            self.give_up(&subject, &id, &failure.message);
        }
    }

    fn give_up(&mut self, subject: &Subject, id: &str, why: &str) {
        match subject {
            Subject::Message(room) => {
                if let Some(room) = self.room(room) {
                    room.outbox.retain(|message| message.id != *id);
                }
            }
            Subject::Asked(_) => self.asked.retain(|asked| asked.id != *id),
            Subject::Leave(_) => self.leaving.retain(|leaving| leaving.id != *id),
            Subject::Fill(_) => {}
            Subject::Join(room) => {
                let unsent = self.room(room).map(|room| std::mem::take(&mut room.outbox));
                for message in unsent.into_iter().flatten() {
                    self.complain(
                        Some(room),
                        Some(&message.id),
                        "not_a_member",
                        "This message was not sent: its room cannot be joined.",
                    );
                }
                self.forget(room);
                if self.rooms.is_empty() {
                    self.exit(Exit::Refused(format!("cannot join {room}: {why}")));
                }
            }
        }
    }

    /// What a name that the client gave belongs to.
    fn subject(&self, id: &str) -> Option<Subject> {
        for room in &self.rooms {
            let named = |name: fn(String) -> Subject| Some(name(room.name.clone()));
            if room.outbox.front().is_some_and(|message| message.id == id) {
                return named(Subject::Message);
            }
            if room.fill.as_ref().is_some_and(|(fill, _)| fill == id) {
                return named(Subject::Fill);
            }
            let mut joins = self.links.iter().filter_map(|link| {
                let known = link.rooms.get(&room.name)?;
                known.join.as_ref()
            });
            if joins.any(|join| join.id == id) {
                return named(Subject::Join);
            }
        }
        let asked = self.asked.iter().find(|asked| asked.id == id);
        let leaving = self.leaving.iter().find(|leaving| leaving.id == id);
        asked
            .map(|asked| Subject::Asked(asked.room.clone()))
            .or_else(|| leaving.map(|leaving| Subject::Leave(leaving.room.clone())))
    }
}

/// What an error is about; each with its room.
enum Subject {
    Message(String),
    Fill(String),
    Join(String),
    Asked(String),
    Leave(String),
}

impl Subject {
    fn room(&self) -> &str {
        match self {
            Self::Message(room)
            | Self::Fill(room)
            | Self::Join(room)
            | Self::Asked(room)
            | Self::Leave(room) => room,
        }
    }
}
