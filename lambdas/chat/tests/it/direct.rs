//! Messages to one user: who gets them, who can read them, and the conversation in the inboxes.

use chat::identity::{Auth, Caller};
use chat::lambda::{Reply, Request};
use chat::{App, history, join, leave, members, personal, publish, signal};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Logged, World, body, now_ms, request};

/// A verified user of an authorizer that grants every room.
fn user(name: &str) -> Caller {
    with_pairs(name, true)
}

fn with_pairs(name: &str, direct_messages: bool) -> Caller {
    let context =
        json!({"user": name, "rooms": r#"{"*":["join","history","publish","moderate"]}"#});
    Caller::new(
        Auth::Required { direct_messages },
        &serde_json::from_value(context).unwrap(),
    )
}

fn says(caller: &Caller, id: &str, frame: &Value) -> Request {
    Request {
        caller: caller.clone(),
        ..request(id, &frame.to_string())
    }
}

/// alice and bob with two devices each, and mallory with one. They have connected in this order of devices.
async fn devices(order: &[&str]) -> World {
    let world = World::new().await;
    for id in order {
        let user = match *id {
            "a" | "a2" => "alice",
            "b" | "b2" => "bob",
            _ => "mallory",
        };
        let expires = now_ms() / 1000 + 600;
        world.join_as(id, &format!("@{user}"), user, expires).await;
    }
    world
}

async fn people() -> World {
    devices(&["a", "a2", "b", "b2", "m"]).await
}

fn to(user: &str, id: &str) -> Value {
    json!({"action": "publish", "to": user, "data": "hi", "id": id})
}

async fn say(app: &App, caller: &Caller, device: &str, frame: &Value) -> Value {
    body(&publish(app, &says(caller, device, frame)).await)
}

/// Returns the answer of the function that serves the frame's action. A signal's error is posted.
async fn ask(world: &World, caller: &Caller, device: &str, frame: &Value) -> Value {
    let (connections, log) = (&world.app.connections, &world.app.log);
    let presence = &world.app.presence;
    let request = says(caller, device, frame);
    let reply = match frame["action"].as_str().unwrap() {
        "publish" | "sendmessage" => publish(&world.app, &request).await,
        "join" => join(presence, log, &world.users, &world.frames, &request).await,
        "leave" => leave(presence, &world.frames, &request).await,
        "history" | "heads" => history(connections, log, &world.frames, &request).await,
        "members" => members(presence, &world.frames, &request).await,
        "mark" | "marks" | "block" | "unblock" => {
            personal(Some(&world.desk(100)), &world.frames, &request).await
        }
        "signal" => {
            let before = world.peers.frames(device).len();
            assert_eq!(signal(&world.signals(100), &request).await, Reply::ok());
            return world
                .peers
                .frames(device)
                .into_iter()
                .nth(before)
                .unwrap_or_default();
        }
        other => panic!("{other}"),
    };
    body(&reply)
}

fn conversations(log: &[Logged]) -> Vec<(Option<&str>, Value, Option<u64>)> {
    log.iter()
        .filter(|row| row.user.is_some())
        .map(|row| {
            assert_eq!(row.kind.as_deref(), Some("conversation"));
            assert_eq!(row.user.as_deref(), Some("system"));
            let data = serde_json::from_str(row.data.as_deref().unwrap()).unwrap();
            (row.id.as_deref(), data, row.n)
        })
        .collect()
}

#[tokio::test]
async fn a_message_to_a_user_reaches_every_device_of_both_in_every_order() {
    for order in [
        ["a", "a2", "b", "b2"],
        ["b2", "b", "a2", "a"],
        ["a", "b", "a2", "b2"],
        ["b", "a", "b2", "a2"],
    ] {
        let world = devices(&order).await;
        for (index, (device, name, other)) in [("a", "alice", "bob"), ("b2", "bob", "alice")]
            .into_iter()
            .enumerate()
        {
            let ack = say(
                &world.app,
                &user(name),
                device,
                &to(other, &format!("m{index}")),
            )
            .await;
            assert_eq!(ack["room"], "@alice&bob", "{ack}");
            assert_eq!(
                (&ack["seq"], &ack["delivered"]),
                (&json!(index + 1), &json!(3))
            );
        }
        for device in order {
            let heard: Vec<String> = world
                .peers
                .frames(device)
                .iter()
                .map(|frame| {
                    assert_eq!(
                        (&frame["type"], &frame["room"]),
                        (&json!("message"), &json!("@alice&bob"))
                    );
                    frame["from"].as_str().unwrap().to_owned()
                })
                .collect();
            let all = ["alice", "bob"];
            let own = match device {
                "a" => &all[1..],
                "b2" => &all[..1],
                _ => &all[..],
            };
            assert_eq!(heard, own, "{device} of {order:?}");
        }
        let log = world.log("@alice&bob").await;
        assert_eq!(log.len(), 3);
        // One conversation in each inbox, which names the other.
        let epoch = &log[0].epoch;
        let id = format!("conv:{epoch}");
        for (inbox, other) in [("@alice", "bob"), ("@bob", "alice")] {
            assert_eq!(
                conversations(&world.log(inbox).await),
                [(
                    Some(id.as_str()),
                    json!({"room": "@alice&bob", "user": other}),
                    Some(0)
                )]
            );
        }
    }
}

#[tokio::test]
async fn the_pair_room_has_all_that_a_room_has() {
    let world = people().await;
    let (alice, bob) = (user("alice"), user("bob"));
    // Nobody has said anything: the question begins the log, and nothing is in the inboxes.
    let question = json!({"action": "join", "room": "@alice&bob", "id": "j"});
    let joined = ask(&world, &bob, "b", &question).await;
    assert_eq!(
        (&joined["type"], &joined["user"], &joined["head"]),
        (&json!("joined"), &json!("bob"), &json!(0)),
        "{joined}"
    );
    let epoch = joined["epoch"].clone();
    assert!(world.log("@bob").await.is_empty());
    let rows = world.rows().await;
    assert!(
        rows.iter().all(|(_, room)| room != "@alice&bob"),
        "{rows:?}"
    );

    let first = say(&world.app, &alice, "a", &to("bob", "m1")).await;
    assert_eq!((&first["epoch"], &first["n"]), (&epoch, &json!(1)));
    // By its name it is the same room, and the same message.
    let named = json!({"action": "sendmessage", "room": "@alice&bob", "data": "hi", "id": "m1", "after": 0});
    let again = say(&world.another_process(), &alice, "a2", &named).await;
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&json!(1), &json!(true))
    );
    let mut other = to("bob", "m1");
    other["data"] = "other".into();
    assert_eq!(
        say(&world.app, &alice, "a", &other).await["name"],
        "id_conflict"
    );
    say(&world.app, &bob, "b", &to("alice", "m2")).await;

    let since =
        json!({"action": "join", "room": "@alice&bob", "since": {"epoch": epoch, "seq": 0}});
    let resumed = ask(&world, &alice, "a2", &since).await;
    assert_eq!(
        (
            &resumed["recovered"],
            resumed["messages"].as_array().unwrap().len()
        ),
        (&json!(true), 2)
    );
    let page = json!({"action": "history", "room": "@alice&bob", "after": 1});
    let page = ask(&world, &bob, "b2", &page).await;
    assert_eq!(
        (&page["headN"], &page["messages"][0]["from"]),
        (&json!(2), &json!("bob"))
    );
    for (caller, device, inbox) in [(&alice, "a", "@alice"), (&bob, "b", "@bob")] {
        let frame = json!({"action": "history", "room": inbox});
        let listed = ask(&world, caller, device, &frame).await;
        let [entry] = &listed["messages"].as_array().unwrap()[..] else {
            panic!("{listed}");
        };
        assert_eq!(
            (&entry["kind"], &entry["from"]),
            (&json!("conversation"), &json!("system"))
        );
        let rooms = json!({"action": "heads", "rooms": [entry["data"]["room"]]});
        let heads = ask(&world, caller, device, &rooms).await;
        assert_eq!(
            heads["heads"]["@alice&bob"],
            json!({"epoch": epoch, "head": 2, "n": 2})
        );
    }
    let typing = json!({"action": "signal", "room": "@alice&bob", "kind": "typing"});
    let before = world.peers.order().len();
    assert_eq!(ask(&world, &alice, "a", &typing).await, Value::Null);
    let mut heard = world.peers.order().split_off(before);
    heard.sort();
    assert_eq!(heard, ["a2", "b", "b2"]);
}

