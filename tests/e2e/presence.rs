//! Presence over time: a day of renewed connections with an index that lags, and connections that end unnoticed in a
//! silent room.

use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use kit::{Client, Gateway, eventually};

const MEMBERS: usize = 50;

/// The frames that have arrived.
fn drain(client: &mut Client) -> Vec<Value> {
    client.send(&json!({"action": "ping"}));
    let mut frames = Vec::new();
    loop {
        let frame = client.receive();
        if frame["type"] == "pong" {
            return frames;
        }
        frames.push(frame);
    }
}

/// Connects and joins with presence, as clients do.
fn enter(gateway: &Gateway, user: &str) -> Client {
    let mut client = gateway.join("lobby", user);
    client.send(&json!({"action": "join", "room": "lobby", "presence": {"state": {"status": user}}, "id": "j"}));
    loop {
        // Others come meanwhile.
        let frame = client.receive();
        if frame["type"] == "joined" {
            assert_eq!(frame["presence"], "live", "{frame}");
            return client;
        }
        assert_eq!(frame["type"], "presence", "{frame}");
    }
}

/// All of them, a few at a time.
fn enter_all(gateway: &Gateway) -> Vec<Client> {
    const WORKERS: usize = 4;
    let mut members: Vec<(usize, Client)> = thread::scope(|scope| {
        let joining: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let own = (worker..MEMBERS).step_by(WORKERS);
                scope.spawn(move || {
                    let member = |n| (n, enter(gateway, &format!("user-{n:02}")));
                    own.map(member).collect::<Vec<_>>()
                })
            })
            .collect();
        joining
            .into_iter()
            .flat_map(|join| join.join().unwrap())
            .collect()
    });
    members.sort_by_key(|(n, _)| *n);
    members.into_iter().map(|(_, client)| client).collect()
}

/// Fifty members over a day of the gateway's clock, who renew their connections before two hours are over: the new one
/// first, the old one 3 seconds later. The index lags by up to 3 seconds. Nobody is told of any of it.
#[test]
fn fifty_members_over_a_day_never_flap() {
    let gateway = Gateway::start(&["--admin-port", "0"]);
    let lag = json!({"name": "lag", "on": "table", "do": "lag", "ms": [0, 3000], "table": "roomchat-prod-connections"});
    gateway.admin("PUT", "/faults", &json!([lag]));
    let mut members = enter_all(&gateway);
    // The events of the beginning.
    thread::sleep(Duration::from_secs(4));
    for member in &mut members {
        drain(member);
    }
    let mut hours = 0.0;
    while hours < 24.0 {
        // 108 minutes, with a heartbeat every 9.
        for _ in 0..12 {
            gateway.at_rest();
            gateway.pass(540);
            for member in &mut members {
                let frames = drain(member);
                assert!(frames.is_empty(), "after {hours} hours: {frames:?}");
            }
        }
        hours += 1.8;
        let renewed = enter_all(&gateway);
        thread::sleep(Duration::from_secs(3));
        for old in members {
            old.leave();
        }
        members = renewed;
        eventually("the old rows are deleted", || {
            (gateway.rows().len() == MEMBERS).then_some(())
        });
        gateway.at_rest();
    }
    for member in &mut members {
        let frames = drain(member);
        assert!(frames.is_empty(), "{frames:?}");
    }
    // A user who really leaves is told of.
    members.pop().unwrap().leave();
    for member in &mut members {
        let frame = member.receive();
        assert_eq!(
            (&frame["event"], &frame["user"]),
            (&json!("leave"), &json!("user-49"))
        );
    }
    gateway.end_at_once();
}

