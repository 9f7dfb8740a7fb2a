//! Evaluates a Terraform folder as far as that goes without a provider.
//!
//! This module knows nothing of AWS: [`deployment`](crate::deployment) supplies the attributes that a provider computes.

mod expression;
mod functions;
mod instance;
mod module;
mod problem;
mod source;
mod types;
mod value;

pub(crate) use expression::render;
pub(crate) use functions::clean;
pub(crate) use instance::Instance;
pub(crate) use module::Module;
pub(crate) use problem::{Problem, problem_of};
pub(crate) use value::{Map, Value};
