//! The share of a processor that a memory setting buys, by a control group.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// What buys one vCPU: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>
pub(crate) const FULL_CORE_MB: f64 = 1769.0;

/// Microseconds over which a share is dealt out; Lambda's own is about as long.
const PERIOD_US: u64 = 20_000;

/// Processes that get a share of a core; it ends when this is dropped, after they have.
#[derive(Debug)]
pub(crate) struct Quota(PathBuf);

impl Quota {
    /// The share that `memory_mb` buys.
    ///
    /// # Errors
    /// When this machine lets us make no control group: root may.
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

    /// Holds a process to the share from now on.
    ///
    /// # Errors
    /// When it has ended.
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
