//! Presence: who is told of whom, and what keeps it true.

use std::time::Duration;

use chat::identity::{Caller, Identity};
use chat::lambda::Request;
use chat::members::Announced;
use chat::protocol::Grants;
use chat::{disconnect, leave, members};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{Answer, World, body, now_ms, request};

/// The frames of presence that were posted to `id`, as (event, user).
fn told(world: &World, id: &str) -> Vec<(String, String)> {
    let frames = world.peers.frames(id).into_iter();
    let of = |frame: &Value, field: &str| frame[field].as_str().unwrap().to_owned();
    frames
        .filter(|frame| frame["type"] == "presence")
        .map(|frame| (of(&frame, "event"), of(&frame, "user")))
        .collect()
}

fn events(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(event, user)| ((*event).to_owned(), (*user).to_owned()))
        .collect()
}

/// A `join` with presence.
fn enter(state: &Value) -> Value {
    json!({"action": "join", "room": "lobby", "presence": {"state": state}})
}

async fn ask(world: &World, id: &str, frame: &Value) -> Value {
    world.ask(&request(id, &frame.to_string())).await
}

/// Connects and joins with presence, as clients do.
async fn comes(world: &World, id: &str, user: &str) -> Value {
    world
        .join_as(id, "lobby", user, now_ms() / 1000 + 7_800)
        .await;
    let joined = ask(world, id, &enter(&json!({"mood": id}))).await;
    assert_eq!(joined["type"], "joined", "{joined}");
    joined
}

/// Ends a connection with a close code.
async fn ends(world: &World, id: &str, code: i64) {
    let event = Request {
        close_code: Some(code),
        ..request(id, "")
    };
    disconnect(&world.app.presence, &event).await;
}

#[tokio::test]
async fn those_who_ask_for_presence_are_told_and_nobody_else_is() {
    let world = World::new().await;
    world.join("plain", "lobby").await;
    let joined = comes(&world, "b", "bob").await;
    assert_eq!(
        (&joined["presence"], &joined["count"]),
        (&json!("live"), &json!(2))
    );
    comes(&world, "a", "alice").await;
    let mut frame = world.peers.frames("b").remove(0);
    let at = frame.as_object_mut().unwrap().remove("at").unwrap();
    assert!((now_ms() - at.as_i64().unwrap()) < 60_000);
    assert_eq!(
        frame,
        json!({
            "type": "presence", "room": "lobby", "event": "join", "user": "alice",
            "connections": 1, "state": {"mood": "a"}, "count": 3,
        })
    );

    let ack = ask(
        &world,
        "a",
        &json!({"action": "presence", "room": "lobby", "state": null, "id": "p"}),
    )
    .await;
    assert_eq!(
        (&ack["type"], &ack["id"], &ack["room"]),
        (&json!("ack"), &json!("p"), &json!("lobby"))
    );
    let update = world.peers.frames("b").remove(1);
    assert_eq!(
        (&update["event"], update.get("state")),
        (&json!("update"), None)
    );

    ends(&world, "a", 1000).await;
    let leave = world.peers.frames("b").remove(2);
    assert_eq!(
        (
            &leave["event"],
            &leave["holdMs"],
            &leave["connections"],
            &leave["count"]
        ),
        (&json!("leave"), &json!(10_000), &json!(0), &json!(2))
    );
    assert!(world.peers.texts("plain").is_empty());
    // Bob came before alice, and nobody hears of itself.
    assert_eq!(told(&world, "a"), []);
}

