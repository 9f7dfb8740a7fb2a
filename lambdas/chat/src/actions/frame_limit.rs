//! The rate limit of frames, and that of signals: a token bucket for each connection, in the memory of the process.
//!
//! A connection that goes on beyond the limit of frames is closed: dropped frames cost an invocation each, and take their part of
//! the stage's throttle from the others.
//!
//! A verified user who floods the route of messages is expelled. All connections of the user count as one, since a flood over
//! ten connections is too thin for the limit of one. All are closed, and a ban of a minute refuses new ones.

use std::num::NonZeroUsize;
use std::pin::pin;

use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::aws;
use crate::delivery::{ManagementApi, Posted};
use crate::lambda::Request;
use crate::members::{Connections, FLOODED, Penalty, PenaltyKind, Users};
use crate::protocol::{Bye, Failure, inbox, render};
use crate::recent::Recent;
use crate::settings::{Delivery, Lookup, RateLimits};

/// Connections whose bucket a process keeps: some 100 bytes each. Beyond them the least recently used bucket is
/// dropped, and its connection starts with a full one.
const BUCKETS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The cost of a frame in a bucket. A rate of 1 frame per second adds 1 in a millisecond, so all sums are exact.
const FRAME: u64 = 1_000;

/// The time in which `close_after` frames beyond the limit close a connection, in milliseconds.
const FLOOD_MS: i64 = 60_000;

/// A connection that could not be closed is tried again after this number of frames.
const CLOSED_AGAIN_AFTER: u32 = 100;

/// The time that a closed client waits before it connects again, in seconds. For an expelled user it is the ban.
const RECONNECT_AFTER_S: u32 = 60;

/// Connections of an expelled user that are closed in parallel.
const CONCURRENCY: usize = 32;

/// The last frame of a connection that floods.
pub(super) fn bye() -> String {
    render(&Bye {
        reason: "too_many_frames",
        reconnect: "later",
        retry_after_ms: Some(u64::from(RECONNECT_AFTER_S) * 1000),
    })
}

/// Limits the frames that each connection sends to this process.
#[derive(Debug, Clone)]
pub struct FrameLimit {
    buckets: Option<Buckets>,
    /// Closes connections that flood.
    management: Option<ManagementApi>,
    /// Expels verified users who flood.
    expels: Option<Box<(Users, Connections)>>,
}

#[derive(Debug, Clone)]
struct Buckets {
    rate: Rate,
    /// Frames beyond the limit, within [`FLOOD_MS`], after which a connection is closed; 0 for never.
    close_after: u32,
    of: Recent<Bucket>,
}

/// The limit of a connection: frames per second, which is thousandths of a frame per millisecond, and frames at once.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: u64,
    burst: u64,
}

impl FrameLimit {
    /// No limit.
    pub const OFF: Self = Self {
        buckets: None,
        management: None,
        expels: None,
    };

    /// The limit of `limits`; [`Self::OFF`] if `frames_per_second` is 0. It closes no connection.
    pub fn new(limits: RateLimits) -> Self {
        let buckets = Buckets {
            rate: Rate {
                per_second: limits.frames_per_second.into(),
                burst: limits.burst.max(1).into(),
            },
            close_after: limits.close_after,
            of: Recent::new(BUCKETS),
        };
        Self {
            buckets: (limits.frames_per_second > 0).then_some(buckets),
            ..Self::OFF
        }
    }

    /// The same limit, which closes connections that flood.
    #[must_use]
    pub fn closing(self, management: ManagementApi) -> Self {
        Self {
            management: Some(management),
            ..self
        }
    }

    /// The same limit. All connections of a verified user count as one, and a user who floods is expelled.
    #[must_use]
    pub fn expelling(self, users: Users, connections: Connections) -> Self {
        Self {
            expels: Some(Box::new((users, connections))),
            ..self
        }
    }

    /// Reads `LIMITS`. Without it there is no limit. Connections are closed at the management API that `config` reaches.
    ///
    /// # Errors
    ///
    /// See [`RateLimits::read`].
    pub fn read(env: Lookup<'_>, config: &SdkConfig) -> anyhow::Result<Self> {
        let Some(limits) = RateLimits::read(env)? else {
            return Ok(Self::OFF);
        };
        let limit = Self::new(limits);
        Ok(if limits.close_after > 0 {
            limit.closing(aws::management_api(config, &Delivery::read(env)?))
        } else {
            limit
        })
    }

