//! Busy rooms: one publisher or pump at a time posts the messages of a room, several in one frame.
//!
//! Below the limit of members nothing of this happens. From there on a publisher takes the **lease** of the room after its
//! append. It posts its message itself if the last delivery was long enough ago. Otherwise it hands the lease to the
//! **pump**, the function `deliver`, which posts what has been said in the meantime at a pace that follows from the number
//! of members. A publisher that finds the lease taken leaves its message to the holder. The log knows nothing of this.
//!
//! - [`lease`]: the decisions, without any request.
//! - `lead`: carries them out.
//! - `table`: the rows of the leases.
//! - `turns`: posts to one member, in order.

mod lead;
pub mod lease;
mod table;
mod turns;

use crate::invoke::Invoker;
use crate::settings::Pace;

pub(crate) use lead::{Handed, Own, Part, lead};
pub use table::{Leases, Written};

/// The parts of a process that delivers in busy rooms. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Paced {
    /// The leases.
    pub leases: Leases,
    /// Invokes the pump.
    pub invoker: Invoker,
    /// The limits.
    pub pace: Pace,
}
