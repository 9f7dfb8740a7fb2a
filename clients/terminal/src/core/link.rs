//! A connection, and what is known of each room on it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LinkId;
use super::retry::Retry;
use crate::wire::Position;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Messages are sent on it.
    Current,
    /// Takes over as soon as it is in every room.
    Next,
    /// Has been taken over from: only listened to, until the index of the rooms knows the new one.
    Retiring,
}

/// A join that was not answered yet.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) id: String,
    /// It only asks whether all is well.
    pub(super) quiet: bool,
    /// Asks for what came after this; the same at every try, so that the answer to any of them can be judged.
    pub(super) since: Option<Position>,
    pub(super) retry: Retry,
}

/// A room on a connection.
#[derive(Debug, Default)]
pub(super) struct Membership {
    pub(super) joined: bool,
    /// To be joined once more: that tells the head of its log and mends a membership that was lost.
    pub(super) poll: bool,
    pub(super) join: Option<Join>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) role: Role,
    /// The room that the handshake joins.
    pub(super) room: String,
    /// Since when it is open.
    pub(super) open: Option<Duration>,
    /// The handshake must be done by then.
    pub(super) open_by: Duration,
    pub(super) heartbeat_at: Duration,
    /// After a ping, something must come by then.
    pub(super) pong_by: Option<Duration>,
    /// When to look what fell between the join and the index that publishes read.
    pub(super) settle_at: Option<Duration>,
    /// When a retiring one is closed.
    pub(super) close_at: Option<Duration>,
    pub(super) rooms: BTreeMap<String, Membership>,
}

impl Link {
    /// Whether it is open and in this room.
    pub(super) fn in_room(&self, room: &str) -> bool {
        self.open.is_some() && self.rooms.get(room).is_some_and(|known| known.joined)
    }

    /// Looks at every room once more.
    pub(super) fn poll_all(&mut self) {
        for membership in self.rooms.values_mut() {
            membership.poll = true;
        }
    }
}