    /// Counts a frame of `sender`, received at `now_ms` (milliseconds since 1970).
    fn count_of(&self, sender: &str, now_ms: i64) -> Verdict {
        let Some(Buckets {
            rate,
            close_after,
            of,
        }) = &self.buckets
        else {
            return Verdict::Accepted;
        };
        of.change(
            sender,
            || Bucket::full(*rate, now_ms),
            |bucket| {
                let verdict = bucket.count(*rate, now_ms);
                if verdict == Verdict::Accepted {
                    return verdict;
                }
                bucket.flood(*close_after, now_ms).unwrap_or(verdict)
            },
        )
    }

    /// Counts the frame of `request`.
    pub(super) fn count(&self, request: &Request) -> Verdict {
        let user = self.expelled(request);
        let sender = user.unwrap_or(&request.connection_id);
        self.count_of(sender, request.now_ms)
    }

    /// The user who is expelled in place of a connection that is closed.
    fn expelled<'a>(&self, request: &'a Request) -> Option<&'a str> {
        let identity = request.caller.identity()?;
        self.expels.is_some().then_some(&identity.user)
    }

    /// Closes the connection, or expels its user. A failure is for the log: a further frame tries it again.
    pub(super) async fn close(&self, request: &Request) -> Result<(), String> {
        let Some(management) = &self.management else {
            return Ok(());
        };
        match (self.expelled(request), self.expels.as_deref()) {
            (Some(user), Some((users, connections))) => {
                let expelled = expel(users, connections, management, user, request);
                Box::pin(expelled).await
            }
            _ => management.close(&request.connection_id).await.map(drop),
        }
    }
}

/// Writes the ban and closes all connections of the user. In this order: a handshake that runs at the same time writes its rows
/// and then reads the bans, so it is refused, or its connection is found here. The index lags. A connection that it does not show
/// yet is closed after [`CLOSED_AGAIN_AFTER`] further frames.
async fn expel(
    users: &Users,
    connections: &Connections,
    management: &ManagementApi,
    user: &str,
    request: &Request,
) -> Result<(), String> {
    let failed = |failure: Failure| match failure.cause {
        Some(cause) => format!("{cause:#}"),
        None => failure.message,
    };
    let penalty = Penalty {
        kind: PenaltyKind::Ban,
        user,
        room: FLOODED,
        until: Some(request.now_s() + i64::from(RECONNECT_AFTER_S)),
        reason: Some("too many frames"),
        by: "system",
        at: request.now_ms,
    };
    users.impose(&penalty).await.map_err(failed)?;
    let mut ids = vec![request.connection_id.clone()];
    let found = inbox(user);
    let mut pages = pin!(connections.members(&found, request.now_s()));
    while let Some(page) = pages
        .try_next()
        .await
        .map_err(|error| failed(error.into()))?
    {
        ids.extend(page.into_iter().filter(|id| *id != request.connection_id));
    }
    let closed = stream::iter(ids).map(|id| async move {
        if let Posted::Failed(cause) = management.post(&id, Blob::new(bye())).await {
            tracing::warn!(connection_id = id, cause, "an expelled user was not told");
        }
        management.close(&id).await.map(drop)
    });
    let mut closed = closed.buffer_unordered(CONCURRENCY);
    let mut done = Ok(());
    while let Some(each) = closed.next().await {
        done = done.and(each);
    }
    done
}

/// Limits the signals that each connection sends to this process.
#[derive(Debug, Clone)]
pub struct SignalLimit(Recent<Bucket>);

impl SignalLimit {
    /// A client sends at most 10 a second; the newest counts, so dropping some of them does no harm.
    const RATE: Rate = Rate {
        per_second: 5,
        burst: 10,
    };

    /// Makes full buckets.
    pub fn new() -> Self {
        Self(Recent::new(BUCKETS))
    }

    /// Returns whether a signal of the connection, received at `now_ms` (milliseconds since 1970), is within the limit.
    pub(super) fn accepts(&self, connection_id: &str, now_ms: i64) -> bool {
        self.0.change(
            connection_id,
            || Bucket::full(Self::RATE, now_ms),
            |bucket| {
                bucket.fill(Self::RATE, now_ms);
                bucket.take()
            },
        )
    }
}

impl Default for SignalLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// The decision about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// The first frame beyond the limit. The next one is accepted after this time, in milliseconds.
    Refused {
        retry_after_ms: u64,
    },
    /// A further frame beyond the limit, which gets no answer.
    Dropped,
    /// A frame of a connection that floods. It gets no answer beyond what the flood demands.
    Flood(Flood),
}

/// The verdict on a frame of a connection that floods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flood {
    /// The frame `bye`.
    Bye,
    /// Its end.
    Close,
    /// Nothing.
    Nothing,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: u64,
    /// The time of the level, in milliseconds since 1970.
    at: i64,
    /// True after a refused frame, until the bucket is half full again.
    closed: bool,
    /// The frames beyond the limit since `beyond_from`, in milliseconds since 1970.
    beyond: u32,
    beyond_from: i64,
}

