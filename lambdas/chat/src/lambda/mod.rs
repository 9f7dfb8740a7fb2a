//! The edge to Lambda and API Gateway: events, responses, and the loop that takes invocations.

mod backend;
mod event;
mod run;

pub use backend::serve_backend;
pub use event::{Event, Reply, Request, Response, before};
pub use run::{main, serve};
