//! Runs `clients/scenarios` against the core; the README there describes the format.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::player::play;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn scenarios() -> BTreeMap<String, String> {
    let folder = fs::read_dir(repository().join("clients/scenarios")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn the_client_keeps_every_scenario() {
    let scenarios = scenarios();
    assert!(!scenarios.is_empty());
    let failed: Vec<_> = scenarios
        .iter()
        .filter_map(|(name, text)| play(text).err().map(|error| format!("{name}: {error}")))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Every way in which the order scenario can go wrong is found.
#[test]
fn a_scenario_finds_what_it_does_not_expect() {
    let order = &scenarios()["order"];
    let without = |part: &str| {
        let lines = order.lines().filter(|line| !line.contains(part));
        lines.collect::<Vec<_>>().join("\n")
    };
    let missing = order.replace(
        "\"out\":{\"show\":{\"type\":\"message\",\"room\":\"lobby\",\"epoch\":\"E\",\"seq\":3",
        "\"out\":{\"show\":{\"type\":\"message\",\"room\":\"lobby\",\"epoch\":\"E\",\"seq\":4",
    );
    for (changed, told) in [
        (
            without("\"action\":\"join\""),
            "not expected: {\"frame\":{\"action\":\"join\"",
        ),
        (missing, "not expected"),
        (
            order.replace(
                "{\"at\":1000,\"end\":true}",
                "{\"at\":1000,\"out\":{\"close\":\"$l\"}}",
            ),
            "missing",
        ),
        (
            order.replace("\"at\":140,\"out\"", "\"at\":141,\"out\""),
            "at 140: not expected",
        ),
    ] {
        let error = play(&changed).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}

/// The section of PROTOCOL.md with the rules for clients.
fn section() -> String {
    let protocol = fs::read_to_string(repository().join("PROTOCOL.md")).unwrap();
    let from = protocol.find("\n## What a client must do").unwrap() + 1;
    let length = protocol[from..].find("\n## ").unwrap();
    protocol[from..from + length].to_owned()
}

fn named(text: &str) -> Vec<String> {
    let links = text.split("](clients/scenarios/").skip(1);
    let files = links.filter_map(|link| link.split(')').next()?.strip_suffix(".jsonl"));
    files.map(str::to_owned).collect()
}

#[test]
fn every_must_names_its_scenario_and_every_scenario_its_rule() {
    let section = section();
    let mut rules = 0;
    for line in section.lines() {
        let Some((number, rule)) = line.split_once(". **") else {
            continue;
        };
        rules += 1;
        let row = format!("| {number} | ");
        let row = section.lines().find(|line| line.starts_with(&row));
        let scenarios = row.map_or(0, |row| named(row).len());
        let musts = rule.matches("MUST").count();
        assert!(
            scenarios >= musts,
            "rule {number} has {musts} MUSTs and {scenarios} scenarios: {rule}"
        );
    }
    assert!(rules >= 13, "the rules are not where they were");
    let mut named = named(&section);
    named.sort();
    assert_eq!(named, scenarios().into_keys().collect::<Vec<_>>());
}
