//! The actions: one file for each function of the service.

mod answer;
mod connect;
mod conversation;
mod default;
mod disconnect;
mod frame_limit;
mod history;
mod join;
mod leave;
mod members;
mod personal;
mod publish;
mod signal;

pub use connect::connect;
pub use default::default;
pub use disconnect::disconnect;
pub use frame_limit::{FrameLimit, SignalLimit};
pub use history::history;
pub use join::join;
pub use leave::leave;
pub use members::members;
pub use personal::{Desk, personal};
pub use publish::{App, publish};
pub use signal::{Signals, signal};
