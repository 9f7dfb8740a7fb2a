//! The actions: one file for each function of the service.

mod answer;
mod connect;
mod default;
mod disconnect;
mod history;
mod join;
mod leave;
mod members;
mod publish;

pub use connect::connect;
pub use default::default;
pub use disconnect::disconnect;
pub use history::history;
pub use join::join;
pub use leave::leave;
pub use members::members;
pub use publish::{App, publish};
