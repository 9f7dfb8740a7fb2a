//! A client that keeps the rules of PROTOCOL.md, and does nothing beyond them.
//!
//! It waits for each answer, resends the same frame when told to or when the outcome is uncertain, ignores duplicates,
//! and resumes from the last number up to which it has every message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::record::What;
use crate::run::Run;
use kit::Client;

/// The most tries of one frame. Only reached when a retry never ends.
const TRIES: usize = 300;

/// The pause between two tries, if the answer names none.
const PAUSE: Duration = Duration::from_millis(20);

/// The number up to which a member has every message of a room, and the numbers it has beyond.
#[derive(Debug, Clone, Default)]
pub(crate) struct Position {
    pub(crate) epoch: String,
    pub(crate) seq: u64,
    beyond: BTreeSet<u64>,
}

impl Position {
    fn see(&mut self, seq: u64) {
        if seq > self.seq {
            self.beyond.insert(seq);
        }
        while self.beyond.remove(&(self.seq + 1)) {
            self.seq += 1;
        }
        self.beyond = self.beyond.split_off(&self.seq);
    }

    /// The highest number seen.
    fn last(&self) -> u64 {
        self.beyond.last().copied().unwrap_or(self.seq)
    }
}

pub(crate) struct Member<'a> {
    run: &'a Run,
    number: usize,
    pub(crate) user: String,
    connection: usize,
    socket: Option<Client>,
    /// True to take several messages in one frame.
    batch: bool,
    /// The messages of a frame, which count like frames of their own.
    batched: VecDeque<Value>,
    pub(crate) rooms: BTreeMap<String, Position>,
    ids: usize,
}

