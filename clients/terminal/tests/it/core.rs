//! The rules of the client: random schedules, and some schedules step by step.

use std::time::Duration;

use proptest::prelude::*;
use roomchat::core::Settings;
use roomchat::event::Event;

use crate::model::{Fate, World, settings};

#[derive(Debug, Clone)]
enum Step {
    Say(usize),
    AnotherSays(usize),
    AnotherChanges(usize, u64),
    Dial(bool),
    Cut(usize),
    Index,
    Wake,
    Wait(u64),
    Carry(usize, Fate),
    Bring {
        which: usize,
        lost: bool,
        doubled: bool,
    },
    Trim(usize, u64),
    Renew(usize),
}

const ROOMS: [&str; 2] = ["garden", "lobby"];

fn step() -> impl Strategy<Value = Step> {
    let room = 0..ROOMS.len();
    let fate = prop_oneof![
        12 => Just(Fate::Arrives),
        2 => Just(Fate::Unanswered),
        2 => Just(Fate::Lost),
        1 => Just(Fate::GatewayAfter),
        1 => Just(Fate::GatewayBefore),
        1 => Just(Fate::Throttled),
    ];
    prop_oneof![
        8 => room.clone().prop_map(Step::Say),
        12 => room.clone().prop_map(Step::AnotherSays),
        6 => (room.clone(), any::<u64>()).prop_map(|(room, which)| Step::AnotherChanges(room, which)),
        6 => prop::bool::weighted(0.8).prop_map(Step::Dial),
        1 => (0..3_usize).prop_map(Step::Cut),
        4 => Just(Step::Index),
        4 => Just(Step::Wake),
        4 => (1..20_000_u64).prop_map(Step::Wait),
        24 => (0..6_usize, fate).prop_map(|(which, fate)| Step::Carry(which, fate)),
        24 => (0..6_usize, prop::bool::weighted(0.15), prop::bool::weighted(0.15))
            .prop_map(|(which, lost, doubled)| Step::Bring { which, lost, doubled }),
        1 => (room.clone(), 0..4_u64).prop_map(|(room, keep)| Step::Trim(room, keep)),
        1 => room.prop_map(Step::Renew),
    ]
}

