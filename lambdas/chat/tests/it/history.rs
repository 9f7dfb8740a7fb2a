//! `history`: pages of the log.

use serde_json::{Value, json};

use crate::support::World;

async fn garden(messages: usize, page_size: Option<i32>) -> World {
    let world = World::with(page_size, |_| ()).await;
    world.join("a", "garden").await;
    for n in 1..=messages {
        let frame = format!(r#"{{"action":"publish","data":{n}}}"#);
        assert_eq!(world.publish("a", &frame).await["seq"], n);
    }
    world
}

fn seqs(reply: &Value) -> Vec<u64> {
    let messages = reply["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|message| message["seq"].as_u64().unwrap())
        .collect()
}

async fn page(world: &World, fields: &Value) -> Value {
    let mut frame = json!({"action": "history"});
    for (key, value) in fields.as_object().unwrap() {
        frame[key] = value.clone();
    }
    world.ask_history("a", &frame.to_string()).await
}

#[tokio::test]
async fn pages_go_backwards_and_forwards() {
    for page_size in [None, Some(2)] {
        let world = garden(7, page_size).await;
        for (fields, expected, more) in [
            (json!({}), vec![1, 2, 3, 4, 5, 6, 7], false),
            (json!({"limit": 3}), vec![5, 6, 7], true),
            (json!({"before": 5, "limit": 3}), vec![2, 3, 4], true),
            (json!({"before": 4, "limit": 3}), vec![1, 2, 3], false),
            (json!({"before": 1}), vec![], false),
            (json!({"before": 0}), vec![], false),
            (json!({"before": 100, "limit": 1}), vec![7], true),
            (json!({"after": 0, "limit": 3}), vec![1, 2, 3], true),
            (json!({"after": 4, "limit": 3}), vec![5, 6, 7], false),
            (json!({"after": 7}), vec![], false),
            (json!({"after": u64::MAX}), vec![], false),
            (json!({"room": "garden", "after": 6}), vec![7], false),
        ] {
            let reply = page(&world, &fields).await;
            assert_eq!(seqs(&reply), expected, "{fields}");
            assert_eq!(reply["more"], more, "{fields}");
            assert_eq!((&reply["first"], &reply["head"]), (&1.into(), &7.into()));
        }
    }
}

#[tokio::test]
async fn a_page_is_cut_by_bytes_too() {
    let world = World::new().await;
    world.join("a", "garden").await;
    let data = "x".repeat(50_000);
    for _ in 0..5 {
        let frame = format!(r#"{{"action":"publish","data":"{data}"}}"#);
        world.publish("a", &frame).await;
    }
    for (frame, expected) in [
        (r#"{"action":"history"}"#, vec![4, 5]),
        (r#"{"action":"history","before":4}"#, vec![2, 3]),
        (r#"{"action":"history","after":1}"#, vec![2, 3]),
    ] {
        let text = world.ask_history_text("a", frame).await;
        assert!(text.len() < 131_072);
        let reply: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((seqs(&reply), &reply["more"]), (expected, &true.into()));
    }
}

#[tokio::test]
async fn nothing_stored_has_no_epoch() {
    let world = World::new().await;
    world.join("a", "garden").await;
    let reply = page(&world, &json!({"id": "h"})).await;
    assert_eq!(
        reply,
        json!({
            "type": "history", "id": "h", "room": "garden", "epoch": null, "first": 1, "head": 0, "headN": 0,
            "messages": [], "more": false,
        })
    );
}

#[tokio::test]
async fn expired_messages_are_trimmed_before_they_are_deleted() {
    for expired in [1, 5, 9, 10, 20] {
        let world = garden(10, None).await;
        world.expire("garden", expired).await;
        let reply = page(&world, &json!({"after": 0})).await;
        let first = (expired + 1).min(11);
        assert_eq!(
            (&reply["first"], &reply["head"]),
            (&first.into(), &10.into())
        );
        assert_eq!(seqs(&reply), (first..=10).collect::<Vec<u64>>());
        let reply = page(&world, &json!({"before": first})).await;
        assert_eq!((seqs(&reply), &reply["more"]), (vec![], &false.into()));
    }
}

#[tokio::test]
async fn what_lies_below_a_hole_that_stays_is_trimmed() {
    let world = garden(9, None).await;
    world.delete_logged("garden", 3).await;
    world.delete_logged("garden", 5).await;
    for (fields, expected, more) in [
        (json!({}), vec![6, 7, 8, 9], false),
        (json!({"before": 9, "limit": 2}), vec![7, 8], true),
        (json!({"before": 7}), vec![6], false),
    ] {
        let reply = page(&world, &fields).await;
        assert_eq!(seqs(&reply), expected, "{fields}");
        assert_eq!(reply["more"], more, "{fields}");
    }
    // Forwards it is met from below: what comes before is not claimed to lead up to what comes after.
    let reply = page(&world, &json!({"after": 0})).await;
    assert_eq!(seqs(&reply), [6, 7, 8, 9]);
    assert_eq!(reply["first"], 6);
}

#[tokio::test]
async fn bad_questions_are_refused() {
    let world = garden(1, None).await;
    world.join("b", "lobby").await;
    for (fields, message) in [
        (
            json!({"before": 1, "after": 1}),
            "give before or after, not both",
        ),
        (
            json!({"before": -1}),
            "before must be a whole number, 0 or more",
        ),
        (
            json!({"after": "1"}),
            "after must be a whole number, 0 or more",
        ),
        (
            json!({"limit": 0}),
            "limit must be a whole number, 1 to 100",
        ),
        (
            json!({"limit": 101}),
            "limit must be a whole number, 1 to 100",
        ),
    ] {
        let error = page(&world, &fields).await;
        assert_eq!(
            (&error["name"], &error["message"]),
            (&"bad_request".into(), &message.into()),
            "{fields}"
        );
    }
    let frame = r#"{"action":"history","room":"garden"}"#;
    assert_eq!(world.ask_history("b", frame).await["name"], "not_a_member");
}
