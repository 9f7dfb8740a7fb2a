//! A client reconnects: it receives everything it has missed, or is told that this is not possible.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::checker::Promises;
use crate::member::Member;
use crate::run::Run;
use kit::eventually;
use kit::proxy::{Fault, Gate, Kind, Tear};

const TRIMMED: Promises = Promises {
    trimmed: true,
    lag: Duration::ZERO,
};

fn numbers(joined: &Value) -> Vec<u64> {
    joined["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["seq"].as_u64().unwrap())
        .collect()
}

/// The numbers of the room's stored messages.
fn stored(run: &Run, room: &str) -> Vec<u64> {
    run.log(room)
        .iter()
        .filter(|item| item["user"].is_object())
        .map(|item| item["seq"]["N"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_position_before_the_oldest_entry_is_lost_and_the_last_one_before_it_is_not() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "lobby");
    for _ in 0..6 {
        alice.publish("lobby");
    }
    // As after the expiry of all or some entries: DynamoDB deletes them in any order.
    run.delete("lobby", 1);
    run.expire("lobby", 2);
    run.delete("lobby", 3);
    let mut bob = Member::new(&run, "bob", "lobby");
    let epoch = bob.rooms["lobby"].epoch.clone();
    let mut resume = |seq: u64| {
        bob.ask(
            &json!({"action": "join", "room": "lobby", "since": {"epoch": epoch, "seq": seq}}),
            "joined",
        )
    };
    for lost in 0..3 {
        let joined = resume(lost);
        assert_eq!(joined["recovered"], false, "since {lost}: {joined}");
        assert_eq!((&joined["first"], &joined["head"]), (&json!(4), &json!(6)));
    }
    for (since, missed) in [(3, vec![4, 5, 6]), (4, vec![5, 6]), (6, vec![])] {
        let joined = resume(since);
        assert_eq!(joined["recovered"], true, "since {since}: {joined}");
        assert_eq!(numbers(&joined), missed);
    }
    // No client can have seen a number that does not exist yet.
    assert_eq!(resume(7)["recovered"], false);
    run.check(&TRIMMED);
}

#[test]
fn a_new_epoch_is_never_spliced_to_an_old_position() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "lobby");
    let mut bob = Member::new(&run, "bob", "lobby");
    for _ in 0..4 {
        alice.publish("lobby");
    }
    bob.drain();
    bob.drop_connection();
    let before = bob.rooms["lobby"].epoch.clone();
    // The row that begins the log is deleted too.
    for seq in 0..=4 {
        run.delete("lobby", seq);
    }
    // The new log grows beyond the old position.
    for n in 1..=6 {
        let frame = json!({"action": "publish", "room": "lobby", "id": format!("new-{n}"), "data": format!("new {n}")});
        assert_eq!(alice.ask(&frame, "ack")["seq"], n);
    }
    bob.connect("lobby");
    let joined = bob.resume("lobby");
    assert_eq!(joined["recovered"], false);
    assert_ne!(joined["epoch"], before);
    assert_eq!(joined["head"], 6);
    run.check(&TRIMMED);
}

#[test]
fn a_number_of_an_expired_entry_is_not_given_again_in_its_epoch() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "lobby");
    let mut bob = Member::new(&run, "bob", "lobby");
    for _ in 0..5 {
        alice.publish("lobby");
    }
    bob.drain();
    bob.drop_connection();
    // All have expired, and DynamoDB has deleted the last one first.
    for seq in 0..=4 {
        run.expire("lobby", seq);
    }
    run.delete("lobby", 5);
    let frame = json!({"action": "publish", "room": "lobby", "id": "later", "data": "later"});
    let ack = alice.ask(&frame, "ack");
    // Bob has seen another 5.
    bob.connect("lobby");
    let joined = bob.resume("lobby");
    assert_eq!(joined["recovered"], false, "{ack}, then {joined}");
    assert_ne!(joined["epoch"], alice.rooms["lobby"].epoch);
    run.check(&TRIMMED);
}

#[test]
fn a_room_whose_entries_have_all_expired_goes_on() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "lobby");
    for _ in 0..3 {
        alice.publish("lobby");
    }
    for seq in 0..=3 {
        run.expire("lobby", seq);
    }
    let mut bob = Member::new(&run, "bob", "lobby");
    let (first, second) = (bob.publish("lobby"), bob.publish("lobby"));
    assert_eq!(first["epoch"], second["epoch"]);
    assert_eq!(
        second["seq"].as_u64().unwrap(),
        first["seq"].as_u64().unwrap() + 1
    );
    // Expired entries are not shown.
    let joined = bob.join("lobby", Some(50));
    assert_eq!(
        numbers(&joined),
        [
            first["seq"].as_u64().unwrap(),
            second["seq"].as_u64().unwrap()
        ]
    );
    run.check(&TRIMMED);
}

