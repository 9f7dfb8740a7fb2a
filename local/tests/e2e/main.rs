//! The gateway end to end: as a process, with real functions, a real database engine and real WebSocket clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod admin;
mod conformance;
mod declaration;
mod faults;
mod front_door;
mod fuzz;
mod invoke;
mod lifecycle;
mod options;
mod packages;
mod quotas;
mod runtimes;
mod soak;
mod strangers;
mod tls;
