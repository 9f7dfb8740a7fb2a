//! `$default`: whatever no other route takes gets an error frame that says what is possible.

use crate::event::{Reply, Request};
use crate::protocol::{Correlation, Failure, Frame};

/// Answers a frame that no route took. `known` are the actions there are.
pub fn default(known: &[String], request: &Request) -> Reply {
    let (failure, to) = refuse(known, &request.body);
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        error = failure.name.as_str(),
        duration_ms = request.duration_ms(),
        "frame refused"
    );
    Reply::frame(failure.render(&to))
}

fn refuse(known: &[String], body: &str) -> (Failure, Correlation) {
    let frame = match Frame::parse(body) {
        Ok(frame) => frame,
        Err(failure) => return (failure, Correlation::default()),
    };
    let failure = match frame.action() {
        Ok(Some(action)) if !action.is_empty() => Failure::unknown_action(&action, known),
        Ok(_) => Failure::no_action(known),
        Err(failure) => failure,
    };
    (failure, frame.correlation())
}
