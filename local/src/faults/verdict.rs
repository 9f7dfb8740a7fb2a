//! What is to happen at a point.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::act::Fault;

/// What is to happen at a point. The default is nothing.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Verdict {
    pub(super) delay: Duration,
    pub(super) held_back: Vec<(mpsc::Receiver<()>, Duration)>,
    /// Others are held back until this is dropped: it is kept until the occurrence is through.
    pub(super) lets_by: Vec<mpsc::Sender<()>>,
    /// Once it has waited. Of several rules the first one's.
    pub(crate) fault: Option<Fault>,
}

impl Verdict {
    /// Waits as long as the rules want the occurrence to wait.
    pub(crate) async fn wait(&mut self) {
        for (mut gate, at_most) in self.held_back.drain(..) {
            // It is closed, nothing is ever sent.
            let _ = timeout(at_most, gate.recv()).await;
        }
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
    }

    /// Whether it has to wait.
    pub(crate) fn waits(&self) -> bool {
        !self.delay.is_zero() || !self.held_back.is_empty()
    }
}
