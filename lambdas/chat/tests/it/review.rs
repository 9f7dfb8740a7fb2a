//! The review of messages before they are stored, by a function that decides, fails and lies.

use std::time::Duration;

use chat::identity::{Auth, Caller};
use chat::lambda::Request;
use chat::settings::{LogLimits, OnFailure, ReviewSettings};
use chat::{App, Review, publish};
use futures::future::join;
use serde_json::{Value, json};

use crate::changes::stored;
use crate::support::functions::{Answer, Functions};
use crate::support::{PATIENCE, World, body, invoker, request};

/// A lobby whose messages are reviewed, by a function that allows them. On failure they are refused, if a test does not
/// change `settings`.
async fn world(set: impl FnOnce(&mut ReviewSettings)) -> (World, Functions) {
    let (mut world, functions) = (World::lobby().await, Functions::start().await);
    functions.decide(&json!({"decision": "allow"}));
    world.app = reviewed(&world.app, &functions, set);
    (world, functions)
}

fn reviewed(app: &App, functions: &Functions, set: impl FnOnce(&mut ReviewSettings)) -> App {
    let text = json!({"function_arn": "filter", "rooms": ["lobby", "@*"], "timeout_ms": 20_000, "on_failure": "refuse"});
    let text = text.to_string();
    let mut settings = ReviewSettings::read(&|_| Some(text.clone()))
        .unwrap()
        .unwrap();
    set(&mut settings);
    let review = Review::new(invoker(functions), settings);
    app.clone().reviewed(Some(review))
}

async fn says(world: &World, id: &str, frame: Value) -> Value {
    body(&publish(&world.app, &request(id, &frame.to_string())).await)
}

fn hi(id: &str) -> Value {
    json!({"action": "publish", "room": "lobby", "data": "hi", "id": id})
}

fn queries(world: &World) -> usize {
    let counts = world.tap.counts();
    let mut queries = counts.iter().filter(|(name, _)| name == "Query messages");
    queries.next().map_or(0, |(_, count)| *count)
}

