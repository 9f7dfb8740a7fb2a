//! The actions of the contract, each in its own rooms.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::prices::Usage;
use crate::world::World;
use kit::Client;
use kit::proxy::{Fault, Gate, Kind};

/// 100 bytes of text: a sentence.
fn sentence() -> String {
    "x".repeat(100)
}

/// Joins `size` members to a room whose log has begun.
fn room(world: &mut World, name: &str, size: usize) -> Vec<Client> {
    let mut members: Vec<Client> = (0..size)
        .map(|n| world.connect(name, &format!("user-{n:02}")))
        .collect();
    let begin = json!({"action": "join", "room": name});
    world.ask(&mut members[0], &begin, "joined");
    members
}

/// Receives a message with every member except the first.
fn hear(world: &mut World, members: &mut [Client]) {
    for member in &mut members[1..] {
        world.receive(member, "message");
    }
}

/// Publishes with the first member: all others receive the message, and the sender its ack.
fn say(world: &mut World, members: &mut [Client], frame: &Value) -> Value {
    let ack = world.ask(&mut members[0], frame, "ack");
    hear(world, members);
    ack
}

/// The name and the usage of each action.
pub(crate) fn all(world: &mut World) -> Vec<(&'static str, Usage)> {
    let mut used = Vec::new();
    connections(world, &mut used);
    rooms(world, &mut used);
    publishing(world, &mut used);
    trouble(world, &mut used);
    reading(world, &mut used);
    signals(world, &mut used);
    changes(world, &mut used);
    backend(world, &mut used);
    presence(world, &mut used);
    used
}

