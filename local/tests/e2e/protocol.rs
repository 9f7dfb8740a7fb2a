//! PROTOCOL.md and README.md are true: their conversations are held, their frames are those of the code.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{Client, Gateway, root};

/// The fenced blocks of a language, each with the line it begins on.
fn blocks(document: &str, language: &str) -> Vec<(usize, Vec<String>)> {
    let text = fs::read_to_string(root().join(document)).unwrap();
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

/// Makes what differs from run to run comparable: times, and the words for people.
fn normalise(mut frame: Value) -> Value {
    for (key, value) in frame.as_object_mut().unwrap() {
        match key.as_str() {
            "at" | "received" => *value = json!(value.as_i64().unwrap().to_string().len()),
            "message" => *value = json!(value.is_string()),
            _ => {}
        }
    }
    frame
}

fn hold(gateway: &Gateway, document: &str, first_line: usize, block: &[String]) {
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    for (index, line) in block.iter().enumerate() {
        let place = format!("{document}:{}: {line}", first_line + index);
        if let Some((user, room)) = line.split_once(" joins ") {
            clients.insert(user.to_owned(), gateway.join(room, user));
        } else if let Some((user, frame)) = line.split_once(" > ") {
            clients.get_mut(user).expect(&place).send_text(frame);
        } else if let Some((user, frame)) = line.split_once(" < ") {
            let expected: Value = serde_json::from_str(frame).expect(&place);
            let actual = clients.get_mut(user).expect(&place).receive();
            assert_eq!(normalise(actual), normalise(expected), "{place}");
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
        hold(&Gateway::start(&[]), document, *line, block);
    }
    blocks.len()
}

#[test]
fn the_conversations_of_the_protocol_are_true() {
    assert!(hold_all("PROTOCOL.md") >= 5);
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
