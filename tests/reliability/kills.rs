//! The process of a publish is killed at any point, and the client sends the same frame again.

use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::checker::Promises;
use crate::member::Member;
use crate::run::Run;
use crate::seeds::{number, seeds};
use kit::proxy::{Call, Fault, Kind, Tear};

/// The number of random kills, unless `ROOMCHAT_KILLS` names another.
const KILLS: u64 = 40;

/// The call at which a publish is killed, and whether the call is forwarded, not forwarded, or forwarded later.
fn ways() -> [Fault; 3] {
    [
        Fault::KillBefore,
        Fault::KillAfter,
        Fault::KillThenDo(Duration::from_millis(80)),
    ]
}

#[test]
fn a_publish_killed_at_each_of_its_calls_is_stored_once_and_reaches_everybody() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "ward");
    let mut others: Vec<_> = (0..3)
        .map(|n| Member::new(&run, &format!("other{n}"), "ward"))
        .collect();
    for fault in ways() {
        for kind in [
            Kind::ReadOwnRows,
            Kind::ReadMembers,
            Kind::ReadLog,
            Kind::Append,
            Kind::Post,
        ] {
            // Kills at the n-th call of this kind, until a publish makes fewer.
            for n in 1.. {
                let before = run.proxy.kills();
                run.proxy
                    .rule_at(n, fault.clone(), move |call| call.kind == kind);
                let ack = alice.publish("ward");
                for other in &mut others {
                    // Without a resume: the second try reaches the members that the first did not.
                    let frames = other.drain();
                    assert!(
                        frames.iter().any(|frame| frame["seq"] == ack["seq"]),
                        "{} did not get {ack} after {fault:?} at {kind:?} {n}: {frames:?}",
                        other.user
                    );
                }
                if run.proxy.kills() == before {
                    assert!(n > 1, "a publish has such calls: {kind:?}");
                    break;
                }
            }
        }
    }
    run.proxy.heal();
    assert!(
        run.proxy.kills() >= 3 * (4 + others.len()),
        "each of its calls is one: {}",
        run.proxy.kills()
    );
    alice.settle();
    for other in &mut others {
        other.settle();
    }
    run.check(&Promises::default());
}

/// Kills a publish at one call in ten.
fn killing(seed: u64) -> impl FnMut(&Call) -> Fault + Send + 'static {
    let mut random = StdRng::seed_from_u64(seed);
    move |call| {
        if random.random_bool(0.1) && call.function() == "publish" {
            return ways()[random.random_range(0..3)].clone();
        }
        if call.kind == Kind::ReadLog && random.random_bool(0.3) {
            return Fault::Tear(Tear::Random(Duration::from_millis(30)));
        }
        Fault::None
    }
}

#[test]
fn processes_are_killed_at_random_while_several_write() {
    let kills = number("ROOMCHAT_KILLS").unwrap_or(KILLS);
    for seed in seeds(&[1]) {
        let run = Run::start(seed, &[]);
        let mut members: Vec<_> = (0..4)
            .map(|n| Member::new(&run, &format!("writer{n}"), "ward"))
            .collect();
        run.proxy.rules(killing(seed));
        thread::scope(|scope| {
            for member in &mut members {
                let proxy = &run.proxy;
                scope.spawn(move || {
                    while (proxy.kills() as u64) < kills {
                        member.publish("ward");
                    }
                });
            }
        });
        run.proxy.heal();
        for member in &mut members {
            member.settle();
        }
        run.check(&Promises::default());
        println!(
            "seed {seed}: {} kills, {} acks",
            run.proxy.kills(),
            run.received("ack")
        );
    }
}
