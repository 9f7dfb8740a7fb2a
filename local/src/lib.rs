//! API Gateway (WebSocket), Lambda and DynamoDB on one machine, running what a Terraform folder declares.
//!
//! The crate knows nothing of chat. It serves the declared routes, runs the declared functions, in whatever language,
//! as child processes over the Lambda Runtime API, and keeps the declared tables. README.md shows how to use it, and
//! docs/local.md describes every flag.
//!
//! [`prepare`] reads a declaration and reports everything that is wrong with it, [`Prepared::start`] starts it,
//! [`Stack::serve`] runs it, and [`Stack::stop`] ends it.
//!
//! Tests and benchmarks can use the parts alone:
//!
//! | | |
//! |---|---|
//! | [`tls::Identity`] | a certificate for the loopback names, and the authority that signed it |
//! | [`runtime_api`] | the Lambda Runtime API of one process |
//! | [`deployment::Deployment`] | the declared tables, functions and routes |
//! | [`dynamodb`] | a DynamoDB with the declared tables, and with indexes that lag |
//! | [`faults`] | rules that say what goes wrong, where, and which time |

mod account;
mod admin;
mod clock;
pub mod deployment;
pub mod dynamodb;
pub mod faults;
mod gateway;
mod ids;
mod lambda;
mod log;
mod loopback;
mod options;
mod query;
mod stack;
mod template;
mod terraform;

pub use admin::ask_status;
pub use gateway::tls;
pub use lambda::callers::Callers;
pub use lambda::{FunctionError, runtime_api};
pub use log::flush as flush_log;
pub use options::Options;
pub use stack::{Prepared, Stack, prepare};
