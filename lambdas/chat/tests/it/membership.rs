//! Joining and leaving: what `connect` writes and `disconnect` removes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use chat::disconnect;
use serde_json::Value;

use crate::support::{World, handshake, request};

#[tokio::test]
async fn connect_writes_one_row_of_exactly_this_shape() {
    let world = World::new().await;
    let request = handshake(
        "c1",
        &[
            ("room", "Αθήνα"),
            ("user", "alice"),
            ("rooms", "x"),
            ("token", "y"),
        ],
    );
    let reply = world.connect(&request).await;
    assert_eq!((reply.status, reply.body), (200, None));

    let expected = HashMap::from([
        ("connectionId".to_owned(), S("c1".to_owned())),
        ("room".to_owned(), S("Αθήνα".to_owned())),
        ("user".to_owned(), S("alice".to_owned())),
        ("connectedAt".to_owned(), N(request.now_ms.to_string())),
        (
            "expiresAt".to_owned(),
            N((request.now_ms / 1000 + 7_800).to_string()),
        ),
    ]);
    assert_eq!(world.items().await, [expected]);
    assert_eq!(world.tap.counts(), [("PutItem".to_owned(), 1)]);
}

#[tokio::test]
async fn connect_without_names_is_a_guest_in_the_lobby() {
    let world = World::new().await;
    for id in ["c1", "c2"] {
        assert_eq!(world.connect(&handshake(id, &[])).await.status, 200);
    }
    let items = world.items().await;
    let users: Vec<&String> = items
        .iter()
        .map(|item| item["user"].as_s().unwrap())
        .collect();
    assert!(
        items
            .iter()
            .all(|item| item["room"] == S("lobby".to_owned()))
    );
    assert!(
        users
            .iter()
            .all(|user| user.starts_with("guest-") && user.len() == 12),
        "{users:?}"
    );
    assert_ne!(users[0], users[1]);
}

#[tokio::test]
async fn connect_refuses_bad_names_and_writes_nothing() {
    let world = World::new().await;
    for (query, message) in [
        (
            &[("room", "a b")][..],
            "room may hold letters, digits, combining marks and - _ . : only, not a space",
        ),
        (&[("room", "")], "room must not be empty"),
        (&[("user", "")], "user must not be empty"),
        (
            &[("user", "@root")],
            "user must not begin with @, which is reserved",
        ),
        (
            &[("room", "a"), ("room", "a")],
            "room is given more than once",
        ),
        (
            &[("user", "a"), ("room", "b"), ("user", "c")],
            "user is given more than once",
        ),
        (
            &[("user", "undefined")],
            "user must not be \"undefined\": the client's variable has no value",
        ),
        (
            &[("user", "alice\u{3164}")],
            "user must not hold U+3164, which is invisible",
        ),
        (&[("Room", "x")], "\"Room\" is not a parameter; use room"),
        (
            &[("room", "x"), (" USER", "y")],
            "\" USER\" is not a parameter; use user",
        ),
        (
            &[("room[]", "x")],
            "\"room[]\" is not a parameter; use room",
        ),
    ] {
        let reply = world.connect(&handshake("c1", query)).await;
        assert_eq!(reply.status, 400, "{query:?}");
        let body: Value = serde_json::from_str(&reply.body.unwrap()).unwrap();
        assert_eq!(
            (&body["name"], &body["message"]),
            (&"bad_request".into(), &message.into())
        );
    }
    assert!(world.rows().await.is_empty());
    assert!(world.tap.counts().is_empty());
}

#[tokio::test]
async fn connect_never_lets_in_whom_it_could_not_write_down() {
    for error in [
        "InternalServerError",
        "ThrottlingException",
        "ResourceNotFoundException",
    ] {
        let world = World::new().await;
        world.tap.fail("PutItem", 0, error);
        let reply = world.connect(&handshake("c1", &[])).await;
        assert_eq!(reply.status, 500, "{error}");
        let body: Value = serde_json::from_str(&reply.body.unwrap()).unwrap();
        assert_eq!(
            (&body["name"], &body["temporary"]),
            (&"internal".into(), &true.into())
        );
    }
}

#[tokio::test]
async fn disconnect_removes_every_row_of_the_connection_over_all_pages() {
    let world = World::with(Some(3), |_| ()).await;
    for room in 0..10 {
        world.join("c1", &format!("room-{room}")).await;
    }
    world.join_since("c1", "expired", 9_000).await;
    world.join("c2", "room-1").await;

    let reply = disconnect(&world.app.presence, &request("c1", "")).await;
    assert_eq!((reply.status, reply.body), (200, None));
    assert_eq!(world.rows().await, [("c2".to_owned(), "room-1".to_owned())]);
    let counts = world.tap.counts();
    assert_eq!(
        counts,
        [("DeleteItem".to_owned(), 11), ("Query".to_owned(), 4)]
    );

    // Again, and for a connection that never was.
    for id in ["c1", "c3"] {
        assert_eq!(
            disconnect(&world.app.presence, &request(id, ""))
                .await
                .status,
            200
        );
    }
    assert_eq!(world.rows().await.len(), 1);
}

#[tokio::test]
async fn disconnect_answers_200_even_when_it_fails_and_deletes_what_it_can() {
    let world = World::new().await;
    world.join("c1", "a").await;
    world.join("c1", "b").await;
    world.tap.fail("DeleteItem", 1, "ResourceNotFoundException");
    assert_eq!(
        disconnect(&world.app.presence, &request("c1", ""))
            .await
            .status,
        200
    );
    assert_eq!(world.rows().await.len(), 1);
    world.tap.fail("Query", 0, "ResourceNotFoundException");
    assert_eq!(
        disconnect(&world.app.presence, &request("c1", ""))
            .await
            .status,
        200
    );
}
