//! A clock that tests can move: a connection ages a day in a few seconds.
//!
//! Only the gateway's own waits move. The times that functions get (`connectedAt`, `requestTimeEpoch`, deadlines) are the
//! system's, since functions and tables read the system's clock.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The two timelines of the gateway.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_epoch_ms: i64,
    /// The age and idleness of connections, and of idle processes.
    pub(crate) waiting: Timeline,
    /// The timeouts of work: Init, functions, integrations, throttles. It has its own speed, because a function does not
    /// run faster when connections age faster.
    pub(crate) working: Timeline,
}

impl Clock {
    /// Starts both timelines at their speeds; 1 is the speed of real time.
    pub(crate) fn start(waiting: f64, working: f64) -> Clock {
        Clock {
            started: Instant::now(),
            started_epoch_ms: chrono::Utc::now().timestamp_millis(),
            waiting: Timeline::start(waiting),
            working: Timeline::start(working),
        }
    }

    /// Returns epoch milliseconds: the system's clock at the start plus the time since, so that it never steps back.
    pub(crate) fn wall_ms(&self) -> i64 {
        let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.started_epoch_ms.saturating_add(passed)
    }

    /// Moves both timelines forward.
    pub(crate) fn advance(&self, by: Duration) {
        // In this order: the end of a wait can begin work, whose timeout must not pass in the same jump.
        self.working.advance(by);
        self.waiting.advance(by);
    }
}

/// A point of a [`Timeline`]: the time since its start.
pub(crate) type Moment = Duration;

/// A time that runs at a speed, and can jump forward.
#[derive(Debug)]
pub(crate) struct Timeline(watch::Sender<Pace>);

/// The course of time from an instant on.
#[derive(Debug, Clone, Copy)]
struct Pace {
    since: Instant,
    moment: Moment,
    speed: f64,
}

impl Pace {
    fn now(&self) -> Moment {
        self.moment + self.since.elapsed().mul_f64(self.speed)
    }
}

impl Timeline {
    fn start(speed: f64) -> Timeline {
        Timeline(watch::Sender::new(Pace {
            since: Instant::now(),
            moment: Moment::ZERO,
            speed,
        }))
    }

    pub(crate) fn now(&self) -> Moment {
        self.0.borrow().now()
    }

    pub(crate) fn speed(&self) -> f64 {
        self.0.borrow().speed
    }

    /// Converts a time of this timeline to real time.
    pub(crate) fn real(&self, time: Duration) -> Duration {
        time.div_f64(self.speed())
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.send_modify(|pace| pace.moment += by);
    }

    /// Changes the speed from now on. It must be positive and finite.
    pub(crate) fn set_speed(&self, speed: f64) {
        self.0.send_modify(|pace| {
            *pace = Pace {
                since: Instant::now(),
                moment: pace.now(),
                speed,
            };
        });
    }

    /// Waits until a moment, even if time is moved meanwhile.
    pub(crate) async fn sleep_until(&self, moment: Moment) {
        let mut paces = self.0.subscribe();
        loop {
            let pace = *paces.borrow_and_update();
            let left = moment.saturating_sub(pace.now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                // Rounded up, or the last step would be repeated for ever.
                () = sleep(left.div_f64(pace.speed) + Duration::from_micros(1)) => {}
                // The sender lives as long as `self`.
                _ = paces.changed() => {}
            }
        }
    }

    /// Waits for a time of this timeline.
    pub(crate) async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    /// Returns the output of `work`, or nothing if it takes longer than `limit`.
    pub(crate) async fn timeout<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            output = work => Some(output),
            () = self.sleep(limit) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn it_passes_jumps_and_runs() {
        let clock = Clock::start(1.0, 1.0);
        assert!(clock.waiting.now() < HOUR);
        clock.advance(HOUR);
        assert!(clock.waiting.now() >= HOUR && clock.working.now() >= HOUR);
        clock.waiting.set_speed(1e6);
        // Jumps stay where they were when the speed changes, and an hour is now 3.6 ms.
        clock.waiting.sleep(HOUR).await;
        assert!(clock.waiting.now() >= 2 * HOUR);
        assert!(clock.working.now() < 2 * HOUR);
        assert_eq!(clock.waiting.real(HOUR), Duration::from_micros(3600));
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_time_is_moved() {
        let clock = Clock::start(1.0, 1.0);
        let sleeper = clock.waiting.sleep_until(HOUR);
        let mover = async { clock.advance(HOUR) };
        tokio::join!(sleeper, mover);
        let sleeper = clock.working.sleep(HOUR);
        let mover = async { clock.working.set_speed(1e9) };
        tokio::join!(sleeper, mover);
    }

    #[tokio::test]
    async fn a_limit_is_one_of_this_time() {
        let clock = Clock::start(1.0, 1e6);
        let never = std::future::pending::<()>();
        assert_eq!(clock.working.timeout(HOUR, never).await, None);
        assert_eq!(clock.working.timeout(HOUR, async { 5 }).await, Some(5));
    }
}
