//! Reads the memory and the processor time of processes, and describes the machine.
//!
//! Linux only, as all of it is read from `/proc`.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

/// Raises the limit of open files, which the started services inherit.
///
/// # Errors
/// Fails if the system allows fewer than `needed`.
pub(crate) fn allow_descriptors(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        bail!(
            "{needed} open files are needed and the limit is {hard}: raise it with `ulimit -Hn {needed}` as root, or leave the section out with --only"
        );
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .with_context(|| format!("cannot raise the limit of open files to {hard}"))
}

/// A process and all its descendants.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some(parent) = parent(pid) {
            parents.push((pid, parent));
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    tree
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may contain any character.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// The resident memory of one process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    memory_field(pid, "status", "VmRSS:")
}

/// The peak of a process's resident memory, in bytes.
pub(crate) fn peak_bytes(pid: u32) -> Result<u64> {
    memory_field(pid, "status", "VmHWM:")
}

/// The memory of a process and its descendants, in bytes. Shared pages are counted once, in equal parts (PSS).
pub(crate) fn tree_bytes(root: u32) -> Result<u64> {
    let own = memory_field(root, "smaps_rollup", "Pss:")?;
    let others: u64 = tree(root)
        .into_iter()
        .skip(1)
        // A process may end meanwhile.
        .filter_map(|pid| memory_field(pid, "smaps_rollup", "Pss:").ok())
        .sum();
    Ok(own + others)
}

fn memory_field(pid: u32, file: &str, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kilobytes: u64 = text
        .lines()
        .find_map(|line| {
            line.strip_prefix(field)?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .with_context(|| format!("{path} has no {field}"))?;
    Ok(kilobytes * 1024)
}

/// The processor time of a process, in seconds: the sum of its running threads.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/task");
    let mut nanoseconds = 0_u64;
    for thread in fs::read_dir(&path).with_context(|| format!("cannot read {path}"))? {
        let schedstat = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += schedstat
            .split_whitespace()
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// The load average of the last minute.
pub(crate) fn load() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}

/// Describes the machine, without which a figure means little.
pub(crate) fn machine() -> Value {
    let file = |path: &str, field: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.split_once(':'))
            .map(|(_, value)| value.trim().to_owned());
        value.unwrap_or_default()
    };
    json!({
        "processor": file("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": file("/proc/meminfo", "MemTotal"),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "rustc": output("rustc", &["--version"]),
        "node": output("node", &["--version"]),
    })
}

/// The measured commit, with `+` if the work tree differs from it.
pub(crate) fn commit() -> String {
    output(
        "git",
        &[
            "describe",
            "--always",
            "--dirty=+",
            "--abbrev=12",
            "--exclude=*",
        ],
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
