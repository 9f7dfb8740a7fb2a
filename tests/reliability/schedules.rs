//! Members join, leave, publish and disconnect in any order, with an index that lags and calls that fail. In the end every
//! member has every message.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::checker::Promises;
use crate::member::Member;
use crate::run::Run;
use crate::seeds::{number, seeds};
use kit::proxy::{Call, Fault, Kind, Tear};

/// The number of members, unless `ROOMCHAT_MEMBERS` names another.
const MEMBERS: u64 = 6;
/// The actions of each member, unless `ROOMCHAT_STEPS` names another number.
const STEPS: u64 = 25;
const ROOMS: [&str; 3] = ["red", "green", "blue"];

/// The longest lag of the index.
const LAG: Duration = Duration::from_millis(400);

/// Random faults of all calls, posts included.
fn weather(seed: u64) -> impl FnMut(&Call) -> Fault + Send + 'static {
    let mut random = StdRng::seed_from_u64(seed);
    move |call| {
        let dice = random.random_range(0..100);
        match (call.kind, dice) {
            (Kind::Post, 0..3) => Fault::Answer(410, "GoneException"),
            (Kind::Post, 3..6) => Fault::Answer(429, "LimitExceededException"),
            (Kind::Post, 6..8) => Fault::LostReply,
            (Kind::Post, 8..10) | (Kind::Append, 0..4) => Fault::LostRequest,
            (Kind::Post, 10..12) => Fault::Answer(500, "InternalServerError"),
            (Kind::Append, 4..12) => Fault::LostReply,
            (Kind::Append, 12..16) => Fault::KillAfter,
            (Kind::Append, 16..20) | (Kind::Post, 12..14) => Fault::KillBefore,
            (Kind::Append, 20..24) => Fault::LateRequest(Duration::from_millis(80)),
            (Kind::ReadLog, 0..40) => Fault::Tear(Tear::Random(Duration::from_millis(
                random.random_range(0..40),
            ))),
            (Kind::WriteRow | Kind::DeleteRow | Kind::ReadOwnRows, 0..5) => Fault::LostReply,
            (Kind::WriteRow | Kind::ReadOwnRows | Kind::ReadMembers, 5..8) => {
                Fault::Answer(400, "ThrottlingException")
            }
            _ => Fault::None,
        }
    }
}

/// The random actions of one member.
fn live(member: &mut Member<'_>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..number("ROOMCHAT_STEPS").unwrap_or(STEPS) {
        let mine: Vec<String> = member.rooms.keys().cloned().collect();
        if !member.is_connected() {
            // After a random pause it reconnects to one of its rooms, and resumes the others.
            thread::sleep(Duration::from_millis(random.random_range(0..100)));
            member.connect(mine.choose(&mut random).unwrap());
            for room in &mine {
                member.resume(room);
            }
            continue;
        }
        let room = *ROOMS.choose(&mut random).unwrap();
        let is_in = member.rooms.contains_key(room);
        match random.random_range(0..100) {
            0..15 if !is_in => {
                member.join(room, random.random_bool(0.5).then_some(10));
            }
            0..10 if mine.len() > 1 && is_in => member.leave(room),
            10..18 => member.drop_connection(),
            18..26 if is_in => {
                member.resume(room);
            }
            26..34 if is_in => member.fill(room),
            34..50 => {
                member.drain();
            }
            _ => {
                if let Some(room) = mine.choose(&mut random) {
                    member.publish(room);
                }
            }
        }
    }
}

#[test]
fn whatever_happens_everybody_has_everything_in_the_end() {
    let members = usize::try_from(number("ROOMCHAT_MEMBERS").unwrap_or(MEMBERS)).unwrap();
    for seed in seeds(&[1, 2, 3]) {
        let run = Run::start_lagging(seed, LAG, &["--env", "MEMBERS_PAGE_SIZE=3"]);
        // From the first handshake on: that the logs begin is part of it.
        run.proxy.rules(weather(seed));
        let start = Barrier::new(members);
        let mut everybody: Vec<Member<'_>> = thread::scope(|scope| {
            let (run, start) = (&run, &start);
            let lives: Vec<_> = (0..members)
                .map(|n| {
                    scope.spawn(move || {
                        start.wait();
                        let mut member =
                            Member::new(run, &format!("user{n}"), ROOMS[n % ROOMS.len()]);
                        live(&mut member, seed * members as u64 + n as u64);
                        member
                    })
                })
                .collect();
            lives.into_iter().map(|life| life.join().unwrap()).collect()
        });
        run.proxy.heal();
        for member in &mut everybody {
            member.settle();
        }
        run.check(&Promises {
            lag: LAG,
            ..Promises::default()
        });
        // The run must contain messages in every room.
        let spoken: BTreeSet<&str> = ROOMS
            .into_iter()
            .filter(|room| !run.log(room).is_empty())
            .collect();
        assert_eq!(spoken.len(), ROOMS.len(), "seed {seed}");
        assert!(run.received("message") > 0, "seed {seed}");
    }
}