type Used = Vec<(&'static str, Usage)>;

fn connections(world: &mut World, used: &mut Used) {
    let mut alice = None;
    let usage = world.measure(|world| alice = Some(world.connect("c-1", "alice")));
    used.push(("connect", usage));
    let usage = world.measure(|world| world.refused("room=@c"));
    used.push(("connect, refused", usage));
    let mut alice = alice.unwrap();
    let usage = world.measure(|world| {
        world.ask(&mut alice, &json!({"action": "ping"}), "pong");
    });
    used.push(("ping", usage));
    let usage = world.measure(|world| {
        world.ask(&mut alice, &json!({"action": "dance"}), "error");
    });
    used.push(("a frame of no action", usage));
    let usage = world.measure(|world| {
        world.ask(&mut alice, &json!({"action": "publish"}), "error");
    });
    used.push(("publish, a wrong frame", usage));
    let usage = world.measure(|world| world.leave(alice));
    used.push(("disconnect", usage));

    let mut bob = world.connect("c-1", "bob");
    for room in ["c-2", "c-3"] {
        world.ask(&mut bob, &json!({"action": "join", "room": room}), "joined");
    }
    let usage = world.measure(|world| world.leave(bob));
    used.push(("disconnect, from 3 rooms", usage));
}

fn rooms(world: &mut World, used: &mut Used) {
    let mut alice = world.connect("j-1", "alice");
    let usage = world.measure(|world| {
        world.ask(
            &mut alice,
            &json!({"action": "join", "room": "j-2"}),
            "joined",
        );
    });
    used.push(("join, a room that is new", usage));
    let mut bob = world.connect("j-1", "bob");
    for n in 0..20 {
        world.publish(&mut alice, "j-2", &format!("{n:02}{}", sentence()));
    }
    let usage = world.measure(|world| {
        world.ask(
            &mut bob,
            &json!({"action": "join", "room": "j-2"}),
            "joined",
        );
    });
    used.push(("join, a room with a log", usage));
    let epoch = world.publish(&mut alice, "j-2", "the end")["epoch"].clone();
    world.receive(&mut bob, "message");
    let usage = world.measure(|world| {
        let since = json!({"epoch": epoch, "seq": 11});
        let frame = json!({"action": "join", "room": "j-2", "since": since});
        let joined = world.ask(&mut bob, &frame, "joined");
        assert_eq!(joined["messages"].as_array().unwrap().len(), 10);
    });
    used.push(("join again, 10 messages missed", usage));
    let usage = world.measure(|world| {
        world.ask(&mut bob, &json!({"action": "leave", "room": "j-2"}), "left");
    });
    used.push(("leave", usage));
    world.keep([alice, bob]);
}

fn publishing(world: &mut World, used: &mut Used) {
    let mut alice = vec![world.connect("p-1", "alice")];
    let usage = world.measure(|world| {
        world.publish(&mut alice[0], "p-1", &sentence());
    });
    used.push(("publish, the first message of a room", usage));
    let usage = world.measure(|world| {
        world.publish(&mut alice[0], "p-1", &sentence());
    });
    used.push(("publish, room of 1", usage));

    let mut pair = room(world, "p-2", 2);
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "room": "p-2", "data": sentence()});
        say(world, &mut pair, &frame);
    });
    used.push(("publish, room of 2", usage));
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "data": sentence()});
        say(world, &mut pair, &frame);
    });
    used.push(("publish, room of 2, not named", usage));
    let identified =
        json!({"action": "publish", "room": "p-2", "data": sentence(), "id": "m-1", "after": 2});
    let usage = world.measure(|world| {
        say(world, &mut pair, &identified);
    });
    used.push(("publish, room of 2, with id and after", usage));
    let usage = world.measure(|world| {
        assert_eq!(say(world, &mut pair, &identified)["duplicate"], true);
    });
    used.push(("the same again", usage));
    let usage = world.measure(|world| {
        // 40 KB of text: two metered messages each way.
        let frame =
            json!({"action": "publish", "room": "p-2", "data": "x".repeat(40_000), "after": 3});
        say(world, &mut pair, &frame);
    });
    used.push(("publish, room of 2, 40 KB", usage));

    // A log of 50 messages of 1 KB each: a row is some 1,190 bytes.
    let mut talk = room(world, "p-3", 2);
    for _ in 0..60 {
        let frame = json!({"action": "publish", "room": "p-3", "data": "x".repeat(1_000)});
        say(world, &mut talk, &frame);
    }
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "room": "p-3", "data": sentence()});
        say(world, &mut talk, &frame);
    });
    used.push(("publish, after 50 of 1 KB", usage));
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "room": "p-3", "data": sentence(), "id": "m-1"});
        say(world, &mut talk, &frame);
    });
    used.push(("publish, after 50 of 1 KB, with id", usage));
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "room": "p-3", "data": sentence(), "id": "m-2", "after": 62});
        say(world, &mut talk, &frame);
    });
    used.push(("publish, after 50 of 1 KB, with id and after", usage));

    let mut crowd = room(world, "p-50", 50);
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "room": "p-50", "data": sentence(), "id": "m-1", "after": 0});
        assert_eq!(say(world, &mut crowd, &frame)["delivered"], 49);
    });
    used.push(("publish, room of 50", usage));
    for n in 0..2 {
        world
            .gateway
            .put_ghost(&format!("deadDEADdead00{n}="), "p-50", 60);
    }
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "room": "p-50", "data": sentence(), "id": "m-2", "after": 1});
        assert_eq!(say(world, &mut crowd, &frame)["gone"], 2);
    });
    used.push(("publish, room of 50, and 2 gone", usage));
    let usage = world.measure(|world| {
        world.ask(
            &mut crowd[0],
            &json!({"action": "members", "room": "p-50"}),
            "members",
        );
    });
    used.push(("members, room of 50", usage));
    for members in [crowd, talk, pair, alice] {
        world.keep(members);
    }
}

fn trouble(world: &mut World, used: &mut Used) {
    let mut pair = room(world, "t-1", 2);
    let usage = world.measure(|world| {
        // Both have read the tail before one of them writes.
        let gate = Gate::new();
        let (held, mut first) = (gate.clone(), true);
        world.proxy.rules(move |call| match call.kind {
            Kind::Append if std::mem::take(&mut first) => Fault::Hold(held.clone()),
            _ => Fault::None,
        });
        let frame = json!({"action": "publish", "room": "t-1", "data": sentence()});
        let [alice, bob] = &mut pair[..] else {
            unreachable!()
        };
        world.send(alice, &frame);
        gate.reached();
        world.send(bob, &frame);
        world.receive(bob, "ack");
        world.receive(alice, "message");
        gate.open();
        world.receive(alice, "ack");
        world.receive(bob, "message");
    });
    used.push(("publish by two at once, room of 2", usage));

    // A new process, which remembers nothing of the log: the others are killed.
    for _ in 0..60 {
        let frame = json!({"action": "publish", "room": "t-1", "data": "x".repeat(1_000)});
        say(world, &mut pair, &frame);
    }
    for _ in 0..2 {
        let mut alive = true;
        world.proxy.rules(move |call| match call.kind {
            Kind::Append if std::mem::take(&mut alive) => Fault::KillBefore,
            _ => Fault::None,
        });
        let frame = json!({"action": "publish", "room": "t-1", "data": sentence()});
        world.send(&mut pair[0], &frame);
        let error = pair[0].receive();
        assert_eq!(error["message"], "Internal server error");
    }
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "room": "t-1", "data": sentence(), "id": "m-1"});
        say(world, &mut pair, &frame);
    });
    used.push((
        "publish, after 50 of 1 KB, with id, by a fresh process",
        usage,
    ));
    world.keep(pair);
}