impl Bucket {
    fn full(rate: Rate, now_ms: i64) -> Self {
        Self {
            level: rate.burst * FRAME,
            at: now_ms,
            closed: false,
            beyond: 0,
            beyond_from: now_ms,
        }
    }

    /// Counts a frame beyond the limit. The frame after `close_after` of them within [`FLOOD_MS`] is answered with `bye`, and
    /// the next one closes the connection: the answer of the same frame could not reach it.
    fn flood(&mut self, close_after: u32, now_ms: i64) -> Option<Verdict> {
        if !(0..FLOOD_MS).contains(&now_ms.saturating_sub(self.beyond_from)) {
            (self.beyond, self.beyond_from) = (0, now_ms);
        }
        self.beyond = self.beyond.saturating_add(1);
        if close_after == 0 {
            return None;
        }
        let more = self.beyond.checked_sub(close_after.saturating_add(1))?;
        Some(Verdict::Flood(match more {
            0 => Flood::Bye,
            more if (more - 1) % CLOSED_AGAIN_AFTER == 0 => Flood::Close,
            _ => Flood::Nothing,
        }))
    }

    /// Adds the frames that time has brought since the last call.
    fn fill(&mut self, rate: Rate, now_ms: i64) {
        // If the clock is set back, nothing is added, and the time is taken over.
        let passed_ms = u64::try_from(now_ms.saturating_sub(self.at)).unwrap_or(0);
        let gained = passed_ms.saturating_mul(rate.per_second);
        self.level = self.level.saturating_add(gained).min(rate.burst * FRAME);
        self.at = now_ms;
    }

    /// Takes a frame out, if there is one.
    fn take(&mut self) -> bool {
        let has_one = self.level >= FRAME;
        if has_one {
            self.level -= FRAME;
        }
        has_one
    }

