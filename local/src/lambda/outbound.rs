//! Calls that a function's process makes: a fault rule may leave a call unanswered, or kill the process over it.

use std::future::pending;
use std::sync::Arc;

use super::callers::Caller;
use crate::faults::{Fault, Verdict, When};

/// A call that may be forwarded.
#[must_use]
pub(crate) struct Outbound {
    /// The process to kill once the call has had its effect.
    victim: Option<Arc<Caller>>,
    /// Holds other calls back until this call is done.
    _verdict: Verdict,
}

impl Outbound {
    /// Carries out the part of a verdict that precedes the call's effect: waits, kills the process, or never returns. The
    /// server drops this future when the caller closes its connection.
    pub(crate) async fn begin(mut verdict: Verdict, caller: &Arc<Caller>) -> Outbound {
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
        Outbound {
            victim,
            _verdict: verdict,
        }
    }

    /// Carries out the rest, after the call's effect. Never returns if the process is killed here.
    pub(crate) async fn done(self) {
        if let Some(victim) = self.victim {
            victim.kill();
            pending::<()>().await;
        }
    }
}
