//! Proves that the checker finds violations: each test breaks one promise by hand, in a record that keeps them all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Entry, Promises, violations};
use crate::record::{Event, What};

type Logs = BTreeMap<String, Vec<Entry>>;

fn event(member: usize, what: What) -> Event {
    Event {
        at: Instant::now(),
        member,
        user: ["alice", "bob"][member].to_owned(),
        connection: member,
        what,
    }
}

fn sent(member: usize, frame: Value) -> Event {
    event(member, What::Sent(frame))
}

fn received(member: usize, frame: Value) -> Event {
    event(member, What::Received(frame))
}

fn joined(
    member: usize,
    since: &Value,
    recovered: &Value,
    head: u64,
    messages: &[Value],
) -> [Event; 2] {
    [
        sent(
            member,
            json!({"action": "join", "room": "lobby", "since": since}),
        ),
        received(
            member,
            json!({"type": "joined", "room": "lobby", "epoch": "E", "first": 1, "head": head, "headN": head, "recovered": recovered, "messages": messages}),
        ),
    ]
}

fn publish(seq: u64) -> [Event; 2] {
    let id = format!("a-{seq}");
    [
        sent(
            0,
            json!({"action": "publish", "room": "lobby", "id": id, "data": seq}),
        ),
        received(
            0,
            json!({"type": "ack", "room": "lobby", "id": id, "epoch": "E", "seq": seq, "n": seq}),
        ),
    ]
}

fn message(seq: u64) -> Value {
    json!({"type": "message", "room": "lobby", "epoch": "E", "seq": seq, "n": seq, "id": format!("a-{seq}"), "from": "alice", "data": seq})
}

/// Alice publishes three messages. Bob receives the first, leaves, and resumes for the others.
fn good() -> (Vec<Event>, Logs) {
    let mut events = Vec::new();
    for member in 0..2 {
        events.push(event(member, What::Connecting("lobby".to_owned())));
        events.extend(joined(member, &Value::Null, &Value::Null, 0, &[]));
    }
    events.extend(publish(1));
    events.push(received(1, message(1)));
    events.extend(publish(2));
    events.extend(publish(3));
    events.push(event(1, What::Connecting("lobby".to_owned())));
    events.extend(joined(
        1,
        &json!({"epoch": "E", "seq": 1}),
        &json!(true),
        3,
        &[message(2), message(3)],
    ));
    events.push(event(1, What::Settled("lobby".to_owned())));
    let entry = |seq: u64| Entry {
        seq,
        epoch: "E".to_owned(),
        n: seq,
        id: Some(format!("a-{seq}")),
        user: "alice".to_owned(),
        data: seq.into(),
        is_beginning: false,
    };
    let logs = BTreeMap::from([("lobby".to_owned(), (1..=3).map(entry).collect())]);
    (events, logs)
}

/// The frame of the first event that has this type.
fn frame<'a>(events: &'a mut [Event], kind: &str, nth: usize) -> &'a mut Value {
    events
        .iter_mut()
        .filter_map(|event| match &mut event.what {
            What::Sent(frame) | What::Received(frame) => Some(frame),
            _ => None,
        })
        .filter(|frame| frame["type"] == kind || frame["action"] == kind)
        .nth(nth)
        .unwrap()
}

/// A change that breaks a promise, and the checker's message.
type Breach = (&'static str, fn(&mut Vec<Event>, &mut Logs));

#[test]
fn a_record_that_keeps_all_promises_passes() {
    let (events, logs) = good();
    assert_eq!(violations(&events, &logs, &Promises::default()), [""; 0]);
}

#[test]
fn each_broken_promise_is_found_and_named() {
    let breaches: [Breach; 18] = [
        ("an acked message is lost", |_, logs| {
            logs.get_mut("lobby").unwrap().remove(2);
        }),
        ("the numbers of lobby are [1, 3]", |_, logs| {
            logs.get_mut("lobby").unwrap().remove(1);
        }),
        ("a message is doubled", |_, logs| {
            let log = logs.get_mut("lobby").unwrap();
            let copy = Entry {
                seq: 4,
                ..log[0].clone()
            };
            log.push(copy);
        }),
        ("which nobody sent", |_, logs| {
            logs.get_mut("lobby").unwrap()[1].user = "mallory".to_owned();
        }),
        ("has epochs", |_, logs| {
            logs.get_mut("lobby").unwrap()[2].epoch = "F".to_owned();
        }),
        ("where the log has", |events, _| {
            frame(events, "ack", 0)["seq"] = 2.into();
        }),
        ("the order is lost", |events, _| {
            // The third is published after the second was seen, and gets a number before it.
            frame(events, "ack", 2)["seq"] = 2.into();
            frame(events, "ack", 1)["seq"] = 3.into();
        }),
        ("is shown lobby", |events, _| {
            frame(events, "message", 0)["data"] = "something else".into();
        }),
        ("is not in garden", |events, _| {
            frame(events, "message", 0)["room"] = "garden".into();
        }),
        ("with nothing between", |events, _| {
            let joined = frame(events, "joined", 2);
            joined["messages"] = json!([message(1), message(3)]);
        }),
        ("never got [3]", |events, _| {
            frame(events, "joined", 2)["messages"] = json!([message(2)]);
        }),
        ("is told it ends at 2", |events, _| {
            let joined = frame(events, "joined", 2);
            joined["head"] = 2.into();
            joined["messages"] = json!([message(2)]);
        }),
        ("its position is lost", |events, _| {
            frame(events, "joined", 2)["recovered"] = false.into();
        }),
        ("was spliced into epoch", |events, _| {
            frame(events, "join", 2)["since"]["epoch"] = "D".into();
        }),
        ("where the log has", |events, _| {
            frame(events, "ack", 1)["n"] = 3.into();
        }),
        ("is told that 2 messages are in lobby", |events, _| {
            frame(events, "joined", 2)["headN"] = 2.into();
        }),
        ("are counted [1, 2, 2]", |_, logs| {
            logs.get_mut("lobby").unwrap()[2].n = 2;
        }),
        ("refused for good", |events, _| {
            events.push(received(
                1,
                json!({"type": "error", "name": "not_a_member", "temporary": false}),
            ));
        }),
    ];
    for (said, break_it) in breaches {
        let (mut events, mut logs) = good();
        break_it(&mut events, &mut logs);
        let broken = violations(&events, &logs, &Promises::default());
        assert!(
            broken.iter().any(|text| text.contains(said)),
            "{said}: {broken:?}"
        );
    }
}

#[test]
fn who_has_left_may_be_shown_by_an_index_that_lags_and_no_longer() {
    let (mut events, logs) = good();
    let left = received(1, json!({"type": "left", "room": "lobby"}));
    let at = left.at;
    events.truncate(6);
    events.push(left);
    // Published some time later.
    let later = |after: Duration, mut event: Event| {
        event.at = at + after;
        event
    };
    events.extend(publish(1).map(|event| later(Duration::from_secs(2), event)));
    events.push(received(1, message(1)));
    let broken = |lag| {
        let promises = Promises {
            lag: Duration::from_secs(lag),
            ..Promises::default()
        };
        violations(&events, &logs, &promises)
            .iter()
            .any(|text| text.contains("is not in lobby"))
    };
    assert!(broken(1));
    assert!(!broken(3));
}
