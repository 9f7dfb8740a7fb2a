//! Starts the gateway and the functions, talks to them, and injects faults between them.
//!
//! The chat's tests and the gateway's tests use this library. A helper that fails panics, and with it the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

mod client;
mod gateway;
mod process;
pub mod proxy;
mod tokens;

pub use client::Client;
pub use gateway::{Gateway, command};
pub use tokens::{IDENTITY, SECRET, now_s, token};

/// The longest wait of a test. Only reached when something hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The folder of the functions' program: `ROOMCHAT_FUNCTIONS`, or [`binaries`].
pub fn functions() -> PathBuf {
    match std::env::var_os("ROOMCHAT_FUNCTIONS") {
        Some(functions) => root().join(functions),
        None => binaries().to_owned(),
    }
}

/// The folder of this build's binaries, after the gateway and the functions have been built.
///
/// Cargo builds a package's binaries for that package's own tests only, so this calls it, with the profile of the
/// running test.
pub fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| build(&["roomchat-local", "roomchat-functions"]))
}

/// The terminal client, after it has been built.
pub fn terminal() -> &'static Path {
    static TERMINAL: OnceLock<PathBuf> = OnceLock::new();
    TERMINAL.get_or_init(|| build(&["roomchat"]).join("roomchat"))
}

/// The bench, after it has been built.
pub fn bench() -> &'static Path {
    static BENCH: OnceLock<PathBuf> = OnceLock::new();
    BENCH.get_or_init(|| build(&["roomchat-bench"]).join("roomchat-bench"))
}

/// The operator's command line, after it has been built.
pub fn operator() -> &'static Path {
    static OPERATOR: OnceLock<PathBuf> = OnceLock::new();
    OPERATOR.get_or_init(|| build(&["roomchat-admin"]).join("roomchat-admin"))
}

/// Builds programs with the profile of the running test, and returns their folder.
fn build(programs: &[&str]) -> PathBuf {
    // target/<profile>/deps/<test>
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap();
    let profile = match folder.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    // Not by -p: cargo would compile the shared crates again, with fewer features.
    cargo
        .current_dir(root())
        .args(["build", "--profile", profile])
        .args(programs.iter().flat_map(|program| ["--bin", program]));
    assert!(
        cargo.status().unwrap().success(),
        "{programs:?} do not build"
    );
    folder.to_owned()
}

/// Calls `found` until it returns a value.
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The fenced blocks of a document in `language`, each with the number of its first line.
pub fn blocks(document: &str, language: &str) -> Vec<(usize, Vec<String>)> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.strip_prefix("```") == Some(language) {
            let block = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| *line != "```");
            blocks.push((number + 2, block.map(str::to_owned).collect()));
        }
    }
    blocks
}
