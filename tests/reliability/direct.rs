//! Messages to one user: the process of the first message of a conversation is killed at each of its calls, and the client
//! sends the same frame again.

use std::time::Duration;

use serde_json::{Value, json};

use crate::run::Run;
use kit::proxy::Fault;
use kit::{Client, IDENTITY, token};

/// The most calls of the first message to a user, with all its posts. Only reached when a test never ends.
const MOST_CALLS: usize = 60;

fn connect(run: &Run, user: &str) -> Client {
    let token = token(user, &Value::Null, 600);
    run.gateway
        .connect(&format!("/prod?room=lobby&token={token}"))
}

/// The messages in a log, without the rows that begin an epoch.
fn messages(run: &Run, room: &str) -> Vec<Value> {
    let mut rows = run.log(room);
    rows.retain(|row| row["user"]["S"].is_string());
    rows
}

/// The conversations of an inbox with this pair room.
fn conversations(run: &Run, user: &str, room: &str) -> usize {
    let entries = messages(run, &format!("@{user}"));
    let about = |entry: &&Value| {
        let data: Value = serde_json::from_str(entry["data"]["S"].as_str().unwrap()).unwrap();
        entry["kind"]["S"] == "conversation" && data["room"] == room
    };
    entries.iter().filter(about).count()
}

#[test]
fn a_first_message_killed_at_each_of_its_calls_is_stored_once_with_its_conversation() {
    let run = Run::start(0, &IDENTITY);
    let mut bob = connect(&run, "bob");
    let mut senders = 0;
    for fault in [
        Fault::KillBefore,
        Fault::KillAfter,
        Fault::KillThenDo(Duration::from_millis(80)),
    ] {
        for n in 1..=MOST_CALLS {
            senders += 1;
            let user = format!("alice-{senders}");
            let room = format!("@{user}&bob");
            let mut alice = connect(&run, &user);
            let before = run.proxy.kills();
            run.proxy
                .rule_at(n, fault.clone(), |call| call.function() == "publish");
            let frame = json!({"action": "publish", "to": "bob", "data": n, "id": "m", "after": 0});
            let mut tries = 0;
            let ack = loop {
                tries += 1;
                assert!(tries < 20, "{fault:?} at call {n} is never acknowledged");
                let answer = alice.ask(&frame);
                // The entries come first: whatever is stored has them.
                if !messages(&run, &room).is_empty() {
                    for inbox in [user.as_str(), "bob"] {
                        let entered = conversations(&run, inbox, &room);
                        assert_eq!(entered, 1, "@{inbox} after {fault:?} at call {n}");
                    }
                }
                if answer["type"] == "ack" {
                    break answer;
                }
                assert_ne!(answer["temporary"], false, "{answer}");
            };
            run.proxy.heal();
            assert_eq!(
                (&ack["seq"], &ack["n"], &ack["room"]),
                (&json!(1), &json!(1), &json!(room))
            );
            assert_eq!(messages(&run, &room).len(), 1, "{fault:?} at call {n}");
            // bob hears of it, by the first try or by the second.
            let mut heard = bob.receive();
            while heard["room"] != room.as_str() {
                heard = bob.receive();
            }
            assert_eq!((&heard["from"], &heard["data"]), (&json!(user), &json!(n)));
            alice.leave();
            if run.proxy.kills() == before {
                // A publish makes fewer calls.
                assert!(n > 12, "only {n} calls");
                break;
            }
            assert!(n < MOST_CALLS, "the calls never end");
        }
    }
    // A put that was carried out late has changed nothing.
    for sender in 1..=senders {
        let user = format!("alice-{sender}");
        let room = format!("@{user}&bob");
        assert_eq!(messages(&run, &room).len(), 1);
        assert_eq!(conversations(&run, &user, &room), 1);
        assert_eq!(conversations(&run, "bob", &room), 1);
    }
    assert!(run.proxy.kills() >= 3 * 12, "{}", run.proxy.kills());
}
