//! The rate limit of frames other than messages, and that of signals: a token bucket for each connection, in the memory of the process.

use std::num::NonZeroUsize;

use crate::recent::Recent;
use crate::settings::{Lookup, RateLimits};

/// Connections whose bucket a process keeps: some 100 bytes each. Beyond them the least recently used bucket is
/// dropped, and its connection starts with a full one.
const BUCKETS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The cost of a frame in a bucket. A rate of 1 frame per second adds 1 in a millisecond, so all sums are exact.
const FRAME: u64 = 1_000;

/// Limits the frames that each connection sends to this process.
#[derive(Debug, Clone)]
pub struct FrameLimit(Option<Buckets>);

#[derive(Debug, Clone)]
struct Buckets {
    rate: Rate,
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
    pub const OFF: Self = Self(None);

    /// The limit of `limits`; [`Self::OFF`] if `frames_per_second` is 0.
    pub fn new(limits: RateLimits) -> Self {
        let buckets = Buckets {
            rate: Rate {
                per_second: limits.frames_per_second.into(),
                burst: limits.burst.max(1).into(),
            },
            of: Recent::new(BUCKETS),
        };
        Self((limits.frames_per_second > 0).then_some(buckets))
    }

    /// Reads `LIMITS`. Without it there is no limit.
    ///
    /// # Errors
    ///
    /// See [`RateLimits::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Self> {
        Ok(RateLimits::read(env)?.map_or(Self::OFF, Self::new))
    }

    /// Counts a frame of the connection, received at `now_ms` (milliseconds since 1970).
    pub(super) fn count(&self, connection_id: &str, now_ms: i64) -> Verdict {
        let Some(Buckets { rate, of }) = &self.0 else {
            return Verdict::Accepted;
        };
        of.change(
            connection_id,
            || Bucket::full(*rate, now_ms),
            |bucket| bucket.count(*rate, now_ms),
        )
    }
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
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: u64,
    /// The time of the level, in milliseconds since 1970.
    at: i64,
    /// True after a refused frame, until the bucket is half full again.
    closed: bool,
}

impl Bucket {
    fn full(rate: Rate, now_ms: i64) -> Self {
        Self {
            level: rate.burst * FRAME,
            at: now_ms,
            closed: false,
        }
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
        })
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        for limit in [limit(0, 0), limit(0, 5), FrameLimit::OFF] {
            for _ in 0..1_000 {
                assert_eq!(limit.count("a", NOW), Verdict::Accepted);
            }
        }
    }

    #[test]
    fn a_connection_does_not_spend_what_another_has() {
        let limit = limit(1, 1);
        assert_eq!(limit.count("a", NOW), Verdict::Accepted);
        assert_eq!(
            limit.count("a", NOW),
            Verdict::Refused {
                retry_after_ms: 1_000
            }
        );
        assert_eq!(limit.count("a", NOW), Verdict::Dropped);
        assert_eq!(limit.count("b", NOW), Verdict::Accepted);
    }

    #[test]
    fn only_so_many_buckets_are_kept() {
        let limit = limit(1, 1);
        for id in 0..=BUCKETS.get() {
            assert_eq!(limit.count(&id.to_string(), NOW), Verdict::Accepted);
        }
        // The first one is forgotten, the second one is not.
        assert_ne!(limit.count("1", NOW), Verdict::Accepted);
        assert_eq!(limit.count("0", NOW), Verdict::Accepted);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let limit = limit(1, 1);
        assert_eq!(limit.count("a", NOW), Verdict::Accepted);
        assert_ne!(limit.count("a", NOW - 3_600_000), Verdict::Accepted);
        assert_eq!(limit.count("a", NOW - 3_599_000), Verdict::Accepted);
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
        // 10 a second: every second one passes, and no second is silent.
        for second in 1..10 {
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
                let verdict = limit.count("a", now);
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
                    Verdict::Dropped => prop_assert!(false, "dropped without a refusal"),
                }
            }
            // Never more than the burst and the frames that the passed time has added.
            let most = u64::from(burst) * 1_000 + u64::from(rate) * u64::try_from(now - NOW).unwrap();
            prop_assert!(accepted.len() as u64 * 1_000 <= most);
        }
    }
}