#[test]
fn who_joins_an_empty_room_can_resume_from_there() {
    let run = Run::start(0, &[]);
    let mut early = Member::new(&run, "early", "empty");
    assert_eq!(early.rooms["empty"].seq, 0);
    early.drop_connection();
    let mut alice = Member::new(&run, "alice", "empty");
    for _ in 0..3 {
        alice.publish("empty");
    }
    early.connect("empty");
    let joined = early.resume("empty");
    assert_eq!(joined["recovered"], true);
    assert_eq!(numbers(&joined), [1, 2, 3]);
    run.check(&Promises::default());
}

#[test]
fn who_joins_while_the_first_message_is_written_knows_where_it_stands() {
    let run = Run::start(0, &[]);
    // A join reads both ends of the log, and the first message may be written between the two reads.
    for (room, newest_first) in [("early", false), ("late", true)] {
        // A member by its handshake alone: no join has begun the log.
        let mut alice = Member::unconnected(&run, "alice");
        let mut bob = Member::unconnected(&run, "bob");
        alice.connect(room);
        bob.connect(room);
        let (late, early) = (Gate::new(), Gate::new());
        let (before, after) = (late.clone(), early.clone());
        run.proxy.rules(move |call| {
            if call.kind != Kind::ReadLog || call.function() != "join" {
                return Fault::None;
            }
            let is_reversed = call.body["ScanIndexForward"] == false;
            if is_reversed == newest_first {
                Fault::Hold(before.clone())
            } else {
                Fault::HoldReply(after.clone())
            }
        });
        thread::scope(|scope| {
            let joining = scope.spawn(|| bob.join(room, None));
            // In parallel: one end is read before the message is written, the other after it.
            late.reached();
            early.reached();
            let ack = alice.publish(room);
            late.open();
            early.open();
            let joined = joining.join().unwrap();
            assert_eq!(joined["epoch"], ack["epoch"], "{joined}");
        });
        run.proxy.heal();
        bob.drop_connection();
        alice.publish(room);
        bob.settle();
    }
    run.check(&Promises::default());
}

#[test]
fn a_claim_to_have_seen_what_was_never_said_makes_no_hole() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "lobby");
    alice.publish("lobby");
    for (n, after) in [2_u64, 50, 1_000_000, 9_007_199_254_740_991]
        .into_iter()
        .enumerate()
    {
        let frame = json!({
            "action": "publish", "room": "lobby", "id": format!("liar-{n}"), "data": format!("lie {n}"), "after": after,
        });
        assert_eq!(alice.ask(&frame, "ack")["seq"], n + 2);
    }
    assert_eq!(stored(&run, "lobby"), [1, 2, 3, 4, 5]);
    run.check(&Promises::default());
}

#[test]
fn a_page_that_is_read_while_others_write_has_no_hole() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "lobby");
    let mut bob = Member::new(&run, "bob", "lobby");
    alice.publish("lobby");
    let epoch = bob.rooms["lobby"].epoch.clone();
    let pages = [
        (
            json!({"action": "join", "room": "lobby", "since": {"epoch": epoch, "seq": 0}}),
            "joined",
        ),
        (
            json!({"action": "join", "room": "lobby", "history": 100}),
            "joined",
        ),
        (
            json!({"action": "history", "room": "lobby", "after": 0}),
            "history",
        ),
        (
            json!({"action": "history", "room": "lobby", "before": 1_000}),
            "history",
        ),
    ];
    let mut torn = 0;
    for (frame, answer) in &pages {
        // The test does not know which read fetches the messages, so it tears each in turn.
        for nth in 0..4 {
            let gate = Gate::new();
            // The read passes the next number before it is written, and sees the number after it.
            let tear = Tear::Without(gate.clone(), vec![alice.rooms["lobby"].seq + 1]);
            let mut reads = 0;
            run.proxy.rules(move |call| {
                if call.kind == Kind::ReadLog && call.function() != "publish" {
                    reads += 1;
                    if reads == nth + 1 {
                        return Fault::Tear(tear.clone());
                    }
                }
                Fault::None
            });
            thread::scope(|scope| {
                let asking = scope.spawn(|| bob.ask(frame, answer));
                eventually("the read or the answer", || {
                    (gate.is_reached() || asking.is_finished()).then_some(())
                });
                if gate.is_reached() {
                    torn += 1;
                    alice.publish("lobby");
                    alice.publish("lobby");
                    gate.open();
                }
            });
        }
    }
    assert!(torn >= pages.len());
    run.proxy.heal();
    alice.settle();
    run.check(&Promises::default());
}
