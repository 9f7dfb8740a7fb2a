//! Asynchronous invocations: an event that was accepted is tried again, as Lambda does.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;

use super::{Held, InvokeError, Pool};
use crate::log;

/// Lambda's wait after the first failure of a function, and after each further failure.
const AFTER_FIRST_FAILURE: Duration = Duration::from_secs(60);
const AFTER_FURTHER_FAILURES: Duration = Duration::from_secs(120);

/// Lambda's waits while it throttles: they grow from the first to the longest.
const AFTER_THROTTLE: Duration = Duration::from_secs(1);
const LONGEST_AFTER_THROTTLE: Duration = Duration::from_secs(5 * 60);

impl Pool {
    /// Invokes the function until it succeeds, or until the event is given up. All attempts have the same request id. The
    /// waits are those of the gateway's clock.
    pub(crate) async fn handle_event(
        self: Arc<Self>,
        request_id: &str,
        event: Bytes,
        qualifier: &str,
    ) {
        let function = &self.spec.function;
        let retries = function.retries.get(qualifier).copied();
        let retries = retries.unwrap_or_default();
        let clock = &self.spec.clock.waiting;
        let give_up_at = clock.now() + retries.max_age;
        let mut failures = 0;
        let mut throttled_for = AFTER_THROTTLE;
        loop {
            let wait = match self.invoke_as(request_id, event.clone()).await {
                Ok(_) => return,
                Err(InvokeError::Throttled) => {
                    let wait = throttled_for;
                    throttled_for = (throttled_for * 2).min(LONGEST_AFTER_THROTTLE);
                    wait
                }
                // The error itself is in the log.
                Err(InvokeError::Function(_)) => {
                    failures += 1;
                    if failures > retries.attempts {
                        let tries = if failures == 1 { "try" } else { "tries" };
                        let reason = format!("failed after {failures} {tries}");
                        return self.log_event(request_id, &reason);
                    }
                    if failures == 1 {
                        AFTER_FIRST_FAILURE
                    } else {
                        AFTER_FURTHER_FAILURES
                    }
                }
            };
            if clock.now() + wait > give_up_at {
                let reason = format!("is older than {} seconds", retries.max_age.as_secs());
                return self.log_event(request_id, &reason);
            }
            let retrying = Held::new(&self.counts.retrying);
            clock.sleep(wait).await;
            drop(retrying);
        }
    }

    fn log_event(&self, request_id: &str, reason: &str) {
        let line =
            format!("RequestId: {request_id} The asynchronous event {reason} and is given up");
        log::line(&self.spec.function.key, &line);
    }
}
