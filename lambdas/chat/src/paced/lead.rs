//! Carries out the steps of [`Leader`]: requests, posts, and waiting.
//!
//! A delivery is a **round**: the messages that were read go to all members. The next round begins while posts of the last
//! one hang. The requests between rounds do not stop the posts.

use std::collections::HashSet;
use std::future::ready;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{self, FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until};

use super::Paced;
use super::lease::{End, Leader, Moment, Step, Took};
use super::table::Written;
use super::turns::{Frames, Turns};
use crate::actions::App;
use crate::delivery::{Outcome, Recipient, STOP_BEFORE_DEADLINE, fan_out_frames};
use crate::errors::TableError;
use crate::invoke::Invocation;
use crate::lambda::{Request, before};
use crate::log::append::Stored;
use crate::members::{Pruned, confirm_and_prune};
use crate::metrics::{self, Metric};
use crate::protocol::{MAX_BATCH_BYTES, Messages, render};
use crate::ulid::ulid;

/// A post that is not answered for this time after the last one began holds up no further round. A healthy one takes 10 ms.
const SLOW_AFTER: Duration = Duration::from_millis(100);

/// The pump ends when nothing has been said for this time.
const IDLE_AFTER: Duration = Duration::from_secs(2);

/// The lease is prolonged when it was written this long ago.
const PROLONG_AFTER: Duration = Duration::from_millis(1_500);

/// The pump hands over to the next one when less than this is left of its invocation: its last posts take some seconds.
const LATE_BEFORE_DEADLINE: Duration = Duration::from_secs(10);

/// A publisher begins no further round after this time: its ack waits for its posts, which take 10 s at most.
const PUBLISHER_LEADS_FOR: Duration = Duration::from_secs(6);

/// The log is read this often at most, and at least so often while nothing comes, in milliseconds.
const READ_EVERY_MS: std::ops::RangeInclusive<i64> = 50..=250;

/// Messages of one round.
const MESSAGES: usize = 100;

/// The most rounds with posts that are not answered: more than begin within 10 s, the time of a round whose posts hang. A round
/// holds at most 130 KB of messages, or one message.
const ROUNDS: usize = 128;

/// Reads that fail one after the other before the pump gives up.
const FAILED_READS: u32 = 3;

/// The wait for Lambda to accept an invocation. The lease is held for longer.
const INVOKE_WITHIN: Duration = Duration::from_secs(2);

/// Metrics are written this often.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The publisher or the pump.
pub(crate) enum Part<'a> {
    Publisher(Own<'a>),
    Pump {
        /// The nonce of the holder that hands its lease over.
        handed_by: &'a str,
        /// The number of members, as the holder knows it.
        members: usize,
    },
}

/// The message of a publisher, which is in the log.
pub(crate) struct Own<'a> {
    pub(crate) stored: &'a Stored,
    /// Its frame.
    pub(crate) frame: &'a str,
    /// The members that were read before the append: they are posted to at once.
    pub(crate) first_page: &'a [Recipient],
    /// The number of members.
    pub(crate) members: usize,
}

/// The event of the pump.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Handed {
    pub(crate) room: String,
    pub(crate) handed_by: String,
    pub(crate) members: usize,
}

/// The result.
#[derive(Debug)]
pub(crate) struct Led {
    pub(crate) end: End,
    /// The delivery of the publisher's own message, if it was the publisher who posted it.
    pub(crate) own: Option<(Outcome, Pruned)>,
    /// Rounds, messages and posts.
    pub(crate) rounds: usize,
    pub(crate) messages: usize,
    pub(crate) posts: usize,
}

struct Round {
    upto: u64,
    /// True for the first round with the publisher's own message: its counts are those of the ack.
    is_own: bool,
    outcome: Outcome,
    members: usize,
    began_ms: i64,
}

/// A round that may still have posts on their way.
#[derive(Default)]
struct Begun(OnceLock<Instant>);

