//! What failed, and what is done about it: sent again, joined again, or told to the user.

use std::time::Duration;

use super::{Core, Exit, LinkId, Output};
use crate::event::Event;
use crate::wire::Failure;

impl Core {
    /// API Gateway's own frames name nothing: any frame sent on this connection may be meant. All are such that
    /// sending them again does no harm.
    pub(super) fn gateway_failed(&mut self, now: Duration, link: LinkId, words: &str) {
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

    pub(super) fn failed(&mut self, now: Duration, link: LinkId, failure: Failure) {
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
