//! The gateway's one clock: steady, and read as the wall time it started at plus what has passed since.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_epoch_ms: i64,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock {
            started: Instant::now(),
            started_epoch_ms: chrono::Utc::now().timestamp_millis(),
        }
    }

    /// Epoch milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.started_epoch_ms
            .saturating_add(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// The instant that lies `after` an epoch millisecond of this clock.
    pub(crate) fn instant(&self, epoch_ms: i64, after: Duration) -> Instant {
        let since_start =
            u64::try_from(epoch_ms.saturating_sub(self.started_epoch_ms)).unwrap_or(0);
        self.started + Duration::from_millis(since_start) + after
    }
}
