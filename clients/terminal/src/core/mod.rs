//! The client without its surroundings: a state machine.
//!
//! It is told what happens and when, and says what to do; it reads no clock, owns no socket and waits for nothing.
//! `handle` changes what is known, then `advance` looks at all of it and does whatever is due. So no rule depends on
//! which event came first, and a test can play any schedule.

mod answers;
mod commands;
mod due;
mod failures;
mod link;
mod links;
mod retry;
mod room;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::command::Command;
use crate::event::Event;
use crate::wire::{Frame, Request};
use commands::{Asked, Leaving};
use link::{Link, Role};
use retry::{Clock, Retry};
use room::Room;

/// Names a connection.
pub type LinkId = u64;

/// What the user chose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The user's name.
    pub user: String,
    /// The rooms to be in; at least one.
    pub rooms: Vec<String>,
    /// Messages shown on entering a room.
    pub history: u16,
    /// How often to ping, and to see whether messages were lost without a trace.
    pub heartbeat: Duration,
    /// How long a connection is used before another takes its place.
    pub max_life: Duration,
    /// How long to wait for an answer before asking again.
    pub ack_timeout: Duration,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A connection is open.
    Opened(LinkId),
    /// A connection is closed, or did not open.
    Closed {
        /// Which.
        link: LinkId,
        /// Why, for people.
        reason: String,
        /// The handshake was refused in a way that trying again does not change.
        refused: bool,
    },
    /// A frame came.
    Received(LinkId, String),
    /// The user wants something.
    Command(Command),
    /// The user wants to end, once everything is acknowledged and answered, and after this long at the latest.
    End(Duration),
    /// It is time.
    Tick,
}

/// Something to do.
#[derive(Debug)]
pub enum Output {
    /// Open a connection.
    Connect {
        /// Its name from now on.
        link: LinkId,
        /// The room to name in the handshake.
        room: String,
    },
    /// Send a frame.
    Send(LinkId, String),
    /// Close a connection; nothing more is to be heard of it.
    Close(LinkId),
    /// Tell the user.
    Show(Event),
    /// End.
    Exit(Exit),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// All is said and answered.
    Done,
    /// So many messages were not acknowledged in time.
    Unsent(usize),
    /// It cannot begin: one sentence why.
    Refused(String),
}

/// The state machine.
pub struct Core {
    settings: Settings,
    rng: StdRng,
    rooms: Vec<Room>,
    /// The room that plain text goes to.
    here: String,
    links: Vec<Link>,
    links_made: LinkId,
    /// When to open a connection: the first, the one after a loss, or the one before a connection comes of age.
    dial_at: Option<Duration>,
    /// Connections in a row that came to nothing.
    failures: u32,
    /// Whether there ever was a connection.
    ever_open: bool,
    asked: Vec<Asked>,
    leaving: Vec<Leaving>,
    end_by: Option<Duration>,
    ended: bool,
    next: Option<Duration>,
    out: Vec<Output>,
}

impl Core {
    /// A client that connects at the first `Tick`. `seed` must be unpredictable outside of tests: the names of
    /// messages are made from it.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        let mut core = Self {
            rng: StdRng::from_seed(seed),
            rooms: Vec::new(),
            here: settings.rooms.first().cloned().unwrap_or_default(),
            links: Vec::new(),
            links_made: 0,
            dial_at: Some(Duration::ZERO),
            failures: 0,
            ever_open: false,
            asked: Vec::new(),
            leaving: Vec::new(),
            end_by: None,
            ended: false,
            next: None,
            out: Vec::new(),
            settings,
        };
        for name in core.settings.rooms.clone() {
            if core.room(&name).is_none() {
                core.rooms.push(Room::new(name));
            }
        }
        core
    }

    /// Takes in what happened at `now`, which never goes back, and returns what to do, in order.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Output> {
        match input {
            Input::Tick => {}
            Input::Opened(link) => self.opened(now, link),
            Input::Closed {
                link,
                reason,
                refused,
            } => self.closed(now, link, &reason, refused),
            Input::Received(link, text) => self.received(now, link, &text),
            Input::Command(command) => self.command(command),
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

    /// When to `Tick` at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        self.next.filter(|_| !self.ended)
    }

    /// The room that plain text goes to.
    pub fn here(&self) -> &str {
        &self.here
    }

    fn received(&mut self, now: Duration, link: LinkId, text: &str) {
        let Some(known) = self.links.iter_mut().find(|known| known.id == link) else {
            return;
        };
        // Whatever comes shows that the connection works.
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

    /// Everything that was sent and may have to be sent again.
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
            fill.chain(outbox.map(|message| (message.id.as_str(), &mut message.retry)))
        });
        let asked = self.asked.iter_mut();
        let leaving = self.leaving.iter_mut();
        joins
            .chain(rooms)
            .chain(asked.map(|asked| (asked.id.as_str(), &mut asked.retry)))
            .chain(leaving.map(|leaving| (leaving.id.as_str(), &mut leaving.retry)))
    }

    /// Asks for the truth about a room, where something does not fit.
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

    /// Anything from 0 to 1.
    fn chance(&mut self) -> f64 {
        self.rng.random_range(0.0..=1.0)
    }
}

/// A name nobody else gives: 128 random bits.
fn unique(rng: &mut StdRng) -> String {
    format!("{:032x}", rng.random::<u128>())
}

fn send(out: &mut Vec<Output>, link: LinkId, request: &Request<'_>) {
    out.push(Output::Send(link, request.text()));
}
