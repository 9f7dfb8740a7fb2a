//! What a function's process calls: a call may never be answered, and the process may be killed over it.

use std::future::pending;
use std::sync::Arc;

use super::{Fault, Faults, Point, Verdict, When};
use crate::lambda::callers::Caller;

/// A call that may be forwarded.
#[must_use]
pub(crate) struct Call {
    /// Killed once the call has had its effect.
    victim: Option<Arc<Caller>>,
    _lets_by: Verdict,
}

impl Faults {
    /// Decides about a call by one of our processes, with a point at [`Place::Call`](super::Place::Call), and waits, kills or hangs
    /// before its effect. The caller's connection drops this future when it is closed.
    pub(crate) async fn call(&self, point: &Point<'_>, caller: Option<&Arc<Caller>>) -> Call {
        let none = Call {
            victim: None,
            _lets_by: Verdict::default(),
        };
        let Some(caller) = caller else { return none };
        let mut verdict = self.decide(&point.called_by(Some(caller)));
        verdict.wait().await;
        let victim = match verdict.fault {
            Some(Fault::Kill(When::Before)) => {
                caller.kill();
                return pending().await;
            }
            Some(Fault::Hang { .. }) => return pending().await,
            Some(Fault::Kill(When::After)) => Some(Arc::clone(caller)),
            _ => None,
        };
        Call {
            victim,
            _lets_by: verdict,
        }
    }
}

impl Call {
    /// The call has had its effect. Returns when it is to be answered, which is never when the process is killed here.
    pub(crate) async fn done(self) {
        if let Some(victim) = self.victim {
            victim.kill();
            pending::<()>().await;
        }
    }
}
