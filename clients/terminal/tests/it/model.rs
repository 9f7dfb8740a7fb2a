//! A model of the service and of a bad network, which delays, loses, doubles and reorders frames.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roomchat::command::Command;
use roomchat::core::{Core, Exit, Input, LinkId, Output, Settings, Why};
use roomchat::event::Event;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

pub(crate) const USER: &str = "alice";

/// The time for which a connection is in its rooms after its token has ended.
const ROWS_OUTLIVE_TOKENS: Duration = Duration::from_secs(30);

/// The number of messages in a page: small, so that answers have several pages.
const PAGE: usize = 4;

pub(crate) fn settings(rooms: &[&str]) -> Settings {
    Settings {
        user: USER.to_owned(),
        rooms: rooms.iter().map(|&room| room.to_owned()).collect(),
        history: 3,
        heartbeat: Duration::from_secs(300),
        max_life: Duration::from_secs(1000),
        ack_timeout: Duration::from_secs(10),
        has_tokens: false,
        marks: false,
        presence: false,
    }
}

#[derive(Clone)]
struct Stored {
    user: String,
    id: Option<String>,
    data: String,
    /// The `kind` and the number of the message that the entry changes.
    change: Option<(&'static str, u64)>,
}

/// A message as it is now: its data, or `None` if it is deleted, and the users who react to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Present {
    data: Option<String>,
    reactions: usize,
}

/// The log of a room, with all its epochs.
struct Log {
    epoch: usize,
    first: u64,
    /// The entries of every epoch, trimmed ones included.
    epochs: Vec<Vec<Stored>>,
}

impl Log {
    fn new() -> Log {
        Log {
            epoch: 0,
            first: 1,
            epochs: vec![Vec::new()],
        }
    }

    fn name(&self) -> String {
        format!("e{}", self.epoch)
    }

    fn head(&self) -> u64 {
        self.epochs[self.epoch].len() as u64
    }

    /// Returns the changes to a message, with their numbers.
    fn changes(&self, target: u64) -> impl Iterator<Item = (u64, &'static str, &Stored)> {
        let entries = (1..).zip(&self.epochs[self.epoch]);
        entries.filter_map(move |(seq, stored)| {
            let (kind, of) = stored.change?;
            (of == target).then_some((seq, kind, stored))
        })
    }

    /// Replays the log for a message.
    fn present(&self, seq: u64) -> Present {
        let mut data = Some(self.epochs[self.epoch][seq as usize - 1].data.clone());
        let mut users = BTreeSet::new();
        for (_, kind, stored) in self.changes(seq) {
            match kind {
                _ if data.is_none() => {}
                "edit" => data = Some(stored.data.clone()),
                "delete" => {
                    data = None;
                    users.clear();
                }
                _ => {
                    if !users.remove(&stored.user) {
                        users.insert(stored.user.clone());
                    }
                }
            }
        }
        let reactions = users.len();
        Present { data, reactions }
    }

    /// Returns the frame of an entry. Reactions are in answers alone.
    fn frame(&self, room: &str, seq: u64, in_answer: bool) -> Value {
        let stored = &self.epochs[self.epoch][seq as usize - 1];
        let mut frame = json!({"type": "message", "room": room, "epoch": self.name(), "seq": seq, "id": stored.id,
               "from": stored.user, "data": stored.data, "at": 1});
        if let Some((kind, target)) = stored.change {
            frame["kind"] = json!(kind);
            frame["target"] = json!(target);
            if kind != "edit" || self.present(target).data.is_none() {
                frame["data"] = Value::Null;
            }
            if kind == "react" {
                let same = self
                    .changes(target)
                    .take_while(|(number, ..)| *number < seq)
                    .filter(|(_, kind, other)| *kind == "react" && other.user == stored.user);
                frame["on"] = json!(same.count() % 2 == 0);
                frame["key"] = json!("+");
            }
            return frame;
        }
        let present = self.present(seq);
        match &present.data {
            None => {
                frame["deleted"] = json!({"at": 1, "by": "bob"});
                frame["data"] = Value::Null;
            }
            Some(data) => frame["data"] = json!(data),
        }
        let edits = self.changes(seq).filter(|(_, kind, _)| *kind == "edit");
        if let Some((edit, ..)) = edits.last()
            && present.data.is_some()
        {
            frame["edited"] = json!({"at": 1, "seq": edit});
        }
        if in_answer && present.reactions > 0 {
            frame["reactions"] = json!({"+": {"count": present.reactions}});
        }
        frame
    }

