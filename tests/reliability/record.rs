//! The record of a run: every frame of every client, in the order in which this process saw it.
//!
//! A frame is recorded before it is sent and after it is received. So if one event stands before another here, the first
//! really happened before the second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

/// Something that happened to a member.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    /// The member of the test. Two members may have the same user.
    pub(crate) member: usize,
    pub(crate) user: String,
    /// The number of the connection in this run.
    pub(crate) connection: usize,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A handshake that names this room begins.
    Connecting(String),
    Sent(Value),
    Received(Value),
    /// The member must have all of this room now: its resume began after every last publish was answered.
    Settled(String),
    /// The test itself, and not a member, has written an entry to the log of a room.
    Written {
        room: String,
        data: Value,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    events: Mutex<Vec<Event>>,
    members: AtomicUsize,
    connections: AtomicUsize,
}

impl Record {
    pub(crate) fn new_member(&self) -> usize {
        self.members.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn new_connection(&self) -> usize {
        self.connections.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn note(&self, member: usize, user: &str, connection: usize, what: What) {
        self.events.lock().unwrap().push(Event {
            at: Instant::now(),
            member,
            user: user.to_owned(),
            connection,
            what,
        });
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }
}
