//! Large rooms, dead members and slow ones.

use std::collections::BTreeSet;

use serde_json::json;

use kit::{Gateway, eventually};

#[test]
fn a_room_of_300_over_many_pages_of_its_index() {
    let gateway = Gateway::start(&["--env", "MEMBERS_PAGE_SIZE=7"]);
    let mut members: Vec<_> = (0..300)
        .map(|n| gateway.join("stadium", &format!("user{n}")))
        .collect();
    let mut outsider = gateway.join("street", "eve");

    let ack = members[0].publish(&json!("goal"));
    assert_eq!(
        (&ack["delivered"], &ack["gone"], &ack["failed"]),
        (&json!(299), &json!(0), &json!(0))
    );
    for member in &mut members[1..] {
        assert_eq!(member.receive()["data"], "goal");
    }
    // Every member receives it once; the sender and other rooms do not.
    for member in &mut members {
        member.has_received_all();
    }
    outsider.has_received_all();
}

#[test]
fn a_dead_member_is_pruned_and_hurts_nobody() {
    let gateway = Gateway::start(&[]);
    let ghost = "deadDEADdead000=";
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    gateway.put_ghost(ghost, "lobby", 60);
    gateway.put_ghost(ghost, "elsewhere", 60);

    let ack = alice.publish(&json!("one"));
    assert_eq!(
        (&ack["delivered"], &ack["gone"], &ack["failed"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(bob.receive()["data"], "one");
    // Its rows of every room are gone, and only its.
    let left: BTreeSet<String> = gateway
        .rows()
        .iter()
        .map(|row| row["user"]["S"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(left, BTreeSet::from(["alice".to_owned(), "bob".to_owned()]));
    let ack = alice.publish(&json!("two"));
    assert_eq!((&ack["delivered"], &ack["gone"]), (&json!(1), &json!(0)));
}

#[test]
fn a_member_who_may_still_be_connecting_is_not_pruned() {
    // A post cannot tell a connection whose $connect runs from a closed one. Only the age of its row can.
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    gateway.put_ghost("youngYOUNG00000=", "lobby", 0);
    let ack = alice.publish(&json!("welcome"));
    assert_eq!((&ack["delivered"], &ack["gone"]), (&json!(0), &json!(1)));
    assert_eq!(gateway.rows().len(), 2);
}

#[test]
fn an_expired_member_is_not_posted_to() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    gateway.put_ghost("oldOLDold000000=", "lobby", 8000);
    let ack = alice.publish(&json!("x"));
    assert_eq!(
        (&ack["delivered"], &ack["gone"], &ack["failed"]),
        (&json!(0), &json!(0), &json!(0))
    );
}

#[test]
fn a_client_killed_without_a_word_leaves_no_trace() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    let bob = gateway.join("lobby", "bob");
    // As after the kill of a client's process: the socket ends without a close frame.
    drop(bob);
    gateway.wait_for_line("code=1006");
    eventually("bob's row is deleted", || {
        (gateway.rows().len() == 1).then_some(())
    });
    assert_eq!(alice.publish(&json!("x"))["gone"], 0);
}

#[test]
fn a_client_gone_before_connect_has_answered_leaves_no_trace() {
    let gateway = Gateway::start(&["--env", "PRUNE_GRACE_SECONDS=0"]);
    let mut alice = gateway.join("lobby", "alice");
    for _ in 0..20 {
        gateway.abandon_handshake("/prod?room=lobby&user=hasty");
    }
    // $connect and $disconnect race here: a row may be written after its deletion. The next messages find the rows that
    // are left.
    eventually("every hasty row is gone", || {
        alice.publish(&json!("x"));
        (gateway.rows().len() == 1).then_some(())
    });
}

#[test]
fn a_member_who_reads_nothing_delays_nobody() {
    let gateway = Gateway::start(&[]);
    let mut alice = gateway.join("lobby", "alice");
    let mut bob = gateway.join("lobby", "bob");
    let sleepy = gateway.join("lobby", "sleepy");

    let data = json!("x".repeat(30_000));
    let mut failed = 0;
    // The buffers of the kernel and of the gateway hold some megabytes.
    for _ in 0..1000 {
        let ack = alice.publish(&data);
        assert_eq!(bob.receive()["data"], data);
        assert_eq!(ack["gone"], 0, "slow is not gone");
        failed = ack["failed"].as_u64().unwrap();
        assert_eq!(ack["delivered"].as_u64().unwrap() + failed, 2);
        if failed == 1 {
            break;
        }
    }
    assert_eq!(failed, 1, "its buffer fills up and the sender is told");
    bob.has_received_all();
    drop(sleepy);
}

#[test]
fn many_senders_at_once() {
    let gateway = Gateway::start(&[]);
    let mut members: Vec<_> = (0..10)
        .map(|n| gateway.join("lobby", &format!("user{n}")))
        .collect();
    for round in 0..5 {
        for member in &mut members {
            member.send(&json!({"action": "publish", "data": round}));
        }
    }
    for member in &mut members {
        let frames: Vec<_> = (0..5 + 9 * 5).map(|_| member.receive()).collect();
        let acks: Vec<_> = frames
            .iter()
            .filter(|frame| frame["type"] == "ack")
            .collect();
        assert_eq!(acks.len(), 5);
        assert!(acks.iter().all(|ack| ack["delivered"] == 9), "{acks:?}");
        member.has_received_all();
    }
}
