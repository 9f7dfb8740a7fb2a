//! Busy rooms: one publisher or pump at a time posts the messages of a room, several in one frame.
//!
//! - [`lease`]: the decisions, without any request.

pub mod lease;