/// Five of fifty connections end without a `$disconnect` in a room where nobody speaks. The others list the members every
/// 5 minutes, give or take one, as clients do: within 10 minutes everybody has been told of all five.
#[test]
fn ghosts_of_a_silent_room_are_gone_within_ten_minutes() {
    // Their rows are as young as the test.
    let gateway = Gateway::start(&["--admin-port", "0", "--env", "PRUNE_GRACE_SECONDS=0"]);
    let mut members: Vec<Option<Client>> = enter_all(&gateway).into_iter().map(Some).collect();
    for member in members.iter_mut().flatten() {
        drain(member);
    }
    gateway.admin(
        "PUT",
        "/faults",
        &json!([{"name": "lost", "on": "disconnect", "do": "lose"}]),
    );
    let mut rng = StdRng::seed_from_u64(14);
    let mut dead = Vec::new();
    while dead.len() < 5 {
        let n = rng.random_range(0..MEMBERS);
        if let Some(member) = members[n].take() {
            member.leave();
            dead.push(format!("user-{n:02}"));
        }
    }
    let ghosts = || {
        let rows = gateway.rows();
        let is_dead = |row: &&Value| dead.iter().any(|user| row["user"]["S"] == **user);
        rows.iter().filter(is_dead).count()
    };
    gateway.at_rest();
    assert_eq!(ghosts(), 5, "nothing finds them by itself");

    // Each has joined at another time, so it lists the members at another second of the 5 minutes.
    let mut due: Vec<(u32, usize)> = (0..MEMBERS)
        .filter(|n| members[*n].is_some())
        .map(|n| (rng.random_range(0..300), n))
        .collect();
    let (mut now, mut asked) = (0, 0);
    while ghosts() > 0 {
        due.sort_unstable();
        let (at, n) = due.remove(0);
        assert!(
            at <= 600,
            "{} ghosts after {at} s and {asked} questions",
            ghosts()
        );
        gateway.at_rest();
        gateway.pass(at - now);
        now = at;
        let member = members[n].as_mut().unwrap();
        member.send(&json!({"action": "members", "room": "lobby", "state": true, "probe": true}));
        asked += 1;
        due.push((at + rng.random_range(240..=360), n));
    }
    gateway.at_rest();
    println!("found after {now} s and {asked} questions");
    for member in members.iter_mut().flatten() {
        let mut told: Vec<String> = drain(member)
            .iter()
            .filter(|frame| frame["type"] == "presence")
            .map(|frame| {
                assert_eq!(frame["event"], "leave", "{frame}");
                frame["user"].as_str().unwrap().to_owned()
            })
            .collect();
        told.sort();
        dead.sort();
        assert_eq!(told, dead);
    }
    gateway.end_at_once();
}

/// Clients that ask for nothing get none of the new frames, whatever the others do.
#[test]
fn plain_clients_see_no_new_frame() {
    let gateway = Gateway::start(&[]);
    let mut plain = gateway.join("lobby", "plain");
    let (mut alice, mut bob) = (enter(&gateway, "alice"), enter(&gateway, "bob"));
    assert_eq!(alice.receive()["event"], "join");
    for frame in [
        json!({"action": "signal", "room": "lobby", "kind": "typing"}),
        json!({"action": "signal", "room": "lobby", "kind": "cursor", "data": 1, "to": "plain"}),
    ] {
        bob.send(&frame);
    }
    assert_eq!(alice.receive()["kind"], "typing");
    bob.send(&json!({"action": "presence", "room": "lobby", "state": 2, "id": "p"}));
    assert_eq!(bob.receive()["type"], "ack");
    assert_eq!(alice.receive()["event"], "update");
    bob.leave();
    assert_eq!(alice.receive()["event"], "leave");
    plain.has_received_all();
    // A signal of a plain client reaches those who want it.
    plain.send(&json!({"action": "signal", "kind": "typing"}));
    assert_eq!(alice.receive()["from"], "plain");
    let members = plain.ask(&json!({"action": "members"}));
    assert_eq!(
        members,
        json!({
            "type": "members", "room": "lobby", "count": 2, "more": false,
            "members": [{"user": "alice", "connections": 1}, {"user": "plain", "connections": 1}],
        })
    );
    plain.has_received_all();
}