    fn frames(&self, room: &str, seqs: impl Iterator<Item = u64>) -> Vec<Value> {
        seqs.map(|seq| self.frame(room, seq, true)).collect()
    }
}

/// Returns the number up to which nothing need be shown after `seq`: a change that is in its message already is not.
fn unshown(entries: &[Stored], mut seq: u64, until: u64) -> u64 {
    while seq < until && entries[seq as usize].change.is_some() {
        seq += 1;
    }
    seq
}

/// The client's place in a room, as the checker sees it.
#[derive(Default)]
struct Seen {
    last: Option<(String, u64)>,
}

/// The fate of a frame that the client sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Arrives,
    /// The service processes it, and the answer is lost.
    Unanswered,
    Lost,
    /// The service processes it, and API Gateway answers that it failed.
    GatewayAfter,
    GatewayBefore,
    Throttled,
}

pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) now: Duration,
    logs: BTreeMap<String, Log>,
    /// The rooms of each open connection, and whether the index shows the membership.
    links: BTreeMap<LinkId, BTreeMap<String, bool>>,
    pub(crate) dialling: Vec<(LinkId, String)>,
    pub(crate) to_service: Vec<(LinkId, Value)>,
    pub(crate) to_client: Vec<(LinkId, Value)>,
    seen: BTreeMap<String, Seen>,
    said: BTreeMap<String, String>,
    acked: BTreeSet<String>,
    /// Messages that were under way when their room began a new epoch. `after` names no epoch, so the service may
    /// search for an earlier copy in the wrong place.
    excused: BTreeSet<String>,
    pub(crate) events: Vec<Event>,
    /// True if the test expects errors that the user is told of.
    pub(crate) errors_are_fine: bool,
    pub(crate) exit: Option<Exit>,
    /// The life of the token of the next handshake.
    pub(crate) token_life: Option<Duration>,
    /// The time at which the token of each connection ends.
    ends: BTreeMap<LinkId, Duration>,
    /// The numbers of entries that are of an unknown kind, in any room.
    pub(crate) hidden: BTreeSet<u64>,
    others: usize,
    /// The messages of the current epochs, as the user sees them.
    pictures: BTreeMap<(String, String, u64), Present>,
}

impl World {
    pub(crate) fn new(rooms: &[&str]) -> World {
        World::with(settings(rooms))
    }

    pub(crate) fn with(settings: Settings) -> World {
        let mut world = World {
            now: Duration::ZERO,
            logs: settings
                .rooms
                .iter()
                .map(|room| (room.clone(), Log::new()))
                .collect(),
            links: BTreeMap::new(),
            dialling: Vec::new(),
            to_service: Vec::new(),
            to_client: Vec::new(),
            seen: BTreeMap::new(),
            said: BTreeMap::new(),
            acked: BTreeSet::new(),
            excused: BTreeSet::new(),
            events: Vec::new(),
            errors_are_fine: false,
            exit: None,
            token_life: None,
            ends: BTreeMap::new(),
            hidden: BTreeSet::new(),
            others: 0,
            pictures: BTreeMap::new(),
            core: Core::new(settings, [7; 32]),
        };
        world.input(Input::Tick);
        world
    }

    pub(crate) fn input(&mut self, input: Input) {
        for output in self.core.handle(self.now, input) {
            match output {
                Output::Connect { link, room } => self.dialling.push((link, room)),
                Output::Send(link, text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    self.excuse(&frame);
                    self.to_service.push((link, frame));
                }
                Output::Close(link) => self.vanish(link),
                Output::Show(event) => self.check(event),
                Output::Exit(exit) => self.exit = Some(exit),
            }
        }
    }

    /// Excuses a message whose `after` is of an old epoch, because the client does not know of the new one yet.
    fn excuse(&mut self, frame: &Value) {
        let room = frame["room"].as_str().unwrap_or_default();
        let known = self.seen.get(room).and_then(|seen| seen.last.as_ref());
        if frame["action"] == "publish"
            && known.is_some_and(|(epoch, _)| *epoch != self.logs[room].name())
        {
            self.excused
                .insert(frame["id"].as_str().unwrap().to_owned());
        }
    }

    /// Moves the time to the client's next timer.
    pub(crate) fn wake(&mut self) {
        if let Some(at) = self.core.deadline() {
            self.now = self.now.max(at);
            self.input(Input::Tick);
        }
    }

    pub(crate) fn wait(&mut self, by: Duration) {
        self.now += by;
        if self.core.deadline().is_some_and(|at| at <= self.now) {
            self.input(Input::Tick);
        }
    }

