//! The cost of each action: API Gateway's messages, Lambda's invocations, DynamoDB's units. The counts come from the real
//! gateway, functions and database engine, and must equal `contract.json` to the last half unit. So a change of an
//! action's cost is a change of that file.
//!
//! `cargo test -p roomchat-tests --test cost -- --nocapture` prints the table.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod actions;
mod contract;
mod prices;
mod world;
