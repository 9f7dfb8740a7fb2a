//! Timers of frames: the first try, and the tries after it.

use std::time::Duration;

use super::LinkId;

/// The longest first wait.
const BASE: Duration = Duration::from_millis(500);

/// The longest wait of all.
const CAP: Duration = Duration::from_secs(30);

/// Returns the wait before try number `attempt`: a random time up to a limit that doubles with each try, so that many
/// clients that lost the service at the same moment do not return at the same moment. `chance` is random, from 0 to 1.
pub(super) fn full_jitter(chance: f64, attempt: u32) -> Duration {
    let ceiling = BASE.saturating_mul(2_u32.saturating_pow(attempt)).min(CAP);
    ceiling.mul_f64(chance)
}

/// The present time, and the next time at which there is something to do.
pub(super) struct Clock {
    pub(super) now: Duration,
    pub(super) next: Option<Duration>,
}

impl Clock {
    /// Returns whether the time has come. If not, the core asks to be called at that time.
    pub(super) fn due(&mut self, at: Duration) -> bool {
        if at <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }
}

/// The number of frames of an action that a connection sends at once: less than the service accepts.
const PACE_BURST: u32 = 40;

/// The time between two further frames of an action: 15 a second.
const PACE: Duration = Duration::from_nanos(1_000_000_000 / 15);

/// The pace of a connection's frames of one action. The service drops frames beyond its limit without an answer.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The time from which [`PACE_BURST`] frames may be sent at once again.
    full_at: Duration,
}

impl Pace {
    /// Returns whether a further frame may be sent now, and counts it then.
    pub(super) fn take(&mut self, clock: &mut Clock) -> bool {
        let full_at = self.full_at.max(clock.now);
        let free = clock.due(full_at.saturating_sub(PACE * (PACE_BURST - 1)));
        if free {
            self.full_at = full_at + PACE;
        }
        free
    }

    /// Sends nothing before `until`, and from then on one frame after the other.
    pub(super) fn pause(&mut self, until: Duration) {
        self.full_at = self.full_at.max(until + PACE * (PACE_BURST - 1));
    }
}

/// The timer of a frame that is sent until it is answered.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// The frame is not sent before this time.
    due: Duration,
    /// The connection on which the frame was sent and may still be answered.
    on: Option<LinkId>,
    attempt: u32,
}

impl Retry {
    /// Makes the timer of a frame that is first sent at `due`.
    pub(super) fn at(due: Duration) -> Self {
        Self {
            due,
            ..Self::default()
        }
    }

    /// Returns whether the frame is due and the pace lets it go now. Each `true` counts as a try.
    pub(super) fn send_paced(
        &mut self,
        clock: &mut Clock,
        pace: &mut Pace,
        link: LinkId,
        timeout: Duration,
    ) -> bool {
        clock.due(self.due) && pace.take(clock) && self.send(clock, link, timeout)
    }

    /// Returns whether the frame is to be sent now. Each `true` counts as a try.
    pub(super) fn send(&mut self, clock: &mut Clock, link: LinkId, timeout: Duration) -> bool {
        if !clock.due(self.due) {
            return false;
        }
        self.on = Some(link);
        self.attempt = self.attempt.saturating_add(1);
        // A slow service would only become slower by the same frame at the same pace.
        self.due = clock.now + timeout.saturating_mul(self.attempt.min(4));
        clock.due(self.due);
        true
    }

    /// Returns the number of tries.
    pub(super) fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Puts the next try off, as the service asks to.
    pub(super) fn later(&mut self, now: Duration, chance: f64, at_least: Option<u64>) {
        self.on = None;
        let wait = full_jitter(chance, self.attempt);
        self.due = now + wait.max(Duration::from_millis(at_least.unwrap_or_default()));
    }

    /// Brings the next try forward: API Gateway failed to answer a frame of this connection, perhaps this one.
    pub(super) fn perhaps_failed(&mut self, now: Duration, chance: f64, link: LinkId) {
        if self.on == Some(link) {
            self.due = self.due.min(now + full_jitter(chance, self.attempt));
        }
    }

    /// Makes the frame due at once if it was sent on this connection, which can no longer answer it.
    pub(super) fn closed(&mut self, now: Duration, link: LinkId) {
        if self.on == Some(link) {
            self.on = None;
            self.due = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_cap() {
        for (attempt, ceiling) in [(0, 0.5), (1, 1.0), (5, 16.0), (6, 30.0), (u32::MAX, 30.0)] {
            let waits = [0.0, 0.5, 1.0].map(|chance| full_jitter(chance, attempt).as_secs_f64());
            assert_eq!(waits, [0.0, ceiling / 2.0, ceiling]);
        }
    }

    /// In no second does a connection send more than the service accepts: a burst of 50, and 20 a second.
    #[test]
    fn frames_keep_to_the_pace() {
        let mut pace = Pace::default();
        let mut sent = Vec::new();
        let mut clock = Clock {
            now: Duration::from_secs(100),
            next: None,
        };
        while sent.len() < 100 {
            if pace.take(&mut clock) {
                sent.push(clock.now);
            } else {
                clock.now = clock.next.take().unwrap();
            }
        }
        assert_eq!(sent[39], Duration::from_secs(100));
        assert_eq!(sent[40] - sent[39], PACE);
        assert!(sent[99] <= Duration::from_secs(104));
        pace.pause(Duration::from_secs(200));
        assert!(!pace.take(&mut clock));
        assert_eq!(clock.next, Some(Duration::from_secs(200)));
        clock.now = Duration::from_secs(200);
        assert!(pace.take(&mut clock) && !pace.take(&mut clock));
    }

    #[test]
    fn it_waits_at_least_as_long_as_asked() {
        let mut retry = Retry::default();
        retry.later(Duration::from_secs(1), 0.0, Some(60_000));
        assert_eq!(retry.due, Duration::from_secs(61));
    }
}
