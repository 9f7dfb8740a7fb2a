//! Evaluates a Terraform folder as far as that goes without a provider.
//!
//! This module knows nothing of AWS: [`deployment`](crate::deployment) supplies the attributes that a provider computes.

mod defaults;
mod functions;
mod instance;
mod module;
mod references;

pub(crate) use instance::Instance;
pub(crate) use module::Module;
