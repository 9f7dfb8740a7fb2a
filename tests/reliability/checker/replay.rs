//! Recomputes each message from its edits, deletions and reactions, and compares it with its row.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn number(row: &Value, name: &str) -> Option<u64> {
    row[name]["N"].as_str()?.parse().ok()
}

fn text<'a>(row: &'a Value, name: &str) -> Option<&'a str> {
    row[name]["S"].as_str()
}

/// Describes every row that is not the result of the entries of its log. Each change of the run must have been
/// acknowledged in the end.
pub(crate) fn replay(log: &[Value]) -> Vec<String> {
    let is_message = |row: &&Value| row["user"].is_object() && !row["kind"].is_object();
    let mut broken = Vec::new();
    for row in log.iter().filter(is_message) {
        let seq = number(row, "seq").unwrap();
        let changes = log.iter().filter(|entry| {
            number(entry, "target") == Some(seq) && text(entry, "epoch") == text(row, "epoch")
        });
        broken.extend(differences(row, &changes.collect::<Vec<_>>()));
    }
    broken
}

fn differences(row: &Value, changes: &[&Value]) -> Vec<String> {
    let of_kind = |kind: &str| {
        let found = changes
            .iter()
            .filter(|entry| text(entry, "kind") == Some(kind));
        found.copied().collect::<Vec<&Value>>()
    };
    let (edits, reactions) = (of_kind("edit"), of_kind("react"));
    // The log is in the order of its numbers: the first deletion and the last edit count.
    let (deletion, edit) = (of_kind("delete").first().copied(), edits.last().copied());
    let mut due: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let at = |entry: Option<&Value>| Some(entry?["at"]["N"].as_str()?.to_owned());
    let seq = |entry: Option<&Value>| Some(number(entry?, "seq")?.to_string());
    let shown = |name| {
        text(row, name)
            .or(row[name]["N"].as_str())
            .map(str::to_owned)
    };
    match deletion {
        Some(deletion) => {
            due.insert("data", None);
            due.insert("deleteSeq", seq(Some(deletion)));
            due.insert("deletedAt", at(Some(deletion)));
            due.insert("deletedBy", text(deletion, "user").map(str::to_owned));
            due.insert("reason", text(deletion, "reason").map(str::to_owned));
        }
        None => {
            for absent in ["deleteSeq", "deletedAt", "deletedBy", "reason"] {
                due.insert(absent, None);
            }
            due.insert("editSeq", seq(edit));
            due.insert("editedAt", at(edit));
            match edit {
                Some(edit) => {
                    due.insert("data", text(edit, "data").map(str::to_owned));
                }
                None if row["hash"].is_object() => {
                    let digest = Sha256::digest(text(row, "data").unwrap_or_default());
                    let hash: String = digest[..8]
                        .iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect();
                    due.insert("hash", Some(hash));
                }
                None => {}
            }
        }
    }
    let mut broken: Vec<String> = due
        .into_iter()
        .filter(|(name, due)| shown(name) != *due)
        .map(|(name, due)| {
            format!(
                "the log makes {name} of {} {due:?}, and the row has {:?}",
                row["seq"],
                shown(name)
            )
        })
        .collect();
    let mut last = BTreeMap::new();
    for entry in reactions.iter().filter(|_| deletion.is_none()) {
        let (key, user) = (text(entry, "key").unwrap(), text(entry, "user").unwrap());
        let on = u64::from(entry["on"]["BOOL"] == true);
        last.insert(
            format!("r\n{key}\n{user}"),
            number(entry, "seq").unwrap() * 2 + on,
        );
    }
    let stored: BTreeMap<String, u64> = row
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| name.starts_with("r\n"))
        .map(|name| (name.clone(), number(row, name).unwrap()))
        .collect();
    if stored != last {
        broken.push(format!(
            "the log makes the reactions of {} {last:?}, and the row has {stored:?}",
            row["seq"]
        ));
    }
    let with_data = |edit: &&Value| edit["data"].is_object() == deletion.is_some();
    if let Some(edit) = edits.into_iter().find(with_data) {
        let verb = if deletion.is_some() {
            "has kept"
        } else {
            "has lost"
        };
        broken.push(format!(
            "the edit {} of {} {verb} its data",
            edit["seq"], row["seq"]
        ));
    }
    broken
}
