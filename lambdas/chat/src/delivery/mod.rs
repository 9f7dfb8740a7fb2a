//! Delivery: posts a message to the connections of a room through API Gateway's management API.

mod fanout;
mod management;

pub use fanout::{CUT_BEFORE_DEADLINE, Outcome, STOP_BEFORE_DEADLINE, fan_out, pass};
pub use management::{ManagementApi, Posted};
