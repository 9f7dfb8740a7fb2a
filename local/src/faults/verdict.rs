//! The decision of the rules about an occurrence.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::act::Fault;

/// The decision of the rules about an occurrence. The default leaves it alone.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Verdict {
    pub(super) delay: Duration,
    pub(super) held_back: Vec<(mpsc::Receiver<()>, Duration)>,
    /// Holds other occurrences back until it is dropped. It must be kept until this occurrence is through.
    pub(super) lets_by: Vec<mpsc::Sender<()>>,
    /// The fault after the wait. The first rule that matches decides.
    pub(crate) fault: Option<Fault>,
}

impl Verdict {
    /// Waits as long as the rules demand.
    pub(crate) async fn wait(&mut self) {
        for (mut gate, at_most) in self.held_back.drain(..) {
            // The gate is closed; nothing is ever sent.
            let _ = timeout(at_most, gate.recv()).await;
        }
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
    }

    /// Reports whether the occurrence must wait.
    pub(crate) fn waits(&self) -> bool {
        !self.delay.is_zero() || !self.held_back.is_empty()
    }
}
