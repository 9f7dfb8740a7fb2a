//! Plays scenarios against the core; `clients/scenarios/README.md` describes their format.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use rand::TryRng;
use roomchat::command::{Line, written};
use roomchat::core::{Core, Exit, Input, Output, Settings, Why};
use serde_json::{Value, json};

/// The events that clients show in different ways.
const FREE: [&str; 7] = [
    "connected",
    "disconnected",
    "joined",
    "left",
    "ack",
    "history",
    "removed",
];

/// Random numbers that are all the same part of their range, so that two clients wait for the same times. Their lowest
/// bits, which no wait depends on, count up, so that no two ids are the same.
struct Even {
    bits: u64,
    count: u64,
}

impl Even {
    fn new(chance: f64) -> Even {
        // A float is made of the upper 52 bits.
        let upper = (chance * ((1_u64 << 52) - 1) as f64).round() as u64;
        Even {
            bits: upper << 12,
            count: 0,
        }
    }
}

impl TryRng for Even {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("the client draws no such numbers")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.count += 1;
        // Two numbers make an id: one holds the lower half of the count, and the other the upper half.
        let half = if self.count.is_multiple_of(2) {
            1
        } else {
            4096
        };
        Ok(self.bits | (self.count / 2 / half % 4096))
    }

    fn try_fill_bytes(&mut self, _bytes: &mut [u8]) -> Result<(), Infallible> {
        unreachable!("the client draws no such numbers")
    }
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
            Output::Exit(Exit::Refused(_)) => json!({"ends": true}),
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
                token_life: input["tokenLife"].as_u64().map(Duration::from_millis),
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
pub(crate) fn play(text: &str) -> Result<(), String> {
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{line}: {error}")))
        .collect::<Result<_, _>>()?;
    let about = &lines[0];
    let rooms = about["rooms"].as_array().unwrap();
    let rooms: Vec<_> = rooms.iter().map(|room| room.as_str().unwrap()).collect();
    let settings = Settings {
        user: about["user"].as_str().unwrap().to_owned(),
        rooms: rooms.iter().map(|&room| room.to_owned()).collect(),
        history: u16::try_from(about["history"].as_u64().unwrap()).unwrap(),
        heartbeat: Duration::from_secs(300),
        max_life: Duration::from_millis(about["maxLife"].as_u64().unwrap_or(6_900_000)),
        ack_timeout: Duration::from_secs(10),
        has_tokens: false,
        marks: about["marks"] == true,
        presence: about["presence"] == true,
    };
    let core = match about["chance"].as_f64() {
        Some(chance) => Core::with_rng(settings, Box::new(Even::new(chance))),
        None => Core::new(settings, [7; 32]),
    };
    let mut player = Player {
        core,
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