fn reading(world: &mut World, used: &mut Used) {
    let mut pair = room(world, "h-1", 2);
    for _ in 0..100 {
        world.publish(&mut pair[0], "h-1", &"x".repeat(500));
        hear(world, &mut pair);
    }
    let alice = &mut pair[0];
    let usage = world.measure(|world| {
        let frame = json!({"action": "history", "room": "h-1", "limit": 5});
        world.ask(alice, &frame, "history");
    });
    used.push(("history, 5 messages of 500 bytes", usage));
    let usage = world.measure(|world| {
        let frame = json!({"action": "history", "room": "h-1", "limit": 100});
        let page = world.ask(alice, &frame, "history");
        assert_eq!(page["messages"].as_array().unwrap().len(), 100);
    });
    used.push(("history, 100 messages of 500 bytes", usage));
    let usage = world.measure(|world| {
        world.ask(
            alice,
            &json!({"action": "members", "room": "h-1"}),
            "members",
        );
    });
    used.push(("members, room of 2", usage));
    let usage = world.measure(|world| {
        let frame = json!({"action": "heads", "rooms": ["h-1", "p-1", "nowhere"]});
        world.ask(alice, &frame, "heads");
    });
    used.push(("heads, 3 rooms", usage));
    world.keep(pair);
}

/// Publishing in a room of 20 that counts as busy.
pub(crate) fn busy(world: &mut World, used: &mut Used) {
    let mut members = room(world, "b-1", 20);
    let frame = json!({"action": "publish", "room": "b-1", "data": sentence()});
    // The first one makes the row of the lease.
    say(world, &mut members, &frame);
    let usage = world.measure(|world| {
        let ack = say(world, &mut members, &frame);
        assert_eq!(ack["delivered"], 19, "{ack}");
    });
    used.push(("publish, busy room of 20, when it is calm", usage));
    let far = {
        let key = json!({"room": {"S": "@deliver#b-1"}, "seq": {"N": "0"}});
        json!({
            "TableName": "roomchat-prod-messages", "Key": key,
            "UpdateExpression": "SET #until = :far", "ExpressionAttributeNames": {"#until": "until"},
            "ExpressionAttributeValues": {":far": {"N": "9999999999999"}},
        })
    };
    world.gateway.dynamodb("UpdateItem", &far);
    let usage = world.measure(|world| {
        let ack = world.ask(&mut members[0], &frame, "ack");
        assert_eq!(ack["paced"], true, "{ack}");
    });
    used.push(("publish, busy room of 20, another one delivers", usage));
    world.keep(members);
}

/// Measures the actions of a verified user that also exist without identity.
fn verified(world: &mut World, used: &mut Used) {
    let mut carol = None;
    let usage = world.measure(|world| carol = Some(world.connect_as("v-1", "carol")));
    used.push(("connect with identity", usage));
    let mut carol = carol.unwrap();
    let join = |room: &str| json!({"action": "join", "room": room});
    let usage = world.measure(|world| {
        world.ask(&mut carol, &join("v-2"), "joined");
    });
    used.push(("join with identity, a room that is new", usage));
    let usage = world.measure(|world| world.leave(carol));
    used.push(("disconnect with identity, from 2 rooms", usage));
    let mut pair = ["carol", "dave"].map(|user| world.connect_as("v-3", user));
    world.ask(&mut pair[0], &join("v-3"), "joined");
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "room": "v-3", "data": sentence()});
        say(world, &mut pair, &frame);
    });
    used.push(("publish with identity, room of 2", usage));
    let usage = world.measure(|world| {
        let frame = json!({"action": "history", "room": "v-3"});
        world.ask(&mut pair[1], &frame, "history");
    });
    used.push(("history with identity, 1 message", usage));
    world.keep(pair);
}

