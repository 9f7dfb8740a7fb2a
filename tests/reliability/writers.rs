//! Many members write to one room in parallel, while the table throttles, loses responses and reads no snapshots.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::checker::Promises;
use crate::member::Member;
use crate::run::Run;
use crate::seeds::seeds;
use kit::proxy::{Call, Fault, Gate, Kind, Tear};

/// Random faults of the table's calls.
pub(crate) fn bad_day(seed: u64) -> impl FnMut(&Call) -> Fault + Send + 'static {
    let mut random = StdRng::seed_from_u64(seed);
    move |call| {
        let dice = random.random_range(0..100);
        match (call.kind, dice) {
            (Kind::Append, 0..8) => Fault::LostReply,
            (Kind::Append, 8..12) => Fault::LostRequest,
            (Kind::Append, 12..20) => Fault::Answer(400, "ProvisionedThroughputExceededException"),
            (Kind::Append, 20..23) => Fault::Answer(500, "InternalServerError"),
            (Kind::Append, 23..26) => Fault::LateRequest(Duration::from_millis(60)),
            (Kind::Append, 26..40) | (Kind::ReadOwnRows, 0..10) => {
                Fault::Delay(Duration::from_millis(random.random_range(0..30)))
            }
            (Kind::ReadLog, 0..40) => Fault::Tear(Tear::Random(Duration::from_millis(
                random.random_range(0..40),
            ))),
            (Kind::ReadLog | Kind::ReadMembers | Kind::ReadOwnRows, 95..98) => {
                Fault::Answer(400, "ThrottlingException")
            }
            (Kind::ReadLog | Kind::ReadMembers | Kind::ReadOwnRows, 98..100) => Fault::LostReply,
            _ => Fault::None,
        }
    }
}

#[test]
fn sixty_four_write_to_one_room_at_once() {
    for seed in seeds(&[1]) {
        let run = Run::start_without_posts(seed, &["--processes", "64"]);
        let mut members: Vec<_> = (0..64)
            .map(|n| Member::new(&run, &format!("writer{n}"), "hot"))
            .collect();
        run.proxy.rules(bad_day(seed));
        let start = Barrier::new(members.len());
        thread::scope(|scope| {
            for member in &mut members {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..2 {
                        member.publish("hot");
                    }
                });
            }
        });
        run.proxy.heal();
        for member in &mut members {
            member.settle();
        }
        run.check(&Promises::default());
        assert_eq!(run.received("ack"), 128);
        assert!(run.proxy.faults() > 0);
    }
}

#[test]
fn the_same_message_over_several_sockets_at_once_is_stored_once() {
    const SOCKETS: usize = 6;
    const ROUNDS: usize = 8;
    for seed in seeds(&[1]) {
        let run = Run::start(seed, &[]);
        let mut twins: Vec<_> = (0..SOCKETS)
            .map(|_| Member::new(&run, "twin", "hot"))
            .collect();
        let mut noise: Vec<_> = (0..2)
            .map(|n| Member::new(&run, &format!("noise{n}"), "hot"))
            .collect();
        let start = Barrier::new(SOCKETS + noise.len());
        run.proxy.rules(bad_day(seed));
        let seqs: Vec<Vec<u64>> = thread::scope(|scope| {
            let speakers: Vec<_> = twins
                .iter_mut()
                .map(|twin| {
                    let start = &start;
                    scope.spawn(move || {
                        let say = |round| {
                            start.wait();
                            // Every writer with this id has seen at least these messages, and its own messages come later.
                            let frame = serde_json::json!({
                                "action": "publish", "room": "hot", "id": format!("same-{round}"),
                                "data": format!("the same {round}"), "after": round,
                            });
                            twin.ask(&frame, "ack")["seq"].as_u64().unwrap()
                        };
                        (0..ROUNDS).map(say).collect()
                    })
                })
                .collect();
            for member in &mut noise {
                let start = &start;
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        start.wait();
                        member.publish("hot");
                        member.publish("hot");
                    }
                });
            }
            speakers
                .into_iter()
                .map(|speaker| speaker.join().unwrap())
                .collect()
        });
        for other in &seqs {
            assert_eq!(other, &seqs[0], "seed {seed}: one message, one number");
        }
        run.proxy.heal();
        for member in twins.iter_mut().chain(&mut noise) {
            member.settle();
        }
        run.check(&Promises::default());
        assert_eq!(
            run.log("hot")
                .iter()
                .filter(|item| item["user"]["S"] == "twin")
                .count(),
            ROUNDS
        );
    }
}

#[test]
fn without_an_id_a_lost_reply_doubles_nothing_that_was_sent_once() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "quiet");
    let mut bob = Member::new(&run, "bob", "quiet");
    // The response is lost, and the SDK's second try finds the row of the first.
    let mut replies = 0;
    run.proxy.rules(move |call| {
        if call.kind == Kind::Append {
            replies += 1;
            if replies % 2 == 1 {
                return Fault::LostReply;
            }
        }
        Fault::None
    });
    for n in 1..=5 {
        let frame = alice.publish_frame("quiet", None, &format!("word {n}"));
        let ack = alice.ask(&frame, "ack");
        assert_eq!(ack["seq"], n);
        assert_ne!(ack["duplicate"], true);
    }
    run.proxy.heal();
    alice.settle();
    bob.settle();
    run.check(&Promises::default());
}

#[test]
fn an_earlier_copy_in_the_hole_of_a_torn_read_is_found() {
    let run = Run::start(0, &[]);
    let mut first = Member::new(&run, "twin", "hot");
    let mut second = Member::new(&run, "twin", "hot");
    let mut noise = Member::new(&run, "noise", "hot");
    for _ in 0..3 {
        noise.publish("hot");
    }
    let frame = first.publish_frame("hot", Some("once"), "once");
    // The second try reads up to 3, reads past 4 before it is written, and sees 5.
    let read = Gate::new();
    let mut torn = Some(Fault::Tear(Tear::Without(read.clone(), vec![4])));
    run.proxy.rules(move |call| {
        if call.kind == Kind::ReadLog {
            torn.take().unwrap_or(Fault::None)
        } else {
            Fault::None
        }
    });
    second.send(&frame);
    read.reached();
    let ack = first.ask(&frame, "ack");
    assert_eq!(ack["seq"], 4);
    noise.publish("hot");
    read.open();
    let again = loop {
        let frame = second.receive();
        if frame["type"] != "message" {
            break frame;
        }
    };
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&ack["seq"], &true.into())
    );
    for member in [&mut first, &mut second, &mut noise] {
        member.settle();
    }
    run.check(&Promises::default());
}

#[test]
fn a_write_of_which_nothing_is_heard_is_looked_up_before_it_is_acknowledged() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "quiet");
    let mut bob = Member::new(&run, "bob", "quiet");
    let late = Fault::LateRequest(Duration::from_millis(500));
    for fault in [Fault::LostRequest, Fault::LostReply, late] {
        // After 3 failures in a row the SDK gives up, and the client is told to try again.
        for in_a_row in [3, 9] {
            let mut left = in_a_row;
            let fault = fault.clone();
            run.proxy.rules(move |call| {
                if call.kind == Kind::Append && left > 0 {
                    left -= 1;
                    return fault.clone();
                }
                Fault::None
            });
            alice.publish("quiet");
        }
    }
    run.proxy.heal();
    alice.settle();
    bob.settle();
    run.check(&Promises::default());
}