    pub(crate) fn say(&mut self, room: &str) -> String {
        let id = format!("m{}", self.said.len());
        self.said.insert(id.clone(), room.to_owned());
        let data = to_raw_value(&id).unwrap();
        self.input(Input::Command(Command::Publish {
            room: Some(room.to_owned()),
            to: None,
            id: Some(id.clone()),
            data,
        }));
        id
    }

    pub(crate) fn another_says(&mut self, room: &str) {
        self.others += 1;
        let data = format!("o{}", self.others);
        let seq = self.append(room, "bob", None, data);
        self.fan_out(room, seq, None);
    }

    /// Changes one of the messages that the log holds, unless it is deleted.
    pub(crate) fn another_changes(&mut self, room: &str, which: u64) {
        let log = &self.logs[room];
        let entries = (1..).zip(&log.epochs[log.epoch]);
        let targets: Vec<u64> = entries
            .filter(|(seq, stored)| *seq >= log.first && stored.change.is_none())
            .map(|(seq, _)| seq)
            .filter(|&seq| log.present(seq).data.is_some())
            .collect();
        if targets.is_empty() {
            return;
        }
        let target = targets[which as usize / 8 % targets.len()];
        let kind = [
            "edit", "edit", "edit", "react", "react", "react", "react", "delete",
        ];
        let kind = kind[which as usize % 8];
        self.others += 1;
        let (user, data) = (format!("u{}", which / 8 % 3), format!("e{}", self.others));
        let seq = self.append(room, &user, None, data);
        let log = self.logs.get_mut(room).unwrap();
        log.epochs[log.epoch][seq as usize - 1].change = Some((kind, target));
        self.fan_out(room, seq, None);
    }

    pub(crate) fn dial(&mut self, works: bool) {
        if self.dialling.is_empty() {
            return;
        }
        let (link, room) = self.dialling.remove(0);
        if works {
            self.links.insert(link, BTreeMap::from([(room, false)]));
            // A life of nothing is that of a client whose clock is ahead: the service's token has not ended.
            if let Some(life) = self.token_life.filter(|life| !life.is_zero()) {
                self.ends.insert(link, self.now + life);
            }
            self.input(Input::Opened {
                link,
                token_life: self.token_life,
            });
        } else {
            self.close(link);
        }
    }

    pub(crate) fn cut(&mut self, which: usize) {
        let Some(&link) = self.links.keys().nth(which % self.links.len().max(1)) else {
            return;
        };
        self.vanish(link);
        self.close(link);
    }

    fn close(&mut self, link: LinkId) {
        let reason = "cut".to_owned();
        self.input(Input::Closed {
            link,
            reason,
            why: Why::Lost,
        });
    }

    fn vanish(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.dialling.retain(|(dialling, _)| *dialling != link);
        self.to_client.retain(|(to, _)| *to != link);
        // Frames that the client has sent may still be processed.
    }

    /// Returns the numbers of the messages that the user was shown.
    pub(crate) fn shown(&self) -> Vec<u64> {
        let seq = |event: &Event| match event {
            Event::Message { entry, .. } => Some(entry.seq),
            _ => None,
        };
        self.events.iter().filter_map(seq).collect()
    }

