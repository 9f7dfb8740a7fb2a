//! The rules of the client, as a state machine.
//!
//! `handle` takes an input and the time, and returns the outputs: frames to send, connections to open or close, events
//! to show. The machine reads no clock, owns no socket and never waits, so a test can play any schedule.
//! Each input first changes the state, then `advance` goes through the whole state and does what is due. So no rule
//! depends on which input came first.

mod answers;
mod changes;
mod commands;
mod due;
mod failures;
mod link;
mod links;
mod live;
mod personal;
mod presence;
mod retry;
mod room;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt as _, SeedableRng as _};

use crate::command::Command;
use crate::event::Event;
use crate::wire::{Frame, Request};
use commands::{Asked, Leaving};
use link::{Link, Role};
use personal::{Addressed, Reading};
use retry::{Clock, Retry};
use room::Room;

/// The number of a connection.
pub type LinkId = u64;

/// The choices of the user.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of the user. The service may answer another one, which then counts.
    pub user: String,
    /// The rooms to join; at least one.
    pub rooms: Vec<String>,
    /// The number of messages shown on entering a room.
    pub history: u16,
    /// The interval of heartbeats, which also look for lost messages.
    pub heartbeat: Duration,
    /// The time after which a connection is replaced at the latest.
    pub max_life: Duration,
    /// The time after which a frame without an answer is sent again.
    pub ack_timeout: Duration,
    /// True if each handshake carries a fresh token, so that the next one may succeed after a refusal.
    pub has_tokens: bool,
    /// True if the client tells the service how far the user has read. It needs a verified user.
    pub marks: bool,
    /// True if the client wants presence: the others are told of it, and it of them.
    pub presence: bool,
}

/// An input of the state machine.
#[derive(Debug)]
pub enum Input {
    /// A connection has opened.
    Opened {
        /// The connection.
        link: LinkId,
        /// The time for which its token is valid from now on; `None` without a token.
        token_life: Option<Duration>,
    },
    /// A connection has closed, or did not open.
    Closed {
        /// The connection.
        link: LinkId,
        /// The reason, for people.
        reason: String,
        /// The kind of the reason.
        why: Why,
    },
    /// A frame has arrived.
    Received(LinkId, String),
    /// A command of the user.
    Command(Command),
    /// The user is typing a message to the current room.
    Typing,
    /// The user wants to end, once everything is answered, but at the latest after this time.
    End(Duration),
    /// The time has come that `deadline` returned.
    Tick,
}

/// The kind of reason for which a connection closed or did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The connection was lost or closed, or the service failed or could not be reached.
    Lost,
    /// The service refused the handshake, or there was no token for it. A fresh token may help.
    Refused,
    /// The handshake cannot succeed at another try either.
    Hopeless,
}

/// An output of the state machine.
#[derive(Debug)]
pub enum Output {
    /// Open a connection.
    Connect {
        /// The number of the connection.
        link: LinkId,
        /// The room that the handshake names.
        room: String,
    },
    /// Send a frame.
    Send(LinkId, String),
    /// Close a connection. Its later inputs are ignored.
    Close(LinkId),
    /// Show an event to the user.
    Show(Event),
    /// End.
    Exit(Exit),
}

/// The way in which the client ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Everything was answered.
    Done,
    /// The time was over before everything was answered.
    Unanswered {
        /// The number of messages that were not acknowledged.
        messages: usize,
        /// The number of questions, joins and leaves of the user that were not answered.
        questions: usize,
        /// The number of rooms whose log was not read up to its head.
        rooms: usize,
    },
    /// The service does not accept the client: the reason.
    Refused(String),
}

/// The state machine.
pub struct Core {
    settings: Settings,
    rng: Box<dyn Rng + Send>,
    rooms: Vec<Room>,
    /// The current room: text and commands without a room are about it.
    here: String,
    links: Vec<Link>,
    links_made: LinkId,
    /// The time at which to open a connection: the first one, one after a loss, or one that replaces the current one.
    dial_at: Option<Duration>,
    /// The time before which no connection is opened after one was lost, because the service has said so.
    not_before: Duration,
    /// The number of connections in a row that never got into a room.
    failures: u32,
    /// The number of those of them that the service refused.
    refusals: u32,
    /// True once a connection was open.
    ever_open: bool,
    asked: Vec<Asked>,
    leaving: Vec<Leaving>,
    /// The rooms that were left, and when the service answered so.
    left_at: BTreeMap<String, Duration>,
    /// The positions up to which the user has read, by room.
    reading: BTreeMap<String, Reading>,
    /// The service has told the client the name of its user.
    knows_user: bool,
    /// Messages to users that wait for that.
    addressed: Vec<Addressed>,
    end_by: Option<Duration>,
    ended: bool,
    next: Option<Duration>,
    out: Vec<Output>,
}

