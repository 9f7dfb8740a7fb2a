//! Runs every section of the bench as small as possible, except the one that needs npm.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Builds the measured programs. By --bins and not by -p: cargo would compile what they share again, with other features.
fn build() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--bins"]).current_dir(root());
    assert!(
        cargo.status().unwrap().success(),
        "the programs do not build"
    );
}

fn binaries() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_roomchat-bench"))
        .parent()
        .unwrap()
        .to_owned()
}

#[test]
fn every_section_has_figures() {
    build();
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (json, svg) = (scratch.join("bench.json"), scratch.join("bench.svg"));
    let run = Command::new(env!("CARGO_BIN_EXE_roomchat-bench"))
        .current_dir(root())
        .args(["--smoke", "--only", "service,fan-out,cold-start,costs,busy"])
        .arg("--functions")
        .arg(binaries())
        .arg("--gateway")
        .arg(binaries().join("roomchat-local"))
        .arg("--json")
        .arg(&json)
        .arg("--svg")
        .arg(&svg)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");

    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let figures = report["figures"].as_array().unwrap();
    for id in [
        "service/connections/ours",
        "service/round-trip-p99/ours",
        "service/deliveries-20/ours",
        "service/idle-memory-80/ours",
        "fan-out/cpu-ratio-10/ours",
        "fan-out/memory-10/ours",
        "cold-start/zip/functions",
        "cold-start/init/default",
        "cold-start/first-answer/connect",
        "busy/posts-20/at-once",
        "busy/delivery-p99-20/paced",
        "busy/usd-hour-20/paced",
        "busy/acks-4/ours",
    ] {
        let figure = figures
            .iter()
            .find(|figure| figure["id"] == id)
            .unwrap_or_else(|| panic!("{id} in {report}"));
        assert!(figure["value"].as_f64().unwrap() > 0.0, "{figure}");
    }
    assert_ne!(report["run"]["commit"], "unknown");
    assert_eq!(report["tables"].as_array().unwrap().len(), 3, "{report}");
    let is = |id: &str| {
        let figure = figures.iter().find(|figure| figure["id"] == id);
        figure.unwrap()["value"].as_f64().unwrap()
    };
    // All members have all messages, and the paced room needs less than half of the posts.
    assert_eq!(is("busy/lost-20/at-once"), 0.0);
    assert_eq!(is("busy/lost-20/paced"), 0.0);
    assert!(is("busy/posts-20/paced") < 50.0, "{report}");
    assert!(
        std::fs::read_to_string(svg)
            .unwrap()
            .contains("publish</text>")
    );
}