fn play(world: &mut World, step: &Step) {
    match *step {
        Step::Say(room) => {
            world.say(ROOMS[room]);
        }
        Step::AnotherSays(room) => world.another_says(ROOMS[room]),
        Step::AnotherChanges(room, which) => world.another_changes(ROOMS[room], which),
        Step::Dial(works) => world.dial(works),
        Step::Cut(which) => world.cut(which),
        Step::Index => world.index(),
        Step::Wake => world.wake(),
        Step::Wait(ms) => world.wait(Duration::from_millis(ms)),
        Step::Carry(which, fate) => world.carry(which, fate),
        Step::Bring {
            which,
            lost,
            doubled,
        } => world.bring(which, lost, doubled),
        Step::Trim(room, keep) => world.trim(ROOMS[room], keep),
        Step::Renew(room) => world.renew(ROOMS[room]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the network does, the client shows the log without holes, doubles or swaps, or reports a loss, every
    /// message that it sends is in the log once, and each message with its changes is shown as the log says.
    #[test]
    fn every_schedule(steps in prop::collection::vec(step(), 0..250)) {
        let mut world = World::new(&ROOMS);
        for step in &steps {
            play(&mut world, step);
        }
        world.heal();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The same with tokens that end at random times while messages flow, for more than an hour: the service refuses every
    /// frame of a connection whose token has ended, and half a minute later delivers nothing to it.
    #[test]
    fn every_schedule_with_tokens_that_end(
        steps in prop::collection::vec((prop_oneof![1 => Just(None), 3 => (1..400_u64).prop_map(Some)], step(), 0..90_000_u64), 60..250),
    ) {
        let mut world = World::with(Settings {
            has_tokens: true,
            max_life: Duration::from_secs(6900),
            ..settings(&ROOMS)
        });
        for (life, step, pause) in &steps {
            if let Some(seconds) = life {
                world.token_life = Some(Duration::from_secs(*seconds));
            }
            play(&mut world, step);
            world.wait(Duration::from_millis(*pause));
        }
        // Tokens that end go on ending; those at the end live long enough to see it.
        world.token_life = Some(Duration::from_secs(400));
        world.heal();
    }
}

/// Returns a client in `lobby` that has nothing under way.
fn settled() -> World {
    let mut world = World::new(&["lobby"]);
    world.heal();
    world.events.clear();
    world
}

#[test]
fn later_messages_wait_for_the_earlier() {
    let mut world = settled();
    for _ in 0..3 {
        world.another_says("lobby");
    }
    world.bring(2, false, false);
    world.bring(1, false, false);
    assert!(world.shown().is_empty());
    // The missing message may be on its way, so the client waits before it asks.
    assert!(world.to_service.is_empty());
    let noticed = world.now;
    world.wake();
    let waited = world.now - noticed;
    let moment = Duration::from_millis(100)..=Duration::from_millis(300);
    assert!(moment.contains(&waited), "{waited:?}");
    assert_eq!(world.to_service.len(), 1);
    assert_eq!(world.to_service[0].1["action"], "history");
    assert_eq!(world.to_service[0].1["after"], 0);
    world.bring(0, false, false);
    assert_eq!(world.shown(), [1, 2, 3]);
}

#[test]
fn the_last_message_may_be_lost_too() {
    let mut world = World::with(Settings {
        max_life: Duration::from_secs(7000),
        ..settings(&["lobby"])
    });
    world.heal();
    let before = world.now;
    world.another_says("lobby");
    world.bring(0, true, false);
    while world.shown().is_empty() {
        world.wake();
        world.flush();
    }
    // No later message shows the gap, so only the heartbeat can find the message.
    assert!(world.now <= before + Duration::from_secs(330));
}

#[test]
fn a_message_that_the_index_missed_is_found_soon() {
    let mut world = World::new(&["lobby"]);
    world.dial(true);
    world.carry(0, Fate::Arrives);
    world.bring(0, false, false);
    let joined = world.now;
    world.another_says("lobby");
    assert!(world.to_client.is_empty());
    while world.shown().is_empty() {
        world.wake();
        world.flush();
    }
    assert!(world.now <= joined + Duration::from_secs(5));
}

#[test]
fn a_retry_keeps_id_and_after() {
    let mut world = settled();
    world.say("lobby");
    let first = world.to_service[0].1.clone();
    world.carry(0, Fate::Lost);
    world.another_says("lobby");
    world.bring(0, false, false);
    world.wake();
    let again = world
        .to_service
        .iter()
        .find(|(_, frame)| frame["action"] == "publish");
    assert_eq!(again.unwrap().1, first);
    world.heal();
    assert_eq!(world.shown(), [1, 2]);
}

#[test]
fn one_message_at_a_time_keeps_the_order() {
    let mut world = settled();
    for _ in 0..3 {
        world.say("lobby");
    }
    assert_eq!(world.to_service.len(), 1);
    world.carry(0, Fate::Arrives);
    world.bring(0, false, false);
    assert_eq!(world.to_service.len(), 1);
    assert_eq!(world.to_service[0].1["after"], 1);
}

#[test]
fn a_connection_is_replaced_before_it_ends_and_nothing_is_missed() {
    let mut world = settled();
    let before = world.now;
    while world.dialling.is_empty() {
        world.wake();
        while world.dialling.is_empty()
            && !(world.to_service.is_empty() && world.to_client.is_empty())
        {
            world.carry(0, Fate::Arrives);
            world.bring(0, false, false);
        }
        assert!(
            world.now < before + Duration::from_secs(1001),
            "no second connection"
        );
    }
    // The second connection opens while the first still delivers.
    world.dial(true);
    world.another_says("lobby");
    world.index();
    world.another_says("lobby");
    world.heal();
    assert_eq!(world.shown(), [1, 2]);
    let renewed = |event: &Event| matches!(event, Event::Connected { renewed: true });
    assert!(world.events.iter().any(renewed));
    let lost = |event: &Event| matches!(event, Event::Disconnected { .. });
    assert!(!world.events.iter().any(lost));
}

#[test]
fn a_trimmed_log_is_told_and_counted() {
    let mut world = settled();
    world.another_says("lobby");
    world.heal();
    world.cut(0);
    for _ in 0..10 {
        world.another_says("lobby");
    }
    world.trim("lobby", 5);
    world.heal();
    // Of eleven messages the client shows the first, and the last three, as many as on entering a room.
    assert_eq!(world.shown(), [1, 9, 10, 11]);
    let missing = |event: &Event| match event {
        Event::Lost { missing, .. } => *missing,
        _ => None,
    };
    assert_eq!(world.events.iter().find_map(missing), Some(7));
}

#[test]
fn silence_after_a_ping_is_a_lost_connection() {
    let mut world = World::with(Settings {
        max_life: Duration::from_secs(7000),
        ..settings(&["lobby"])
    });
    world.heal();
    world.events.clear();
    let mut ticks = 0;
    while world.dialling.is_empty() {
        world.wake();
        world.to_service.clear();
        ticks += 1;
        assert!(ticks < 100, "the connection is not given up");
    }
    let lost = |event: &Event| matches!(event, Event::Disconnected { reason, .. } if reason == "the connection is silent");
    assert!(world.events.iter().any(lost));
    world.heal();
}