    fn count(&mut self, rate: Rate, now_ms: i64) -> Verdict {
        // At least a frame: otherwise a bucket of one frame would accept again while it is empty.
        let half = (rate.burst * FRAME / 2).max(FRAME);
        self.fill(rate, now_ms);
        if self.closed {
            if self.level < half {
                return Verdict::Dropped;
            }
            self.closed = false;
        }
        if self.take() {
            return Verdict::Accepted;
        }
        self.closed = true;
        Verdict::Refused {
            retry_after_ms: (half - self.level).div_ceil(rate.per_second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_793_246_400_000;

    fn limit(frames_per_second: u32, burst: u32) -> FrameLimit {
        FrameLimit::new(RateLimits {
            per_user: 0,
            per_room: 0,
            window_seconds: 5,
            frames_per_second,
            burst,
            close_after: 0,
        })
    }

    #[test]
    fn a_connection_that_goes_on_is_told_goodbye_and_closed() {
        let limits = RateLimits {
            per_user: 0,
            per_room: 0,
            window_seconds: 5,
            frames_per_second: 1,
            burst: 1,
            close_after: 3,
        };
        let limit = FrameLimit::new(limits);
        let verdicts = |connection: &str, now: i64, frames: usize| -> Vec<Verdict> {
            (0..frames)
                .map(|_| limit.count_of(connection, now))
                .collect()
        };
        let first = verdicts("a", NOW, 107);
        assert_eq!(first[0], Verdict::Accepted);
        assert!(matches!(first[1], Verdict::Refused { .. }));
        assert_eq!(first[2..4], [Verdict::Dropped; 2]);
        let flood = |verdict: &Verdict| match verdict {
            Verdict::Flood(flood) => *flood,
            other => panic!("{other:?}"),
        };
        assert_eq!(flood(&first[4]), Flood::Bye);
        assert_eq!(flood(&first[5]), Flood::Close);
        for verdict in &first[6..105] {
            assert_eq!(flood(verdict), Flood::Nothing);
        }
        // It could not be closed.
        assert_eq!(flood(&first[105]), Flood::Close);
        // Frames of another minute count anew, and so does a clock that is set back.
        assert_eq!(verdicts("a", NOW + 60_000, 2)[0], Verdict::Accepted);
        verdicts("b", NOW, 4);
        verdicts("b", NOW - 1, 3);
        assert_eq!(flood(&verdicts("b", NOW - 1, 1)[0]), Flood::Bye);
        verdicts("c", NOW, 4);
        assert_eq!(verdicts("c", NOW + 59_999, 1)[0], Verdict::Accepted);
        assert_eq!(flood(&verdicts("c", NOW + 59_999, 1)[0]), Flood::Bye);
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        for limit in [limit(0, 0), limit(0, 5), FrameLimit::OFF] {
            for _ in 0..1_000 {
                assert_eq!(limit.count_of("a", NOW), Verdict::Accepted);
            }
        }
    }

    #[test]
    fn a_connection_does_not_spend_what_another_has() {
        let limit = limit(1, 1);
        assert_eq!(limit.count_of("a", NOW), Verdict::Accepted);
        assert_eq!(
            limit.count_of("a", NOW),
            Verdict::Refused {
                retry_after_ms: 1_000
            }
        );
        assert_eq!(limit.count_of("a", NOW), Verdict::Dropped);
        assert_eq!(limit.count_of("b", NOW), Verdict::Accepted);
    }

    #[test]
    fn only_so_many_buckets_are_kept() {
        let limit = limit(1, 1);
        for id in 0..=BUCKETS.get() {
            assert_eq!(limit.count_of(&id.to_string(), NOW), Verdict::Accepted);
        }
        // The first one is forgotten, the second one is not.
        assert_ne!(limit.count_of("1", NOW), Verdict::Accepted);
        assert_eq!(limit.count_of("0", NOW), Verdict::Accepted);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let limit = limit(1, 1);
        assert_eq!(limit.count_of("a", NOW), Verdict::Accepted);
        assert_ne!(limit.count_of("a", NOW - 3_600_000), Verdict::Accepted);
        assert_eq!(limit.count_of("a", NOW - 3_599_000), Verdict::Accepted);
    }

    #[test]
    fn signals_are_limited_evenly() {
        let limit = SignalLimit::new();
        let accepted = |from: i64, to: i64, every: usize| {
            (from..to)
                .step_by(every)
                .filter(|ms| limit.accepts("a", NOW + ms))
                .count()
        };
        assert_eq!(accepted(0, 100, 5), 10, "the burst");
        // The pause has refilled half of the bucket.
        assert_eq!(accepted(1_000, 2_000, 100), 9);
        // 10 a second: every second one passes, and no second is silent.
        for second in 2..10 {
            let passed = accepted(second * 1_000, second * 1_000 + 1_000, 100);
            assert_eq!(passed, 5, "second {second}");
        }
        assert!(limit.accepts("b", NOW));
    }

    /// The level of a bucket in thousandths of a frame, from the times of all frames that it accepted: it gains in each
    /// single millisecond.
    fn level(rate: u32, burst: u32, from: i64, accepted: &[i64], now: i64) -> u64 {
        let full = u64::from(burst) * 1_000;
        let mut level = full;
        let mut accepted = accepted.iter().peekable();
        for ms in from..=now {
            if ms > from {
                level = full.min(level + u64::from(rate));
            }
            while accepted.next_if(|at| **at == ms).is_some() {
                level -= 1_000;
            }
        }
        level
    }

    proptest! {
        #[test]
        fn a_bucket_is_the_reference(
            rate in 1_u32..30,
            burst in 1_u32..12,
            waits in prop::collection::vec(prop_oneof![Just(0_i64), 0_i64..50, 0_i64..900], 1..80),
        ) {
            let limit = limit(rate, burst);
            let half = u64::from(burst) * 500;
            let opens_at = half.max(1_000);
            let (mut now, mut accepted, mut opens) = (NOW, Vec::new(), None);
            for wait in waits {
                now += wait;
                let level = level(rate, burst, NOW, &accepted, now);
                let verdict = limit.count_of("a", now);
                match opens {
                    Some(opens) if now < opens => {
                        prop_assert!(level < opens_at);
                        prop_assert_eq!(verdict, Verdict::Dropped);
                        continue;
                    }
                    // Exact: accepted from the promised millisecond on.
                    Some(_) => prop_assert_eq!(verdict, Verdict::Accepted),
                    None if level >= 1_000 => prop_assert_eq!(verdict, Verdict::Accepted),
                    None => {}
                }
                opens = None;
                match verdict {
                    Verdict::Accepted => accepted.push(now),
                    Verdict::Refused { retry_after_ms } => {
                        prop_assert!(level < 1_000);
                        let then = i64::try_from(retry_after_ms).unwrap();
                        prop_assert!(level + u64::from(rate) * retry_after_ms >= opens_at);
                        prop_assert!(level + u64::from(rate) * (retry_after_ms - 1) < opens_at);
                        opens = Some(now + then);
                    }
                    Verdict::Dropped | Verdict::Flood(_) => prop_assert!(false, "dropped without a refusal"),
                }
            }
            // Never more than the burst and the frames that the passed time has added.
            let most = u64::from(burst) * 1_000 + u64::from(rate) * u64::try_from(now - NOW).unwrap();
            prop_assert!(accepted.len() as u64 * 1_000 <= most);
        }
    }
}
