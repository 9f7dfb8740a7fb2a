//! A terminal client that keeps the rules of PROTOCOL.md for clients.
//!
//! - [`core`]: the rules, as a state machine without a clock or a socket
//! - [`wire`]: the frames
//! - [`command`], [`event`]: the input and the output of the user
//! - [`options`]: the command line
//! - [`token`], [`issue`]: the tokens for handshakes, and the command that issues them
//! - [`text`]: escapes for text that other people chose
//! - [`shell`], [`net`], [`ui`]: the surroundings of the state machine: time, connections, a terminal

pub mod command;
pub mod core;
pub mod event;
pub mod issue;
pub mod net;
pub mod options;
pub mod shell;
pub mod text;
pub mod token;
pub mod ui;
pub mod wire;
