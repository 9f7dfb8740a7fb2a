//! Membership: the table of connections, the removal of dead connections' rows, and the table of users.

mod connections;
mod personal;
mod prune;
mod users;

pub use connections::{
    Connection, Connections, LIFETIME_S, Listed, Membership, Mute, ROOM_INDEX, Row,
};
pub use personal::{Mark, Marks, Personal};
pub use prune::{Pruned, confirm_and_prune};
pub use users::{ANY_ROOM, Ban, Penalty, PenaltyKind, Users};