impl<'a> Member<'a> {
    /// Connects and joins.
    pub(crate) fn new(run: &'a Run, user: &str, room: &str) -> Member<'a> {
        let mut member = Member::unconnected(run, user);
        member.connect(room);
        member.join(room, None);
        member
    }

    /// Connects and joins, and takes several messages in one frame.
    pub(crate) fn batching(run: &'a Run, user: &str, room: &str) -> Member<'a> {
        let mut member = Member::unconnected(run, user);
        member.batch = true;
        member.connect(room);
        member.join(room, None);
        member
    }

    pub(crate) fn unconnected(run: &'a Run, user: &str) -> Member<'a> {
        Member {
            run,
            number: run.record.new_member(),
            user: user.to_owned(),
            connection: 0,
            socket: None,
            batch: false,
            batched: VecDeque::new(),
            rooms: BTreeMap::new(),
            ids: 0,
        }
    }

    fn note(&self, what: What) {
        self.run
            .record
            .note(self.number, &self.user, self.connection, what);
    }

    /// Tries to connect until a connection is accepted.
    pub(crate) fn connect(&mut self, room: &str) {
        self.rooms.entry(room.to_owned()).or_default();
        for _ in 0..TRIES {
            self.connection = self.run.record.new_connection();
            self.note(What::Connecting(room.to_owned()));
            match self
                .run
                .gateway
                .try_connect(&format!("/prod?room={room}&user={}", self.user))
            {
                Ok(socket) => {
                    self.socket = Some(socket);
                    return;
                }
                Err(500..=599) => sleep(PAUSE),
                Err(status) => panic!("{}: the handshake is refused with {status}", self.user),
            }
        }
        panic!("{}: no handshake is accepted", self.user);
    }

    /// Ends the connection without a close frame, as a lost network does.
    pub(crate) fn drop_connection(&mut self) {
        self.socket = None;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    fn socket(&mut self) -> &mut Client {
        self.socket.as_mut().expect("a connection")
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, frame: &Value) {
        self.note(What::Sent(frame.clone()));
        self.socket().send(frame);
    }

    /// Receives the next frame and remembers the number of its message.
    pub(crate) fn receive(&mut self) -> Value {
        let frame = match self.batched.pop_front() {
            Some(message) => message,
            None => self.socket().receive(),
        };
        if frame["type"] == "messages" {
            self.unpack(&frame);
            return self.receive();
        }
        self.note(What::Received(frame.clone()));
        if let (Some("message" | "ack"), Some(room), Some(seq)) = (
            frame["type"].as_str(),
            frame["room"].as_str(),
            frame["seq"].as_u64(),
        ) {
            // A message of a room that it has left is ignored. A new epoch is found by the next resume.
            if let Some(position) = self.rooms.get_mut(room)
                && (position.epoch.is_empty() || position.epoch == frame["epoch"])
            {
                position.see(seq);
            }
        }
        frame
    }

    /// Takes the messages out of a frame, which must be in order and without a hole.
    fn unpack(&mut self, frame: &Value) {
        assert!(self.batch && frame.to_string().len() <= 32_768, "{frame}");
        let messages = frame["messages"].as_array().unwrap();
        assert!(messages.len() > 1, "{frame}");
        for pair in messages.windows(2) {
            let [first, second] = [0, 1].map(|n| pair[n]["seq"].as_u64().unwrap());
            assert_eq!(first + 1, second, "{frame}");
            assert_eq!(pair[0]["epoch"], frame["epoch"], "{frame}");
        }
        self.batched.extend(messages.iter().cloned());
    }

    /// Sends a frame, again and again while its failures are temporary, and returns the answer of this type or the error that
    /// is final.
    pub(crate) fn try_ask(&mut self, frame: &Value, answer: &str) -> Result<Value, Value> {
        for _ in 0..TRIES {
            self.send(frame);
            let pause = loop {
                let received = self.receive();
                match received["type"].as_str() {
                    Some("message") => {}
                    Some("error") if received["temporary"] == true => {
                        break received["retryAfterMs"]
                            .as_u64()
                            .map_or(PAUSE, Duration::from_millis);
                    }
                    Some("error") => return Err(received),
                    Some(kind) if kind == answer => return Ok(received),
                    // API Gateway itself: the function did not answer.
                    None if received["requestId"].is_string() => break PAUSE,
                    _ => panic!("{}: {frame} is answered with {received}", self.user),
                }
            };
            sleep(pause);
        }
        panic!("{}: {frame} is answered with nothing but errors", self.user);
    }

    pub(crate) fn ask(&mut self, frame: &Value, answer: &str) -> Value {
        self.try_ask(frame, answer)
            .unwrap_or_else(|error| panic!("{}: {frame} is refused: {error}", self.user))
    }

    /// Joins a room without a position, with the last messages if `history` asks for them.
    pub(crate) fn join(&mut self, room: &str, history: Option<u64>) -> Value {
        self.rooms.insert(room.to_owned(), Position::default());
        let mut frame = json!({"action": "join", "room": room});
        if let Some(history) = history {
            frame["history"] = history.into();
        }
        if self.batch {
            frame["batch"] = true.into();
        }
        let joined = self.ask(&frame, "joined");
        self.start_at(room, &joined);
        joined
    }

    fn start_at(&mut self, room: &str, joined: &Value) {
        let early = self.rooms.remove(room).unwrap_or_default();
        let mut position = Position {
            epoch: joined["epoch"].as_str().unwrap().to_owned(),
            seq: joined["head"].as_u64().unwrap(),
            beyond: BTreeSet::new(),
        };
        for seq in early.beyond {
            position.see(seq);
        }
        self.rooms.insert(room.to_owned(), position);
    }

    /// Resumes a room from its position: receives the missed messages, or learns that they are lost.
    pub(crate) fn resume(&mut self, room: &str) -> Value {
        let Position { epoch, seq, .. } = self.rooms[room].clone();
        let mut frame =
            json!({"action": "join", "room": room, "since": {"epoch": epoch, "seq": seq}});
        if self.batch {
            frame["batch"] = true.into();
        }
        let joined = self.ask(&frame, "joined");
        if joined["recovered"] == true {
            self.see_all(room, &joined);
            if joined["more"] == true {
                self.fill(room);
            }
        } else {
            self.rooms.insert(room.to_owned(), Position::default());
            self.start_at(room, &joined);
        }
        joined
    }

    fn see_all(&mut self, room: &str, answer: &Value) {
        let position = self.rooms.get_mut(room).unwrap();
        for message in answer["messages"].as_array().unwrap() {
            position.see(message["seq"].as_u64().unwrap());
        }
    }

    /// Reads the log page by page, from its position to the end.
    pub(crate) fn fill(&mut self, room: &str) {
        loop {
            let after = self.rooms[room].seq;
            let frame = json!({"action": "history", "room": room, "after": after});
            let page = self.ask(&frame, "history");
            self.see_all(room, &page);
            if page["more"] != true {
                return;
            }
        }
    }

    pub(crate) fn leave(&mut self, room: &str) {
        self.ask(&json!({"action": "leave", "room": room}), "left");
        self.rooms.remove(room);
    }

    /// A new id, and data that no other message has.
    pub(crate) fn new_message(&mut self) -> (String, String) {
        self.ids += 1;
        let id = format!("m{}-{}", self.number, self.ids);
        let data = format!("{}: {id}", self.user);
        (id, data)
    }

    /// A publish frame whose `after` is the last number that this member has seen. Resends use the same frame.
    pub(crate) fn publish_frame(&self, room: &str, id: Option<&str>, data: &str) -> Value {
        let mut frame = json!({"action": "publish", "room": room, "data": data, "after": self.rooms[room].last()});
        if let Some(id) = id {
            frame["id"] = id.into();
        }
        frame
    }

    /// Publishes a new message until it is acknowledged.
    pub(crate) fn publish(&mut self, room: &str) -> Value {
        let (id, data) = self.new_message();
        let frame = self.publish_frame(room, Some(&id), &data);
        self.ask(&frame, "ack")
    }

    /// Receives every frame on its way: frames to one client keep their order, so a ping's answer comes last.
    pub(crate) fn drain(&mut self) -> Vec<Value> {
        self.send(&json!({"action": "ping"}));
        let mut frames = Vec::new();
        loop {
            let frame = self.receive();
            if frame["type"] == "pong" {
                return frames;
            }
            frames.push(frame);
        }
    }

    /// Reconnects if necessary, and resumes every room. Must be called after all publishes have ended.
    pub(crate) fn settle(&mut self) {
        let rooms: Vec<String> = self.rooms.keys().cloned().collect();
        if let (false, Some(room)) = (self.is_connected(), rooms.first()) {
            self.connect(room);
        }
        for room in rooms {
            self.resume(&room);
            self.note(What::Settled(room));
        }
        if self.is_connected() {
            self.drain();
        }
    }
}
