//! Busy rooms: the pump is killed, posts are throttled, the index lags, and everybody has everything in the end.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::checker::Promises;
use crate::member::Member;
use crate::run::Run;
use crate::seeds::{number, seeds};
use kit::eventually;
use kit::proxy::{Call, Fault, Kind, Tear};

/// Two members are busy. A delivery to four takes 200 ms.
const PACED: [&str; 4] = [
    "--var",
    "paced={ from_members = 2, posts_per_second = 20 }",
    "--var",
    "limits={ per_user = 0, per_room = 0 }",
];

/// The longest lag of the index.
const LAG: Duration = Duration::from_secs(3);

/// The number of random kills, unless `ROOMCHAT_KILLS` names another.
const KILLS: u64 = 6;

/// Two members of each kind: with batches, and plain ones.
fn everybody(run: &Run) -> Vec<Member<'_>> {
    (0..4)
        .map(|n| match n % 2 {
            0 => Member::batching(run, &format!("user{n}"), "match"),
            _ => Member::new(run, &format!("user{n}"), "match"),
        })
        .collect()
}

/// Publishes so that a pump has work: two messages at once, of which the second one comes too early.
fn two_messages(member: &mut Member<'_>) -> Vec<Value> {
    vec![member.publish("match"), member.publish("match")]
}

#[test]
fn a_pump_killed_at_each_of_its_calls_skips_nothing() {
    let run = Run::start(0, &PACED);
    let mut members = everybody(&run);
    let mut killed = BTreeSet::new();
    for (kind, fault) in [
        (Kind::Change, Fault::KillBefore),
        (Kind::Change, Fault::KillAfter),
        (Kind::ReadLog, Fault::KillBefore),
        (Kind::ReadMembers, Fault::KillBefore),
        (Kind::Post, Fault::KillBefore),
        (Kind::Post, Fault::KillAfter),
    ] {
        for n in 1..=2 {
            let before = run.proxy.kills();
            run.proxy.rule_at(n, fault.clone(), move |call| {
                call.kind == kind && call.function() == "deliver"
            });
            let mut due: BTreeSet<u64> = BTreeSet::new();
            // Until the pump has work, and until the next publisher takes over what it has left.
            eventually("a pump is killed", || {
                let acks = two_messages(&mut members[0]);
                due.extend(acks.iter().filter_map(|ack| ack["seq"].as_u64()));
                (run.proxy.kills() > before).then_some(())
            });
            run.proxy.heal();
            killed.insert(format!("{kind:?} {n} {fault:?}"));
            let mut missing: Vec<BTreeSet<u64>> = vec![due.clone(); members.len()];
            // The lease of the dead ends after 5 s.
            eventually("everybody has got everything, without asking", || {
                members[0].publish("match");
                for (member, missing) in members.iter_mut().zip(&mut missing) {
                    for frame in member.drain() {
                        missing.remove(&frame["seq"].as_u64().unwrap_or_default());
                    }
                }
                // The sender need not get its own.
                let others = &missing[1..];
                thread::sleep(Duration::from_millis(100));
                others.iter().all(BTreeSet::is_empty).then_some(())
            });
        }
    }
    assert_eq!(killed.len(), 12);
    for member in &mut members {
        member.settle();
    }
    run.check(&Promises::default());
}

/// Kills pumps now and then, throttles and loses posts, and tears reads of the log.
fn weather(seed: u64) -> impl FnMut(&Call) -> Fault + Send + 'static {
    let mut random = StdRng::seed_from_u64(seed);
    move |call| {
        let dice = random.random_range(0..100);
        match (call.kind, dice) {
            (Kind::Post, 0..10) => Fault::Answer(429, "LimitExceededException"),
            (Kind::Post, 10..12) => Fault::LostReply,
            (Kind::Post, 12..14) => Fault::LostRequest,
            (Kind::Change, 0..5) => Fault::LostReply,
            (Kind::Change, 5..8) => Fault::Answer(400, "ThrottlingException"),
            (Kind::ReadLog, 0..20) => Fault::Tear(Tear::Random(Duration::from_millis(20))),
            (Kind::Change | Kind::Post | Kind::ReadLog | Kind::ReadMembers, 96..100)
                if call.function() == "deliver" =>
            {
                if dice % 2 == 0 {
                    Fault::KillBefore
                } else {
                    Fault::KillAfter
                }
            }
            _ => Fault::None,
        }
    }
}

#[test]
fn in_any_weather_everybody_has_everything_in_the_end() {
    let kills = number("ROOMCHAT_KILLS").unwrap_or(KILLS);
    for seed in seeds(&[1]) {
        let run = Run::start_lagging(seed, LAG, &PACED);
        let mut members = everybody(&run);
        run.proxy.rules(weather(seed));
        thread::scope(|scope| {
            for member in &mut members {
                let proxy = &run.proxy;
                scope.spawn(move || {
                    while (proxy.kills() as u64) < kills {
                        member.publish("match");
                        thread::sleep(Duration::from_millis(50));
                    }
                });
            }
        });
        run.proxy.heal();
        for member in &mut members {
            member.settle();
        }
        run.check(&Promises {
            lag: LAG,
            ..Promises::default()
        });
        println!(
            "seed {seed}: {} kills, {} acks, {} messages",
            run.proxy.kills(),
            run.received("ack"),
            run.received("message")
        );
    }
}

#[test]
fn two_pumps_at_once_and_a_stranger_do_no_harm() {
    let run = Run::start(0, &PACED);
    let mut members = everybody(&run);
    // Lambda may run an asynchronous invocation twice, and more than once.
    let invoke = |event: &Value| {
        let path = "/2015-03-31/functions/roomchat-prod-deliver/invocations";
        let (status, _, answer) = run.gateway.http("POST", path, &event.to_string());
        assert_eq!((status, answer.as_str()), (200, "null"));
    };
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..20 {
                members[0].publish("match");
            }
        });
        for _ in 0..3 {
            invoke(&json!({"room": "match", "handedBy": "nobody", "members": 4}));
            invoke(&json!({"room": "elsewhere", "handedBy": "nobody", "members": 4}));
            invoke(&json!({"nonsense": true}));
        }
        writer.join().unwrap();
    });
    let last = members[0].publish("match")["seq"].as_u64().unwrap();
    for member in &mut members[1..] {
        let mut got = BTreeSet::new();
        eventually("all messages", || {
            got.extend(
                member
                    .drain()
                    .iter()
                    .filter_map(|frame| frame["seq"].as_u64()),
            );
            thread::sleep(Duration::from_millis(50));
            (got == (1..=last).collect()).then_some(())
        });
    }
    run.check(&Promises::default());
}
