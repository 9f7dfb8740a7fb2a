//! The program of a function.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
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

/// Tells one build of an executable from another: its file, and the time of its last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Build(u64, i64, i64);

impl Program {
    /// The build that the path leads to now; none while a new one is being put there.
    pub(super) fn build(&self) -> Option<Build> {
        let file = std::fs::metadata(&self.executable).ok()?;
        Some(Build(file.ino(), file.mtime(), file.mtime_nsec()))
    }
}
