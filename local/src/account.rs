//! The AWS account that exists on this machine: its number and its API.

/// The number of the account that owns every resource.
pub(crate) const ACCOUNT_ID: &str = "000000000000";

/// The id of the API that a gateway serves: ten lower-case letters and digits, as API Gateway's are.
pub(crate) const API_ID: &str = "local00000";
