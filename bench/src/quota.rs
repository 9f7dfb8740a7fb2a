//! Limits a process to the share of a core that a memory setting gives, by a control group.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The memory that gives one vCPU: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>
pub(crate) const FULL_CORE_MB: f64 = 1769.0;

/// The period of a share, in microseconds. Lambda's is about as long.
const PERIOD_US: u64 = 20_000;

/// A control group with a share of a core. It must be dropped after its processes have ended.
#[derive(Debug)]
pub(crate) struct Quota(PathBuf);

impl Quota {
    /// Makes a group with the share that `memory_mb` gives.
    ///
    /// # Errors
    /// Fails if control groups cannot be made, for example without root.
    pub(crate) fn of_memory(memory_mb: f64) -> Result<Quota> {
        let share = (memory_mb / FULL_CORE_MB).min(1.0);
        let quota_us = (PERIOD_US as f64 * share).round() as u64;
        let name = format!("roomchat-bench-{}-{memory_mb}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/cpu");
        let (folder, files) = if old.join("cpu.cfs_quota_us").exists() {
            let files = vec![
                ("cpu.cfs_period_us", PERIOD_US.to_string()),
                ("cpu.cfs_quota_us", quota_us.to_string()),
            ];
            (old.join(name), files)
        } else {
            (
                Path::new("/sys/fs/cgroup").join(name),
                vec![("cpu.max", format!("{quota_us} {PERIOD_US}"))],
            )
        };
        let hint = || "a share of a core needs a control group with the cpu controller, which root can make";
        fs::create_dir(&folder).with_context(hint)?;
        let quota = Quota(folder);
        for (file, value) in files {
            fs::write(quota.0.join(file), value).with_context(hint)?;
        }
        Ok(quota)
    }

    /// Limits a process to the share from now on.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub(crate) fn hold(&self, pid: u32) -> Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string())
            .context("cannot put a process into a control group")
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
