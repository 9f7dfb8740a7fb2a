//! Publishing when the time of the invocation runs out.

use std::time::Duration;

use aws_sdk_apigatewaymanagement::primitives::Blob;
use chat::delivery::{Outcome, fan_out};
use chat::errors::TableError;
use chat::lambda::Request;
use futures::stream;
use tokio::time::Instant;

use crate::support::{Answer, World, body, request};

type Page = Result<Vec<String>, TableError>;

fn page(ids: std::ops::Range<usize>) -> Page {
    Ok(ids.map(|n| format!("c{n}")).collect())
}

async fn fan_out_within(world: &World, pages: Vec<Page>, left: Duration) -> Outcome {
    let pages = stream::iter(pages);
    fan_out(
        &world.app.management,
        pages,
        "c0",
        &Blob::new("hi"),
        4,
        Instant::now() + left,
    )
    .await
}

#[tokio::test]
async fn with_a_second_left_no_post_is_started_and_the_rest_is_counted() {
    let world = World::new().await;
    let pages = vec![page(0..10), page(10..20), page(20..30)];
    let outcome = fan_out_within(&world, pages, Duration::from_millis(900)).await;
    assert_eq!(
        (outcome.delivered, outcome.failed, outcome.partial),
        (0, 29, false)
    );
    assert!(world.peers.tried().is_empty());
}

#[tokio::test]
async fn posts_in_flight_are_given_up_before_the_deadline() {
    let world = World::new().await;
    for n in 0..20 {
        world.peers.on_post(&format!("c{n}"), &[Answer::Hang]);
    }
    let deadline = Instant::now() + Duration::from_millis(1_500);
    let outcome = fan_out_within(&world, vec![page(0..20)], Duration::from_millis(1_500)).await;
    assert!(Instant::now() < deadline);
    assert_eq!(
        (outcome.delivered, outcome.failed, outcome.partial),
        (0, 19, false)
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_read_in_time_is_admitted() {
    use futures::StreamExt;
    let world = World::new().await;
    let pages = stream::iter(vec![page(0..5)]).chain(stream::pending());
    let deadline = Instant::now() + Duration::from_millis(1_500);
    let outcome = fan_out(
        &world.app.management,
        pages,
        "c0",
        &Blob::new("hi"),
        4,
        deadline,
    )
    .await;
    assert!(Instant::now() < deadline);
    assert_eq!(
        (outcome.delivered, outcome.failed, outcome.partial),
        (4, 0, true)
    );
}

#[tokio::test]
async fn the_ack_is_returned_in_time_when_everybody_hangs() {
    let world = World::new().await;
    for n in 0..20 {
        let id = format!("c{n}");
        world.join(&id, "lobby").await;
        world.peers.on_post(&id, &[Answer::Hang]);
    }
    let frame = request("c0", r#"{"action":"publish","data":1}"#);
    let frame = Request {
        deadline: frame.started + Duration::from_secs(3),
        ..frame
    };
    let ack = body(&chat::publish(&world.app, &frame).await);
    assert!(Instant::now() < frame.deadline);
    assert_eq!((&ack["delivered"], &ack["failed"]), (&0.into(), &19.into()));
}

#[tokio::test]
async fn a_stored_message_is_acknowledged_when_its_data_cannot_be_read_in_time() {
    let world = World::lobby().await;
    let frame = r#"{"action":"publish","room":"lobby","id":"m","data":1}"#;
    world.publish("a", frame).await;
    // The rows that came since are read; the data of the first copy is not.
    let _held = world.tap.hold("Query messages", 1);
    let frame = request("a", frame);
    let frame = Request {
        deadline: frame.started + Duration::from_millis(1_500),
        ..frame
    };
    let ack = body(&chat::publish(&world.app, &frame).await);
    assert!(Instant::now() < frame.deadline);
    assert_eq!(
        (
            &ack["type"],
            &ack["seq"],
            &ack["duplicate"],
            &ack["partial"]
        ),
        (&"ack".into(), &1.into(), &true.into(), &true.into())
    );
}

#[tokio::test]
async fn connections_that_cannot_be_confirmed_in_time_are_left_alone() {
    let world = World::new().await;
    for id in ["a", "dead"] {
        world.join(id, "lobby").await;
    }
    world.peers.gone("dead");
    world.peers.on_get("dead", Answer::Hang);
    let frame = request("a", r#"{"action":"publish","data":1}"#);
    let frame = Request {
        deadline: frame.started + Duration::from_secs(3),
        ..frame
    };
    let ack = body(&chat::publish(&world.app, &frame).await);
    assert!(Instant::now() < frame.deadline);
    assert_eq!((&ack["gone"], &ack["failed"]), (&0.into(), &1.into()));
    assert_eq!(world.rows().await.len(), 2);
}
