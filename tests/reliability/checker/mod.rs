//! Compares the promises with the record of a run.
//!
//! The checker does not know how the server works, nor what the test does. It reads the frames of every client in the
//! order of the record, and the stored log.

mod replay;
mod tests;

pub(crate) use replay::replay;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::record::{Event, What};

/// A message, from the log or from a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) epoch: String,
    /// The number of ordinary messages up to this entry. A row of an older version has none and counts as its number.
    pub(crate) n: u64,
    pub(crate) id: Option<String>,
    pub(crate) user: String,
    pub(crate) data: Value,
    /// A row that begins an epoch and is no message.
    pub(crate) is_beginning: bool,
}

impl Entry {
    /// A row of the table.
    pub(crate) fn stored(item: &Value) -> Entry {
        let text = |name: &str| item[name]["S"].as_str();
        Entry {
            seq: item["seq"]["N"].as_str().unwrap().parse().unwrap(),
            epoch: text("epoch").unwrap_or_default().to_owned(),
            n: item["n"]["N"]
                .as_str()
                .or(item["seq"]["N"].as_str())
                .and_then(|n| n.parse().ok())
                .unwrap_or_default(),
            id: text("id").map(str::to_owned),
            user: text("user").unwrap_or_default().to_owned(),
            data: text("data")
                .and_then(|data| serde_json::from_str(data).ok())
                .unwrap_or_default(),
            is_beginning: text("user").is_none(),
        }
    }

    /// A `message`, alone or in a `joined` or `history`, which names the epoch once for all of its messages.
    fn shown(frame: &Value, around: &Value) -> Entry {
        let epoch = frame["epoch"].as_str().or(around["epoch"].as_str());
        Entry {
            seq: frame["seq"].as_u64().unwrap_or_default(),
            epoch: epoch.unwrap_or_default().to_owned(),
            n: frame["n"].as_u64().unwrap_or_default(),
            id: frame["id"].as_str().map(str::to_owned),
            user: frame["from"].as_str().unwrap_or_default().to_owned(),
            data: frame["data"].clone(),
            is_beginning: false,
        }
    }
}

/// The circumstances of a run on which promises depend.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promises {
    /// The test removes entries: a position may be lost, and acknowledged messages may be missing in the log.
    pub(crate) trimmed: bool,
    /// The longest time for which the index of members may show a member that has left.
    pub(crate) lag: Duration,
}

/// A message that a member has tried to publish, once or several times.
#[derive(Debug)]
struct Wanted {
    user: String,
    room: String,
    data: Value,
    tries: usize,
    /// The highest number of the room that any client had seen before the first try.
    floor: u64,
    first_try: Instant,
}

/// The key of a message: its sender and id, or its data alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Id(String, String),
    Words(String),
}

impl Key {
    fn of(user: &str, id: Option<&str>, data: &Value) -> Key {
        match id {
            Some(id) => Key::Id(user.to_owned(), id.to_owned()),
            None => Key::Words(data.to_string()),
        }
    }
}

/// The messages that a member has of a room.
#[derive(Debug, Default)]
struct View {
    /// It is a member, or has asked to be.
    is_in: bool,
    left_at: Option<Instant>,
    /// It must receive every message after this number.
    from: u64,
    epoch: String,
    seen: BTreeSet<u64>,
    /// The last join that was sent.
    since: Value,
    floor_at_join: u64,
    /// The head of a resume whose messages have not all come yet.
    due: Option<u64>,
}

/// All rooms that a client has published to or joined.
pub(crate) fn rooms(events: &[Event]) -> BTreeSet<String> {
    let room = |event: &Event| match &event.what {
        What::Connecting(room) | What::Settled(room) | What::Written { room, .. } => {
            Some(room.clone())
        }
        What::Sent(frame) | What::Received(frame) => frame["room"].as_str().map(str::to_owned),
    };
    events.iter().filter_map(room).collect()
}

