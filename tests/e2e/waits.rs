//! Counts the waits of a message: `publish` reads the room, stores the message, and posts it to the members.
//!
//! The proxy holds every call of `publish` until all expected calls have arrived, and then releases them together. Calls
//! in parallel are one wait. A call that starts after the answer to another is a second wait. No assertion depends on time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::json;

use kit::proxy::{Fault, Gate, Kind, Proxy};
use kit::{Client, Gateway, eventually};

/// Holds the calls of `publish` until [`Waits::pass`] releases them.
struct Waits(Arc<Mutex<Wait>>);

/// The calls that are held now.
struct Wait {
    gate: Gate,
    calls: BTreeMap<Kind, usize>,
}

impl Waits {
    fn of(proxy: &Proxy) -> Waits {
        let waits = Arc::new(Mutex::new(Wait {
            gate: Gate::new(),
            calls: BTreeMap::new(),
        }));
        let held = Arc::clone(&waits);
        proxy.rules(move |call| {
            if call.function() != "publish" {
                return Fault::None;
            }
            let mut wait = held.lock().unwrap();
            *wait.calls.entry(call.kind).or_default() += 1;
            Fault::Hold(wait.gate.clone())
        });
        Waits(waits)
    }

    /// Waits until these calls are held, asserts that no others are, and releases them.
    fn pass(&self, expected: &[(Kind, usize)]) {
        let expected: BTreeMap<Kind, usize> = expected.iter().copied().collect();
        let mut seen = BTreeMap::new();
        eventually(&format!("{expected:?} at once"), || {
            seen.clone_from(&self.0.lock().unwrap().calls);
            let all = expected.iter().all(|(kind, n)| seen.get(kind) >= Some(n));
            all.then_some(())
        });
        assert_eq!(seen, expected, "calls in parallel");
        let mut wait = self.0.lock().unwrap();
        wait.calls.clear();
        std::mem::take(&mut wait.gate).open();
    }
}

/// Starts a gateway whose functions call through a proxy. Three members are in a room, and the first has sent `frame`.
fn room(frame: &serde_json::Value) -> (Gateway, Proxy, Vec<Client>) {
    let proxy = Proxy::start(0);
    let flags = proxy.flags(true);
    // One process per function: the tests are about the connections that a process remembers.
    let one = ["--processes", "1"];
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(one).collect();
    let gateway = Gateway::start(&flags);
    proxy.forward_to(&gateway.dynamodb, gateway.port);
    let mut members: Vec<Client> = ["alice", "bob", "carol"]
        .map(|user| gateway.join("lobby", user))
        .into();
    let ack = members[0].ask(frame);
    assert_eq!(ack["delivered"], 2, "{ack}");
    for member in &mut members[1..] {
        member.receive();
    }
    (gateway, proxy, members)
}

#[test]
fn a_message_waits_three_times() {
    for frame in [
        json!({"action": "publish", "data": 1}),
        json!({"action": "publish", "room": "lobby", "data": 1}),
        json!({"action": "publish", "room": "lobby", "data": 1, "id": "5b8e1b0a-1", "after": 0}),
    ] {
        let mut first = frame.clone();
        first["id"] = json!("5b8e1b0a-0");
        let (_gateway, proxy, mut members) = room(&first);
        let waits = Waits::of(&proxy);
        members[0].send(&frame);
        waits.pass(&[
            (Kind::ReadOwnRows, 1),
            (Kind::ReadLog, 1),
            (Kind::ReadMembers, 1),
        ]);
        waits.pass(&[(Kind::Append, 1)]);
        // The members are read again during the posts: some may have joined since the first read.
        waits.pass(&[(Kind::Post, 2), (Kind::ReadMembers, 1)]);
        for member in &mut members[1..] {
            assert_eq!(member.receive()["data"], 1, "{frame}");
        }
        let ack = members[0].receive();
        assert_eq!(
            (&ack["type"], &ack["delivered"]),
            (&json!("ack"), &json!(2)),
            "{frame}"
        );
        assert_eq!(waits.0.lock().unwrap().calls, BTreeMap::new(), "{frame}");
    }
}

#[test]
fn the_first_message_of_a_connection_at_a_process_waits_once_more() {
    // The room is not read before the sender is known to be a member.
    let (gateway, proxy, mut members) = room(&json!({"action": "publish", "data": 0}));
    let waits = Waits::of(&proxy);
    // The process has not had a message of this connection.
    members[1].send(&json!({"action": "publish", "room": "lobby", "data": 1}));
    waits.pass(&[(Kind::ReadOwnRows, 1)]);
    waits.pass(&[(Kind::ReadLog, 1), (Kind::ReadMembers, 1)]);
    waits.pass(&[(Kind::Append, 1)]);
    waits.pass(&[(Kind::Post, 2), (Kind::ReadMembers, 1)]);
    assert_eq!(members[1].receive()["delivered"], 2);
    drop(gateway);
}
