//! The duties of a client that need more than a bad network to show.

use std::collections::BTreeMap;
use std::time::Duration;

use roomchat::command::Command;
use roomchat::core::{Exit, Input, Settings, Why};
use roomchat::event::Event;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use crate::model::{Fate, World, settings};

const SECOND: Duration = Duration::from_secs(1);

/// A client in these rooms that has nothing under way, and whose connection lasts.
fn calm(rooms: &[&str]) -> World {
    let mut world = World::with(Settings {
        max_life: Duration::from_secs(7000),
        ..settings(rooms)
    });
    world.heal();
    world.events.clear();
    world
}

/// Does what the clock demands until `until`, with a service that answers at once.
fn run_until(world: &mut World, until: Duration) {
    world.flush();
    while world.core.deadline().is_some_and(|at| at <= until) {
        world.wake();
        world.flush();
    }
    world.now = until;
}

fn join(room: &str) -> Input {
    Input::Command(Command::Join {
        room: room.to_owned(),
        id: Some("j".to_owned()),
    })
}

fn leave(room: &str) -> Input {
    Input::Command(Command::Leave {
        room: Some(room.to_owned()),
        id: Some("l".to_owned()),
    })
}

fn history(limit: u16, id: &str) -> Input {
    Input::Command(Command::History {
        room: None,
        limit,
        id: Some(id.to_owned()),
    })
}

fn actions(world: &World) -> Vec<&str> {
    let frames = world.to_service.iter();
    frames
        .filter_map(|(_, frame)| frame["action"].as_str())
        .collect()
}

/// The position of a frame on its way to the service.
fn find(world: &World, action: &str) -> Option<usize> {
    actions(world).iter().position(|sent| *sent == action)
}

/// Lets the service answer what is on its way with `answer`, to which the id of the frame is added.
fn answer(world: &mut World, mut answer: Value) {
    let (link, frame) = world.to_service.remove(0);
    answer["id"] = frame["id"].clone();
    world.input(Input::Received(link, answer.to_string()));
}

#[test]
fn a_message_that_comes_within_the_wait_is_not_asked_for() {
    let mut world = calm(&["lobby"]);
    world.another_says("lobby");
    world.another_says("lobby");
    world.bring(1, false, false);
    world.wait(Duration::from_millis(99));
    world.bring(0, false, false);
    let until = world.now + SECOND;
    while world.core.deadline().is_some_and(|at| at < until) {
        world.wake();
    }
    assert_eq!(find(&world, "history"), None);
    assert_eq!(world.shown(), [1, 2]);
}

#[test]
fn what_an_answer_left_out_is_read_at_once() {
    let mut world = calm(&["lobby"]);
    world.cut(0);
    for _ in 0..11 {
        world.another_says("lobby");
    }
    world.wake();
    let before = world.now;
    // The answer to the `join` and the pages hold four messages each.
    world.flush();
    assert_eq!(world.now, before);
    assert_eq!(world.shown(), (1..=11).collect::<Vec<_>>());
}

#[test]
fn the_next_page_of_a_gap_is_read_at_once() {
    let mut world = calm(&["lobby"]);
    for _ in 0..11 {
        world.another_says("lobby");
    }
    world.bring(10, false, false);
    world.to_client.clear();
    world.wake();
    // A page holds four messages.
    for after in [0, 4, 8] {
        assert_eq!(world.to_service.len(), 1);
        assert_eq!(world.to_service[0].1["after"], after);
        world.carry(0, Fate::Arrives);
        world.bring(0, false, false);
    }
    assert_eq!(world.shown(), (1..=11).collect::<Vec<_>>());
}

#[test]
fn heartbeats_of_many_clients_do_not_stay_in_step() {
    let mut world = calm(&["lobby"]);
    let mut pings = Vec::new();
    while pings.len() < 10 {
        world.wake();
        if find(&world, "ping").is_some() {
            pings.push(world.now);
        }
        world.flush();
    }
    let waits: Vec<_> = pings.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let around = 270 * SECOND..=330 * SECOND;
    assert!(waits.iter().all(|wait| around.contains(wait)), "{waits:?}");
    assert!(waits.windows(2).all(|pair| pair[0] != pair[1]), "{waits:?}");
}

