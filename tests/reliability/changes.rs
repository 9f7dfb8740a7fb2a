//! Changes to messages, moderation and calls of the backend whose process is killed at each of its calls, or that run at the
//! same moment: each is done once, and each row is the result of the log.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::checker::replay;
use crate::run::Run;
use crate::seeds::seeds;
use kit::proxy::Fault;
use kit::{Client, IDENTITY, token};

/// The most calls of one action. Only reached when a test never ends.
const MOST_CALLS: usize = 60;

const ROOM: &str = "ward";

fn ways() -> [Fault; 3] {
    [
        Fault::KillBefore,
        Fault::KillAfter,
        Fault::KillThenDo(Duration::from_millis(80)),
    ]
}

fn connect(run: &Run, user: &str) -> Client {
    let all = json!({"*": ["join", "history", "publish", "moderate"]});
    let token = token(user, &all, 600);
    let path = format!("/prod?room={ROOM}&token={token}");
    run.gateway.connect(&path)
}

/// Sends a frame until its answer is final. Frames of others that come meanwhile are passed over.
fn insist(client: &mut Client, frame: &Value) -> Value {
    for _ in 0..100 {
        client.send(frame);
        let answer = loop {
            let answer = client.receive();
            let is_other = ["message", "presence", "removed"]
                .map(Value::from)
                .contains(&answer["type"]);
            if !is_other {
                break answer;
            }
        };
        if answer["type"].is_string() && answer["temporary"] != true {
            return answer;
        }
    }
    panic!("{frame} has no answer");
}

/// Calls the function of the backend until its answer is final.
fn call(run: &Run, call: &Value) -> Value {
    let path = "/2015-03-31/functions/roomchat-prod-admin/invocations";
    for _ in 0..100 {
        let (status, _, text) = run.gateway.http("POST", path, &call.to_string());
        let answer: Value = serde_json::from_str(&text).unwrap();
        // The error of a killed process has no type.
        if status == 200 && answer["type"].is_string() && answer["temporary"] != true {
            return answer;
        }
    }
    panic!("{call} has no answer");
}

/// The entries of a log with this id.
fn entries(run: &Run, room: &str, id: &str) -> usize {
    let log = run.log(room);
    log.iter().filter(|row| row["id"]["S"] == id).count()
}

/// The numbers of a log, without a hole.
fn check_log(run: &Run, room: &str) {
    let log = run.log(room);
    let numbers: Vec<u64> = log
        .iter()
        .map(|row| row["seq"]["N"].as_str().unwrap().parse().unwrap())
        .collect();
    let first = numbers.first().copied().unwrap_or_default();
    let due: Vec<u64> = (first..).take(numbers.len()).collect();
    assert_eq!(numbers, due, "{room}");
    let broken = replay(&log);
    assert!(broken.is_empty(), "{room}: {}", broken.join("\n"));
}

/// Kills the process of `function` at each call of an action, in each way. `act` gets a new id each time.
fn killed(
    run: &Run,
    function: &'static str,
    ways: &[Fault],
    least: usize,
    mut act: impl FnMut(&str),
) {
    for (way, fault) in ways.iter().enumerate() {
        for n in 1..=MOST_CALLS {
            let before = run.proxy.kills();
            run.proxy
                .rule_at(n, fault.clone(), move |call| call.function() == function);
            act(&format!("{way}-{n}"));
            run.proxy.heal();
            // A call that is carried out late arrives now.
            if matches!(fault, Fault::KillThenDo(_)) {
                thread::sleep(Duration::from_millis(100));
            }
            check_log(run, ROOM);
            check_log(run, "@audit");
            if run.proxy.kills() == before {
                assert!(n > least, "{function} makes {n} calls");
                break;
            }
            assert!(n < MOST_CALLS, "the calls of {function} never end");
        }
    }
}

#[test]
fn a_change_killed_at_each_of_its_calls_is_made_once_and_the_row_is_the_result_of_the_log() {
    let run = Run::start(0, &IDENTITY);
    let mut alice = connect(&run, "alice");
    let mut bob = connect(&run, "bob");
    for kind in ["edit", "react", "delete"] {
        killed(&run, "publish", &ways(), 4, |id| {
            // Another message for each round, changed before.
            let first = format!("first-{kind}-{id}");
            let message = json!({"action": "publish", "room": ROOM, "data": first, "id": first});
            let target = {
                let ack = insist(&mut alice, &message);
                ack["seq"].clone()
            };
            if kind == "delete" {
                let edit = json!({"action": "edit", "room": ROOM, "target": target, "data": "second", "id": format!("e-{first}")});
                insist(&mut alice, &edit);
                let react = json!({"action": "react", "room": ROOM, "target": target, "key": "+1", "id": format!("r-{first}")});
                insist(&mut bob, &react);
            }
            let id = format!("{kind}-{id}");
            let frame = json!({"action": kind, "room": ROOM, "target": target, "data": "third", "key": "+1", "id": id});
            // bob is a moderator.
            let ack = insist(&mut bob, &frame);
            assert_eq!(ack["type"], "ack", "{ack}");
            assert_eq!(entries(&run, ROOM, &id), 1);
            if kind == "delete" {
                assert_eq!(entries(&run, "@audit", &id), 1);
            }
        });
    }
    assert!(run.proxy.kills() > 40, "{}", run.proxy.kills());
}

