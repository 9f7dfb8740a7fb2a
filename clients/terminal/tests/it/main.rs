//! The core against a model of the service, and the program against a scripted one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod core;
mod model;
