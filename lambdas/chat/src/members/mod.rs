//! Membership: the table of connections, the removal of dead connections' rows, and the table of users.

mod connections;
mod personal;
mod presence;
mod prune;
mod users;

pub use connections::{
    Announced, Connection, Connections, Departed, LIFETIME_S, Listed, MOST_COUNTED, Membership,
    Mute, ROOM_INDEX, Row, Shown,
};
pub use personal::{Mark, Marks, Personal};
pub use presence::{Here, Mode, Presence};
pub use prune::{Pruned, confirm_and_prune};
pub use users::{ANY_ROOM, Ban, FLOODED, Penalty, PenaltyKind, Users};
