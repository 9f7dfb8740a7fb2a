//! Membership: the table of connections, and how rows of dead connections leave the table.

mod connections;
mod prune;

pub use connections::{Connection, Connections, LIFETIME_S, Membership, ROOM_INDEX, Row};
pub use prune::{Pruned, confirm_and_prune};