#[test]
fn a_message_stored_half_a_minute_after_the_join_is_found_soon() {
    let mut world = World::with(Settings {
        max_life: Duration::from_secs(7000),
        ..settings(&["lobby"])
    });
    world.flush();
    let joined = world.now;
    run_until(&mut world, joined + 28 * SECOND);
    // The invocation has read the members before the `join`, so it delivers to nobody.
    world.another_says("lobby");
    world.to_client.clear();
    run_until(&mut world, joined + 40 * SECOND);
    assert_eq!(world.shown(), [1]);
}

#[test]
fn the_log_is_read_seconds_and_half_a_minute_after_a_join() {
    let mut world = World::with(Settings {
        max_life: Duration::from_secs(7000),
        ..settings(&["lobby"])
    });
    world.another_says("lobby");
    world.flush();
    let joined = world.now;
    let mut asked = Vec::new();
    while world.now < joined + 200 * SECOND {
        world.wake();
        if let Some(at) = find(&world, "history") {
            assert_eq!(world.to_service[at].1["after"], 1);
            asked.push((world.now - joined).as_secs());
        }
        world.flush();
    }
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        (1..10).contains(&asked[0]) && (30..=60).contains(&asked[1]),
        "{asked:?}"
    );
}

#[test]
fn the_next_page_begins_where_the_last_one_ends() {
    let mut world = World::new(&["lobby"]);
    for _ in 0..12 {
        world.another_says("lobby");
    }
    // On entering the client shows the last three, 10 to 12.
    world.flush();
    world.input(history(4, "a"));
    world.input(history(4, "b"));
    world.flush();
    let pages: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::History { id, messages, .. } => {
                let seqs: Vec<_> = messages.iter().map(|entry| entry.seq).collect();
                Some((id.clone().unwrap(), seqs))
            }
            _ => None,
        })
        .collect();
    let expected = [
        ("a".to_owned(), vec![6, 7, 8, 9]),
        ("b".to_owned(), vec![2, 3, 4, 5]),
    ];
    assert_eq!(pages, expected);
}

#[test]
fn a_page_that_answers_another_question_is_not_taken_for_this_one() {
    let mut world = World::new(&["lobby"]);
    for _ in 0..12 {
        world.another_says("lobby");
    }
    world.flush();
    world.input(history(4, "a"));
    let (link, frame) = world.to_service[0].clone();
    let page = json!({"type": "history", "id": "other", "room": "lobby", "epoch": "e0", "first": 1, "head": 12,
                      "more": false, "messages": []});
    world.input(Input::Received(link, page.to_string()));
    let answered = |event: &Event| matches!(event, Event::History { .. });
    assert!(!world.events.iter().any(answered), "{frame}");
    world.flush();
    assert!(world.events.iter().any(answered));
}

