//! Posts to one member, in the order of the messages: a post waits for those of earlier rounds to the same member.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use aws_sdk_apigatewaymanagement::primitives::Blob;
use tokio::sync::Mutex;

use crate::delivery::{ManagementApi, Posted, Recipient};

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
    /// The number of rounds whose posts have failed.
    failures: Cell<u64>,
}

impl Turns {
    /// Posts the frames of a round to one member, when the posts of earlier rounds to this member are over. Returns the
    /// result of the last post and the number of posts. After a post that fails, the member gets no further frame of this
    /// round and of the rounds that wait for it: each of them would hang as long as the first.
    pub(super) async fn post(
        &self,
        management: &ManagementApi,
        recipient: &Recipient,
        frames: &Frames,
    ) -> (Posted, usize) {
        let id = &recipient.connection_id;
        let turn = Rc::clone(self.0.borrow_mut().entry(id.clone()).or_default());
        let failures = turn.failures.get();
        let _posting = turn.posting.lock().await;
        if turn.failures.get() > failures {
            let cause = "an earlier post to this connection has failed";
            return (Posted::Failed(cause.to_owned()), 0);
        }
        let (mut last, mut posts) = (Posted::Delivered, 0);
        for frame in frames.of(recipient) {
            last = management.post(id, frame.clone()).await;
            posts += 1;
            if !matches!(last, Posted::Delivered) {
                break;
            }
        }
        if matches!(last, Posted::Failed(_)) {
            turn.failures.set(failures + 1);
        }
        (last, posts)
    }
}