/// Leads the delivery in a room until somebody else does or nothing is left to do.
pub(crate) async fn lead(
    app: &App,
    paced: &Paced,
    request: &Request,
    room: &str,
    part: Part<'_>,
) -> Led {
    let me = ulid(now_ms());
    let (own, mut members, handed_by) = match &part {
        Part::Publisher(own) => (Some(own), own.members, ""),
        Part::Pump { handed_by, members } => (None, *members, *handed_by),
    };
    let mut leader = match own {
        Some(own) => Leader::publisher(&me, &own.stored.epoch, own.stored.seq, now_ms()),
        None => Leader::pump(&me),
    };
    let late_at = match own {
        Some(_) => before(request.deadline, 3 * STOP_BEFORE_DEADLINE)
            .min(Instant::now() + PUBLISHER_LEADS_FOR),
        None => before(request.deadline, LATE_BEFORE_DEADLINE),
    };
    let mut epoch = own.map(|own| own.stored.epoch.clone()).unwrap_or_default();
    let mut led = Led {
        end: End::Over,
        own: None,
        rounds: 0,
        messages: 0,
        posts: 0,
    };
    let turns = Turns::default();
    let mut rounds: FuturesUnordered<LocalBoxFuture<'_, Round>> = FuturesUnordered::new();
    let mut prunes: FuturesUnordered<LocalBoxFuture<'_, (bool, Pruned)>> = FuturesUnordered::new();
    let mut over: Vec<Round> = Vec::new();
    let mut read: Vec<Box<RawValue>> = Vec::new();
    let (mut upto, mut has_posted_own) = (0, false);
    let mut begun = Arc::new(Begun::default());
    let (mut due_ms, mut last_ms) = (i64::MIN, 0);
    let (mut said_at, mut wrote_at) = (Instant::now(), Instant::now());
    let mut failed_reads = 0;
    let mut tally = Tally::new();

    loop {
        for round in over.drain(..) {
            leader.over_up_to(round.upto);
            led.posts += round.outcome.posts;
            if round.outcome.unread.is_none() && !round.outcome.partial {
                members = round.members;
                app.counted(room, members, now_ms());
            }
            let posts = round.outcome.posts.max(round.members);
            due_ms = due_ms.max(round.began_ms + paced.pace.time_ms(posts));
            if !round.outcome.gone.is_empty() {
                let gone = round.outcome.gone.clone();
                prunes.push(
                    async move { (round.is_own, prune(app, request, gone).await) }.boxed_local(),
                );
            }
            tally.over(&mut led, round);
        }
        let now = Instant::now();
        let moment = Moment {
            due: now_ms() >= due_ms && rounds.len() < ROUNDS,
            slow: begun.0.get().is_some_and(|at| now >= *at + SLOW_AFTER),
            idle: own.is_none() && now >= said_at + IDLE_AFTER,
            late: now >= late_at,
            ageing: now >= wrote_at + PROLONG_AFTER,
        };
        let step = leader.step(moment, now_ms());
        match step {
            Step::Take(terms) => {
                let take = paced.leases.take(room, &terms);
                let took = beside(&mut rounds, &mut over, take).await;
                let took = took.unwrap_or_else(|error| {
                    warn(request, room, &error);
                    Took::Unknown
                });
                if let Took::Taken(lease) = &took {
                    // The row as it was. A lease that was released has no end.
                    tally.takeovers += usize::from(terms.replaces.is_none() && lease.until > 0);
                    last_ms = lease.last;
                    due_ms = lease.last + paced.pace.time_ms(members);
                    epoch.clone_from(&lease.epoch);
                }
                wrote_at = now;
                leader.took(took);
            }
            Step::Start => match paced.leases.start(room, &me, handed_by, now_ms()).await {
                Ok(lease) => {
                    if let Some(lease) = &lease {
                        last_ms = lease.last;
                        due_ms = lease.last + paced.pace.time_ms(members);
                        epoch.clone_from(&lease.epoch);
                    }
                    wrote_at = now;
                    leader.started(lease.as_ref());
                }
                Err(error) => {
                    warn(request, room, &error);
                    leader.failed();
                }
            },
            Step::Read(after) => {
                let count = app.told_count(members);
                let now_s = now_ms() / 1000;
                let page = app.log.batch(room, (&epoch, after), now_s, MESSAGES, count);
                match beside(&mut rounds, &mut over, page).await {
                    Ok(page) => {
                        failed_reads = 0;
                        let found = u64::try_from(page.messages.len()).unwrap_or(0);
                        let last = page.first.filter(|_| found > 0);
                        let last = last.map(|first| first + found - 1);
                        match last {
                            Some(last) => {
                                (read, upto, said_at) = (page.messages, last, Instant::now());
                            }
                            None => due_ms = now_ms() + poll_ms(paced, members),
                        }
                        leader.messages(last);
                    }
                    Err(error) => {
                        warn(request, room, &error);
                        failed_reads += 1;
                        due_ms = now_ms() + READ_EVERY_MS.end();
                        if own.is_some() || failed_reads == FAILED_READS {
                            leader.failed();
                        }
                    }
                }
            }
            // The round reads them while it posts: after this step.
            Step::Members => leader.members(),
            Step::Post => {
                last_ms = now_ms();
                begun = Arc::new(Begun::default());
                let known = match own {
                    Some(own) if led.rounds == 0 => own.first_page,
                    _ => &[],
                };
                let (frames, sender) = match own {
                    Some(own) if read.is_empty() => {
                        upto = own.stored.seq;
                        tally.began(1, own.stored.at);
                        led.messages += 1;
                        let frame = Blob::new(own.frame.as_bytes());
                        (Frames::one(frame), request.connection_id.as_str())
                    }
                    _ => {
                        tally.began(read.len(), read.first().map_or(last_ms, |first| at(first)));
                        led.messages += read.len();
                        // The sender of one of them may be any connection.
                        (frames(room, &epoch, &std::mem::take(&mut read)), "")
                    }
                };
                let is_own = own.is_some_and(|own| upto >= own.stored.seq) && !has_posted_own;
                has_posted_own |= is_own;
                led.rounds += 1;
                due_ms = last_ms + paced.pace.time_ms(members).max(*READ_EVERY_MS.start());
                let begun = Arc::clone(&begun);
                let round = post(app, request, &turns, room, known, frames, sender, begun);
                rounds.push(
                    round
                        .map(move |(outcome, members)| Round {
                            upto,
                            is_own,
                            outcome,
                            members,
                            began_ms: last_ms,
                        })
                        .boxed_local(),
                );
                leader.posting();
            }
            Step::Advance(done) | Step::Release(done) => {
                let written = Written {
                    room,
                    me: &me,
                    done,
                    last: last_ms,
                    release: matches!(step, Step::Release(_)),
                };
                let write = paced.leases.write(&written, now_ms());
                match beside(&mut rounds, &mut over, write).await {
                    Ok(held) => leader.wrote(done, held),
                    Err(error) => {
                        warn(request, room, &error);
                        // Without a sign the lease ends by itself.
                        if written.release {
                            leader.failed();
                        }
                    }
                }
                wrote_at = now;
            }
            Step::Look(after) => match app.log.newest_row(room, now_ms() / 1000).await {
                Ok(newest) => {
                    let more = newest.is_some_and(|row| row.epoch == epoch && row.seq > after);
                    if more {
                        // The message is read when the next delivery is due, which may be long after `IDLE_AFTER`.
                        said_at = Instant::now();
                    }
                    leader.looked(more);
                }
                Err(error) => {
                    warn(request, room, &error);
                    leader.failed();
                }
            },
            Step::Invoke => {
                let accepted = invoke(paced, request, room, &me, members).await;
                leader.invoked(accepted);
                if !accepted {
                    due_ms = i64::MIN;
                }
            }
            Step::Rest => {
                let wake = now + Duration::from_millis(20);
                tokio::select! {
                    Some(round) = rounds.next() => over.push(round),
                    Some((is_own, pruned)) = prunes.next() => tally.pruned(&mut led, is_own, pruned),
                    () = sleep_until(wake) => {}
                }
            }
            Step::End(end) => {
                led.end = end;
                break;
            }
        }
        tally.tell(request, false);
    }
    // A lease that was lost: the posts that have begun are awaited all the same.
    while let Some(round) = rounds.next().await {
        tally.over(&mut led, round);
    }
    while let Some((is_own, pruned)) = prunes.next().await {
        tally.pruned(&mut led, is_own, pruned);
    }
    tally.tell(request, true);
    led
}

