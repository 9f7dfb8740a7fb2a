//! Handles errors: sends again, joins again, or tells the user.

use std::time::Duration;

use super::{Core, Exit, LinkId, Output, Why};
use crate::event::Event;
use crate::wire::Failure;

impl Core {
    /// API Gateway's own frames carry no id, so any frame that was sent on this connection and is not answered may have
    /// failed. All of them are sent again, which does no harm to those that did not fail.
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
        if failure.name == "token_expired" {
            // The connection ends with its token. The next one is opened with a fresh token.
            self.give_up_link(now, link, "the token of the connection has expired");
            return;
        }
        let Some(id) = failure.id.clone() else {
            self.complain(None, None, &failure.name, &failure.message);
            return;
        };
        if self.signal_failed(&id, &failure) {
            return;
        }
        let Some(subject) = self.subject(&id) else {
            // Another try of the same frame was answered already.
            return;
        };
        let outside = failure.name == "not_a_member";
        if outside && matches!(subject, Subject::Join(_)) {
            // The connection is in no room at all any more, and only a handshake changes that.
            self.give_up_link(now, link, &failure.message);
            return;
        }
        if outside && matches!(subject, Subject::Leave(_)) {
            for leaving in self.leaving.iter_mut().filter(|leaving| leaving.id == id) {
                leaving.pending.remove(&link);
            }
            return;
        }
        if outside {
            // The membership was lost, for instance because it expired. The room is joined again, then the frame sent.
            let links = self.links.iter_mut().filter(|known| known.id == link);
            for known in links.filter_map(|known| known.rooms.get_mut(subject.room())) {
                known.joined = false;
            }
        }
        let retrying = match &subject {
            Subject::Join(_) => failure.temporary,
            // Without the right to read the log the gap stays, and the user is told so.
            Subject::Fill(_) => failure.name != "forbidden",
            Subject::Message(_)
            | Subject::Asked(..)
            | Subject::Leave(_)
            | Subject::Tell(..)
            | Subject::Look(_) => failure.temporary || outside,
        };
        if failure.name == "slow_down"
            && let Some(wait) = failure.retry_after_ms
        {
            // Until then the service drops the frames of this action without an answer.
            let until = now + Duration::from_millis(wait);
            for known in self.links.iter_mut().filter(|known| known.id == link) {
                match &subject {
                    Subject::Join(_) => known.joins.pause(until),
                    Subject::Fill(_) => known.reads.pause(until),
                    Subject::Message(_)
                    | Subject::Asked(..)
                    | Subject::Leave(_)
                    | Subject::Tell(..)
                    | Subject::Look(_) => {}
                }
            }
        }
        if retrying {
            let chance = self.chance();
            for (_, retry) in self.retries().filter(|(name, _)| *name == id) {
                retry.later(now, chance, failure.retry_after_ms);
            }
        }
        // A request that the client makes by itself is of no concern to the user while it can be made again.
        let own = matches!(subject, Subject::Look(_) | Subject::Tell(_, None));
        let asked = matches!(
            subject,
            Subject::Message(_) | Subject::Asked(..) | Subject::Tell(_, Some(_))
        );
        if (!retrying && !own) || asked {
            let told = match &subject {
                Subject::Asked(_, command) => command.clone(),
                Subject::Tell(_, command) => command.clone().flatten(),
                Subject::Look(_) => None,
                Subject::Join(room) => self.room(room).and_then(|room| room.command.clone()),
                Subject::Leave(_) => self.leave_command(&id),
                Subject::Message(_) | Subject::Fill(_) => Some(id.clone()),
            };
            self.show(Event::Error {
                id: told,
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

    fn give_up_link(&mut self, now: Duration, link: LinkId, reason: &str) {
        self.out.push(Output::Close(link));
        self.closed(now, link, reason, Why::Lost);
    }

    fn give_up(&mut self, subject: &Subject, id: &str, why: &str) {
        match subject {
            Subject::Message(room) => {
                if let Some(room) = self.room(room) {
                    room.outbox.retain(|message| message.id != *id);
                }
            }
            Subject::Asked(..) => self.asked.retain(|asked| asked.id != *id),
            Subject::Tell(room, _) => {
                if let Some(room) = self.room(room) {
                    room.tell = None;
                }
            }
            Subject::Look(room) => {
                if let Some(room) = self.room(room) {
                    room.look = None;
                }
            }
            Subject::Leave(_) => self.leaving.retain(|leaving| leaving.id != *id),
            Subject::Fill(room) => self.lose(room),
            Subject::Join(room) => self.drop_room(room, &format!("cannot join {room}: {why}")),
        }
    }

    /// Drops a room that the user cannot be in, with all that is unanswered there. Ends with the last room.
    pub(super) fn drop_room(&mut self, room: &str, why: &str) {
        let unsent = self.room(room).map(|room| std::mem::take(&mut room.outbox));
        for message in unsent.into_iter().flatten() {
            self.complain(
                Some(room),
                Some(&message.id),
                "not_a_member",
                "The message was not sent: you are not in its room.",
            );
        }
        let asked = self.asked.iter().filter(|asked| asked.room == room);
        for id in asked.map(|asked| asked.id.clone()).collect::<Vec<_>>() {
            self.unask(&id, "not_a_member", "You are not in the room.");
        }
        self.forget(room);
        if self.rooms.is_empty() {
            self.exit(Exit::Refused(why.to_owned()));
        }
    }

    /// Gives a question of the user up.
    pub(super) fn unask(&mut self, id: &str, name: &str, message: &str) {
        if let Some(index) = self.asked.iter().position(|asked| asked.id == id) {
            let asked = self.asked.remove(index);
            self.complain(Some(&asked.room), asked.command.as_deref(), name, message);
        }
    }

    fn leave_command(&self, id: &str) -> Option<String> {
        let leaving = self.leaving.iter().find(|leaving| leaving.id == id)?;
        leaving.command.clone().flatten()
    }

    /// Returns what the client sent under an id.
    fn subject(&self, id: &str) -> Option<Subject> {
        for room in &self.rooms {
            let named = |name: fn(String) -> Subject| Some(name(room.name.clone()));
            if room.outbox.front().is_some_and(|message| message.id == id) {
                return named(Subject::Message);
            }
            if let Some(tell) = room.tell.as_ref().filter(|tell| tell.id == id) {
                return Some(Subject::Tell(room.name.clone(), tell.command.clone()));
            }
            if room.look.as_ref().is_some_and(|look| look.id == id) {
                return named(Subject::Look);
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
            .map(|asked| Subject::Asked(asked.room.clone(), asked.command.clone()))
            .or_else(|| leaving.map(|leaving| Subject::Leave(leaving.room.clone())))
    }
}

/// The subject of an error, with its room.
enum Subject {
    /// A message of the user.
    Message(String),
    /// A request for missing messages.
    Fill(String),
    /// A `join`.
    Join(String),
    /// A question of the user, with the id of its command.
    Asked(String, Option<String>),
    /// A `leave`.
    Leave(String),
    /// A change of the state, with the id of its command if the user made it.
    Tell(String, Option<Option<String>>),
    /// The list of members that the client reads by itself.
    Look(String),
}

impl Subject {
    fn room(&self) -> &str {
        match self {
            Self::Message(room)
            | Self::Fill(room)
            | Self::Join(room)
            | Self::Asked(room, _)
            | Self::Leave(room)
            | Self::Tell(room, _)
            | Self::Look(room) => room,
        }
    }
}
