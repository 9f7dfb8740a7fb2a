//! 410 Gone: the connections that are removed, and those that stay.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use serde_json::json;

use crate::support::{Answer, World, now_ms};

const FRAME: &str = r#"{"action":"publish","data":1,"room":"lobby"}"#;

fn row(id: &str, room: &str) -> (String, String) {
    (id.to_owned(), room.to_owned())
}

/// The counts of an ack.
async fn counts(world: &World) -> serde_json::Value {
    let ack = world.publish("a", FRAME).await;
    json!({"delivered": ack["delivered"], "gone": ack["gone"], "failed": ack["failed"]})
}

#[tokio::test]
async fn a_dead_connection_is_confirmed_and_forgotten_in_all_its_rooms() {
    let world = World::with(Some(2), |_| ()).await;
    for id in ["a", "b", "dead"] {
        world.join(id, "lobby").await;
    }
    for room in ["x", "y", "z"] {
        world.join("dead", room).await;
    }
    world.peers.gone("dead");

    assert_eq!(
        counts(&world).await,
        json!({"delivered": 1, "gone": 1, "failed": 0})
    );
    assert_eq!(world.rows().await, [row("a", "lobby"), row("b", "lobby")]);
    // It is asked for once, and no other connection is.
    assert_eq!(world.peers.asked(), ["dead"]);
    assert_eq!(world.peers.closed(), ["dead"]);

    // The next message does not meet it.
    assert_eq!(
        counts(&world).await,
        json!({"delivered": 1, "gone": 0, "failed": 0})
    );
}

#[tokio::test]
async fn a_bare_410_counts_as_gone() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    world.join("dead", "lobby").await;
    world.peers.on_post("dead", &[Answer::Bare(410)]);
    world.peers.on_get("dead", Answer::Bare(410));
    assert_eq!(
        counts(&world).await,
        json!({"delivered": 0, "gone": 1, "failed": 0})
    );
    assert_eq!(world.rows().await, [row("a", "lobby")]);
}

#[tokio::test]
async fn a_410_is_not_tried_again() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    world.join("dead", "lobby").await;
    world.peers.gone("dead");
    world.publish("a", FRAME).await;
    assert_eq!(world.peers.tried(), ["dead"]);
}

#[tokio::test]
async fn a_living_connection_survives_a_false_410() {
    for second_opinion in [
        Answer::Ok,
        Answer::Error(403, "ForbiddenException"),
        Answer::Error(500, ""),
    ] {
        let world = World::new().await;
        world.join("a", "lobby").await;
        world.join("b", "lobby").await;
        world.peers.on_post("b", &[Answer::GONE]);
        world.peers.on_get("b", second_opinion);
        assert_eq!(
            counts(&world).await,
            json!({"delivered": 0, "gone": 0, "failed": 1}),
            "{second_opinion:?}"
        );
        assert_eq!(
            world.rows().await,
            [row("a", "lobby"), row("b", "lobby")],
            "{second_opinion:?}"
        );
        assert!(world.peers.closed().is_empty());
    }
}

#[tokio::test]
async fn a_living_connection_that_is_twice_said_to_be_gone_is_closed() {
    let world = World::lobby().await;
    world.peers.on_post("b", &[Answer::GONE]);
    world.peers.on_get("b", Answer::GONE);
    assert_eq!(
        counts(&world).await,
        json!({"delivered": 0, "gone": 1, "failed": 0})
    );
    assert_eq!(world.peers.closed(), ["b"]);
    assert_eq!(world.rows().await, [row("a", "lobby")]);
}

#[tokio::test]
async fn a_connection_that_cannot_be_closed_keeps_its_rows() {
    let world = World::lobby().await;
    world.join("dead", "lobby").await;
    world.peers.gone("dead");
    world
        .peers
        .on_delete("dead", Answer::Error(403, "ForbiddenException"));
    world.publish("a", FRAME).await;
    assert_eq!(world.rows().await.len(), 3);
    world.peers.on_delete("dead", Answer::GONE);
    world.publish("a", FRAME).await;
    assert_eq!(world.rows().await, [row("a", "lobby"), row("b", "lobby")]);
}

#[tokio::test]
async fn an_ack_does_not_wait_for_all_dead_connections() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    for n in 0..300 {
        let id = format!("dead{n}");
        world.join(&id, "lobby").await;
        world.peers.gone(&id);
    }
    // 32 at a time make 160 in a second at most.
    world.peers.ask_delay(Duration::from_millis(200));
    let ack = world.publish("a", FRAME).await;
    let gone = ack["gone"].as_u64().unwrap();
    assert!(gone <= 160, "{ack}");
    assert_eq!(ack["failed"], 300 - gone, "{ack}");
    // The next messages remove the rest.
    world.peers.ask_delay(Duration::ZERO);
    for _ in 0..100 {
        if world.rows().await.len() == 1 {
            return;
        }
        world.publish("a", FRAME).await;
    }
    panic!("{} rows are left", world.rows().await.len());
}

