//! When something is sent, and when it is sent again.

use std::time::Duration;

use super::LinkId;

/// The first wait is up to this long.
const BASE: Duration = Duration::from_millis(500);

/// No wait is longer.
const CAP: Duration = Duration::from_secs(30);

/// A wait before try number `attempt`, anywhere between nothing and a ceiling that doubles: many clients that lost
/// the service at the same moment do not come back at the same moment. `chance` is random, from 0 to 1.
pub(super) fn full_jitter(chance: f64, attempt: u32) -> Duration {
    let ceiling = BASE.saturating_mul(2_u32.saturating_pow(attempt)).min(CAP);
    ceiling.mul_f64(chance)
}

/// The present, and the next moment at which there is something to do.
pub(super) struct Clock {
    pub(super) now: Duration,
    pub(super) next: Option<Duration>,
}

impl Clock {
    /// Whether the moment has come; if not, it will be woken for.
    pub(super) fn due(&mut self, at: Duration) -> bool {
        if at <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }
}

/// A frame that is sent until it is answered.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// Not to be sent before.
    due: Duration,
    /// Where it was sent and may still be answered.
    on: Option<LinkId>,
    attempt: u32,
}

impl Retry {
    /// Sends it now if it is time: returns true once for each time.
    pub(super) fn send(&mut self, clock: &mut Clock, link: LinkId, timeout: Duration) -> bool {
        if !clock.due(self.due) {
            return false;
        }
        self.on = Some(link);
        self.attempt = self.attempt.saturating_add(1);
        // A service that is slow is not helped by the same frame at the same pace.
        self.due = clock.now + timeout.saturating_mul(self.attempt.min(4));
        clock.due(self.due);
        true
    }

    /// How often it was sent.
    pub(super) fn attempts(&self) -> u32 {
        self.attempt
    }

    /// The service asks to send it later.
    pub(super) fn later(&mut self, now: Duration, chance: f64, at_least: Option<u64>) {
        self.on = None;
        let wait = full_jitter(chance, self.attempt);
        self.due = now + wait.max(Duration::from_millis(at_least.unwrap_or_default()));
    }

    /// API Gateway failed to answer something on this connection: perhaps this.
    pub(super) fn perhaps_failed(&mut self, now: Duration, chance: f64, link: LinkId) {
        if self.on == Some(link) {
            self.due = self.due.min(now + full_jitter(chance, self.attempt));
        }
    }

    /// What was sent on this connection is not answered any more.
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

    #[test]
    fn it_waits_at_least_as_long_as_asked() {
        let mut retry = Retry::default();
        retry.later(Duration::from_secs(1), 0.0, Some(60_000));
        assert_eq!(retry.due, Duration::from_secs(61));
    }
}
