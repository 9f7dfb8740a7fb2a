//! Finds the process at the other end of a connection.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

/// The process that makes a call.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// The function that the process runs.
    pub(crate) function: String,
}

/// The process that connected from `port` of this machine to `to`, if it still runs.
pub(crate) fn process_behind(port: u16, to: u16) -> Option<Process> {
    let inode = inode(port, to)?;
    let wanted = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Processes come and go, and some belong to other users.
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let has_it = descriptors
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()));
        if has_it {
            return Some(Process {
                pid: Pid::from_raw(pid),
                function: function(&entry.path())?,
            });
        }
    }
    None
}

/// Reads the name of the function from the environment of a process: all functions are one program.
fn function(process: &Path) -> Option<String> {
    let environment = fs::read(process.join("environ")).ok()?;
    let handler = environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(b"_HANDLER="))?;
    String::from_utf8(handler.to_vec()).ok()
}

/// The inode of the socket between two ports. `/proc/net/tcp` shows ports in hexadecimal.
fn inode(port: u16, to: u16) -> Option<String> {
    let (local, remote) = (format!(":{port:04X}"), format!(":{to:04X}"));
    fs::read_to_string("/proc/net/tcp")
        .ok()?
        .lines()
        .skip(1)
        .find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.get(1)?.ends_with(&local) && fields.get(2)?.ends_with(&remote))
                .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
        })
        .filter(|inode| inode != "0")
}
