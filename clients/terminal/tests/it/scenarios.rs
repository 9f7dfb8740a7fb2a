//! Runs `clients/scenarios` against the core; the README there describes the format.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roomchat::command::{Line, written};
use roomchat::core::{Core, Input, Output, Settings, Why};
use serde_json::{Value, json};

use crate::model::settings;

/// The events that clients show in different ways.
const FREE: [&str; 6] = [
    "connected",
    "disconnected",
    "joined",
    "left",
    "ack",
    "history",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An output that a scenario demands or allows.
struct Expected {
    line: usize,
    from: u64,
    to: u64,
    output: Value,
}

struct Player {
    core: Core,
    now: u64,
    /// The values of the names with a dollar.
    names: BTreeMap<String, Value>,
    expected: Vec<Expected>,
    allowed: Vec<Value>,
}

impl Player {
    /// Gives the core an input and compares its outputs with what is expected.
    fn input(&mut self, input: Input) -> Result<(), String> {
        let outputs = self.core.handle(Duration::from_millis(self.now), input);
        outputs
            .into_iter()
            .try_for_each(|output| self.output(&output))
    }

    fn output(&mut self, output: &Output) -> Result<(), String> {
        let seen = match output {
            Output::Connect { link, room } => json!({"connect": link, "room": room}),
            Output::Send(link, text) => {
                json!({"send": link, "frame": serde_json::from_str::<Value>(text).unwrap()})
            }
            Output::Close(link) => json!({"close": link}),
            Output::Show(event) => {
                json!({"show": serde_json::from_str::<Value>(&event.json()).unwrap()})
            }
            Output::Exit(exit) => {
                return Err(format!("at {}: the client ends: {exit:?}", self.now));
            }
        };
        let due = |expected: &Expected| (expected.from..=expected.to).contains(&self.now);
        for index in 0..self.expected.len() {
            let mut names = self.names.clone();
            if due(&self.expected[index])
                && matches(&self.expected[index].output, &seen, &mut names)
            {
                self.names = names;
                self.expected.remove(index);
                return Ok(());
            }
        }
        let free = FREE.iter().any(|kind| seen["show"]["type"] == *kind);
        let mut names = self.names.clone();
        if free
            || self
                .allowed
                .iter()
                .any(|allowed| matches(allowed, &seen, &mut names))
        {
            return Ok(());
        }
        Err(format!("at {}: not expected: {seen}", self.now))
    }

    /// Lets the time pass up to `until`.
    fn advance(&mut self, until: u64) -> Result<(), String> {
        while let Some(at) = self.core.deadline() {
            // A timer may not fire early, so parts of a millisecond are rounded up.
            let at = u64::try_from(at.as_nanos().div_ceil(1_000_000)).unwrap();
            if at > until {
                break;
            }
            self.now = self.now.max(at);
            self.input(Input::Tick)?;
        }
        self.now = until;
        match self.expected.iter().find(|expected| expected.to < until) {
            Some(missed) => Err(format!("line {}: missing: {}", missed.line, missed.output)),
            None => Ok(()),
        }
    }

    /// Replaces names by their values.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(name) if name.starts_with('$') => {
                let value = self.names.get(name);
                value
                    .unwrap_or_else(|| panic!("{name} has no value yet"))
                    .clone()
            }
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter();
                fields
                    .map(|(key, value)| (key.clone(), self.filled(value)))
                    .collect()
            }
            other => other.clone(),
        }
    }

    fn happens(&mut self, input: &Value) -> Result<(), String> {
        let link = |name: &Value| self.filled(name).as_u64().unwrap();
        let input = if let Some(name) = input.get("opened") {
            Input::Opened {
                link: link(name),
                token_life: None,
            }
        } else if let Some(name) = input.get("closed") {
            Input::Closed {
                link: link(name),
                reason: "cut".to_owned(),
                why: Why::Lost,
            }
        } else if let Some(name) = input.get("frame") {
            let text = match self.filled(&input["text"]) {
                Value::String(text) => text,
                frame => frame.to_string(),
            };
            Input::Received(link(name), text)
        } else {
            match written(input["command"].to_string().as_bytes()) {
                Ok(Line::Command(command)) => Input::Command(command),
                other => panic!("{input}: {other:?}"),
            }
        };
        self.input(input)
    }
}

/// Returns whether a value has everything that a pattern names. Names without a value get one.
fn matches(pattern: &Value, seen: &Value, names: &mut BTreeMap<String, Value>) -> bool {
    match pattern {
        Value::String(name) if name.starts_with('$') => match names.get(name) {
            Some(value) => value == seen,
            None if seen.is_null() || names.values().any(|value| value == seen) => false,
            None => {
                names.insert(name.clone(), seen.clone());
                true
            }
        },
        Value::Object(fields) => fields
            .iter()
            .all(|(key, value)| matches(value, seen.get(key).unwrap_or(&Value::Null), names)),
        other => other == seen,
    }
}

/// Plays a scenario, and says where the client leaves it.
fn play(text: &str) -> Result<(), String> {
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{line}: {error}")))
        .collect::<Result<_, _>>()?;
    let about = &lines[0];
    let rooms = about["rooms"].as_array().unwrap();
    let rooms: Vec<_> = rooms.iter().map(|room| room.as_str().unwrap()).collect();
    let settings = Settings {
        user: about["user"].as_str().unwrap().to_owned(),
        history: u16::try_from(about["history"].as_u64().unwrap()).unwrap(),
        max_life: Duration::from_secs(6900),
        ..settings(&rooms)
    };
    let mut player = Player {
        core: Core::new(settings, [7; 32]),
        now: 0,
        names: BTreeMap::new(),
        expected: Vec::new(),
        allowed: Vec::new(),
    };
    let mut inputs = Vec::new();
    let mut end = 0;
    for (index, line) in lines.iter().enumerate().skip(1) {
        let (from, to) = match &line["at"] {
            Value::Array(times) => (times[0].as_u64().unwrap(), times[1].as_u64().unwrap()),
            time => (
                time.as_u64().unwrap_or_default(),
                time.as_u64().unwrap_or_default(),
            ),
        };
        end = end.max(to);
        if let Some(output) = line.get("out") {
            player.expected.push(Expected {
                line: index + 1,
                from,
                to,
                output: output.clone(),
            });
        } else if let Some(output) = line.get("may") {
            player.allowed.push(output.clone());
        } else if let Some(input) = line.get("in") {
            inputs.push((from, input.clone()));
        } else {
            assert!(line["end"] == true, "line {}: {line}", index + 1);
        }
    }
    player.input(Input::Tick)?;
    for (at, input) in inputs {
        player.advance(at)?;
        player.happens(&input)?;
    }
    player.advance(end)?;
    match player.expected.first() {
        Some(missed) => Err(format!("line {}: missing: {}", missed.line, missed.output)),
        None => Ok(()),
    }
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