/// Posts a round to all members. `known` were read before the messages, so they are posted to at once, and the whole list
/// is read after them: a member that has joined in between has read a head below these messages. Returns the number of
/// members too.
#[expect(clippy::too_many_arguments, reason = "one caller")]
async fn post(
    app: &App,
    request: &Request,
    turns: &Turns,
    room: &str,
    known: &[Recipient],
    frames: Frames,
    sender: &str,
    begun: Arc<Begun>,
) -> (Outcome, usize) {
    let ids: HashSet<&str> = known
        .iter()
        .map(|known| known.connection_id.as_str())
        .collect();
    let members = AtomicUsize::new(0);
    let all = app.connections.recipients(room, now_ms() / 1000, None);
    let others = all.map(|page: Result<Vec<Recipient>, TableError>| {
        page.map(|mut page| {
            members.fetch_add(page.len(), Ordering::Relaxed);
            page.retain(|member| !ids.contains(member.connection_id.as_str()));
            page
        })
    });
    let outcome = fan_out_frames(
        &app.management,
        stream::once(ready(Ok(known.to_vec()))).chain(others),
        sender,
        async |recipient| turns.post(&app.management, recipient, &frames).await,
        app.delivery.concurrency,
        request.deadline,
        || {
            let _ = begun.0.set(Instant::now());
        },
    )
    .await;
    (outcome, members.into_inner())
}

