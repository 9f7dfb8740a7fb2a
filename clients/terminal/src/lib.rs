//! A terminal client that keeps the rules PROTOCOL.md has for clients.
//!
//! - [`core`]: the rules, as a state machine without clock or socket
//! - [`wire`]: the frames
//! - [`command`], [`event`]: what the user wants and what the user is told
//! - [`options`]: the command line
//! - [`shell`], [`net`], [`ui`]: the state machine's surroundings: time, connections, a terminal

pub mod command;
pub mod core;
pub mod event;
pub mod net;
pub mod options;
pub mod shell;
pub mod ui;
pub mod wire;