#[test]
fn a_leave_waits_for_the_answer_to_the_join() {
    let mut world = calm(&["lobby"]);
    world.input(join("garden"));
    world.input(leave("garden"));
    assert_eq!(actions(&world), ["join"]);
    // The answer is lost, and the next try is answered.
    world.carry(0, Fate::Unanswered);
    world.wake();
    assert_eq!(actions(&world), ["join"]);
    world.carry(0, Fate::Arrives);
    world.bring(0, false, false);
    assert_eq!(actions(&world), ["leave"]);
    world.flush();
    let told = world.events.iter().map(|event| match event {
        Event::Joined { id, .. } => format!("joined {}", id.clone().unwrap()),
        Event::Left { id, .. } => format!("left {}", id.clone().unwrap()),
        other => panic!("{other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), ["joined j", "left l"]);
}

#[test]
fn a_room_left_before_the_first_connection_is_joined_first() {
    let mut world = World::new(&["lobby"]);
    world.input(join("garden"));
    world.input(leave("garden"));
    world.flush();
    let told = world.events.iter().filter_map(|event| match event {
        Event::Joined { id, .. } | Event::Left { id, .. } => id.clone(),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["j", "l"]);
}

#[test]
fn a_room_that_was_entered_by_a_late_join_is_left_again() {
    let mut world = calm(&["lobby"]);
    world.input(join("garden"));
    // The first try of the `join` is taken up very late.
    let late = world.to_service.remove(0);
    world.wake();
    world.flush();
    world.input(leave("garden"));
    world.flush();
    let left = world.now;
    // While the index lags, messages may come.
    world.to_service.push(late);
    let at = world.to_service.len() - 1;
    world.carry(at, Fate::Unanswered);
    world.index();
    world.another_says("garden");
    world.bring(0, false, false);
    assert_eq!(find(&world, "leave"), None);
    run_until(&mut world, left + 20 * SECOND);
    world.another_says("garden");
    world.bring(0, false, false);
    assert!(find(&world, "leave").is_some());
    world.flush();
    world.another_says("garden");
    assert!(world.to_client.is_empty());
    assert!(world.shown().is_empty());
}

#[test]
fn who_comes_back_joins_after_the_answer_to_the_leave() {
    let mut world = calm(&["lobby", "garden"]);
    world.input(leave("garden"));
    world.input(join("garden"));
    assert_eq!(actions(&world), ["leave"]);
    world.carry(0, Fate::Arrives);
    world.bring(0, false, false);
    assert_eq!(actions(&world), ["join"]);
    world.flush();
    world.index();
    world.another_says("garden");
    world.flush();
    assert_eq!(world.shown(), [1]);
}

#[test]
fn a_leave_is_answered_on_every_connection() {
    let mut world = calm(&["lobby", "garden"]);
    // The next connection opens, and is not in its rooms yet.
    while world.dialling.is_empty() {
        world.wake();
        while world.dialling.is_empty()
            && !(world.to_service.is_empty() && world.to_client.is_empty())
        {
            world.carry(0, Fate::Arrives);
            world.bring(0, false, false);
        }
    }
    world.dial(true);
    while find(&world, "join").is_some() || !world.to_client.is_empty() {
        world.carry(0, Fate::Arrives);
        world.bring(0, false, false);
    }
    world.input(leave("garden"));
    assert_eq!(actions(&world), ["leave", "leave"]);
    world.carry(0, Fate::Lost);
    world.carry(0, Fate::Arrives);
    world.bring(0, false, false);
    let left = |event: &Event| matches!(event, Event::Left { .. });
    assert!(!world.events.iter().any(left));
    world.flush();
    world.wait(11 * SECOND);
    world.flush();
    assert!(world.events.iter().any(left));
}

#[test]
fn after_a_frame_of_api_gateway_everything_unanswered_is_sent_again() {
    let mut world = calm(&["lobby", "attic", "cellar"]);
    world.say("lobby");
    world.input(join("garden"));
    world.input(leave("cellar"));
    world.input(Input::Command(Command::Members {
        room: Some("attic".to_owned()),
        id: None,
    }));
    world.another_says("attic");
    world.another_says("attic");
    world.bring(1, false, false);
    world.wait(Duration::from_millis(300));
    let mut sent = world.to_service.clone();
    let gateway =
        json!({"message": "Internal server error", "connectionId": "x", "requestId": "x"});
    world.to_service.clear();
    let link = sent[0].0;
    world.input(Input::Received(link, gateway.to_string()));
    world.wait(2 * SECOND);
    let order = |(_, frame): &(u64, Value)| frame.to_string();
    sent.sort_by_key(order);
    world.to_service.sort_by_key(order);
    let actions: Vec<_> = sent
        .iter()
        .filter_map(|(_, frame)| frame["action"].as_str())
        .collect();
    assert_eq!(actions, ["history", "join", "leave", "members", "publish"]);
    assert_eq!(world.to_service, sent);
}

#[test]
fn an_id_that_is_taken_is_told_and_never_used_again() {
    let mut world = calm(&["lobby"]);
    world.errors_are_fine = true;
    let id = world.say("lobby");
    answer(
        &mut world,
        json!({"type": "error", "action": "publish", "code": 409, "name": "id_conflict",
               "message": "…", "temporary": false}),
    );
    let told = world.events.iter().any(|event| {
        matches!(event, Event::Error { id: about, name, retrying: false, .. }
                 if about.as_ref() == Some(&id) && name == "id_conflict")
    });
    assert!(told);
    let until = world.now + 400 * SECOND;
    while world.now < until {
        world.wake();
        assert_eq!(find(&world, "publish"), None);
        world.flush();
    }
}

#[test]
fn an_entry_of_an_unknown_kind_takes_its_number_and_is_not_shown() {
    let mut world = calm(&["lobby"]);
    for _ in 0..3 {
        world.another_says("lobby");
    }
    world.hidden.insert(2);
    world.to_client[1].1["kind"] = json!("wave");
    world.to_client[1].1["data"] = Value::Null;
    for _ in 0..3 {
        world.bring(0, false, false);
    }
    assert_eq!(world.shown(), [1, 3]);
    world.wait(SECOND);
    assert_eq!(find(&world, "history"), None);
}

#[test]
fn a_frame_of_an_unknown_type_is_ignored() {
    let mut world = calm(&["lobby"]);
    for text in [
        r#"{"type":"presence","room":"lobby","event":7}"#,
        r#"{"type":"dance"}"#,
    ] {
        world.input(Input::Received(1, text.to_owned()));
    }
    assert!(world.events.is_empty());
}

#[test]
fn a_gap_that_may_not_be_read_is_told_and_not_asked_for_again() {
    let mut world = calm(&["lobby"]);
    world.errors_are_fine = true;
    for _ in 0..3 {
        world.another_says("lobby");
    }
    world.bring(2, false, false);
    world.to_client.clear();
    world.wake();
    assert_eq!(actions(&world), ["history"]);
    answer(
        &mut world,
        json!({"type": "error", "action": "history", "code": 403, "name": "forbidden", "right": "history",
               "message": "…", "temporary": false}),
    );
    let told = |event: &Event| matches!(event, Event::Error { name, .. } if name == "forbidden");
    assert!(world.events.iter().any(told));
    assert_eq!(actions(&world), ["join"]);
    assert!(world.to_service[0].1["since"].is_null());
}

#[test]
fn a_room_that_is_forbidden_ends_its_commands() {
    let mut world = calm(&["lobby"]);
    world.errors_are_fine = true;
    world.input(join("vault"));
    world.input(Input::Command(Command::Publish {
        room: Some("vault".to_owned()),
        to: None,
        id: Some("p".to_owned()),
        data: to_raw_value("x").unwrap(),
    }));
    world.input(history(5, "h"));
    answer(
        &mut world,
        json!({"type": "error", "action": "join", "code": 403, "name": "forbidden", "right": "join",
               "message": "…", "temporary": false}),
    );
    let about: Vec<_> = world
        .events
        .iter()
        .map(|event| match event {
            Event::Error {
                id,
                retrying: false,
                ..
            } => id.clone().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(about, ["j", "p", "h"]);
    assert_eq!(world.core.here(), "lobby");
    world.input(Input::End(60 * SECOND));
    assert_eq!(world.exit, Some(Exit::Done));
}

#[test]
fn an_end_by_force_counts_what_is_unanswered() {
    let mut world = calm(&["lobby"]);
    world.say("lobby");
    world.say("lobby");
    world.input(history(5, "h"));
    world.input(Input::End(Duration::ZERO));
    let exit = Exit::Unanswered {
        messages: 2,
        questions: 1,
        rooms: 0,
    };
    assert_eq!(world.exit, Some(exit));

    let mut idle = calm(&["lobby"]);
    idle.input(Input::End(Duration::ZERO));
    assert_eq!(idle.exit, Some(Exit::Done));
}

#[test]
fn mistakes_of_a_program_carry_the_id_of_their_command() {
    let mut world = calm(&["lobby"]);
    world.errors_are_fine = true;
    let publish = |room: Option<&str>, id: &str, data: &str| {
        Input::Command(Command::Publish {
            room: room.map(str::to_owned),
            to: None,
            id: Some(id.to_owned()),
            data: to_raw_value(data).unwrap(),
        })
    };
    world.input(publish(Some("attic"), "outside", "x"));
    world.input(publish(None, "large", &"x".repeat(32 * 1024)));
    world.input(publish(None, &"i".repeat(65), "x"));
    world.input(Input::Command(Command::Members {
        room: Some("attic".to_owned()),
        id: Some("members".to_owned()),
    }));
    world.input(leave("lobby"));
    let errors: Vec<_> = world
        .events
        .iter()
        .map(|event| match event {
            Event::Error {
                id,
                name,
                retrying: false,
                ..
            } => (id.clone().unwrap(), name.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("outside".to_owned(), "not_a_member"),
        ("large".to_owned(), "payload_too_large"),
        ("i".repeat(65), "bad_request"),
        ("members".to_owned(), "not_a_member"),
        ("l".to_owned(), "bad_request"),
    ];
    assert_eq!(errors, expected);
    assert!(world.to_service.is_empty());
}

/// A client whose handshakes carry tokens of this life.
fn with_tokens(life: Duration) -> World {
    let mut world = World::with(Settings {
        has_tokens: true,
        max_life: Duration::from_secs(6900),
        ..settings(&["lobby"])
    });
    world.token_life = Some(life);
    world.flush();
    world
}

/// Runs until the client opens another connection, and returns how long that took.
fn until_dialling(world: &mut World) -> Duration {
    let before = world.now;
    while world.dialling.is_empty() {
        assert_eq!(world.exit, None);
        world.wake();
        while world.dialling.is_empty()
            && !(world.to_service.is_empty() && world.to_client.is_empty())
        {
            world.carry(0, Fate::Arrives);
            world.bring(0, false, false);
        }
    }
    world.now - before
}

#[test]
fn a_connection_is_renewed_before_its_token_ends() {
    let mut world = with_tokens(1000 * SECOND);
    let opened = world.now;
    until_dialling(&mut world);
    assert_eq!(world.now - opened, 800 * SECOND);
    // Messages come on the first connection until the second has taken over, and for some seconds beyond.
    world.another_says("lobby");
    world.dial(true);
    let renewed = world.now;
    while world.open() == 2 {
        world.another_says("lobby");
        world.index();
        while !(world.to_service.is_empty() && world.to_client.is_empty()) {
            world.carry(0, Fate::Arrives);
            world.bring(0, false, false);
        }
        world.wake();
    }
    assert!(world.now - renewed >= 3 * SECOND);
    let last = world.logs_head("lobby");
    assert_eq!(world.shown(), (1..=last).collect::<Vec<_>>());
    let lost = |event: &Event| matches!(event, Event::Disconnected { .. } | Event::Lost { .. });
    assert!(!world.events.iter().any(lost));
    // The second is renewed in its turn.
    until_dialling(&mut world);
    assert_eq!(world.now - renewed, 800 * SECOND);
}

#[test]
fn a_token_of_many_hours_does_not_keep_a_connection_beyond_two() {
    let mut world = with_tokens(36_000 * SECOND);
    let waited = until_dialling(&mut world);
    assert!(
        (6300 * SECOND..=6900 * SECOND).contains(&waited),
        "{waited:?}"
    );
}

#[test]
fn a_token_without_much_life_is_not_renewed_without_end() {
    let mut world = with_tokens(Duration::ZERO);
    assert!(until_dialling(&mut world) >= 2 * SECOND);
}

#[test]
fn an_expired_token_is_replaced_by_a_new_connection() {
    let mut world = with_tokens(36_000 * SECOND);
    let id = world.say("lobby");
    let (link, _) = world.to_service[0];
    answer(
        &mut world,
        json!({"type": "error", "action": "publish", "code": 401, "name": "token_expired",
               "message": "…", "temporary": false}),
    );
    assert_eq!(world.open(), 0);
    until_dialling(&mut world);
    assert_ne!(world.dialling[0].0, link);
    world.another_says("lobby");
    world.flush();
    assert_eq!(world.shown(), [1, 2]);
    let acked = world
        .events
        .iter()
        .any(|event| matches!(event, Event::Ack(ack) if ack.id.as_ref() == Some(&id)));
    assert!(acked);
}

/// `later` and `retryAfterMs` are the scenario `bye`.
#[test]
fn a_bye_says_whether_to_come_back() {
    let told = |reconnect: &str| {
        let mut world = calm(&["lobby"]);
        let bye = json!({"type": "bye", "reason": "x", "reconnect": reconnect}).to_string();
        let link = world.link();
        world.input(Input::Received(link, bye));
        world
    };
    let never = Exit::Refused("The service closes the connection: x.".to_owned());
    assert_eq!(told("never").exit, Some(never));
    // A word of a later version is no reason to stay away.
    for reconnect in ["now", "soon"] {
        let mut world = told(reconnect);
        world.cut(0);
        world.heal();
    }
}

/// A client in 100 rooms never has more frames of an action within a second than the service accepts.
#[test]
fn a_client_in_many_rooms_keeps_to_the_limit_of_frames() {
    let rooms: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let mut world = World::new(&rooms);
    // The service's bucket of each action on this connection: 50 frames at once, 20 a second.
    let mut buckets: BTreeMap<String, (f64, Duration)> = BTreeMap::new();
    let until = world.now + 400 * SECOND;
    let mut joins = 0;
    while world.now < until {
        world.dial(true);
        while let Some((_, frame)) = world.to_service.first() {
            let action = frame["action"].as_str().unwrap().to_owned();
            joins += usize::from(action == "join");
            let (level, at) = buckets.entry(action.clone()).or_insert((50.0, world.now));
            *level = (*level + (world.now - *at).as_secs_f64() * 20.0).min(50.0) - 1.0;
            *at = world.now;
            assert!(*level >= 0.0, "{action} is beyond the limit");
            world.carry(0, Fate::Arrives);
        }
        while !world.to_client.is_empty() {
            world.bring(0, false, false);
        }
        world.wake();
    }
    // The first ones, and those of a heartbeat.
    assert!(joins >= 200, "{joins}");
    world.heal();
}

#[test]
fn three_refused_handshakes_are_enough() {
    let refuse = |world: &mut World| {
        until_dialling(world);
        let (link, _) = world.dialling.remove(0);
        world.input(Input::Closed {
            link,
            reason: "no".to_owned(),
            why: Why::Refused,
        });
    };
    let refused = Some(Exit::Refused("no".to_owned()));
    let fresh = |has_tokens| {
        World::with(Settings {
            has_tokens,
            ..settings(&["lobby"])
        })
    };
    // A fresh token may be accepted.
    let mut world = fresh(true);
    refuse(&mut world);
    refuse(&mut world);
    assert_eq!(world.exit, None);
    refuse(&mut world);
    assert_eq!(world.exit, refused);
    // Without tokens the next handshake would be the same.
    let mut world = fresh(false);
    refuse(&mut world);
    assert_eq!(world.exit, refused);

    // A success between them counts, and so does a connection that works.
    let mut world = with_tokens(1000 * SECOND);
    for _ in 0..5 {
        refuse(&mut world);
    }
    let told = |event: &Event| matches!(event, Event::Error { name, retrying: true, .. } if name == "refused");
    assert!(world.events.iter().any(told));
    assert_eq!((world.exit.clone(), world.open()), (None, 1));
    until_dialling(&mut world);
    world.flush();
    world.wait(10 * SECOND);
    world.flush();
    world.cut(0);
    refuse(&mut world);
    refuse(&mut world);
    assert_eq!(world.exit, None);
    refuse(&mut world);
    assert_eq!(world.exit, refused);
}

#[test]
fn who_cannot_succeed_ends_at_once_and_who_has_succeeded_tries_on() {
    let hopeless = |world: &mut World| {
        until_dialling(world);
        let (link, _) = world.dialling.remove(0);
        world.input(Input::Closed {
            link,
            reason: "nothing listens".to_owned(),
            why: Why::Hopeless,
        });
    };
    let mut world = World::new(&["lobby"]);
    hopeless(&mut world);
    assert_eq!(
        world.exit,
        Some(Exit::Refused("nothing listens".to_owned()))
    );
    let mut world = calm(&["lobby"]);
    world.cut(0);
    for _ in 0..10 {
        hopeless(&mut world);
    }
    world.heal();
}

#[test]
fn the_service_says_who_the_user_is() {
    let mut world = World::with(Settings {
        user: "guest-x".to_owned(),
        ..settings(&["lobby"])
    });
    world.flush();
    world.say("lobby");
    // The model stores the message as of its user, and checks that the client shows it so.
    world.flush();
    assert_eq!(world.shown(), [1]);
}
