//! A connection, and its state in each room.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LinkId;
use super::retry::{Pace, Retry};
use crate::wire::Position;

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Frames are sent on it.
    Current,
    /// It replaces the current one as soon as it is in every room.
    Next,
    /// It has been replaced. The client still reads from it, until the index of the rooms knows the new connection.
    Retiring,
}

/// A `join` without an answer yet.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) id: String,
    /// It repeats an earlier `join`, to look for lost messages, and the user need not hear of it.
    pub(super) quiet: bool,
    /// The position after which messages are wanted. It stays the same at every try, so that the answer to any try can
    /// be judged.
    pub(super) since: Option<Position>,
    pub(super) retry: Retry,
}

/// The state of a connection in a room.
#[derive(Debug, Default)]
pub(super) struct Membership {
    pub(super) joined: bool,
    /// The room is to be joined once more: the answer tells the head of its log, and the `join` restores a membership
    /// that was lost.
    pub(super) poll: bool,
    pub(super) join: Option<Join>,
    /// The times after a `join` at which the log is read once more.
    pub(super) settle: Vec<Duration>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) role: Role,
    /// The room that the handshake joins.
    pub(super) room: String,
    /// The time at which it opened.
    pub(super) open: Option<Duration>,
    /// The time by which the handshake must be done.
    pub(super) open_by: Duration,
    /// The time for which the token was still valid when the connection opened; `None` without a token.
    pub(super) token_life: Option<Duration>,
    pub(super) heartbeat_at: Duration,
    /// The time by which some frame must come, after a `ping`.
    pub(super) pong_by: Option<Duration>,
    /// The time at which a retiring connection is closed.
    pub(super) close_at: Option<Duration>,
    pub(super) rooms: BTreeMap<String, Membership>,
    /// The pace of its `join` frames, and of its `history` frames.
    pub(super) joins: Pace,
    pub(super) reads: Pace,
}

impl Link {
    /// Returns whether the connection is open and in this room.
    pub(super) fn in_room(&self, room: &str) -> bool {
        self.open.is_some() && self.rooms.get(room).is_some_and(|known| known.joined)
    }

    /// Joins every room once more, to look for lost messages.
    pub(super) fn poll_all(&mut self) {
        for membership in self.rooms.values_mut() {
            membership.poll = true;
        }
    }
}