#[tokio::test]
async fn a_message_is_allowed_replaced_or_denied() {
    let (world, functions) = world(|_| ()).await;
    assert_eq!(says(&world, "a", hi("m-1")).await.get("data"), None);
    let asked = functions.take().remove(0);
    assert_eq!(asked.function, "filter");
    let at = asked.event["at"].clone();
    assert_eq!(
        asked.event,
        json!({
            "version": 1, "room": "lobby", "user": "user-a", "name": null, "id": "m-1", "kind": "message",
            "data": "hi", "sourceIp": null, "at": at,
        })
    );

    let text = r#"{"decision": "replace", "data": {"b":1,"a":"**"}}"#;
    functions.answer(&[Answer::Text(text.to_owned())]);
    let ack = says(&world, "a", hi("m-2")).await;
    assert_eq!(ack["data"], json!({"b": 1, "a": "**"}));
    let heard = world.peers.texts("b").remove(1);
    assert!(heard.contains(r#""data":{"b":1,"a":"**"},"#), "{heard}");

    functions.decide(&json!({"decision": "deny", "reason": "x".repeat(300)}));
    let error = says(&world, "a", hi("m-3")).await;
    assert_eq!(
        (&error["code"], &error["name"], &error["temporary"]),
        (&406.into(), &"rejected".into(), &false.into())
    );
    assert_eq!(error["reason"], "x".repeat(200));
    assert_eq!(world.log("lobby").await.len(), 3);
    // Only the rooms that the deployer names, and only texts.
    functions.take();
    world.join("c", "garden").await;
    let garden = json!({"action": "publish", "room": "garden", "data": 1});
    assert_eq!(says(&world, "c", garden).await["type"], "ack");
    let react = json!({"action": "react", "target": 1, "key": "+1"});
    assert_eq!(says(&world, "a", react).await["type"], "ack");
    let delete = json!({"action": "delete", "target": 1});
    assert_eq!(says(&world, "a", delete).await["type"], "ack");
    assert!(functions.take().is_empty());
}

/// Also where the copy holds other data than the frame.
#[tokio::test]
async fn a_stored_message_is_not_reviewed_again() {
    let (world, functions) = world(|_| ()).await;
    functions.decide(&json!({"decision": "replace", "data": "**"}));
    let ack = says(&world, "a", hi("m")).await;
    functions.take();
    functions.decide(&json!({"decision": "deny"}));
    let again = says(&world, "a", hi("m")).await;
    assert_eq!(
        (&again["duplicate"], &again["seq"]),
        (&true.into(), &ack["seq"])
    );
    assert_eq!(world.peers.frames("b").remove(1)["data"], "**");
    // The data that was sent tell a copy, not the data that were stored.
    let mut other = hi("m");
    other["data"] = "**".into();
    assert_eq!(says(&world, "a", other).await["name"], "id_conflict");
    assert!(functions.take().is_empty());
}

/// The ack of the first try is lost, so the ack of the retry must have the data of the review.
#[tokio::test]
async fn the_ack_of_a_retry_has_the_data_that_are_stored() {
    for cold in [false, true] {
        let (mut world, functions) = world(|_| ()).await;
        functions.decide(&json!({"decision": "replace", "data": null}));
        says(&world, "a", hi("m")).await;
        functions.decide(&json!({"decision": "allow"}));
        says(&world, "a", hi("as-sent")).await;
        world.app = reviewed(&world.warm_or(cold), &functions, |_| ());
        // Delivered again, and held back.
        for delivered in [1, 0] {
            let ack = says(&world, "a", hi("m")).await;
            assert_eq!(
                (&ack["duplicate"], ack.get("data"), &ack["delivered"]),
                (&true.into(), Some(&Value::Null), &delivered.into()),
                "cold: {cold}"
            );
            let ack = says(&world, "a", hi("as-sent")).await;
            assert_eq!(
                (ack.get("data"), &ack["delivered"]),
                (None, &delivered.into())
            );
        }
        // The client must not take its own text for the stored one.
        world.app = reviewed(&world.another_process(), &functions, |_| ());
        for _ in 0..2 {
            // The search for the copy is a Query, and so is the read of its row.
            let so_far = queries(&world);
            world
                .tap
                .fail("Query messages", so_far + 1, "InternalServerError");
            let error = says(&world, "a", hi("m")).await;
            assert_eq!(
                (&error["name"], &error["temporary"]),
                (&"internal".into(), &true.into())
            );
            world.tap.heal();
        }
        let ack = says(&world, "a", hi("m")).await;
        assert_eq!(
            (ack.get("data"), &ack["delivered"]),
            (Some(&Value::Null), &1.into())
        );
    }
}

/// The client has sent the message again while the first try was slow.
#[tokio::test]
async fn of_two_tries_at_a_time_the_stored_one_tells_the_data() {
    let (world, functions) = world(|_| ()).await;
    functions.decide(&json!({"decision": "replace", "data": "**"}));
    let held = world.tap.hold("PutItem messages", 0);
    let (first, second) = join(says(&world, "a", hi("m")), async {
        held.arrived().await;
        world.tap.let_pass("PutItem messages");
        functions.decide(&json!({"decision": "allow"}));
        let second = says(&world, "a", hi("m")).await;
        held.release_all();
        second
    })
    .await;
    assert_eq!(second.get("duplicate"), None, "{second}");
    assert_eq!(
        (&first["duplicate"], first.get("data")),
        (&true.into(), None),
        "{first}"
    );
    assert_eq!(world.peers.frames("b").remove(0)["data"], "hi");
}

#[tokio::test]
async fn the_ack_of_a_retry_has_the_last_edit_and_nothing_of_a_deleted_message() {
    let (world, functions) = world(|_| ()).await;
    says(&world, "a", hi("m")).await;
    functions.decide(&json!({"decision": "replace", "data": "**"}));
    let edit = json!({"action": "edit", "target": 1, "data": "rude", "id": "e"});
    assert_eq!(says(&world, "a", edit.clone()).await["data"], "**");
    for frame in [hi("m"), edit.clone()] {
        let ack = says(&world, "a", frame).await;
        assert_eq!(
            (&ack["duplicate"], &ack["data"]),
            (&true.into(), &"**".into())
        );
    }
    let delete = json!({"action": "delete", "target": 1, "id": "d"});
    for _ in 0..2 {
        let ack = says(&world, "a", delete.clone()).await;
        assert_eq!((&ack["type"], ack.get("data")), (&"ack".into(), None));
    }
    for frame in [hi("m"), edit] {
        let ack = says(&world, "a", frame).await;
        assert_eq!(
            (&ack["type"], ack.get("data")),
            (&"ack".into(), Some(&Value::Null))
        );
    }
}

/// The entry is stored with the data of the review, and the process dies before the message is changed.
#[tokio::test]
async fn the_retry_of_an_edit_applies_the_data_of_its_entry() {
    let (world, functions) = world(|_| ()).await;
    says(&world, "a", hi("m")).await;
    functions.decide(&json!({"decision": "replace", "data": "**"}));
    functions.take();
    let edit = json!({"action": "edit", "target": 1, "data": "rude", "id": "e"});
    world
        .tap
        .fail("UpdateItem messages", 0, "InternalServerError");
    assert_eq!(says(&world, "a", edit.clone()).await["name"], "internal");
    world.tap.heal();
    let asked = functions.take().remove(0).event;
    assert_eq!(
        (&asked["kind"], &asked["target"], &asked["data"]),
        (&"edit".into(), &1.into(), &"rude".into())
    );
    let again = says(&world, "a", edit).await;
    assert_eq!(again["duplicate"], true, "{again}");
    assert!(functions.take().is_empty());
    let table = stored(&world).await;
    assert!(!table.contains("rude"), "{table}");
    let page = world.ask_history("b", r#"{"action":"history"}"#).await;
    assert_eq!(page["messages"][0]["data"], "**");
}

#[tokio::test]
async fn a_review_without_a_decision_is_refused_or_allowed() {
    let long = json!({"decision": "replace", "data": "x".repeat(140_000)}).to_string();
    let lies = [
        "",
        "null",
        "[]",
        "{}",
        r#"["allow",null,null]"#,
        r#"{"decision":1}"#,
        r#"{"decision":"maybe"}"#,
        r#"{"decision":"replace"}"#,
        "<html>",
        r#"{"decision":"replace","data":"\ud800"}"#,
        r#"{"decision":"replace","data":1e999}"#,
        r#"{"decision":"replace","data":{"a":1,"a":2}}"#,
        r#"{"decision":"deny","reason":5}"#,
        &long,
    ];
    let mut answers: Vec<Answer> = lies
        .iter()
        .map(|text| Answer::Text((*text).to_owned()))
        .collect();
    answers.extend([
        Answer::Failed,
        Answer::Refused(403, "AccessDeniedException"),
        Answer::Refused(404, "ResourceNotFoundException"),
        Answer::Refused(500, "ServiceException"),
        Answer::Cut,
    ]);
    let (refusing, functions) = world(|_| ()).await;
    let mut allowing = World::lobby().await;
    allowing.app = reviewed(&allowing.app, &functions, |settings| {
        settings.on_failure = OnFailure::Allow;
    });
    for (n, answer) in answers.into_iter().enumerate() {
        functions.answer(std::slice::from_ref(&answer));
        let error = says(&refusing, "a", hi("m")).await;
        assert_eq!(
            (&error["code"], &error["name"], &error["temporary"]),
            (&503.into(), &"unavailable".into(), &true.into()),
            "{answer:?}: {error}"
        );
        let ack = says(&allowing, "a", hi(&format!("m-{n}"))).await;
        assert_eq!(ack["type"], "ack", "{answer:?}: {ack}");
        assert_eq!(ack["seq"], n + 1);
    }
    // The same frame passes when the function answers again.
    functions.decide(&json!({"decision": "allow"}));
    let ack = says(&refusing, "a", hi("m")).await;
    assert_eq!(ack["duplicate"], Value::Null);
}

#[tokio::test]
async fn a_slow_review_ends_with_its_time_or_with_the_invocation() {
    let (world, functions) = world(|settings| settings.timeout_ms = 100).await;
    functions.answer(&[Answer::Hang]);
    assert_eq!(says(&world, "a", hi("m")).await["name"], "unavailable");
    let (world, functions) = self::world(|settings| settings.timeout_ms = 20_000).await;
    functions.answer(&[Answer::Hang]);
    let mut request = request("a", &hi("m").to_string());
    request.deadline = request.started + Duration::from_secs(3);
    let answer = body(&publish(&world.app, &request).await);
    assert_eq!(answer["name"], "unavailable");
    assert!(request.started.elapsed() < PATIENCE);
    // No log is begun for a message that nobody gets.
    assert!(world.log("lobby").await.is_empty());
}

#[tokio::test]
async fn a_message_beyond_a_limit_is_not_reviewed() {
    let (mut world, functions) = world(|_| ()).await;
    let limits = LogLimits {
        per_user: Some(1),
        per_room: None,
        window_ms: 60_000,
    };
    world.app = reviewed(&world.process(Some(limits)), &functions, |_| ());
    assert_eq!(says(&world, "a", hi("m-1")).await["type"], "ack");
    assert_eq!(says(&world, "a", hi("m-2")).await["name"], "slow_down");
    assert_eq!(functions.take().len(), 1);
}

/// Otherwise the inboxes would show a conversation without a message.
#[tokio::test]
async fn a_denied_first_message_to_a_user_begins_no_conversation() {
    let (world, functions) = world(|_| ()).await;
    let expires = crate::support::now_ms() / 1000 + 600;
    world.join_as("x", "@alice", "alice", expires).await;
    let context = serde_json::from_value(json!({"user": "alice", "name": "Alice B."})).unwrap();
    let required = Auth::Required {
        direct_messages: true,
    };
    let frame = json!({"action": "publish", "to": "bob", "data": "hi", "id": "m"});
    let to_bob = Request {
        caller: Caller::new(required, &context),
        source_ip: Some("203.0.113.9".to_owned()),
        ..request("x", &frame.to_string())
    };
    functions.decide(&json!({"decision": "deny", "reason": "no"}));
    let error = body(&publish(&world.app, &to_bob).await);
    assert_eq!(error["name"], "rejected", "{error}");
    let asked = functions.take();
    assert_eq!(
        (&asked[0].event["name"], &asked[0].event["sourceIp"]),
        (&"Alice B.".into(), &"203.0.113.9".into())
    );
    assert!(world.log("@alice").await.is_empty() && world.log("@bob").await.is_empty());
    functions.decide(&json!({"decision": "replace", "data": "**"}));
    let ack = body(&publish(&world.app, &to_bob).await);
    assert_eq!(ack["data"], "**", "{ack}");
    assert_eq!(functions.take().len(), 1);
    let log = world.log("@alice&bob").await;
    assert_eq!(log[1].data.as_deref(), Some("\"**\""));
}