/// Every action of a stranger, who may do everything in every other room.
#[tokio::test]
async fn nobody_but_the_two_does_anything_in_a_pair_room() {
    let world = people().await;
    say(&world.app, &user("alice"), "a", &to("bob", "m1")).await;
    let before = (world.items().await, world.tap.counts(), world.peers.order());
    let strangers = [
        (user("mallory"), "m"),
        (Caller::Anyone, "m"),
        // A member of the pair, where direct messages are off.
        (with_pairs("alice", false), "a"),
    ];
    for (caller, device) in &strangers {
        for frame in [
            json!({"action": "publish", "room": "@alice&bob", "data": 1}),
            json!({"action": "sendmessage", "room": "@alice&bob", "data": 1}),
            json!({"action": "join", "room": "@alice&bob"}),
            json!({"action": "join", "room": "@alice&bob", "history": 100}),
            json!({"action": "leave", "room": "@alice&bob"}),
            json!({"action": "history", "room": "@alice&bob"}),
            json!({"action": "history", "room": "@alice&bob", "after": 0}),
            json!({"action": "members", "room": "@alice&bob"}),
            json!({"action": "heads", "rooms": ["@alice&bob"]}),
            json!({"action": "mark", "room": "@alice&bob", "epoch": "E", "seq": 1, "n": 1}),
            json!({"action": "mark", "room": "@alice&bob", "epoch": "E", "seq": 1, "n": 1, "public": true}),
            json!({"action": "publish", "room": "@bob", "data": 1}),
            json!({"action": "history", "room": "@bob"}),
            json!({"action": "heads", "rooms": ["@bob"]}),
            json!({"action": "join", "room": "@bob"}),
            json!({"action": "leave", "room": "@bob"}),
            json!({"action": "members", "room": "@bob"}),
            json!({"action": "publish", "room": "@bob&alice", "data": 1}),
            json!({"action": "history", "room": "@bob&alice"}),
        ] {
            let answer = ask(&world, caller, device, &frame).await;
            let name = answer["name"]
                .as_str()
                .unwrap_or_else(|| panic!("{frame}: {answer}"));
            assert!(
                ["forbidden", "bad_request"].contains(&name),
                "{frame}: {answer}"
            );
            assert!(!answer.to_string().contains("\"hi\""));
        }
    }
    // No row was read or written, and no frame posted.
    let after = (world.items().await, world.tap.counts(), world.peers.order());
    assert_eq!(before, after);
    for (caller, device) in &strangers {
        for room in ["@alice&bob", "@bob"] {
            let frame = json!({"action": "signal", "room": room, "kind": "typing"});
            let error = ask(&world, caller, device, &frame).await;
            assert_eq!(error["name"], "forbidden", "{error}");
        }
    }
    // Nobody writes into an inbox, not even its owner.
    let frame = json!({"action": "publish", "room": "@alice", "data": 1});
    assert_eq!(
        ask(&world, &user("alice"), "a", &frame).await["name"],
        "forbidden"
    );
}