#[test]
fn a_call_of_the_backend_killed_at_each_of_its_calls_is_done_once() {
    let run = Run::start(0, &IDENTITY);
    let mut alice = connect(&run, "alice");
    killed(&run, "admin", &ways(), 2, |id| {
        let publish = json!({"action": "publish", "room": ROOM, "data": id, "id": id});
        assert_eq!(call(&run, &publish)["type"], "ack");
        assert_eq!(entries(&run, ROOM, id), 1);
    });
    killed(&run, "admin", &ways(), 8, |id| {
        for n in 0..2 {
            let data = format!("secret-{id}-{n}");
            let frame = json!({"action": "publish", "room": ROOM, "data": data, "id": data});
            let target = insist(&mut alice, &frame)["seq"].clone();
            let frame = json!({"action": "edit", "room": ROOM, "target": target, "data": format!("{data}-edited"), "id": format!("{data}-e")});
            insist(&mut alice, &frame);
        }
        let id = format!("erase-{id}");
        let erase = json!({"action": "erase", "room": ROOM, "user": "alice", "id": id});
        let mut answer = call(&run, &erase);
        while answer["more"] == true {
            let mut next = erase.clone();
            next["after"] = answer["after"].clone();
            answer = call(&run, &next);
        }
        assert_eq!(answer["type"], "erased", "{answer}");
        assert_eq!(entries(&run, "@audit", &id), 1);
        let texts = run.log(ROOM);
        let texts = texts.iter().filter(|row| {
            row["data"]["S"]
                .as_str()
                .is_some_and(|data| data.contains("secret"))
        });
        assert_eq!(texts.count(), 0);
    });
    // Each message is deleted once, whoever died.
    let log = run.log(ROOM);
    let targets: Vec<&Value> = log
        .iter()
        .filter(|row| row["kind"]["S"] == "delete")
        .map(|row| &row["target"]["N"])
        .collect();
    let different: BTreeSet<String> = targets.iter().map(|target| target.to_string()).collect();
    assert_eq!(different.len(), targets.len());
}

#[test]
fn a_moderation_killed_at_each_of_its_calls_is_done_and_once_in_the_audit() {
    let [before, after, then_do] = ways();
    // Both actions look for the user's connections for 3 s each time.
    thread::scope(|scope| {
        scope.spawn(|| moderation_killed(&[("kick", &[before, then_do])]));
        let once = [after];
        moderation_killed(&[("kick", &once), ("ban", &once)]);
    });
}

fn moderation_killed(cases: &[(&str, &[Fault])]) {
    let run = Run::start(0, &IDENTITY);
    let mut moderator = connect(&run, "mod");
    for (action, ways) in cases {
        killed(&run, "moderate", ways, 6, |id| {
            let user = format!("{action}-{id}");
            let mut bob = connect(&run, &user);
            let frame = json!({"action": action, "room": ROOM, "user": user, "id": user});
            let answer = insist(&mut moderator, &frame);
            assert_eq!(answer["type"], "moderated", "{answer}");
            assert_eq!(entries(&run, "@audit", &user), 1);
            let rows = run.gateway.rows();
            let left = rows
                .iter()
                .filter(|row| row["user"]["S"] == user.as_str() && row["room"]["S"] == ROOM);
            assert_eq!(left.count(), 0, "{user}");
            let publish = json!({"action": "publish", "room": ROOM, "data": 1});
            assert_eq!(insist(&mut bob, &publish)["name"], "not_a_member");
            let again = insist(&mut bob, &json!({"action": "join", "room": ROOM}));
            if *action == "ban" {
                assert_eq!(again["name"], "banned", "{again}");
            } else {
                assert_eq!(again["type"], "joined", "{again}");
                insist(&mut bob, &json!({"action": "leave", "room": ROOM}));
            }
        });
    }
}

