//! Executes the conversations of PROTOCOL.md and README.md, and checks their frames.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use kit::{Client, Gateway, IDENTITY, blocks, eventually, now_s, root, token};

/// Begins the line of a conversation that says how the service reviews messages.
const REVIEW: &str = "the review ";

/// The first line of a conversation in a busy room.
const BUSY: &str = "the rooms are busy";

/// Two members are enough. Two seconds pass between two deliveries to both, so that the second message is not due yet.
const PACED: [&str; 2] = ["--var", "paced={from_members=2,posts_per_second=1}"];

/// Replaces the parts of a frame that differ between runs: times, and texts for people.
fn normalise(frame: &mut Value) {
    if let Value::Array(parts) = frame {
        parts.iter_mut().for_each(normalise);
    }
    for (key, value) in frame.as_object_mut().into_iter().flatten() {
        match key.as_str() {
            "at" | "received" => *value = json!(value.as_i64().unwrap().to_string().len()),
            // A time in a list of members; in a `join` it is a position.
            "since" if value.is_i64() => *value = json!(value.to_string().len()),
            "message" => *value = json!(value.is_string()),
            "data" => {}
            _ => normalise(value),
        }
    }
}

/// The epochs of a document, and the epochs of the run in their place.
#[derive(Default)]
struct Epochs(BTreeMap<String, String>);

impl Epochs {
    /// Learns the epochs from an expected frame and the received one.
    fn learn(&mut self, expected: &Value, actual: &Value) {
        match (expected, actual) {
            (Value::Object(expected), Value::Object(actual)) => {
                for (key, value) in expected {
                    match (key.as_str(), value, actual.get(key)) {
                        ("epoch", Value::String(shown), Some(Value::String(real))) => {
                            self.0.entry(shown.clone()).or_insert_with(|| real.clone());
                        }
                        (_, value, Some(real)) => self.learn(value, real),
                        _ => {}
                    }
                }
            }
            (Value::Array(expected), Value::Array(actual)) => {
                for (expected, actual) in expected.iter().zip(actual) {
                    self.learn(expected, actual);
                }
            }
            _ => {}
        }
    }

    /// Translates a frame of the document into the epochs of the run.
    fn real(&self, frame: &str) -> String {
        let mut frame = frame.to_owned();
        for (shown, real) in &self.0 {
            frame = frame.replace(shown, real);
        }
        frame
    }
}

/// Conversations of clients that use nothing new.
const PLAIN: &str = "tests/e2e/plain.txt";

/// Removes the counts of ordinary messages, the only fields that were added to frames.
fn without_counts(frame: &mut Value) {
    match frame {
        Value::Array(parts) => parts.iter_mut().for_each(without_counts),
        Value::Object(fields) => {
            fields.retain(|key, _| !["n", "headN"].contains(&key.as_str()));
            fields.values_mut().for_each(without_counts);
        }
        _ => {}
    }
}