#[tokio::test]
async fn wrong_addresses_are_told() {
    let world = people().await;
    let alice = user("alice");
    for (frame, text) in [
        (json!({"to": "alice"}), "to must be another user"),
        (json!({"to": "a&b"}), "to may hold"),
        (json!({"to": "@bob"}), "to must not begin with @"),
        (json!({"to": "system"}), "to must not begin with system"),
        (json!({"to": ""}), "to must have 1 to"),
        (json!({"to": 7}), "to must be a string"),
        (
            json!({"to": "bob", "room": "lobby"}),
            "give room or to, not both",
        ),
        (
            json!({"room": "@bob&alice"}),
            "room must name its two users in order of code points",
        ),
        (json!({"room": "@bob&bob"}), "room must name two users"),
    ] {
        let mut frame = frame;
        frame["action"] = "publish".into();
        frame["data"] = 1.into();
        let error = say(&world.app, &alice, "a", &frame).await;
        assert_eq!(error["name"], "bad_request", "{error}");
        assert!(
            error["message"].as_str().unwrap().starts_with(text),
            "{error}"
        );
    }
    let error = say(&world.app, &Caller::Anyone, "a", &to("bob", "m")).await;
    assert_eq!(
        (&error["name"], &error["message"]),
        (
            &json!("forbidden"),
            &json!("this needs verified users, and this service does not verify names")
        )
    );
    assert_eq!(world.tap.counts(), []);
}

