//! What an action costs: API Gateway's messages, Lambda's invocations, DynamoDB's units. Counted end to end, with the
//! real gateway, the real functions and a real database engine, and compared with `contract.json` to the last half
//! unit: a change that makes an action dearer, or cheaper, has to say so there.
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