/// Without presence no action makes a request more than before, and no row is different.
#[tokio::test]
async fn who_does_not_want_it_pays_nothing() {
    let world = World::lobby().await;
    for presence in [json!(null), json!(false)] {
        let frame = json!({"action": "join", "room": "lobby", "presence": presence});
        let joined = ask(&world, "a", &frame).await;
        assert_eq!((joined.get("presence"), joined.get("count")), (None, None));
    }
    let before = world.tap.counts();
    ends(&world, "a", 1006).await;
    world
        .ask_leave("b", r#"{"action":"leave","room":"lobby"}"#)
        .await;
    let after = world.tap.counts();
    let of = |counts: &[(String, usize)], name: &str| {
        counts
            .iter()
            .find(|(call, _)| call == name)
            .map_or(0, |(_, n)| *n)
    };
    for (call, more) in [
        ("DeleteItem", 2),
        ("Query", 1),
        ("Query room-index", 0),
        ("GetItem", 0),
    ] {
        assert_eq!(of(&after, call) - of(&before, call), more, "{call}");
    }
    assert!(world.peers.tried().is_empty());
}

/// The connection that replaces another, a second device, and the end of each.
#[tokio::test]
async fn another_connection_of_the_same_user_is_silent() {
    let world = World::new().await;
    comes(&world, "b", "bob").await;
    comes(&world, "a1", "alice").await;
    assert_eq!(told(&world, "b"), events(&[("join", "alice")]));
    for n in 2..6 {
        let (old, new) = (format!("a{}", n - 1), format!("a{n}"));
        comes(&world, &new, "alice").await;
        ends(&world, &old, 1000).await;
    }
    comes(&world, "phone", "alice").await;
    world
        .ask_leave("phone", r#"{"action":"leave","room":"lobby"}"#)
        .await;
    assert_eq!(told(&world, "b"), events(&[("join", "alice")]));
    // A connection that nobody was told of does not stand for the user.
    world
        .join_as("plain", "lobby", "alice", now_ms() / 1000 + 600)
        .await;
    ends(&world, "a5", 1000).await;
    assert_eq!(
        told(&world, "b"),
        events(&[("join", "alice"), ("leave", "alice")])
    );
}

/// The index shows rows that are gone: the user is announced all the same.
#[tokio::test]
async fn a_row_that_only_the_index_shows_silences_nobody() {
    let world = World::new().await;
    comes(&world, "b", "bob").await;
    // She left a moment ago, and comes back.
    world
        .tap
        .index_shows(Some(&[("b", "bob"), ("gone", "alice")]));
    comes(&world, "a", "alice").await;
    assert_eq!(told(&world, "b"), events(&[("join", "alice")]));
    // Two devices that leave at the same moment: each still sees the other in the index.
    world.tap.index_shows(None);
    comes(&world, "phone", "alice").await;
    let shown = [("b", "bob"), ("a", "alice"), ("phone", "alice")];
    world.tap.index_shows(Some(&shown));
    ends(&world, "a", 1000).await;
    ends(&world, "phone", 1000).await;
    assert_eq!(
        told(&world, "b"),
        events(&[("join", "alice"), ("leave", "alice")])
    );
}

/// Each of two tabs sees the other standing. The one that connected first announces the user.
#[tokio::test]
async fn two_devices_that_join_at_the_same_moment_are_announced() {
    let world = World::new().await;
    comes(&world, "b", "bob").await;
    for (round, user) in ["alice", "carol", "dave"].into_iter().enumerate() {
        let ids = [1, 2, 3].map(|n| format!("{user}-{n}"));
        for id in &ids {
            world
                .join_as(id, "lobby", user, now_ms() / 1000 + 7_800)
                .await;
        }
        let frame = enter(&json!(round));
        join_all(ids.iter().map(|id| ask(&world, id, &frame))).await;
        let told = told(&world, "b");
        assert!(
            told.contains(&("join".to_owned(), user.to_owned())),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_join_that_is_sent_again_is_told_again_for_a_minute_only() {
    let world = World::new().await;
    comes(&world, "b", "bob").await;
    comes(&world, "a", "alice").await;
    let again = enter(&json!({"mood": "a"})).to_string();
    // The function may have died after its write.
    world.ask(&request("a", &again)).await;
    let joins = events(&[("join", "alice"), ("join", "alice")]);
    assert_eq!(told(&world, "b"), joins);
    // A client that joins again to look for lost messages.
    let later = Request {
        now_ms: now_ms() + 61_000,
        ..request("a", &again)
    };
    let before = world
        .tap
        .counts()
        .into_iter()
        .find(|(call, _)| call == "UpdateItem");
    let joined = world.ask(&later).await;
    assert_eq!(
        (&joined["presence"], &joined["count"]),
        (&json!("live"), &json!(2))
    );
    assert_eq!(told(&world, "b"), joins);
    let after = world
        .tap
        .counts()
        .into_iter()
        .find(|(call, _)| call == "UpdateItem");
    assert_eq!(before, after, "nothing is written");
    // Another state is news.
    let other = Request {
        now_ms: now_ms() + 62_000,
        ..request("a", &enter(&json!(2)).to_string())
    };
    world.ask(&other).await;
    assert_eq!(told(&world, "b").last().unwrap().0, "update");
}

#[tokio::test]
async fn a_further_room_is_announced_once_its_row_is_checked() {
    let world = World::new().await;
    comes(&world, "b", "bob").await;
    world.join("a", "garden").await;
    let joined = ask(&world, "a", &enter(&json!(1))).await;
    assert_eq!(
        (&joined["presence"], &joined["count"]),
        (&json!("live"), &json!(2))
    );
    assert_eq!(told(&world, "b"), events(&[("join", "user-a")]));
    // The connection has ended: its row goes, and nobody is told.
    world.join("c", "garden").await;
    world.peers.gone("c");
    assert_eq!(
        ask(&world, "c", &enter(&json!(1))).await["name"],
        "not_a_member"
    );
    assert_eq!(told(&world, "b").len(), 1);
}

#[tokio::test]
async fn a_room_above_the_limit_has_a_count_and_no_events() {
    let world = World::new().await;
    for id in ["a", "b", "c"] {
        world.present(id, "lobby", id).await;
    }
    let small = world.presence(3);
    let big = world.presence(2);
    let log = &world.app.log;
    let enter = request("a", &enter(&json!(1)).to_string());
    let joined = body(&chat::join(&big, log, &world.users, &world.frames, &enter).await);
    assert_eq!(
        (&joined["presence"], &joined["count"]),
        (&json!("count"), &json!(3))
    );
    assert!(world.peers.tried().is_empty());
    let update = request("a", r#"{"action":"presence","room":"lobby","state":2}"#);
    let refused = body(&chat::join(&big, log, &world.users, &world.frames, &update).await);
    assert_eq!(refused["name"], "room_too_large");
    let list = request("a", r#"{"action":"members","state":true}"#);
    let listed = body(&members(&big, &world.frames, &list).await);
    assert_eq!(
        (&listed["mode"], &listed["count"]),
        (&json!("count"), &json!(3))
    );
    assert!(listed["members"][0].get("presence").is_none());
    let leaves = request("c", r#"{"action":"leave","room":"lobby"}"#);
    leave(&big, &world.frames, &leaves).await;
    // It is at the limit again.
    assert_eq!(told(&world, "b"), events(&[("leave", "c")]));

    // At the limit it is live.
    world.present("c", "lobby", "c").await;
    body(&chat::join(&small, log, &world.users, &world.frames, &update).await);
    assert_eq!(told(&world, "c"), events(&[("update", "a")]));
}

/// Instead of events: the number of connections in the messages of a room above the limit, from its list of members, which
/// is read anyway.
#[tokio::test]
async fn messages_of_a_large_room_have_its_count() {
    let world = World::new().await;
    let count = async |id: &str| {
        let ack = world.publish(id, r#"{"action":"publish","data":1}"#).await;
        assert_eq!(ack["type"], "ack", "{ack}");
        world
            .peers
            .frames("c001")
            .pop()
            .unwrap()
            .get("count")
            .cloned()
    };
    let expires_at = now_ms() / 1000 + 600;
    let members = (0..100).map(|n| (format!("c{n:03}"), "user"));
    world.join_many("lobby", members, expires_at).await;
    assert_eq!(count("c000").await, None);
    world.join_as("c100", "lobby", "user", expires_at).await;
    assert_eq!(count("c000").await, Some(json!(101)));
    let page = world.ask_history("c000", r#"{"action":"history"}"#).await;
    assert!(
        page["messages"][1].get("count").is_none(),
        "the log has none"
    );
}

#[tokio::test]
async fn off_means_as_before() {
    let world = World::lobby().await;
    let off = world.presence(0);
    let log = &world.app.log;
    let enter = request("a", &enter(&json!(1)).to_string());
    let joined = body(&chat::join(&off, log, &world.users, &world.frames, &enter).await);
    assert_eq!((joined.get("presence"), joined.get("count")), (None, None));
    let update = request("a", r#"{"action":"presence","room":"lobby","state":2}"#);
    let refused = body(&chat::join(&off, log, &world.users, &world.frames, &update).await);
    assert_eq!(refused["name"], "room_too_large");
    assert!(
        world
            .items()
            .await
            .iter()
            .all(|row| !row.contains_key("presence"))
    );
    let list = request("a", r#"{"action":"members","state":true,"probe":true}"#);
    let listed = body(&members(&off, &world.frames, &list).await);
    assert_eq!((listed.get("mode"), listed.get("at")), (None, None));
}

#[tokio::test]
async fn mistakes_are_told() {
    let world = World::lobby().await;
    let large = "x".repeat(1_023);
    for (frame, text) in [
        (
            json!({"action": "join", "presence": 1}),
            "presence must be true or an object",
        ),
        (
            json!({"action": "join", "presence": {"state": large}}),
            "presence.state is too large: 1025 bytes, at most 1024",
        ),
        (json!({"action": "presence"}), "state is missing"),
        (
            json!({"action": "presence", "state": large}),
            "state is too large",
        ),
    ] {
        let mut frame = frame;
        frame["room"] = "lobby".into();
        let error = ask(&world, "a", &frame).await;
        assert_eq!(error["name"], "bad_request", "{frame}: {error}");
        assert!(
            error["message"].as_str().unwrap().starts_with(text),
            "{error}"
        );
    }
    let error = ask(&world, "a", &json!({"action": "presence", "state": 1})).await;
    assert_eq!(error["message"], "room is missing");
    let elsewhere = json!({"action": "presence", "room": "garden", "state": 1});
    assert_eq!(ask(&world, "a", &elsewhere).await["name"], "not_a_member");
    for field in ["state", "probe"] {
        let frame = json!({"action": "members", field: 1}).to_string();
        let error = world.ask_members("a", &frame).await;
        assert_eq!(error["message"], format!("{field} must be true or false"));
    }
    // A state at the limit.
    let most = json!({"action": "presence", "room": "lobby", "state": "x".repeat(1_022)});
    assert_eq!(ask(&world, "a", &most).await["type"], "ack");
}

/// A connection that joined without presence wants it from its first state on.
#[tokio::test]
async fn a_state_makes_a_member_present() {
    let world = World::new().await;
    comes(&world, "b", "bob").await;
    world.join("a", "lobby").await;
    let frame = json!({"action": "presence", "room": "lobby", "state": 1});
    assert_eq!(ask(&world, "a", &frame).await["type"], "ack");
    assert_eq!(told(&world, "b"), events(&[("join", "user-a")]));
    ends(&world, "a", 1000).await;
    assert_eq!(told(&world, "b").len(), 2);
}

#[tokio::test]
async fn the_name_of_the_token_is_shown() {
    let world = World::new().await;
    comes(&world, "b", "bob").await;
    world
        .join_as("a", "lobby", "alice", now_ms() / 1000 + 600)
        .await;
    let caller = Caller::Verified(Box::new(Identity {
        user: "alice".to_owned(),
        name: Some("Alice B.".to_owned()),
        grants: Grants::everywhere(),
        exp: None,
        iat: None,
    }));
    let frame = Request {
        caller,
        ..request("a", &enter(&json!(null)).to_string())
    };
    world.ask(&frame).await;
    ends(&world, "a", 1000).await;
    for frame in world.peers.frames("b") {
        assert_eq!(frame["name"], "Alice B.");
    }
    assert_eq!(world.peers.frames("b").len(), 2);
}

/// The list has the state that was set last, and the age of the oldest connection.
#[tokio::test]
async fn members_with_states() {
    let world = World::new().await;
    world.join("plain", "lobby").await;
    world.present("b", "lobby", "bob").await;
    comes(&world, "a1", "alice").await;
    comes(&world, "a2", "alice").await;
    let update = json!({"action": "presence", "room": "lobby", "state": {"mood": "new"}});
    ask(&world, "a1", &update).await;
    let listed = world
        .ask_members("b", r#"{"action":"members","state":true,"id":"m"}"#)
        .await;
    assert_eq!(
        (&listed["mode"], &listed["count"], &listed["id"]),
        (&json!("live"), &json!(4), &json!("m"))
    );
    assert!((now_ms() - listed["at"].as_i64().unwrap()) < 60_000);
    let of = |n: usize| listed["members"][n].clone();
    assert_eq!(
        (
            &of(0)["user"],
            &of(0)["connections"],
            &of(0)["presence"],
            &of(0)["state"]
        ),
        (
            &json!("alice"),
            &json!(2),
            &json!(true),
            &json!({"mood": "new"})
        )
    );
    assert!(of(0)["since"].as_i64().unwrap() <= now_ms());
    assert_eq!(
        (&of(1)["user"], &of(1)["presence"], of(1).get("state")),
        (&json!("bob"), &json!(true), None)
    );
    assert_eq!(of(2), json!({"user": "user-plain", "connections": 1}));
    let plain = world.ask_members("b", r#"{"action":"members"}"#).await;
    assert!(plain.get("mode").is_none() && plain["members"][0].get("presence").is_none());
}

/// 120 states of 1 KB: more than one BatchGetItem, and more than one page.
#[tokio::test]
async fn many_states_come_in_pages() {
    let world = World::new().await;
    let state = "x".repeat(1_000);
    for n in 0..130 {
        let id = format!("c{n:03}");
        world.present(&id, "lobby", &id).await;
        let state = serde_json::value::to_raw_value(&state).unwrap();
        let announced = Announced {
            state: Some(&state),
            name: None,
            at: 5,
        };
        let connections = &world.app.connections;
        let written = connections.announce(&id, "lobby", &announced, now_ms() / 1000);
        assert!(written.await.unwrap().is_some());
    }
    let presence = world.presence(1_000);
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let frame = json!({"action": "members", "state": true, "limit": 1_000, "after": after});
        let reply = members(
            &presence,
            &world.frames,
            &request("c000", &frame.to_string()),
        )
        .await;
        assert!(reply.body.as_ref().unwrap().len() <= 131_072);
        let page = body(&reply);
        for member in page["members"].as_array().unwrap() {
            assert_eq!(member["state"], state);
            seen.push(member["user"].as_str().unwrap().to_owned());
        }
        after = seen.last().unwrap().clone();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen.len(), 130);
    assert!(seen.is_sorted());
}

/// Whoever looks probes: a dead connection of a silent room is found, removed from all rooms and told of.
#[tokio::test]
async fn a_probe_finds_the_dead() {
    let world = World::with(None, |delivery| {
        delivery.prune_grace = Duration::from_secs(30)
    })
    .await;
    for id in ["a", "b", "d"] {
        world.present(id, "lobby", id).await;
    }
    world.present("d", "garden", "d").await;
    world.present("g", "garden", "g").await;
    world.peers.gone("d");
    let list = r#"{"action":"members","room":"lobby","probe":true,"state":true}"#;
    let listed = world.ask_members("a", list).await;
    assert_eq!(listed["count"], 2, "{listed}");
    assert_eq!(
        world
            .rows()
            .await
            .iter()
            .filter(|(id, _)| id == "d")
            .count(),
        0
    );
    for (id, room) in [("a", "lobby"), ("b", "lobby"), ("g", "garden")] {
        let frame = world.peers.frames(id).remove(0);
        assert_eq!(
            (&frame["event"], &frame["user"], &frame["room"]),
            (&json!("leave"), &json!("d"), &json!(room))
        );
    }
    // Alive, or young: stays.
    world.join_since("young", "lobby", 1).await;
    world.peers.gone("young");
    for _ in 0..3 {
        assert_eq!(world.ask_members("a", list).await["count"], 3);
    }
    let asked = world.peers.asked();
    assert!(
        !asked.contains(&"a".to_owned()) && !asked.contains(&"young".to_owned()),
        "{asked:?}"
    );
    // Without the wish nobody is probed.
    let before = world.peers.asked().len();
    world
        .ask_members("a", r#"{"action":"members","state":true}"#)
        .await;
    assert_eq!(world.peers.asked().len(), before);
}

/// Members that ask in turn probe every connection, whatever chance says.
#[tokio::test]
async fn a_round_of_probes_covers_the_room() {
    let world = World::new().await;
    for n in 0..20 {
        world
            .present(&format!("c{n:02}"), "lobby", &format!("u{n:02}"))
            .await;
    }
    for n in 0..20 {
        let id = format!("c{n:02}");
        world
            .ask_members(&id, r#"{"action":"members","probe":true}"#)
            .await;
    }
    let mut asked = world.peers.asked();
    assert_eq!(asked.len(), 60, "three each");
    asked.dedup();
    assert_eq!(asked.len(), 20);
}

/// A message finds the dead, and the others are told of them.
#[tokio::test]
async fn a_message_that_finds_the_dead_tells_of_them() {
    let world = World::new().await;
    for id in ["a", "b", "d"] {
        world.present(id, "lobby", id).await;
    }
    world.peers.gone("d");
    let ack = world.publish("a", r#"{"action":"publish","data":1}"#).await;
    assert_eq!((&ack["delivered"], &ack["gone"]), (&json!(1), &json!(1)));
    assert_eq!(told(&world, "b"), events(&[("leave", "d")]));
    assert_eq!(told(&world, "a"), events(&[("leave", "d")]));
}

/// Forty connections are cut at once. Each leave is posted to the living alone, or nearly so.
#[tokio::test]
async fn a_mass_cut_posts_to_the_living() {
    let world = World::new().await;
    const DEAD: usize = 40;
    const LIVING: usize = 8;
    for n in 0..DEAD + LIVING {
        world
            .present(&format!("c{n:02}"), "lobby", &format!("u{n:02}"))
            .await;
    }
    // API Gateway notices one after the other.
    join_all((0..DEAD).map(async |n| {
        sleep(Duration::from_millis(5 * n as u64)).await;
        ends(&world, &format!("c{n:02}"), 1006).await;
    }))
    .await;
    let living = |id: &str| id >= format!("c{DEAD:02}").as_str();
    let (to_living, to_dead): (Vec<String>, Vec<String>) =
        world.peers.tried().into_iter().partition(|id| living(id));
    // On a slow machine some posts are given up.
    assert!(to_living.len() > DEAD, "{to_living:?}");
    assert!(
        to_living.len() + to_dead.len() <= 2 * DEAD * LIVING,
        "{} posts to the dead",
        to_dead.len()
    );
    assert_eq!(world.rows().await.len(), LIVING);
}

/// A member that hangs delays an event by the time for posts alone, and a failure of the tables does not undo what is
/// done.
#[tokio::test]
async fn a_member_that_hangs_holds_nobody_up() {
    let world = World::new().await;
    comes(&world, "slow", "slow").await;
    comes(&world, "b", "bob").await;
    world.peers.on_post("slow", &[Answer::Hang]);
    let started = Instant::now();
    assert_eq!(comes(&world, "a", "alice").await["type"], "joined");
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "the post has a minute"
    );
    assert_eq!(told(&world, "b"), events(&[("join", "alice")]));
    world.tap.fail("Query room-index", 0, "InternalServerError");
    let left = world
        .ask_leave("b", r#"{"action":"leave","room":"lobby"}"#)
        .await;
    assert_eq!(left["type"], "left");
    assert_eq!(world.rows().await.len(), 2);
}