/// Measures the actions of verified users.
pub(crate) fn identified(world: &mut World, used: &mut Used) {
    verified(world, used);
    let mut alice = world.connect_as("i-1", "alice");
    let mut phone = world.connect_as("i-1", "alice");
    let mut bob = world.connect_as("i-1", "bob");
    let usage = world.measure(|world| {
        world.ask(
            &mut alice,
            &json!({"action": "publish", "data": sentence()}),
            "ack",
        );
        world.receive(&mut phone, "message");
        world.receive(&mut bob, "message");
    });
    used.push((
        "publish with identity, the first message of a room of 3",
        usage,
    ));

    let mark = json!({"action": "mark", "room": "i-1", "epoch": "01KAKZ8Q3V6T2M4W9XN5R7CYHB", "seq": 1, "n": 1});
    let usage = world.measure(|world| {
        world.ask(&mut alice, &mark, "ack");
        world.receive(&mut phone, "signal");
    });
    used.push(("mark, 2 devices", usage));
    let usage = world.measure(|world| {
        world.ask(&mut alice, &mark, "ack");
    });
    used.push(("mark, not newer", usage));
    let usage = world.measure(|world| {
        world.ask(&mut alice, &json!({"action": "marks"}), "marks");
    });
    used.push(("marks, 1 room", usage));
    let usage = world.measure(|world| {
        world.ask(&mut bob, &json!({"action": "block", "user": "eve"}), "ack");
    });
    used.push(("block", usage));

    let direct = json!({"action": "publish", "to": "bob", "data": sentence()});
    let mut say = |world: &mut World| {
        world.measure(|world| {
            world.ask(&mut alice, &direct, "ack");
            world.receive(&mut phone, "message");
            world.receive(&mut bob, "message");
        })
    };
    used.push((
        "publish to a user, 3 devices, the first message",
        say(world),
    ));
    used.push(("publish to a user, 3 devices", say(world)));
    world.keep([alice, phone, bob]);
}

/// The changes of a message, in a room of 2.
fn changes(world: &mut World, used: &mut Used) {
    let mut members = room(world, "e-1", 2);
    let change = |action: &str, more: &Value| {
        let mut frame =
            json!({"action": action, "room": "e-1", "target": 1, "id": action, "after": 1});
        if let (Some(frame), Some(more)) = (frame.as_object_mut(), more.as_object()) {
            frame.extend(more.clone());
        }
        frame
    };
    say(
        world,
        &mut members,
        &json!({"action": "publish", "room": "e-1", "data": sentence()}),
    );
    for (name, frame) in [
        (
            "edit, room of 2",
            change("edit", &json!({"data": sentence()})),
        ),
        ("react, room of 2", change("react", &json!({"key": "x"}))),
        ("delete, room of 2", change("delete", &json!({}))),
    ] {
        let usage = world.measure(|world| {
            say(world, &mut members, &frame);
        });
        used.push((name, usage));
    }
    world.keep(members);
}

/// The backend's calls: a message of each other member is counted, and no frame of its own.
fn backend(world: &mut World, used: &mut Used) {
    let mut members = room(world, "b-1", 3);
    let call = |action: &str, more: &Value| {
        let mut call = json!({"action": action, "room": "b-1", "id": action});
        if let (Some(call), Some(more)) = (call.as_object_mut(), more.as_object()) {
            call.extend(more.clone());
        }
        call
    };
    let data = json!({"data": sentence()});
    let usage = world.measure(|world| {
        world.invoke("roomchat-prod-admin", &call("publish", &data), "ack");
        for member in &mut members {
            world.receive(member, "message");
        }
    });
    used.push(("publish of the backend, room of 3", usage));
    let usage = world.measure(|world| {
        let user = json!({"user": "user-01"});
        world.invoke("roomchat-prod-admin", &call("kick", &user), "moderated");
        world.receive(&mut members[1], "removed");
    });
    used.push(("kick by the backend, room of 3", usage));
    world.keep(members);
}