fn hold(gateway: &Gateway, document: &str, first_line: usize, block: &[String]) {
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let mut epochs = Epochs::default();
    let mut ends_s = 0;
    for (index, line) in block.iter().enumerate() {
        let place = format!("{document}:{}: {line}", first_line + index);
        if line.starts_with(REVIEW) || line == BUSY {
            // The gateway has been started with it.
        } else if line == "the tokens end" {
            eventually("the tokens end", || (now_s() > ends_s).then_some(()));
        } else if let Some((user, rest)) = line.split_once(" joins ") {
            let client = match rest.split_once(" with ") {
                Some((room, rooms)) => {
                    let rooms = serde_json::from_str(rooms).expect(&place);
                    // Short where its end is waited for.
                    let seconds = if block.iter().any(|line| line == "the tokens end") {
                        3
                    } else {
                        600
                    };
                    ends_s = now_s() + seconds;
                    // "alice's phone" is another connection of alice.
                    let owner = user.split_once("'s ").map_or(user, |(owner, _)| owner);
                    let token = token(owner, &rooms, seconds);
                    gateway.connect(&format!("/prod?room={room}&token={token}"))
                }
                None => gateway.join(rest, user),
            };
            clients.insert(user.to_owned(), client);
        } else if let Some(user) = line.strip_suffix(" leaves") {
            let connection = gateway.connection_of(user);
            clients.remove(user).expect(&place).leave();
            eventually("the row is deleted", || {
                let rows = gateway.rows();
                let gone = rows
                    .iter()
                    .all(|row| row["connectionId"]["S"] != *connection);
                gone.then_some(())
            });
        } else if let Some((user, frame)) = line.split_once(" > ") {
            clients
                .get_mut(user)
                .expect(&place)
                .send_text(&epochs.real(frame));
        } else if let Some((user, frame)) = line.split_once(" < ") {
            let expected: Value = serde_json::from_str(frame).expect(&place);
            let mut actual = clients.get_mut(user).expect(&place).receive();
            if document == PLAIN {
                without_counts(&mut actual);
            }
            epochs.learn(&expected, &actual);
            let mut expected: Value = serde_json::from_str(&epochs.real(frame)).expect(&place);
            normalise(&mut actual);
            normalise(&mut expected);
            assert_eq!(actual, expected, "{place}");
        } else {
            panic!("{place}: not a line of a conversation");
        }
    }
    for client in clients.values_mut() {
        client.has_received_all();
    }
    for (_, client) in clients {
        client.leave();
    }
}

fn hold_all(document: &str) -> usize {
    let blocks = blocks(document, "chat");
    for (line, block) in &blocks {
        // A room of its own for each, so that who has just left is not there any more.
        let identity = block.iter().any(|line| line.contains(" with {"));
        let flags = match identity {
            true => &IDENTITY[..],
            false if block.iter().any(|line| line == BUSY) => &PACED[..],
            false => &[],
        };
        let reviewed = block.iter().any(|line| line.starts_with(REVIEW));
        let terraform = if reviewed {
            "tests/e2e/review"
        } else {
            "terraform"
        };
        let gateway = Gateway::start_with(&root().join(terraform), flags);
        hold(&gateway, document, *line, block);
    }
    blocks.len()
}

#[test]
fn the_conversations_of_the_protocol_are_true() {
    assert!(hold_all("PROTOCOL.md") >= 10);
}

#[test]
fn a_client_without_identity_sees_no_new_frame() {
    assert!(hold_all(PLAIN) > 10);
}

#[test]
fn the_conversation_of_the_readme_is_true() {
    assert_eq!(hold_all("README.md"), 1);
}

#[test]
fn every_error_has_its_section() {
    let text = fs::read_to_string(root().join("PROTOCOL.md")).unwrap();
    let source = fs::read_to_string(root().join("lambdas/chat/src/protocol/failure.rs")).unwrap();
    let names: Vec<&str> = source
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("Self::")?
                .split_once("=> \"")?
                .1
                .split('"')
                .next()
        })
        .collect();
    assert!(names.contains(&"slow_down"), "{names:?}");
    for name in names {
        assert!(
            text.contains(&format!("\n### {name}\n")),
            "{name} has no section"
        );
        assert!(
            text.contains(&format!("\"name\":\"{name}\"")),
            "{name} has no example"
        );
    }
}

#[test]
fn every_frame_shown_is_json_of_a_known_kind() {
    for (line, block) in blocks("PROTOCOL.md", "json") {
        let frame: Value = serde_json::from_str(&block.join("\n"))
            .unwrap_or_else(|e| panic!("PROTOCOL.md:{line}: {e}"));
        assert!(
            frame.get("type").is_some() || frame.get("connectionId").is_some(),
            "PROTOCOL.md:{line}"
        );
    }
}

/// The actions that the backend has as a client does.
const SHARED: [&str; 7] = [
    "publish",
    "sendmessage",
    "edit",
    "delete",
    "react",
    "history",
    "heads",
];

