//! Sends one message to all members of a room: concurrently, bounded, before the invocation's deadline.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::future::ready;
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep, sleep_until};

use super::{ManagementApi, Posted};
use crate::errors::TableError;
use crate::lambda::before;

/// No post starts when less than this is left of the invocation: a post with its tries may need most of it, and the
/// ack must still be returned.
pub const STOP_BEFORE_DEADLINE: Duration = Duration::from_secs(1);

/// Posts that are still in flight when less than this is left are given up.
pub const CUT_BEFORE_DEADLINE: Duration = Duration::from_millis(250);

/// The others start after this time even if the first post is not answered. A healthy post takes about 10 ms; a hanging
/// post must not hold up the room.
const PRIME_FOR: Duration = Duration::from_millis(250);

/// The next page of members is read when fewer members than this wait for their post: 1,000 posts take about as long as
/// the Query.
const READ_AHEAD: usize = 1_000;

/// A connection to post to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// API Gateway's id of the connection.
    pub connection_id: String,
    /// True if it takes several messages in one frame.
    pub batch: bool,
}

/// The result of a delivery.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Connections for which API Gateway accepted the message.
    pub delivered: usize,
    /// Connections for which API Gateway answered 410: they may be gone or not.
    pub gone: Vec<String>,
    /// Members that did not get the message, or may not have got it.
    pub failed: usize,
    /// Posts that were answered or given up.
    pub posts: usize,
    /// The first failure's cause, for the log.
    pub first_failure: Option<String>,
    /// The time ran out before the list of members was read to its end.
    pub partial: bool,
    /// The error that ended the list of members early. Members read before it got their posts.
    pub unread: Option<TableError>,
}

/// The time to pass a frame that is not stored: it means this moment.
const PASS_FOR: Duration = Duration::from_secs(3);

/// Posts a frame that is not stored, such as a signal, to the connections `to`: within 3 seconds and before `deadline`,
/// or to some of them not at all.
pub async fn pass(
    management: &ManagementApi,
    to: Vec<String>,
    sender: &str,
    frame: String,
    concurrency: usize,
    deadline: Instant,
) -> Outcome {
    fan_out(
        management,
        stream::once(ready(Ok(to))),
        sender,
        &Blob::new(frame),
        concurrency,
        deadline.min(Instant::now() + PASS_FOR),
    )
    .await
}

/// Posts `body` to every member but `sender`: see [`fan_out_frames`].
pub async fn fan_out(
    management: &ManagementApi,
    members: impl Stream<Item = Result<Vec<String>, TableError>>,
    sender: &str,
    body: &Blob,
    concurrency: usize,
    deadline: Instant,
) -> Outcome {
    let recipient = |connection_id| Recipient {
        connection_id,
        batch: false,
    };
    let members = members.map(|page: Result<Vec<String>, TableError>| {
        page.map(|page| page.into_iter().map(recipient).collect())
    });
    fan_out_frames(
        management,
        members,
        sender,
        async |recipient| {
            let id = &recipient.connection_id;
            (management.post(id, body.clone()).await, 1)
        },
        concurrency,
        deadline,
        || (),
    )
    .await
}

/// Calls `post` for every member but `sender`, for at most `concurrency` members at a time. `post` returns the result of
/// the last post to the member and the number of posts. Calls `begun` when no member waits any more.
///
/// Pages of members are read while posts run. Each page is shuffled, so that no member is always last. A post that fails
/// or hangs holds its own slot and no other.
///
/// If the process has not posted for a while, one post runs alone first: a burst would open one TLS connection for each
/// post, although the endpoint speaks HTTP/2 and all but one are closed again.
pub async fn fan_out_frames(
    management: &ManagementApi,
    members: impl Stream<Item = Result<Vec<Recipient>, TableError>>,
    sender: &str,
    post: impl AsyncFn(&Recipient) -> (Posted, usize),
    concurrency: usize,
    deadline: Instant,
    begun: impl FnOnce(),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut pages = pin!(members);
    let mut all_read = false;
    let mut waiting: VecDeque<Recipient> = VecDeque::new();
    let mut begun = Some(begun);
    let mut posts = FuturesUnordered::new();

    let stop_at = before(deadline, STOP_BEFORE_DEADLINE);
    let mut stop = pin!(sleep_until(stop_at));
    let mut cut = pin!(sleep_until(before(deadline, CUT_BEFORE_DEADLINE)));
    let mut prime = pin!(sleep(PRIME_FOR));
    let mut primed = management.is_warm();

    loop {
        let stopped = Instant::now() >= stop_at;
        if stopped {
            outcome.failed += waiting.len();
            waiting.clear();
        }
        let slots = if primed { concurrency } else { 1 };
        while posts.len() < slots
            && let Some(recipient) = waiting.pop_front()
        {
            posts.push(async {
                let (posted, posts) = post(&recipient).await;
                (posted, posts, recipient.connection_id)
            });
        }
        if waiting.is_empty()
            && all_read
            && let Some(begun) = begun.take()
        {
            begun();
        }
        if posts.is_empty() && waiting.is_empty() && all_read {
            return outcome;
        }
        tokio::select! {
            Some((posted, count, id)) = posts.next() => {
                primed = true;
                outcome.posts += count;
                match posted {
                    Posted::Delivered => outcome.delivered += 1,
                    Posted::Gone => outcome.gone.push(id),
                    Posted::Failed(cause) => {
                        outcome.failed += 1;
                        outcome.first_failure.get_or_insert(cause);
                    }
                }
            }
            page = pages.next(), if !all_read && waiting.len() < READ_AHEAD => match page {
                Some(Ok(mut page)) => {
                    page.retain(|recipient| recipient.connection_id != sender);
                    page.shuffle(&mut rand::rng());
                    waiting.extend(page);
                }
                Some(Err(error)) => {
                    outcome.unread = Some(error);
                    all_read = true;
                }
                None => all_read = true,
            },
            () = &mut prime, if !primed && !posts.is_empty() => primed = true,
            () = &mut stop, if !stopped => {}
            () = &mut cut => {
                outcome.failed += posts.len() + waiting.len();
                outcome.partial = !all_read;
                return outcome;
            }
        }
    }
}
