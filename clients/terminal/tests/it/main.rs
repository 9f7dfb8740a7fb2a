//! Runs the core against a model of the service and of a bad network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod core;
mod duties;
mod ids;
mod model;
mod player;
mod scenarios;