    /// Returns the oldest open connection.
    pub(crate) fn link(&self) -> LinkId {
        *self.links.keys().next().unwrap()
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn logs_head(&self, room: &str) -> u64 {
        self.logs[room].head()
    }

    /// Lets the index catch up with the table.
    pub(crate) fn index(&mut self) {
        for rooms in self.links.values_mut() {
            rooms.values_mut().for_each(|visible| *visible = true);
        }
    }

    pub(crate) fn trim(&mut self, room: &str, keep: u64) {
        let log = self.logs.get_mut(room).unwrap();
        log.first = log.first.max((log.head() + 1).saturating_sub(keep));
    }

    pub(crate) fn renew(&mut self, room: &str) {
        let log = self.logs.get_mut(room).unwrap();
        log.epoch += 1;
        log.first = 1;
        log.epochs.push(Vec::new());
        let under_way = self
            .said
            .iter()
            .filter(|(id, at)| *at == room && !self.acked.contains(*id));
        self.excused.extend(under_way.map(|(id, _)| id.clone()));
        let frames = self
            .to_service
            .iter()
            .filter_map(|(_, frame)| frame["id"].as_str());
        self.excused.extend(frames.map(str::to_owned));
    }

    pub(crate) fn bring(&mut self, which: usize, lost: bool, doubled: bool) {
        if self.to_client.is_empty() {
            return;
        }
        let which = which % self.to_client.len();
        let (link, frame) = if doubled {
            self.to_client[which].clone()
        } else {
            self.to_client.remove(which)
        };
        if !lost {
            self.input(Input::Received(link, frame.to_string()));
        }
    }

    pub(crate) fn carry(&mut self, which: usize, fate: Fate) {
        if self.to_service.is_empty() {
            return;
        }
        let (link, frame) = self.to_service.remove(which % self.to_service.len());
        let gateway =
            json!({"message": "Internal server error", "connectionId": "x", "requestId": "x"});
        let answer = match fate {
            Fate::Lost => None,
            Fate::GatewayBefore => Some(gateway),
            Fate::Throttled if frame["id"].is_string() => Some(
                json!({"type": "error", "id": frame["id"], "code": 429, "name": "slow_down",
                       "message": "…", "temporary": true, "retryAfterMs": 1000}),
            ),
            Fate::Unanswered => {
                self.process(link, &frame);
                None
            }
            Fate::GatewayAfter => {
                self.process(link, &frame);
                Some(gateway)
            }
            Fate::Arrives | Fate::Throttled => Some(self.process(link, &frame)),
        };
        if let Some(answer) = answer.filter(|_| self.links.contains_key(&link)) {
            self.to_client.push((link, answer));
        }
    }

    fn process(&mut self, link: LinkId, frame: &Value) -> Value {
        let id = &frame["id"];
        let room = frame["room"].as_str().unwrap_or_default().to_owned();
        if frame["action"] == "ping" {
            return json!({"type": "pong"});
        }
        if self.ends.get(&link).is_some_and(|end| *end <= self.now) {
            return json!({"type": "error", "id": id, "action": frame["action"], "code": 401, "name": "token_expired",
                          "message": "…", "temporary": false});
        }
        if frame["action"] == "join" {
            if let Some(rooms) = self.links.get_mut(&link) {
                rooms.entry(room.clone()).or_insert(false);
            }
            self.logs.entry(room.clone()).or_insert_with(Log::new);
            return self.joined(frame, &room);
        }
        if frame["action"] == "leave" {
            if let Some(rooms) = self.links.get_mut(&link) {
                rooms.remove(&room);
            }
            return json!({"type": "left", "id": id, "room": room});
        }
        if !self
            .links
            .get(&link)
            .is_some_and(|rooms| rooms.contains_key(&room))
        {
            return json!({"type": "error", "id": id, "name": "not_a_member", "message": "…", "temporary": false});
        }
        if frame["action"] == "publish" {
            return self.publish(link, frame, &room);
        }
        if frame["action"] == "members" {
            return json!({"type": "members", "id": id, "room": room, "count": 1, "more": false,
                          "members": [{"user": USER, "connections": 1}]});
        }
        assert_eq!(frame["action"], "history");
        let log = &self.logs[&room];
        if let Some(before) = frame["before"].as_u64() {
            let from = log
                .first
                .max(before.saturating_sub(frame["limit"].as_u64().unwrap()));
            let messages = log.frames(&room, from..before);
            return json!({"type": "history", "id": id, "room": room, "epoch": log.name(), "first": log.first,
                          "head": log.head(), "more": from > log.first, "messages": messages});
        }
        let after = frame["after"].as_u64().unwrap();
        let from = log.first.max(after + 1);
        let messages = log.frames(&room, (from..=log.head()).take(PAGE));
        json!({"type": "history", "id": id, "room": room, "epoch": log.name(), "first": log.first, "head": log.head(),
               "more": from + (messages.len() as u64) <= log.head(), "messages": messages})
    }

    fn joined(&self, frame: &Value, room: &str) -> Value {
        let log = &self.logs[room];
        let head = log.head();
        let (recovered, messages) = if frame["since"].is_object() {
            let since = frame["since"]["seq"].as_u64().unwrap();
            let whole = frame["since"]["epoch"] == log.name() && since + 1 >= log.first;
            let missed = (since + 1..=head).take(if whole { PAGE } else { 0 });
            (json!(whole), log.frames(room, missed))
        } else {
            let last = frame["history"].as_u64().unwrap_or_default();
            let from = log.first.max((head + 1).saturating_sub(last));
            (Value::Null, log.frames(room, from..=head))
        };
        let last = messages.last().and_then(|last| last["seq"].as_u64());
        let more = recovered == true && last.is_some_and(|last| last < head);
        json!({"type": "joined", "id": frame["id"], "room": room, "user": USER, "epoch": log.name(),
               "first": log.first, "head": head, "recovered": recovered, "more": more, "messages": messages})
    }

    fn publish(&mut self, link: LinkId, frame: &Value, room: &str) -> Value {
        let id = frame["id"].as_str().unwrap();
        let after = frame["after"].as_u64().unwrap() as usize;
        let log = &self.logs[room];
        // Like the service, it searches for an earlier copy only after `after`.
        let mut copies = log.epochs[log.epoch].iter().enumerate().skip(after);
        let copy = copies.find(|(_, stored)| stored.id.as_deref() == Some(id));
        let (seq, duplicate) = match copy {
            Some((index, _)) => (index as u64 + 1, true),
            None => {
                let data = frame["data"].as_str().unwrap().to_owned();
                (self.append(room, USER, Some(id.to_owned()), data), false)
            }
        };
        self.fan_out(room, seq, Some(link));
        json!({"type": "ack", "id": id, "room": room, "epoch": self.logs[room].name(), "seq": seq, "at": 1,
               "duplicate": duplicate, "delivered": 0, "gone": 0, "failed": 0})
    }

    fn append(&mut self, room: &str, user: &str, id: Option<String>, data: String) -> u64 {
        let log = self.logs.entry(room.to_owned()).or_insert_with(Log::new);
        let user = user.to_owned();
        log.epochs[log.epoch].push(Stored {
            user,
            id,
            data,
            change: None,
        });
        log.head()
    }

    fn fan_out(&mut self, room: &str, seq: u64, sender: Option<LinkId>) {
        let frame = self.logs[room].frame(room, seq, false);
        for (&link, rooms) in &self.links {
            // The rows of a connection end half a minute after its token.
            let end = self.ends.get(&link).map(|end| *end + ROWS_OUTLIVE_TOKENS);
            let lives = end.is_none_or(|end| self.now < end);
            if lives && Some(link) != sender && rooms.get(room) == Some(&true) {
                self.to_client.push((link, frame.clone()));
            }
        }
    }

    /// Delivers every frame and every answer to it.
    pub(crate) fn flush(&mut self) {
        let mut rounds = 0;
        while !(self.dialling.is_empty() && self.to_service.is_empty() && self.to_client.is_empty())
        {
            self.dial(true);
            self.index();
            self.carry(0, Fate::Arrives);
            self.bring(0, false, false);
            rounds += 1;
            assert!(rounds < 10_000, "the client asks without end");
        }
    }

    /// Lets everything work from now on. The client must then show everything that the log holds.
    pub(crate) fn heal(&mut self) {
        let until = self.now + Duration::from_secs(1500);
        self.flush();
        while self.now < until {
            self.wake();
            self.flush();
        }
        self.check_end();
    }

    /// Checks that the client shows the log, in order, and reports each hole.
    fn check(&mut self, event: Event) {
        match &event {
            Event::Presence { .. }
            | Event::Typing { .. }
            | Event::Signal(_)
            | Event::Unread { .. }
            | Event::Moderated(_)
            | Event::Removed(_)
            | Event::Done { .. } => {}
            Event::Message { room, entry } => {
                let log = &self.logs[room];
                let epoch: usize = entry.epoch[1..].parse().unwrap();
                let stored = &log.epochs[epoch][entry.seq as usize - 1];
                let said = json!(stored.data).to_string();
                let is_first = entry.data.get() == said;
                let is_changed = entry.edited.is_some() || entry.deleted.is_some();
                assert!(is_first || is_changed, "another message: {entry:?}");
                assert_eq!(entry.from, stored.user);
                let picture = Present {
                    data: (entry.deleted.is_none())
                        .then(|| serde_json::from_str(entry.data.get()).unwrap()),
                    reactions: entry.reactions.get("+").map_or(0, |one| one.count as usize),
                };
                let place = (room.clone(), entry.epoch.clone(), entry.seq);
                self.pictures.insert(place, picture);
                let seen = self.seen.entry(room.clone()).or_default();
                if let Some((of, last)) = &seen.last {
                    let entries = &log.epochs[epoch];
                    let mut next = *last + 1;
                    if *of == entry.epoch {
                        next = unshown(entries, *last, entry.seq - 1) + 1;
                    }
                    while self.hidden.contains(&next) {
                        next += 1;
                    }
                    assert_eq!(
                        (&entry.epoch, entry.seq),
                        (of, next),
                        "{room}: spliced, doubled or out of order"
                    );
                }
                seen.last = Some((entry.epoch.clone(), entry.seq));
            }
            Event::Changed { room, entry } => {
                let target = entry.target.unwrap();
                let place = (room.clone(), entry.epoch.clone(), target);
                if let Some(picture) = self.pictures.get_mut(&place) {
                    match (entry.kind.as_deref(), entry.on) {
                        (Some("edit"), _) => {
                            // The data of an edit is gone with its message, whose deletion follows.
                            picture.data = serde_json::from_str(entry.data.get()).unwrap();
                        }
                        (Some("delete"), _) => {
                            *picture = Present {
                                data: None,
                                reactions: 0,
                            };
                        }
                        (_, Some(true)) => picture.reactions += 1,
                        _ => picture.reactions -= 1,
                    }
                }
                let seen = self.seen.entry(room.clone()).or_default();
                if let Some((epoch, last)) = &seen.last {
                    assert!(*epoch == entry.epoch && *last < entry.seq, "out of order");
                }
                seen.last = Some((entry.epoch.clone(), entry.seq));
            }
            Event::Joined {
                room,
                epoch,
                first,
                head,
                recovered: None,
                ..
            } => {
                // With nothing to show, the client begins at the head.
                let seen = self.seen.entry(room.clone()).or_default();
                if seen.last.is_none() && first > head {
                    seen.last = Some((epoch.clone(), *head));
                }
            }
            Event::Lost {
                room,
                after,
                resumed,
                missing,
            } => {
                let log = &self.logs[room];
                let seen = self.seen.entry(room.clone()).or_default();
                if let Some((epoch, seq)) = &seen.last {
                    let entries = &log.epochs[epoch[1..].parse::<usize>().unwrap()];
                    let seq = unshown(entries, *seq, after.seq);
                    assert_eq!((&after.epoch, after.seq), (epoch, seq), "lost from where?");
                }
                assert!(
                    after.epoch != log.name() || after.seq + 1 < log.first,
                    "{room}: nothing was lost: {after:?} {resumed:?} first {}",
                    log.first
                );
                if let Some(missing) = missing {
                    assert_eq!(after.seq + missing, resumed.seq);
                }
                seen.last = Some((resumed.epoch.clone(), resumed.seq));
                // Changes to what was shown before are lost, too.
                self.pictures.retain(|(of, ..), _| of != room);
            }
            Event::Ack(ack) => {
                let id = ack.id.clone().unwrap();
                let epoch: usize = ack.epoch[1..].parse().unwrap();
                let stored = &self.logs[&ack.room].epochs[epoch][ack.seq as usize - 1];
                assert_eq!(stored.id.as_ref(), Some(&id));
                assert!(self.acked.insert(id), "acknowledged twice");
            }
            Event::Error {
                retrying, message, ..
            } => assert!(*retrying || self.errors_are_fine, "{message}"),
            Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::Joined { .. }
            | Event::Left { .. }
            | Event::History { .. }
            | Event::Members(_) => {}
        }
        self.events.push(event);
    }

    fn check_end(&self) {
        assert_eq!(self.exit, None);
        for (id, room) in &self.said {
            assert!(self.acked.contains(id), "{id} was never acknowledged");
            let epochs = &self.logs[room].epochs;
            let copies = epochs.iter().map(|log| {
                log.iter()
                    .filter(|stored| stored.id.as_ref() == Some(id))
                    .count()
            });
            let copies: usize = copies.sum();
            assert!(
                copies == 1 || (copies > 1 && self.excused.contains(id)),
                "{id} is in the log {copies} times"
            );
        }
        for (room, log) in &self.logs {
            let last = self.seen.get(room).and_then(|seen| seen.last.clone());
            let head = (log.name(), log.head());
            let entries = &log.epochs[log.epoch];
            let last = last.map(|(epoch, seq)| match epoch == head.0 {
                true => (epoch, unshown(entries, seq, head.1)),
                false => (epoch, seq),
            });
            assert!(
                last == Some(head.clone()) || (last.is_none() && head.1 == 0),
                "{room}: at {last:?} of {head:?}"
            );
        }
        for ((room, epoch, seq), picture) in &self.pictures {
            let log = &self.logs[room];
            if *epoch == log.name() {
                assert_eq!(*picture, log.present(*seq), "{room}: #{seq} is shown so");
            }
        }
        // The current connection, and for a moment the one that it replaced.
        assert!(self.links.len() <= 2, "connections were left open");
    }
}