/// Holds a conversation in which the backend makes the calls of the users, in their names. Returns the number of calls.
fn hold_by_the_backend(gateway: &Gateway, first_line: usize, block: &[String]) -> usize {
    let mut clients: BTreeMap<&str, (Client, &str)> = BTreeMap::new();
    let mut answers: BTreeMap<&str, Value> = BTreeMap::new();
    let (mut epochs, mut calls) = (Epochs::default(), 0);
    for (index, line) in block.iter().enumerate() {
        let place = format!("PROTOCOL.md:{}: {line}", first_line + index);
        if let Some((user, room)) = line.split_once(" joins ") {
            clients.insert(user, (gateway.join(room, user), room));
        } else if let Some((user, frame)) = line.split_once(" > ") {
            let frame = epochs.real(frame);
            let mut call: Value = serde_json::from_str(&frame).expect(&place);
            let (client, room) = clients.get_mut(user).expect(&place);
            if !SHARED.iter().any(|action| call["action"] == *action) {
                client.send_text(&frame);
                continue;
            }
            call["as"] = json!(user);
            call["impersonate"] = json!(true);
            if call["room"].is_null() && call["rooms"].is_null() {
                call["room"] = json!(room);
            }
            let path = "/2015-03-31/functions/roomchat-prod-admin/invocations";
            let (status, _, answer) = gateway.http("POST", path, &call.to_string());
            assert_eq!(status, 200, "{place}: {answer}");
            let mut answer: Value = serde_json::from_str(&answer).expect(&place);
            if call["id"].is_null() {
                // The id of the request takes its place.
                answer.as_object_mut().expect(&place).remove("id");
            }
            answers.insert(user, answer);
            calls += 1;
        } else if let Some((user, frame)) = line.split_once(" < ") {
            let mut expected: Value = serde_json::from_str(frame).expect(&place);
            let is_answer = expected["type"] != "message";
            let answer = is_answer.then(|| answers.remove(user)).flatten();
            let is_the_backends = answer.is_some();
            let mut actual = match answer {
                Some(answer) => answer,
                None => loop {
                    let frame = clients.get_mut(user).expect(&place).0.receive();
                    // The backend leaves nobody out.
                    if frame["type"] != "message" || frame["from"] != user {
                        break frame;
                    }
                },
            };
            epochs.learn(&expected, &actual);
            expected = serde_json::from_str(&epochs.real(frame)).expect(&place);
            if is_the_backends && let Some(delivered) = expected["delivered"].as_u64() {
                // The user's own connection is one of the members.
                expected["delivered"] = json!(delivered + 1);
            }
            for frame in [&mut expected, &mut actual] {
                normalise(frame);
                without_own_ids(frame);
            }
            assert_eq!(actual, expected, "{place}");
        }
    }
    for (_, (client, _)) in clients {
        client.leave();
    }
    calls
}

/// Removes the ids of messages, which a call without an `id` gets from its request.
fn without_own_ids(frame: &mut Value) {
    if frame["type"] == "message" {
        frame.as_object_mut().unwrap().remove("id");
    }
    let messages = frame.get_mut("messages").and_then(Value::as_array_mut);
    messages.into_iter().flatten().for_each(without_own_ids);
}

#[test]
fn the_conversations_of_the_protocol_are_true_by_the_backend() {
    let mut calls = 0;
    for (line, block) in blocks("PROTOCOL.md", "chat") {
        let is_plain = |line: &String| {
            // The backend has other rights than a client.
            let others = ["bad_request", "not_a_member", "unknown_action", " with {"];
            !line.starts_with("the ")
                && !line.ends_with(" leaves")
                && !others.iter().any(|text| line.contains(text))
        };
        if block.iter().all(is_plain) {
            calls += hold_by_the_backend(&Gateway::start(&[]), line, &block);
        }
    }
    assert!(calls >= 15, "{calls}");
}
