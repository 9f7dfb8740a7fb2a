//! The functions against a DynamoDB engine that is real, and a management API that is scripted.
//!
//! Each test has an engine of its own, in memory, and its own clients of API Gateway, so tests run side by side.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod changes;
mod deadline;
mod delivery;
mod direct;
mod failures;
mod history;
mod identity;
mod interleavings;
mod invoke;
mod lease;
mod limits;
mod log;
mod membership;
mod moderation;
mod paced;
mod personal;
mod presence;
mod pruning;
mod remembered;
mod review;
mod rooms;
mod signals;
mod support;
mod users;
