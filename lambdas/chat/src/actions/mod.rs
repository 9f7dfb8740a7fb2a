//! The actions: one file for each function of the service.

mod admin;
mod answer;
mod connect;
mod conversation;
mod default;
mod deliver;
mod disconnect;
mod erase;
mod frame_limit;
mod history;
mod join;
mod leave;
mod members;
mod moderate;
mod personal;
mod publish;
mod review;
mod signal;

pub use admin::{Admin, Answered, Call, admin};
pub use connect::connect;
pub use default::default;
pub use deliver::deliver;
pub use disconnect::disconnect;
pub use frame_limit::{FrameLimit, SignalLimit};
pub use history::history;
pub use join::join;
pub use leave::leave;
pub use members::members;
pub use moderate::{Moderation, moderate};
pub use personal::{Desk, personal};
pub use publish::{App, publish};
pub use review::Review;
pub use signal::{Signals, signal};
