//! The chat end to end: the real gateway, the real function binaries, a real database engine and real WebSocket clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod caps;
mod chat;
mod crowd;
mod deletion;
mod delivery;
mod flood;
mod identity;
mod metrics;
mod operator;
mod presence;
mod protocol;
mod restore;
mod review;
mod settings;
mod stage;
mod table_faults;
mod traces;
mod waits;
