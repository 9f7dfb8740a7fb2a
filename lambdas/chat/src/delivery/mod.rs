//! Delivery: posts a message to the connections of a room through API Gateway's management API.

mod fanout;
mod management;

pub use fanout::{
    CUT_BEFORE_DEADLINE, Outcome, Recipient, STOP_BEFORE_DEADLINE, fan_out, fan_out_frames, pass,
};
pub use management::{ManagementApi, Posted};
