//! Posts to one member, in the order of the messages: a post waits for those of earlier rounds to the same member.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use aws_sdk_apigatewaymanagement::primitives::Blob;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::delivery::{ManagementApi, Posted, Recipient};

/// A round begins its posts to a member within this time, or not at all. A member whose posts are slow, but succeed, would
/// otherwise fall behind for ever, and the lease could not be released.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// The frames of a round, in order.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    /// Each message in a frame of its own.
    pub(super) single: Vec<Blob>,
    /// The same messages for connections that take several in one frame.
    pub(super) batched: Vec<Blob>,
}

impl Frames {
    /// One frame for all members.
    pub(super) fn one(frame: Blob) -> Self {
        Self {
            single: vec![frame.clone()],
            batched: vec![frame],
        }
    }

    fn of(&self, recipient: &Recipient) -> &[Blob] {
        if recipient.batch {
            &self.batched
        } else {
            &self.single
        }
    }
}

/// The turns of all members, by connection.
#[derive(Debug, Default)]
pub(super) struct Turns(RefCell<HashMap<String, Rc<Turn>>>);

/// The turn of one member.
#[derive(Debug, Default)]
struct Turn {
    /// Held by the round that posts. Later rounds wait in their order.
    posting: Mutex<()>,
    /// The number of rounds that have not posted all their frames.
    failures: Cell<u64>,
}

impl Turns {
    /// Posts the frames of a round to one member, when the posts of earlier rounds to this member are over. Returns the
    /// result of the last post and the number of posts. After a post that fails, or [`BEGIN_WITHIN`], the member gets no
    /// further frame of this round and of the rounds that wait for it: each of them would take as long as the first.
    pub(super) async fn post(
        &self,
        management: &ManagementApi,
        recipient: &Recipient,
        frames: &Frames,
    ) -> (Posted, usize) {
        let id = &recipient.connection_id;
        let turn = Rc::clone(self.0.borrow_mut().entry(id.clone()).or_default());
        let failures = turn.failures.get();
        let until = Instant::now() + BEGIN_WITHIN;
        let posting = timeout_at(until, turn.posting.lock()).await;
        if turn.failures.get() > failures {
            let cause = "an earlier post to this connection has failed";
            return (Posted::Failed(cause.to_owned()), 0);
        }
        let (mut last, mut posts) = (Posted::Delivered, 0);
        for frame in frames.of(recipient) {
            if posting.is_err() || Instant::now() >= until {
                last = Posted::Failed("posts to this connection take too long".to_owned());
                break;
            }
            last = management.post(id, frame.clone()).await;
            posts += 1;
            if !matches!(last, Posted::Delivered) {
                break;
            }
        }
        if matches!(last, Posted::Failed(_)) {
            turn.failures.set(turn.failures.get() + 1);
        }
        (last, posts)
    }
}