impl Core {
    /// Makes a client that connects at the first `Tick`. `seed` must be unpredictable outside of tests: the ids of
    /// messages are derived from it.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        Self::with_rng(settings, Box::new(StdRng::from_seed(seed)))
    }

    /// Makes a client with another source of random numbers than a seed, as tests that compare clients need it.
    pub fn with_rng(settings: Settings, rng: Box<dyn Rng + Send>) -> Self {
        let mut core = Self {
            rng,
            rooms: Vec::new(),
            here: settings.rooms.first().cloned().unwrap_or_default(),
            links: Vec::new(),
            links_made: 0,
            dial_at: Some(Duration::ZERO),
            not_before: Duration::ZERO,
            failures: 0,
            refusals: 0,
            ever_open: false,
            asked: Vec::new(),
            leaving: Vec::new(),
            left_at: BTreeMap::new(),
            reading: BTreeMap::new(),
            knows_user: false,
            addressed: Vec::new(),
            end_by: None,
            ended: false,
            next: None,
            out: Vec::new(),
            settings,
        };
        for name in core.settings.rooms.clone() {
            if core.room(&name).is_none() {
                core.rooms.push(Room::new(name, None));
            }
        }
        core
    }

    /// Takes an input that happened at `now`, which must never decrease, and returns what to do, in order.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Output> {
        match input {
            Input::Tick => {}
            Input::Opened { link, token_life } => self.opened(now, link, token_life),
            Input::Closed { link, reason, why } => self.closed(now, link, &reason, why),
            Input::Received(link, text) => self.received(now, link, &text),
            Input::Command(command) => self.command(now, command),
            Input::Typing => self.types(now),
            Input::End(patience) => {
                let by = now + patience;
                self.end_by = Some(self.end_by.map_or(by, |earlier| earlier.min(by)));
            }
        }
        if !self.ended {
            let mut clock = Clock { now, next: None };
            self.advance(&mut clock);
            self.next = clock.next;
        }
        std::mem::take(&mut self.out)
    }

    /// Returns the time at which the next `Tick` is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.next.filter(|_| !self.ended)
    }

    /// Returns the current room.
    pub fn here(&self) -> &str {
        &self.here
    }

    fn received(&mut self, now: Duration, link: LinkId, text: &str) {
        let Some(known) = self.links.iter_mut().find(|known| known.id == link) else {
            return;
        };
        // Any frame shows that the connection works.
        known.pong_by = None;
        match Frame::read(text) {
            Ok(frame) => self.frame(now, link, frame),
            Err(unreadable) => self.complain(None, None, "unreadable", &unreadable.to_string()),
        }
    }

    fn room(&mut self, name: &str) -> Option<&mut Room> {
        self.rooms.iter_mut().find(|room| room.name == name)
    }

    fn current(&mut self) -> Option<&mut Link> {
        self.links
            .iter_mut()
            .find(|link| link.role == Role::Current)
    }

    /// Returns every frame that is sent until it is answered, with its id.
    fn retries(&mut self) -> impl Iterator<Item = (&str, &mut Retry)> {
        let joins = self
            .links
            .iter_mut()
            .flat_map(|link| link.rooms.values_mut())
            .filter_map(|known| known.join.as_mut())
            .map(|join| (join.id.as_str(), &mut join.retry));
        let rooms = self.rooms.iter_mut().flat_map(|room| {
            let fill = room.fill.iter_mut().map(|(id, retry)| (id.as_str(), retry));
            let outbox = room.outbox.iter_mut();
            let tell = room.tell.iter_mut();
            let look = room.look.iter_mut();
            fill.chain(outbox.map(|message| (message.id.as_str(), &mut message.retry)))
                .chain(tell.map(|tell| (tell.id.as_str(), &mut tell.retry)))
                .chain(look.map(|look| (look.id.as_str(), &mut look.retry)))
        });
        let asked = self.asked.iter_mut();
        let leaving = self.leaving.iter_mut().flat_map(|leaving| {
            let id = leaving.id.as_str();
            leaving.pending.values_mut().map(move |retry| (id, retry))
        });
        joins
            .chain(rooms)
            .chain(asked.map(|asked| (asked.id.as_str(), &mut asked.retry)))
            .chain(leaving)
    }

    /// Joins a room once more, because a frame does not fit the client's position.
    fn verify(&mut self, room: &str) {
        if let Some(known) = self.current().and_then(|link| link.rooms.get_mut(room)) {
            known.poll = true;
        }
    }

    fn show(&mut self, event: Event) {
        self.out.push(Output::Show(event));
    }

    fn complain(&mut self, room: Option<&str>, id: Option<&str>, name: &str, message: &str) {
        self.show(Event::Error {
            id: id.map(str::to_owned),
            room: room.map(str::to_owned),
            name: name.to_owned(),
            message: message.to_owned(),
            retrying: false,
        });
    }

    fn exit(&mut self, exit: Exit) {
        self.ended = true;
        self.out.push(Output::Exit(exit));
    }

    /// Returns a random number from 0 to 1.
    fn chance(&mut self) -> f64 {
        self.rng.random_range(0.0..=1.0)
    }
}

/// Returns an id that nobody else uses: 128 random bits.
fn unique(rng: &mut dyn Rng) -> String {
    format!("{:032x}", rng.random::<u128>())
}

fn send(out: &mut Vec<Output>, link: LinkId, request: &Request<'_>) {
    out.push(Output::Send(link, request.text()));
}
