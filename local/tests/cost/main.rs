//! What an action costs: API Gateway's messages, Lambda's invocations, DynamoDB's units. Counted end to end, with the
//! real gateway, the real functions and a real database engine, and compared with `contract.json` to the last half
//! unit: a change that makes an action dearer, or cheaper, has to say so there.
//!
//! `cargo test -p roomchat-local --test cost -- --nocapture` prints the table.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "../e2e/harness.rs"]
#[allow(dead_code, reason = "the end-to-end tests need more of it")]
mod harness;
#[path = "../reliability/lag.rs"]
#[allow(dead_code, reason = "the reliability tests need more of it")]
mod lag;
#[path = "../reliability/process.rs"]
mod process;
#[path = "../reliability/proxy.rs"]
#[allow(dead_code, reason = "the reliability tests need more of it")]
mod proxy;

mod actions;
mod contract;
mod prices;
mod world;
