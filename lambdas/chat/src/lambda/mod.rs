//! The edge to Lambda and API Gateway: events, responses, and the loop that takes invocations.

mod event;
mod run;

pub use event::{Event, Reply, Request, Response, before};
pub use run::{main, serve};
