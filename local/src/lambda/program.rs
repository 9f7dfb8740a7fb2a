//! The program of a function.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// An executable with its arguments, folder and environment.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// `LAMBDA_TASK_ROOT`, and the working directory.
    pub(crate) directory: PathBuf,
    /// The variables that the runtime adds to the function's environment.
    pub(crate) environment: BTreeMap<String, String>,
}