/// Describes every broken promise.
pub(crate) fn violations(
    events: &[Event],
    logs: &BTreeMap<String, Vec<Entry>>,
    promises: &Promises,
) -> Vec<String> {
    let mut check = Check {
        logs,
        promises,
        broken: Vec::new(),
        wanted: HashMap::new(),
        highest: HashMap::new(),
        asked: HashMap::new(),
        views: BTreeMap::new(),
    };
    for event in events {
        check.event(event);
    }
    check.stored();
    check.broken
}

struct Check<'a> {
    logs: &'a BTreeMap<String, Vec<Entry>>,
    promises: &'a Promises,
    broken: Vec<String>,
    wanted: HashMap<Key, Wanted>,
    /// The highest number that any client has seen, by room and epoch.
    highest: HashMap<(String, String), u64>,
    /// The last publish of each connection. A member waits for each answer before it sends the next frame.
    asked: HashMap<usize, Key>,
    views: BTreeMap<(usize, String), View>,
}

impl Check<'_> {
    fn event(&mut self, event: &Event) {
        match &event.what {
            What::Connecting(room) => {
                // A new connection is in no other room until it joins one.
                for ((member, _), view) in &mut self.views {
                    view.is_in &= *member != event.member;
                }
                self.enter(event.member, room);
            }
            What::Sent(frame) => self.sent(event, frame),
            What::Received(frame) => self.received(event, frame),
            What::Settled(room) => self.settled(event, room),
            What::Written { room, data } => {
                let wanted = Wanted {
                    user: event.user.clone(),
                    room: room.clone(),
                    data: data.clone(),
                    tries: 1,
                    floor: 0,
                    first_try: event.at,
                };
                self.wanted.insert(Key::of("", None, data), wanted);
            }
        }
    }

    fn enter(&mut self, member: usize, room: &str) -> &mut View {
        let view = self.views.entry((member, room.to_owned())).or_default();
        view.is_in = true;
        view.left_at = None;
        view
    }

    /// The highest number of the room that any client has seen, in its latest epoch.
    fn floor(&self, room: &str) -> u64 {
        // Numbers of an earlier epoch are not comparable.
        let mut epochs = self.highest.iter().filter(|((of, _), _)| of == room);
        match (epochs.next(), epochs.next()) {
            (Some((_, highest)), None) => *highest,
            _ => 0,
        }
    }

    fn sent(&mut self, event: &Event, frame: &Value) {
        let room = frame["room"].as_str().unwrap_or_default();
        let floor = self.floor(room);
        match frame["action"].as_str() {
            Some("publish") => {
                let key = Key::of(&event.user, frame["id"].as_str(), &frame["data"]);
                let wanted = self.wanted.entry(key.clone()).or_insert_with(|| Wanted {
                    user: event.user.clone(),
                    room: room.to_owned(),
                    data: frame["data"].clone(),
                    tries: 0,
                    floor,
                    first_try: event.at,
                });
                wanted.tries += 1;
                self.asked.insert(event.connection, key);
            }
            Some("join") => {
                let since = frame["since"].clone();
                let view = self.enter(event.member, room);
                if since.is_null() {
                    view.seen.clear();
                }
                view.since = since;
                view.floor_at_join = floor;
                view.due = None;
            }
            _ => {}
        }
    }

    fn received(&mut self, event: &Event, frame: &Value) {
        let who = format!(
            "{} (member {}, connection {})",
            event.user, event.member, event.connection
        );
        let room = frame["room"].as_str().unwrap_or_default();
        match frame["type"].as_str() {
            Some("message") => {
                let entry = Entry::shown(frame, frame);
                self.delivered(event, &who, room, &entry);
                self.seen(event.member, room, &[entry]);
            }
            Some("ack") => self.acked(event, &who, room, frame),
            Some("joined") => self.joined(event, &who, room, frame),
            Some("history") => {
                let entries = self.page(&who, room, frame);
                self.seen(event.member, room, &entries);
                if frame["more"] != true {
                    self.complete(event.member, &who, room);
                }
            }
            Some("left") => {
                let view = self
                    .views
                    .entry((event.member, room.to_owned()))
                    .or_default();
                view.is_in = false;
                view.left_at = Some(event.at);
            }
            Some("error") if frame["temporary"] != true => {
                // The members of these tests send only valid frames.
                self.broken
                    .push(format!("{who} is refused for good: {frame}"));
            }
            Some("error") if frame["name"] == "slow_down" && !frame["retryAfterMs"].is_u64() => {
                self.broken
                    .push(format!("{who} is not told how long to slow down: {frame}"));
            }
            _ => {}
        }
    }

    fn acked(&mut self, event: &Event, who: &str, room: &str, ack: &Value) {
        let Some(key) = self.asked.get(&event.connection).cloned() else {
            self.broken
                .push(format!("{who} got an ack for nothing: {ack}"));
            return;
        };
        let wanted = &self.wanted[&key];
        let entry = Entry {
            seq: ack["seq"].as_u64().unwrap_or_default(),
            epoch: ack["epoch"].as_str().unwrap_or_default().to_owned(),
            n: ack["n"].as_u64().unwrap_or_default(),
            id: match &key {
                Key::Id(_, id) => Some(id.clone()),
                Key::Words(_) => None,
            },
            user: event.user.clone(),
            data: wanted.data.clone(),
            is_beginning: false,
        };
        let (floor, meant) = (wanted.floor, wanted.room.clone());
        if room != meant || ack["id"].as_str() != entry.id.as_deref() {
            self.broken.push(format!(
                "{who} published {key:?} to {meant} and got an ack for another: {ack}"
            ));
        }
        if entry.seq <= floor && !self.promises.trimmed {
            self.broken.push(format!(
                "{who} published {key:?} after somebody had seen {room} {floor}, and it got {}: the order is lost",
                entry.seq
            ));
        }
        match self.stored_at(room, &entry.epoch, entry.seq) {
            Some(stored) if *stored != entry => self.broken.push(format!(
                "{who} was told that {key:?} is {room} {}, where the log has {stored:?}",
                entry.seq
            )),
            None if !self.promises.trimmed => self.broken.push(format!(
                "{who} was told that {key:?} is {room} {}, and the log does not have it: an acked message is lost",
                entry.seq
            )),
            _ => {}
        }
        self.seen(event.member, room, &[entry]);
    }

    fn joined(&mut self, event: &Event, who: &str, room: &str, joined: &Value) {
        let entries = self.page(who, room, joined);
        let head = joined["head"].as_u64().unwrap_or_default();
        let epoch = joined["epoch"].as_str().unwrap_or_default().to_owned();
        let view = self
            .views
            .entry((event.member, room.to_owned()))
            .or_default();
        let since = std::mem::take(&mut view.since);
        let mut broken = Vec::new();
        if head < view.floor_at_join && !self.promises.trimmed {
            broken.push(format!(
                "{who} joined {room} after somebody had seen {}, and is told it ends at {head}",
                view.floor_at_join
            ));
        }
        if joined["recovered"].is_boolean() == since.is_null() {
            broken.push(format!(
                "{who} joined {room} with since {since} and got recovered {}",
                joined["recovered"]
            ));
        }
        if joined["recovered"] == true {
            let last = since["seq"].as_u64().unwrap_or_default();
            if since["epoch"] != epoch.as_str() {
                broken.push(format!(
                    "{who} resumed {room} from {since} and was spliced into epoch {epoch}"
                ));
            }
            if entries.first().is_some_and(|first| first.seq != last + 1) {
                broken.push(format!(
                    "{who} resumed {room} from {last}, and gets messages from {} on",
                    entries[0].seq
                ));
            }
            view.due = Some(head);
        } else {
            if !since.is_null() && !self.promises.trimmed {
                broken.push(format!(
                    "{who} resumed {room} from {since} and is told that its position is lost: {joined}"
                ));
            }
            // Messages between a first join and its answer count; messages of an older epoch do not.
            if !since.is_null() && epoch != view.epoch {
                view.seen.clear();
            }
            view.from = head;
            view.epoch = epoch.clone();
            view.due = None;
        }
        self.broken.append(&mut broken);
        self.see_up_to(room, &epoch, head);
        self.seen(event.member, room, &entries);
        if joined["more"] != true {
            self.complete(event.member, who, room);
        }
    }

    /// Checks the messages of an answer: equal to the log, and without a gap.
    fn page(&mut self, who: &str, room: &str, answer: &Value) -> Vec<Entry> {
        let entries: Vec<Entry> = answer["messages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|message| Entry::shown(message, answer))
            .collect();
        if let Some(pair) = entries
            .windows(2)
            .find(|pair| pair[0].seq + 1 != pair[1].seq)
        {
            self.broken.push(format!(
                "{who} is shown {room} {} and then {}, with nothing between",
                pair[0].seq, pair[1].seq
            ));
        }
        for entry in &entries {
            self.true_to_the_log(who, room, entry);
        }
        let (head, epoch) = (answer["head"].as_u64(), answer["epoch"].as_str());
        let newest = head
            .zip(epoch)
            .and_then(|(head, epoch)| self.stored_at(room, epoch, head))
            .filter(|newest| Some(newest.n) != answer["headN"].as_u64());
        if let Some(newest) = newest {
            self.broken.push(format!(
                "{who} is told that {} messages are in {room}, and its newest is {newest:?}",
                answer["headN"]
            ));
        }
        entries
    }

    fn delivered(&mut self, event: &Event, who: &str, room: &str, entry: &Entry) {
        let key = Key::of(&entry.user, entry.id.as_deref(), &entry.data);
        let first_try = self.wanted.get(&key).map(|wanted| wanted.first_try);
        let view = self.views.get(&(event.member, room.to_owned()));
        match view {
            Some(view) if view.is_in => {}
            // The index may still have shown the member in this room.
            Some(View {
                left_at: Some(left_at),
                ..
            }) if first_try.is_some_and(|first_try| first_try <= *left_at + self.promises.lag) => {}
            _ => self.broken.push(format!(
                "{who} is not in {room} and gets its message {}",
                entry.seq
            )),
        }
        self.true_to_the_log(who, room, entry);
    }

    fn true_to_the_log(&mut self, who: &str, room: &str, entry: &Entry) {
        match self.stored_at(room, &entry.epoch, entry.seq) {
            Some(stored) if stored == entry => {}
            None if self.promises.trimmed => {}
            stored => self.broken.push(format!(
                "{who} is shown {room} {entry:?}, and the log has {stored:?}"
            )),
        }
    }

    fn stored_at(&self, room: &str, epoch: &str, seq: u64) -> Option<&Entry> {
        let log = self.logs.get(room)?;
        let mut found = log
            .iter()
            .filter(|entry| entry.seq == seq && !entry.is_beginning);
        // After a trim, a later epoch may have given the same number again.
        found.find(|entry| !self.promises.trimmed || entry.epoch == epoch)
    }

    fn seen(&mut self, member: usize, room: &str, entries: &[Entry]) {
        for entry in entries {
            self.see_up_to(room, &entry.epoch, entry.seq);
        }
        let view = self.views.entry((member, room.to_owned())).or_default();
        view.seen.extend(entries.iter().map(|entry| entry.seq));
    }

    /// A client that has seen n proves that 1…n are stored.
    fn see_up_to(&mut self, room: &str, epoch: &str, seq: u64) {
        let highest = self
            .highest
            .entry((room.to_owned(), epoch.to_owned()))
            .or_default();
        *highest = (*highest).max(seq);
    }

    /// A resume is complete: together with the earlier messages, the member has everything.
    fn complete(&mut self, member: usize, who: &str, room: &str) {
        let Some(view) = self.views.get_mut(&(member, room.to_owned())) else {
            return;
        };
        let Some(due) = view.due.take() else { return };
        let missed: Vec<u64> = (view.from + 1..=due)
            .filter(|seq| !view.seen.contains(seq))
            .collect();
        if !missed.is_empty() {
            self.broken.push(format!(
                "{who} has been in {room} since {} and has resumed up to {due}, but never got {missed:?}",
                view.from
            ));
        }
    }

    fn settled(&mut self, event: &Event, room: &str) {
        let Some(view) = self.views.get(&(event.member, room.to_owned())) else {
            return;
        };
        let log = self.logs.get(room).map_or(&[][..], Vec::as_slice);
        let missed: Vec<u64> = log
            .iter()
            .filter(|entry| !entry.is_beginning && entry.seq > view.from)
            .map(|entry| entry.seq)
            .filter(|seq| !view.seen.contains(seq))
            .collect();
        if !view.is_in || !missed.is_empty() {
            self.broken.push(format!(
                "{} (member {}) has settled in {room} from {} on and has not got {missed:?}",
                event.user, event.member, view.from
            ));
        }
    }

    /// Checks the log itself, and compares it with the sent messages.
    fn stored(&mut self) {
        for (room, log) in self.logs {
            let messages: Vec<&Entry> = log.iter().filter(|entry| !entry.is_beginning).collect();
            let numbers: Vec<u64> = messages.iter().map(|entry| entry.seq).collect();
            let first = if self.promises.trimmed {
                numbers.first().copied().unwrap_or(1)
            } else {
                1
            };
            if !numbers
                .iter()
                .zip(first..)
                .all(|(number, due)| *number == due)
            {
                self.broken
                    .push(format!("the numbers of {room} are {numbers:?}"));
            }
            let counts = |pair: &[Entry]| {
                // A genesis may be left when the messages after it are trimmed.
                let follows = pair[0].epoch == pair[1].epoch && pair[0].seq + 1 == pair[1].seq;
                !follows || pair[0].n + u64::from(!pair[1].is_beginning) == pair[1].n
            };
            let counted = log.windows(2).all(counts);
            let begins = log.first().is_none_or(|entry| entry.n == entry.seq);
            if !counted || !(begins || self.promises.trimmed) {
                let counts: Vec<u64> = log.iter().map(|entry| entry.n).collect();
                self.broken
                    .push(format!("the messages of {room} are counted {counts:?}"));
            }
            let epochs: BTreeSet<&str> = log.iter().map(|entry| entry.epoch.as_str()).collect();
            if epochs.len() > 1 && !self.promises.trimmed {
                self.broken.push(format!("{room} has epochs {epochs:?}"));
            }
            let mut copies: HashMap<Key, Vec<u64>> = HashMap::new();
            for entry in messages {
                let key = Key::of(&entry.user, entry.id.as_deref(), &entry.data);
                let wanted = self.wanted.get(&key);
                if !wanted.is_some_and(|wanted| {
                    wanted.user == entry.user && wanted.room == *room && wanted.data == entry.data
                }) {
                    self.broken
                        .push(format!("{room} has {entry:?}, which nobody sent"));
                }
                copies.entry(key).or_default().push(entry.seq);
            }
            for (key, seqs) in copies {
                let most = match (&key, self.wanted.get(&key)) {
                    // Without an id, a resend is another message.
                    (Key::Words(_), Some(wanted)) => wanted.tries,
                    _ => 1,
                };
                if seqs.len() > most {
                    self.broken.push(format!(
                        "{key:?} is in {room} {} times, as {seqs:?}: a message is doubled",
                        seqs.len()
                    ));
                }
            }
        }
    }
}
