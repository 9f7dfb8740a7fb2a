//! Members stay members: nobody is removed from a room by mistake.

use std::thread;

use crate::checker::Promises;
use crate::member::Member;
use crate::run::Run;
use kit::proxy::{Fault, Gate, Kind};

#[test]
fn a_member_whose_handshake_still_runs_is_not_pruned() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "lobby");
    // $connect has written its row and has not answered. Until it has, PostToConnection and GetConnection answer 410 for the
    // connection.
    let gate = Gate::new();
    let held = gate.clone();
    run.proxy.rules(move |call| {
        if call.kind == Kind::WriteRow && call.function() == "connect" {
            Fault::HoldReply(held.clone())
        } else {
            Fault::None
        }
    });
    thread::scope(|scope| {
        let joining = scope.spawn(|| {
            let mut bob = Member::unconnected(&run, "bob");
            bob.connect("lobby");
            bob
        });
        gate.reached();
        assert_eq!(alice.publish("lobby")["gone"], 1, "the post finds nobody");
        gate.open();
        let mut bob = joining.join().unwrap();
        run.proxy.heal();
        // A member by its handshake alone: it receives messages and may publish.
        let ack = alice.publish("lobby");
        assert_eq!(ack["delivered"], 1);
        let heard = bob.drain();
        assert!(
            heard.iter().any(|frame| frame["seq"] == ack["seq"]),
            "{heard:?}"
        );
        let frame = bob.publish_frame("lobby", Some("b-1"), "I am here");
        assert_eq!(bob.ask(&frame, "ack")["delivered"], 1);
        bob.join("lobby", None);
        bob.settle();
    });
    alice.settle();
    run.check(&Promises::default());
}

#[test]
fn a_member_that_is_wrongly_said_to_be_gone_is_asked_and_stays() {
    // The grace period is zero here, so only the GetConnection keeps the row.
    let run = Run::start(0, &["--env", "PRUNE_GRACE_SECONDS=0"]);
    let mut alice = Member::new(&run, "alice", "lobby");
    let mut bob = Member::new(&run, "bob", "lobby");
    run.proxy.rules(|call| {
        if call.kind == Kind::Post {
            Fault::Answer(410, "GoneException")
        } else {
            Fault::None
        }
    });
    for _ in 0..3 {
        let ack = alice.publish("lobby");
        assert_eq!(
            (&ack["delivered"], &ack["gone"], &ack["failed"]),
            (&0.into(), &0.into(), &1.into())
        );
    }
    run.proxy.heal();
    assert_eq!(alice.publish("lobby")["delivered"], 1);
    bob.publish("lobby");
    alice.settle();
    bob.settle();
    run.check(&Promises::default());
}

#[test]
fn a_member_who_has_left_gets_nothing_more() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "lobby");
    let mut bob = Member::new(&run, "bob", "lobby");
    bob.join("garden", None);
    alice.publish("lobby");
    bob.leave("lobby");
    assert_eq!(alice.publish("lobby")["delivered"], 0);
    assert!(bob.drain().iter().all(|frame| frame["seq"] == 1));
    alice.settle();
    bob.settle();
    run.check(&Promises::default());
}