fn signals(world: &mut World, used: &mut Used) {
    for (size, first, again) in [
        (2, "signal, room of 2", "signal, room of 2, again"),
        (50, "signal, room of 50", "signal, room of 50, again"),
    ] {
        let name = format!("s-{size}");
        let mut members = present(world, &name, size);
        let frame = json!({"action": "signal", "room": name, "kind": "typing"});
        let mut signal = |world: &mut World| {
            world.measure(|world| {
                world.send(&mut members[0], &frame);
                for member in &mut members[1..] {
                    world.receive(member, "signal");
                }
            })
        };
        // A process knows the members for 2 s. On a slow machine that may have passed, and the next one is measured.
        let (usage, known) = loop {
            let started = Instant::now();
            let usage = signal(world);
            let known = signal(world);
            if started.elapsed() < Duration::from_secs(2) {
                break (usage, known);
            }
            std::thread::sleep(Duration::from_secs(2));
        };
        used.push((first, usage));
        used.push((again, known));
        world.keep(members);
    }
}

/// A room of `size` members that want presence. Each has heard of those that came later.
fn present(world: &mut World, name: &str, size: usize) -> Vec<Client> {
    let mut members: Vec<Client> = Vec::new();
    for n in 0..size {
        let mut member = world.connect(name, &format!("user-{n:02}"));
        enter(world, &mut member, name);
        for earlier in &mut members {
            world.receive(earlier, "presence");
        }
        members.push(member);
    }
    members
}

fn enter(world: &mut World, member: &mut Client, name: &str) {
    let frame = json!({"action": "join", "room": name, "presence": {"state": {"status": "away"}}});
    assert_eq!(world.ask(member, &frame, "joined")["presence"], "live");
}

fn presence(world: &mut World, used: &mut Used) {
    let mut members = present(world, "a-50", 49);
    let hear = |world: &mut World, members: &mut [Client]| {
        for member in members {
            world.receive(member, "presence");
        }
    };
    let mut alice = world.connect("a-50", "alice");
    let usage = world.measure(|world| {
        enter(world, &mut alice, "a-50");
        hear(world, &mut members);
    });
    used.push(("join with presence, room of 50", usage));
    let mut second = world.connect("a-50", "alice");
    let usage = world.measure(|world| enter(world, &mut second, "a-50"));
    used.push(("join with presence, second connection of a user", usage));
    let usage = world.measure(|world| world.leave(second));
    used.push(("disconnect, second connection of a user", usage));
    let usage = world.measure(|world| {
        let frame = json!({"action": "presence", "room": "a-50", "state": null});
        world.ask(&mut alice, &frame, "ack");
        hear(world, &mut members);
    });
    used.push(("presence, room of 50", usage));
    let usage = world.measure(|world| {
        let frame = json!({"action": "members", "room": "a-50", "state": true, "probe": true});
        world.ask(&mut alice, &frame, "members");
    });
    used.push(("members with states and probe, room of 50", usage));
    let mut elsewhere = world.connect("a-50", "elsewhere");
    enter(world, &mut elsewhere, "a-50");
    hear(world, &mut members);
    world.receive(&mut alice, "presence");
    let usage = world.measure(|world| {
        let frame = json!({"action": "leave", "room": "a-50"});
        world.ask(&mut elsewhere, &frame, "left");
        hear(world, &mut members);
        world.receive(&mut alice, "presence");
    });
    used.push(("leave with presence, room of 51", usage));
    let usage = world.measure(|world| {
        world.leave(alice);
        hear(world, &mut members);
    });
    used.push(("disconnect with presence, room of 50", usage));
    members.push(elsewhere);
    world.keep(members);
}

/// Measures a message that a function of the deployer reviews.
pub(crate) fn reviewed(world: &mut World, used: &mut Used) {
    let mut pair = room(world, "r-1", 2);
    let usage = world.measure(|world| {
        let frame = json!({"action": "publish", "room": "r-1", "data": sentence()});
        say(world, &mut pair, &frame);
        world.expect_review();
    });
    used.push(("publish with a review, room of 2", usage));
    world.keep(pair);
}
