//! What is promised of messages, with everything going wrong that can: the real gateway, the real functions and a real
//! database engine, and between them a proxy that loses, delays, refuses and kills.
//!
//! One checker compares what every client saw with what is stored. A failure prints its seed; `ROOMCHAT_SEED=…` runs
//! it again, `ROOMCHAT_SEEDS=n` runs n fresh ones, `ROOMCHAT_KILLS=n` kills that many processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod checker;
mod checker_tests;
mod member;
mod record;
mod run;
mod seeds;

mod hot;
mod kills;
mod members;
mod positions;
mod schedules;
mod writers;