#[tokio::test]
async fn a_connection_whose_handshake_may_still_run_is_not_forgotten() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    world.join_since("old", "lobby", 31).await;
    // $connect may take 29 s, and until then API Gateway answers 410 to everything.
    world.join_since("young", "lobby", 29).await;
    world.peers.gone("old");
    world.peers.gone("young");
    assert_eq!(
        counts(&world).await,
        json!({"delivered": 0, "gone": 2, "failed": 0})
    );
    assert_eq!(
        world.rows().await,
        [row("a", "lobby"), row("young", "lobby")]
    );
    assert_eq!(world.peers.closed(), ["old"]);
}

#[tokio::test]
async fn the_grace_can_be_set() {
    let world = World::with(None, |delivery| delivery.prune_grace = Duration::ZERO).await;
    world.join("a", "lobby").await;
    world.join_since("young", "lobby", 0).await;
    world.peers.gone("young");
    world.publish("a", FRAME).await;
    assert_eq!(world.rows().await, [row("a", "lobby")]);
}

#[tokio::test]
async fn a_row_without_a_birthday_is_old() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    world
        .put(HashMap::from([
            ("connectionId".to_owned(), S("dead".to_owned())),
            ("room".to_owned(), S("lobby".to_owned())),
            ("user".to_owned(), S("bot".to_owned())),
            ("expiresAt".to_owned(), N("99999999999".to_owned())),
        ]))
        .await;
    world.peers.gone("dead");
    world.publish("a", FRAME).await;
    assert_eq!(world.rows().await, [row("a", "lobby")]);
}

#[tokio::test]
async fn a_row_written_anew_since_it_was_read_stays() {
    let world = World::new().await;
    let born = now_ms();
    world.join_since("b", "lobby", 0).await;
    world
        .app
        .connections
        .delete_if_old("b", "lobby", born - 1_000)
        .await
        .unwrap();
    assert_eq!(world.rows().await, [row("b", "lobby")]);
    world
        .app
        .connections
        .delete_if_old("b", "lobby", born + 1_000)
        .await
        .unwrap();
    // A missing row counts as deleted.
    world
        .app
        .connections
        .delete_if_old("b", "lobby", born)
        .await
        .unwrap();
    assert!(world.rows().await.is_empty());
}

#[tokio::test]
async fn the_sender_is_never_posted_to_and_never_forgotten() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    world.join("b", "lobby").await;
    world.peers.gone("a");
    assert_eq!(
        counts(&world).await,
        json!({"delivered": 1, "gone": 0, "failed": 0})
    );
    assert_eq!(world.rows().await, [row("a", "lobby"), row("b", "lobby")]);
}

#[tokio::test]
async fn a_failing_table_does_not_spoil_the_ack() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    world.join("b", "lobby").await;
    world.join("dead", "lobby").await;
    world.peers.gone("dead");
    world.tap.fail("DeleteItem", 0, "ResourceNotFoundException");
    assert_eq!(
        counts(&world).await,
        json!({"delivered": 1, "gone": 1, "failed": 0})
    );
}

#[tokio::test]
async fn many_dead_connections_are_forgotten_at_once() {
    let world = World::new().await;
    world.join("a", "lobby").await;
    for n in 0..30 {
        let id = format!("dead{n}");
        world.join(&id, "lobby").await;
        world.peers.gone(&id);
    }
    // Within a second before the ack; the next message takes the rest.
    for _ in 0..100 {
        assert_eq!(counts(&world).await["delivered"], 0);
        if world.rows().await.len() == 1 {
            break;
        }
    }
    assert_eq!(world.rows().await, [row("a", "lobby")]);
}

#[tokio::test]
async fn the_ack_does_not_wait_for_a_connection_that_cannot_be_confirmed() {
    let world = World::new().await;
    for id in ["a", "dead"] {
        world.join(id, "lobby").await;
    }
    world.peers.gone("dead");
    world.peers.on_get("dead", Answer::Hang);
    // The request has a minute, and so has its GetConnection.
    let counts = tokio::time::timeout(std::time::Duration::from_secs(20), counts(&world)).await;
    assert_eq!(
        counts.unwrap(),
        json!({"delivered": 0, "gone": 0, "failed": 1})
    );
    assert_eq!(world.rows().await.len(), 2);
}
