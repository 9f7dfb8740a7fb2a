//! Failures on the way, and the answers of the sender.

use std::time::Duration;

use aws_sdk_apigatewaymanagement::primitives::Blob;
use chat::delivery::Posted;
use serde_json::{Value, json};

use crate::support::{Answer, World};

const FRAME: &str = r#"{"action":"publish","data":1,"room":"lobby","id":"m"}"#;

/// A world where `a` publishes to `b`, `c` and `d`.
async fn lobby() -> World {
    let world = World::with(None, |delivery| {
        delivery.concurrency = 2;
        delivery.post_timeout = Duration::from_secs(60);
    })
    .await;
    for id in ["a", "b", "c", "d"] {
        world.join(id, "lobby").await;
    }
    world
}

fn counts(ack: &Value) -> Value {
    json!({"delivered": ack["delivered"], "gone": ack["gone"], "failed": ack["failed"]})
}

#[tokio::test]
async fn throttles_and_failures_of_a_moment_are_got_over() {
    for answer in [
        Answer::THROTTLED,
        Answer::Bare(429),
        Answer::Error(500, "InternalServerErrorException"),
        Answer::Bare(500),
        Answer::Bare(502),
        Answer::Bare(503),
        Answer::Bare(504),
    ] {
        let world = lobby().await;
        world.peers.on_post("b", &[answer, answer, Answer::Ok]);
        let ack = world.publish("a", FRAME).await;
        assert_eq!(
            counts(&ack),
            json!({"delivered": 3, "gone": 0, "failed": 0}),
            "{answer:?}"
        );
        assert_eq!(world.peers.tried(), ["b", "b", "b", "c", "d"], "{answer:?}");
    }
}

#[tokio::test]
async fn lasting_failures_of_one_member_are_counted_and_stop_nobody_else() {
    for (answer, tries) in [
        (Answer::THROTTLED, 3),
        (Answer::Bare(500), 3),
        (Answer::Error(400, "BadRequestException"), 1),
        (Answer::Error(403, "ForbiddenException"), 1),
        (Answer::Error(413, "PayloadTooLargeException"), 1),
    ] {
        let world = lobby().await;
        world.peers.on_post("b", &[answer]);
        let ack = world.publish("a", FRAME).await;
        assert_eq!(
            counts(&ack),
            json!({"delivered": 2, "gone": 0, "failed": 1}),
            "{answer:?}"
        );
        assert_eq!(world.peers.texts("b").len(), tries, "{answer:?}");
        assert_eq!(world.rows().await.len(), 4, "{answer:?}");
    }
}

#[tokio::test]
async fn more_throttled_posts_than_the_sdk_s_own_bucket_has_tokens_for_are_tried_again() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    for n in 0..150 {
        let id = format!("c{n}");
        world.join(&id, "lobby").await;
        world.peers.on_post(&id, &[Answer::THROTTLED, Answer::Ok]);
    }
    let ack = world.publish("a", FRAME).await;
    assert_eq!(
        counts(&ack),
        json!({"delivered": 150, "gone": 0, "failed": 0})
    );
}

#[tokio::test]
async fn a_member_that_hangs_holds_one_slot_and_nothing_else() {
    let world = World::with(None, |delivery| {
        delivery.concurrency = 2;
        delivery.attempt_timeout = Duration::from_millis(500);
        delivery.post_timeout = Duration::from_secs(2);
    })
    .await;
    for id in ["a", "b", "c", "d", "e"] {
        world.join(id, "lobby").await;
    }
    world.peers.on_post("b", &[Answer::Hang]);
    let ack = world.publish("a", FRAME).await;
    assert_eq!(
        counts(&ack),
        json!({"delivered": 3, "gone": 0, "failed": 1})
    );
    // The members that waited when `b` hung did not wait for its timeout: all others came before its second try.
    let order = world.peers.order();
    let second_try = order
        .iter()
        .enumerate()
        .filter(|(_, id)| *id == "b")
        .nth(1)
        .map(|(n, _)| n);
    assert_eq!(second_try, Some(4), "{order:?}");
}