#[tokio::test]
async fn who_is_blocked_writes_nothing_until_unblocked() {
    let world = people().await;
    let (alice, bob) = (user("alice"), user("bob"));
    say(&world.app, &alice, "a", &to("bob", "m1")).await;
    let heard = world.peers.order().len();
    let block = |action: &str| json!({"action": action, "user": "alice", "id": "k"});
    let ack = ask(&world, &bob, "b", &block("block")).await;
    let at = ack["at"].clone();
    assert_eq!(
        ack,
        json!({"type": "ack", "id": "k", "user": "alice", "at": at})
    );
    for app in [&world.app, &world.another_process()] {
        let error = say(app, &alice, "a", &to("bob", "m2")).await;
        assert_eq!(
            (&error["name"], &error["message"], error.get("right")),
            (
                &json!("forbidden"),
                &json!("this user wants no messages from you"),
                None
            )
        );
    }
    // Neither a signal nor a public mark gets through, but she may read what was said, and he may still write.
    let typing = json!({"action": "signal", "room": "@alice&bob", "kind": "typing"});
    assert_eq!(ask(&world, &alice, "a", &typing).await["name"], "forbidden");
    let mark = json!({"action": "mark", "room": "@alice&bob", "epoch": "E", "seq": 1, "n": 1, "public": true});
    assert_eq!(ask(&world, &alice, "a", &mark).await["name"], "forbidden");
    let told = world.peers.order().split_off(heard);
    assert_eq!(told, ["a"], "the error about the signal alone");
    let page = json!({"action": "history", "room": "@alice&bob"});
    assert_eq!(ask(&world, &alice, "a", &page).await["head"], 1);
    assert_eq!(
        say(&world.app, &bob, "b", &to("alice", "m3")).await["seq"],
        2
    );
    ask(&world, &bob, "b", &block("unblock")).await;
    assert_eq!(
        say(&world.app, &alice, "a", &to("bob", "m2")).await["seq"],
        3
    );
    // A block that cannot be read refuses the message.
    world
        .tap
        .fail("GetItem users", 0, "ResourceNotFoundException");
    assert_eq!(
        say(&world.app, &alice, "a", &to("bob", "m4")).await["name"],
        "internal"
    );
    assert_eq!(world.log("@alice&bob").await.len(), 4);
}

/// Both begin at once, over several processes: one log, and one conversation in each inbox.
#[tokio::test]
async fn a_conversation_that_both_begin_is_entered_once() {
    for round in 0..8 {
        let world = people().await;
        let apps: Vec<App> = (0..4).map(|_| world.another_process()).collect();
        let (alice, bob) = (user("alice"), user("bob"));
        let sent = apps.iter().enumerate().map(|(n, app)| {
            let (alice, bob) = (&alice, &bob);
            async move {
                let id = format!("m{}", n / 2);
                if n % 2 == 0 {
                    say(app, alice, "a", &to("bob", &id)).await
                } else {
                    say(app, bob, "b", &to("alice", &id)).await
                }
            }
        });
        for ack in join_all(sent).await {
            assert_eq!(ack["type"], "ack", "{round}: {ack}");
        }
        let log = world.log("@alice&bob").await;
        assert_eq!(log.len(), 5);
        for inbox in ["@alice", "@bob"] {
            assert_eq!(conversations(&world.log(inbox).await).len(), 1, "{round}");
        }
    }
}

/// The entries stand before the message does: each call of the first message fails in turn, and whatever is stored then is
/// in the inboxes.
#[tokio::test]
async fn a_message_is_never_stored_without_its_conversation() {
    for put in 0..=6 {
        for lost in [false, true] {
            let world = people().await;
            let alice = user("alice");
            if lost {
                world.tap.lose("PutItem messages", put);
            } else {
                world
                    .tap
                    .fail("PutItem messages", put, "InternalServerError");
            }
            say(&world.app, &alice, "a", &to("bob", "m1")).await;
            if world
                .log("@alice&bob")
                .await
                .iter()
                .any(|row| row.user.is_some())
            {
                for inbox in ["@alice", "@bob"] {
                    assert_eq!(
                        conversations(&world.log(inbox).await).len(),
                        1,
                        "{put} {lost}"
                    );
                }
            }
            // The retry completes it, once.
            world.tap.heal();
            let ack = say(&world.another_process(), &alice, "a", &to("bob", "m1")).await;
            assert_eq!(ack["seq"], 1, "{put} {lost}: {ack}");
            for inbox in ["@alice", "@bob"] {
                assert_eq!(
                    conversations(&world.log(inbox).await).len(),
                    1,
                    "{put} {lost}"
                );
            }
            assert_eq!(world.log("@alice&bob").await.len(), 2);
        }
    }
}

/// After all of a pair room has expired the conversation begins anew, also within the minute in which a writer must not
/// trust the tail.
#[tokio::test]
async fn a_new_epoch_is_a_new_conversation() {
    for left_s in [-5, 30] {
        let world = people().await;
        let alice = user("alice");
        let first = say(&world.app, &alice, "a", &to("bob", "m1")).await;
        world.expire_in("@alice&bob", 1, left_s).await;
        let second = say(&world.another_process(), &alice, "a", &to("bob", "m2")).await;
        assert_ne!(first["epoch"], second["epoch"]);
        // A beginning takes the number between.
        assert_eq!((&second["seq"], &second["n"]), (&json!(3), &json!(1)));
        let log = world.log("@bob").await;
        let entered = conversations(&log);
        assert_eq!(entered.len(), 2, "{left_s}");
        assert_eq!(
            entered[1].0,
            Some(format!("conv:{}", second["epoch"].as_str().unwrap()).as_str())
        );
    }
}
