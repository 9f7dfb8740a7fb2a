//! The promises about messages, under every fault that the tests can inject. The gateway, the functions and the database
//! engine are real; a proxy between them loses, delays and refuses calls, and kills processes.
//!
//! One checker compares the frames of every client with the stored log. A failure prints its seed; `ROOMCHAT_SEED=…` runs
//! it again, `ROOMCHAT_SEEDS=n` runs n new seeds, `ROOMCHAT_KILLS=n` kills n processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod checker;
mod member;
mod record;
mod run;
mod seeds;
mod tokens;

mod busy;
mod changes;
mod deploys;
mod direct;
mod hot;
mod kills;
mod limits;
mod members;
mod positions;
mod schedules;
mod writers;