#[tokio::test]
async fn a_try_that_hangs_is_given_up_and_tried_again() {
    let world = World::with(None, |delivery| {
        delivery.attempt_timeout = Duration::from_millis(500)
    })
    .await;
    world.join("a", "lobby").await;
    world.join("b", "lobby").await;
    world.peers.on_post("b", &[Answer::Hang, Answer::Ok]);
    let ack = world.publish("a", FRAME).await;
    assert_eq!(
        counts(&ack),
        json!({"delivered": 1, "gone": 0, "failed": 0})
    );
}

#[tokio::test]
async fn who_is_in_no_room_or_another_is_no_member() {
    let world = lobby().await;
    world.join("e", "elsewhere").await;
    for (id, frame, message) in [
        ("e", FRAME, "this connection is not in the room lobby"),
        ("f", FRAME, "this connection is not in the room lobby"),
        (
            "f",
            r#"{"action":"publish","data":1,"id":"m"}"#,
            "this connection is in no room; connect with ?room=NAME",
        ),
    ] {
        let error = world.publish(id, frame).await;
        assert_eq!(
            error,
            json!({
                "type": "error", "id": "m", "action": "publish", "code": 403, "name": "not_a_member",
                "message": message, "temporary": false,
            })
        );
    }
    assert!(world.peers.tried().is_empty());
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_refused_before_anything_is_read() {
    let world = lobby().await;
    for (frame, message) in [
        (
            r#"{"action":"publish"}"#,
            r#"data is missing; to say something, send {"action":"publish","data":"hi"}"#,
        ),
        (
            r#"{"action":"publish","data":1,"id":7}"#,
            "id must be a string",
        ),
        (
            r#"{"action":"publish","data":1,"id":""}"#,
            "id must have 1 to 64 characters",
        ),
        (
            r#"{"action":"publish","data":1,"room":["a"]}"#,
            "room must be a string",
        ),
        (
            r#"{"action":"publish","data":1,"room":"a b"}"#,
            "room may hold letters, digits, combining marks and - _ . : only, not a space",
        ),
        (
            r#"{"action":"publish","data":{"a":["\ud800"]}}"#,
            r"data holds a lone surrogate (\ud800 to \udfff): cut text between characters, not within one",
        ),
        (
            r#"{"action":"publish","data":1e400}"#,
            "data holds a number outside the range of a double: 1e400",
        ),
        (
            &format!(
                r#"{{"action":"publish","data":{}{}}}"#,
                "[".repeat(15_000),
                "]".repeat(15_000)
            ),
            "data is nested deeper than 32 levels",
        ),
    ] {
        let error = world.publish("a", frame).await;
        assert_eq!(
            (&error["name"], &error["message"]),
            (&"bad_request".into(), &message.into()),
            "{frame}"
        );
    }
    assert!(world.tap.counts().is_empty());
}

#[tokio::test]
async fn a_message_too_large_for_its_members_is_sent_to_nobody() {
    let world = lobby().await;
    // Fits the frame of the sender, and not the one of the members, which says more: as much as the longest number.
    let envelope = r#"{"type":"message","room":"lobby","seq":18446744073709551615,"epoch":"01ARZ3NDEKTSV4RRFFQ69G5FAV","n":18446744073709551615,"id":"m","from":"user-a","data":"","received":1234567890,"at":1234567890123}"#;
    let fits = |extra: usize| {
        let data = "x".repeat(130_047 - envelope.len() + extra);
        format!(r#"{{"action":"publish","room":"lobby","id":"m","data":"{data}"}}"#)
    };
    let ack = world.publish("a", &fits(0)).await;
    assert_eq!(ack["delivered"], 3);
    let longest = world.peers.texts("b")[0].len();
    assert_eq!(longest, 130_047 - 2 * 19);
    // It is also a page of its own, however long the rest of the frame is.
    let id = "\\u0001".repeat(64);
    let page = world
        .ask_history_text("b", &format!(r#"{{"action":"history","id":"{id}"}}"#))
        .await;
    assert!(page.contains(&world.peers.texts("b")[0]));
    assert!(page.len() < 131_072, "{}", page.len());

    let error = world.publish("a", &fits(1)).await;
    assert_eq!(
        error,
        json!({
            "type": "error", "id": "m", "action": "publish", "code": 413, "name": "payload_too_large",
            "message": "the message is too large: 130048 bytes as sent to members, at most 130047",
            "temporary": false,
        })
    );
    assert_eq!(world.peers.tried().len(), 3);
    assert_eq!(world.log("lobby").await.len(), 2);
}

#[tokio::test]
async fn a_throttling_table_says_slow_down() {
    for operation in ["GetItem", "Query room-index", "Query messages"] {
        let world = lobby().await;
        world.tap.fail(operation, 0, "ThrottlingException");
        let error = world.publish("a", FRAME).await;
        assert_eq!(
            error,
            json!({
                "type": "error", "id": "m", "action": "publish", "code": 429, "name": "slow_down",
                "message": "the service is busy; try again in a moment", "temporary": true, "retryAfterMs": 1_000,
            }),
            "{operation}"
        );
        assert!(world.peers.tried().is_empty());
        assert!(world.log("lobby").await.is_empty());
    }
}

#[tokio::test]
async fn a_failing_table_says_internal_and_nothing_of_itself() {
    for operation in ["GetItem", "Query room-index", "Query messages"] {
        let world = lobby().await;
        world.tap.fail(operation, 0, "ResourceNotFoundException");
        let error = world.publish("a", FRAME).await;
        assert_eq!(
            error,
            json!({
                "type": "error", "id": "m", "action": "publish", "code": 500, "name": "internal",
                "message": "the service failed; try again", "temporary": true, "requestId": "r",
            }),
            "{operation}"
        );
    }
}

#[tokio::test]
async fn a_table_that_fails_half_way_is_admitted() {
    let world = World::with(Some(2), |_| ()).await;
    for id in ["a", "b", "c", "d", "e", "f"] {
        world.join(id, "lobby").await;
    }
    world
        .tap
        .fail("Query room-index", 3, "ResourceNotFoundException");
    // The message is stored, so the answer is an ack. Members that it has not reached find it in the log.
    let ack = world.publish("a", FRAME).await;
    assert_eq!(
        (&ack["type"], &ack["seq"], &ack["partial"]),
        (&"ack".into(), &1.into(), &true.into())
    );
    assert_eq!(
        counts(&ack),
        json!({"delivered": 3, "gone": 0, "failed": 0})
    );
    assert_eq!(world.peers.tried().len(), 3);
}

#[tokio::test]
async fn the_log_is_told_the_cause_and_not_just_that_there_was_one() {
    let world = World::new().await;
    // Short for the peer that hangs alone: a busy machine needs time for the other answers.
    let impatient = World::with(None, |delivery| {
        delivery.attempt_timeout = Duration::from_millis(100);
        delivery.post_timeout = Duration::from_millis(300);
    })
    .await;
    for (world, answer, text) in [
        (
            &world,
            Answer::Error(403, "ForbiddenException"),
            "status 403: service error: ForbiddenException",
        ),
        (
            &world,
            Answer::Error(400, "BadRequestException"),
            "status 400: service error: unhandled error (BadRequestException)",
        ),
        (&world, Answer::Bare(500), "status 500: "),
        (&impatient, Answer::Hang, "request has timed out: "),
    ] {
        world.peers.on_post("b", &[answer]);
        let posted = world.app.management.post("b", Blob::new("hi")).await;
        let Posted::Failed(cause) = posted else {
            panic!("{posted:?}")
        };
        assert!(cause.starts_with(text), "{cause}");
    }
    world.tap.fail("GetItem", 0, "ResourceNotFoundException");
    let error = world
        .app
        .connections
        .membership("b", "lobby", 0)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(
            "reading the connection's row failed: service error: ResourceNotFoundException"
        ),
        "{error}"
    );
}
