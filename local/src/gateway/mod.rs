//! API Gateway: handshakes, messages and the management API.

mod authorizer;
pub(crate) mod connections;
pub(crate) mod event;
mod frames;
mod front_door;
mod handshake;
mod integration;
mod invocations;
mod invoke;
pub(crate) mod journal;
pub(crate) mod listener;
mod management;
pub(crate) mod quotas;
mod responses;
mod signature;
mod state;
pub mod tls;
mod websocket;

pub(crate) use front_door::router;
pub(crate) use management::{Posts, PostsStatus};
pub(crate) use state::Gateway;
pub(crate) use websocket::end_former;