/// Awaits a request while the posts of earlier rounds go on.
async fn beside<T>(
    rounds: &mut FuturesUnordered<LocalBoxFuture<'_, Round>>,
    over: &mut Vec<Round>,
    request: impl Future<Output = T>,
) -> T {
    let mut request = pin!(request);
    loop {
        tokio::select! {
            biased;
            done = &mut request => return done,
            Some(round) = rounds.next() => over.push(round),
        }
    }
}

async fn prune(app: &App, request: &Request, gone: Vec<String>) -> Pruned {
    let request = Request {
        now_ms: now_ms(),
        ..request.clone()
    };
    let pruned = confirm_and_prune(
        &app.management,
        &app.connections,
        &gone,
        app.presence.born_before_ms(&request),
        before(request.deadline, STOP_BEFORE_DEADLINE),
    )
    .await;
    app.presence.left(&request, &pruned.rows).await;
    pruned
}

/// The frames of several messages: as few as possible for members that take several in one, each at most
/// [`MAX_BATCH_BYTES`]. A message that is longer goes alone, and so does one that is alone.
fn frames(room: &str, epoch: &str, messages: &[Box<RawValue>]) -> Frames {
    let render = |messages: &[Box<RawValue>]| match messages {
        [message] => message.get().to_owned(),
        messages => render(&Messages {
            room,
            epoch,
            messages,
        }),
    };
    let envelope = render(&[]).len();
    let mut batched = Vec::new();
    let (mut first, mut bytes) = (0, envelope);
    for (index, message) in messages.iter().enumerate() {
        let more = message.get().len() + 1;
        if index > first && bytes + more > MAX_BATCH_BYTES {
            batched.push(Blob::new(render(&messages[first..index])));
            (first, bytes) = (index, envelope);
        }
        bytes += more;
    }
    batched.push(Blob::new(render(&messages[first..])));
    let single = messages.iter().map(|message| Blob::new(message.get()));
    Frames {
        single: single.collect(),
        batched,
    }
}

/// The time of a `message` frame, in milliseconds since 1970.
fn at(frame: &RawValue) -> i64 {
    #[derive(Deserialize)]
    struct At {
        at: i64,
    }
    serde_json::from_str(frame.get()).map_or_else(|_| now_ms(), |At { at }| at)
}

/// Hands the lease over to the pump. False if Lambda has not accepted the invocation.
async fn invoke(paced: &Paced, request: &Request, room: &str, me: &str, members: usize) -> bool {
    let handed = Handed {
        room: room.to_owned(),
        handed_by: me.to_owned(),
        members,
    };
    let (function, event) = (&paced.pace.function, render(&handed));
    let invoked = paced
        .invoker
        .invoke(function, &event, Invocation::Event, INVOKE_WITHIN);
    match invoked.await {
        Ok(_) => true,
        Err(error) => {
            warn(request, room, &error);
            false
        }
    }
}

/// The pause between two reads of the log that find nothing.
fn poll_ms(paced: &Paced, members: usize) -> i64 {
    let pace_ms = paced.pace.time_ms(members);
    pace_ms.clamp(*READ_EVERY_MS.start(), *READ_EVERY_MS.end())
}

fn warn(request: &Request, room: &str, error: &dyn std::error::Error) {
    tracing::warn!(
        request_id = request.request_id,
        room,
        cause = %error,
        "a request for a busy room failed"
    );
}

fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// The metrics since they were written last.
struct Tally {
    since: Instant,
    batches: usize,
    messages: usize,
    oldest_ms: i64,
    takeovers: usize,
    delivered: usize,
    failed: usize,
    gone: usize,
    falsely_gone: usize,
    pruned_rows: usize,
}

impl Tally {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            batches: 0,
            messages: 0,
            oldest_ms: 0,
            takeovers: 0,
            delivered: 0,
            failed: 0,
            gone: 0,
            falsely_gone: 0,
            pruned_rows: 0,
        }
    }

    fn began(&mut self, messages: usize, oldest_at: i64) {
        self.batches += 1;
        self.messages += messages;
        self.oldest_ms = self.oldest_ms.max(now_ms() - oldest_at);
    }

    /// Counts a round that is over. The publisher's own is counted in its ack.
    fn over(&mut self, led: &mut Led, round: Round) {
        if round.is_own {
            led.own = Some((round.outcome, Pruned::default()));
        } else {
            self.delivered += round.outcome.delivered;
            self.failed += round.outcome.failed;
        }
    }

    fn pruned(&mut self, led: &mut Led, is_own: bool, pruned: Pruned) {
        match &mut led.own {
            Some((_, of_own)) if is_own => *of_own = pruned,
            _ => {
                self.gone += pruned.gone;
                self.falsely_gone += pruned.alive;
                self.pruned_rows += pruned.rows.len();
            }
        }
    }

    fn tell(&mut self, request: &Request, at_once: bool) {
        if !at_once && self.since.elapsed() < TELL_EVERY {
            return;
        }
        let tally = std::mem::replace(self, Self::new());
        metrics::emit(
            &request.request_id,
            now_ms(),
            &[
                (Metric::Batches, tally.batches),
                (Metric::Batched, tally.messages),
                (
                    Metric::OldestUndelivered,
                    usize::try_from(tally.oldest_ms).unwrap_or(0),
                ),
                (Metric::Takeovers, tally.takeovers),
                (Metric::Delivered, tally.delivered),
                (Metric::Failed, tally.failed),
                (Metric::Gone, tally.gone),
                (Metric::FalselyGone, tally.falsely_gone),
                (Metric::PrunedRows, tally.pruned_rows),
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(sizes: &[usize]) -> Vec<Box<RawValue>> {
        let message = |size: &usize| RawValue::from_string(format!("\"{}\"", "x".repeat(size - 2)));
        sizes.iter().map(|size| message(size).unwrap()).collect()
    }

    /// The number of messages in each frame.
    fn counts(sizes: &[usize]) -> Vec<usize> {
        let messages = messages(sizes);
        let frames = frames("r", "E", &messages);
        assert_eq!(frames.single.len(), sizes.len());
        let mut all = Vec::new();
        let counts = frames.batched.iter().map(|frame| {
            let text = std::str::from_utf8(frame.as_ref()).unwrap();
            let frame: serde_json::Value = serde_json::from_str(text).unwrap();
            match frame["messages"].as_array() {
                Some(several) => {
                    assert!(text.len() <= MAX_BATCH_BYTES && several.len() > 1);
                    all.extend(several.iter().map(ToString::to_string));
                    several.len()
                }
                None => {
                    all.push(text.to_owned());
                    1
                }
            }
        });
        let counts = counts.collect();
        let expected: Vec<_> = messages.iter().map(|message| message.get()).collect();
        assert_eq!(all, expected, "the batches are the log");
        counts
    }

    #[test]
    fn frames_hold_as_many_messages_as_fit() {
        assert_eq!(counts(&[10]), [1]);
        assert_eq!(counts(&[10, 20, 30]), [3]);
        let envelope = render(&Messages {
            room: "r",
            epoch: "E",
            messages: &[],
        });
        // One comma between two messages.
        let fits = MAX_BATCH_BYTES - envelope.len() - 10 - 2;
        assert_eq!(counts(&[10, fits]), [2]);
        assert_eq!(counts(&[10, fits + 1]), [1, 1]);
        // A message that is too long for any batch goes alone, in its place.
        assert_eq!(counts(&[10, 20, 100_000, 30, 40]), [2, 1, 2]);
        assert_eq!(counts(&[20_000, 20_000, 10, 20_000]), [1, 2, 1]);
    }
}