/// Several users change the same few messages at the same moment, under kills and lost replies.
#[test]
fn changes_at_the_same_moment_leave_the_rows_that_the_log_makes() {
    for seed in seeds(&[1, 2]) {
        let run = Run::start(seed, &IDENTITY);
        let mut alice = connect(&run, "alice");
        for n in 0..3 {
            let frame = json!({"action": "publish", "room": ROOM, "data": format!("first {n}"), "id": format!("m{n}")});
            insist(&mut alice, &frame);
        }
        let mut random = StdRng::seed_from_u64(seed);
        run.proxy.rules(move |call| {
            if call.function() != "publish" {
                return Fault::None;
            }
            match random.random_range(0..100) {
                0..2 => ways().choose(&mut random).unwrap().clone(),
                2..5 => Fault::LostReply,
                5..15 => Fault::Delay(Duration::from_millis(random.random_range(0..30))),
                _ => Fault::None,
            }
        });
        thread::scope(|scope| {
            for n in 0..4_u64 {
                let run = &run;
                scope.spawn(move || {
                    let user = format!("user{n}");
                    let mut client = connect(run, &user);
                    let mut random = StdRng::seed_from_u64(seed * 10 + n);
                    for step in 0..12 {
                        let kind = *["edit", "edit", "react", "react", "react", "delete"].choose(&mut random).unwrap();
                        let key = *["+1", "-1"].choose(&mut random).unwrap();
                        let (target, on) = (random.random_range(1..=3), random.random_bool(0.6));
                        let (data, id) = (format!("{user} {step}"), format!("{user}-{step}"));
                        let mut frame = json!({
                            "action": kind, "room": ROOM, "target": target, "data": data, "key": key, "on": on, "id": id,
                        });
                        if kind == "delete" && random.random_bool(0.5) {
                            frame["reason"] = json!(user);
                        }
                        let answer = insist(&mut client, &frame);
                        assert!(answer["type"] == "ack" || answer["name"] == "no_such_message", "{answer}");
                    }
                });
            }
        });
        run.proxy.heal();
        thread::sleep(Duration::from_millis(200));
        check_log(&run, ROOM);
        check_log(&run, "@audit");
        assert!(run.proxy.faults() > 0);
    }
}

/// Bans run while the user connects, joins and resumes over several connections, with an index that lags.
#[test]
fn a_banned_user_finds_no_door_also_at_the_moment_of_the_ban() {
    for seed in seeds(&[1]) {
        let run = Run::start_lagging(seed, Duration::from_millis(400), &IDENTITY);
        let mut moderator = connect(&run, "mod");
        for round in 0..3 {
            let user = format!("bob-{round}");
            let all = json!({"*": ["join", "history", "publish"]});
            let token = token(&user, &all, 600);
            let elsewhere = format!("/prod?room=garden&token={token}");
            let mut sockets: Vec<Client> =
                (0..4).map(|_| run.gateway.connect(&elsewhere)).collect();
            let mut first = connect(&run, &user);
            let joined = insist(&mut first, &json!({"action": "join", "room": ROOM}));
            let since = json!({"epoch": joined["epoch"], "seq": joined["head"]});
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                let (is_over, run, since, token) = (&is_over, &run, &since, &token);
                for (n, socket) in sockets.iter_mut().enumerate() {
                    scope.spawn(move || {
                        let mut random = StdRng::seed_from_u64(seed * 100 + n as u64);
                        while !is_over.load(Ordering::SeqCst) {
                            let mut frame = json!({"action": "join", "room": ROOM});
                            if random.random_bool(0.5) {
                                frame["since"] = since.clone();
                            }
                            insist(socket, &frame);
                            if random.random_bool(0.2) {
                                // A new connection, straight into the room.
                                drop(
                                    run.gateway
                                        .try_connect(&format!("/prod?room={ROOM}&token={token}")),
                                );
                            }
                            thread::sleep(Duration::from_millis(random.random_range(0..40)));
                        }
                    });
                }
                thread::sleep(Duration::from_millis(150));
                let ban = json!({"action": "ban", "room": ROOM, "user": user, "id": user});
                let answer = insist(&mut moderator, &ban);
                assert_eq!(answer["type"], "moderated", "{answer}");
                is_over.store(true, Ordering::SeqCst);
            });
            // A join that was under way has deleted its row again.
            let rows = run.gateway.rows();
            let left = rows
                .iter()
                .filter(|row| row["user"]["S"] == user.as_str() && row["room"]["S"] == ROOM);
            assert_eq!(left.count(), 0, "seed {seed}, {user}");
            let refused = run
                .gateway
                .try_connect(&format!("/prod?room={ROOM}&token={token}"));
            assert_eq!(refused.err(), Some(403), "{user}");
            for (frame, name) in [
                (json!({"action": "join", "room": ROOM}), "banned"),
                (
                    json!({"action": "join", "room": ROOM, "since": since}),
                    "banned",
                ),
                (
                    json!({"action": "join", "room": ROOM, "presence": true}),
                    "banned",
                ),
                (
                    json!({"action": "presence", "room": ROOM, "state": 1}),
                    "not_a_member",
                ),
                (
                    json!({"action": "publish", "room": ROOM, "data": 1}),
                    "not_a_member",
                ),
                (
                    json!({"action": "edit", "room": ROOM, "target": 1, "data": 1}),
                    "not_a_member",
                ),
                (
                    json!({"action": "delete", "room": ROOM, "target": 1}),
                    "not_a_member",
                ),
                (
                    json!({"action": "react", "room": ROOM, "target": 1, "key": "x"}),
                    "not_a_member",
                ),
                (json!({"action": "history", "room": ROOM}), "not_a_member"),
                (json!({"action": "members", "room": ROOM}), "not_a_member"),
                (
                    json!({"action": "signal", "room": ROOM, "kind": "typing"}),
                    "not_a_member",
                ),
            ] {
                let answer = insist(&mut sockets[0], &frame);
                assert_eq!(answer["name"], name, "{frame}: {answer}");
            }
        }
        check_log(&run, "@audit");
    }
}
