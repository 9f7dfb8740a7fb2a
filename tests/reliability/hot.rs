//! A room with more writers than it can take.

use std::fs;

use serde_json::json;

use crate::checker::Promises;
use crate::member::Member;
use crate::record::What;
use crate::run::Run;
use kit::proxy::{Fault, Kind};
use kit::root;

/// The deployment with another timeout of publish.
fn with_timeout(seconds: u32) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(root().join("terraform")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "tf") {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let locals = copy.path().join("locals.tf");
    let text = fs::read_to_string(&locals).unwrap();
    let (before, publish) = text.split_once("\n    publish = {\n").unwrap();
    let declared = "timeout_seconds = 28";
    assert!(
        publish
            .split("\n    }\n")
            .next()
            .unwrap()
            .contains(declared),
        "publish declares `{declared}`"
    );
    let publish = publish.replacen(declared, &format!("timeout_seconds = {seconds}"), 1);
    fs::write(&locals, format!("{before}\n    publish = {{\n{publish}")).unwrap();
    copy
}

#[test]
fn a_throttled_room_says_slow_down_and_loses_nothing() {
    let run = Run::start(0, &[]);
    let mut alice = Member::new(&run, "alice", "hot");
    let mut bob = Member::new(&run, "bob", "hot");
    alice.publish("hot");
    for n in 0..2 {
        run.proxy.rules(|call| match call.kind {
            Kind::Append => Fault::Answer(400, "ProvisionedThroughputExceededException"),
            _ => Fault::None,
        });
        let frame = alice.publish_frame("hot", Some(&format!("t-{n}")), &format!("too much {n}"));
        alice.send(&frame);
        let error = alice.receive();
        assert_eq!(
            (&error["name"], &error["temporary"]),
            (&json!("slow_down"), &json!(true)),
            "{error}"
        );
        assert!(error["retryAfterMs"].as_u64().unwrap() > 0, "{error}");
        assert_eq!(error["id"], frame["id"]);
        run.proxy.heal();
        let ack = alice.ask(&frame, "ack");
        assert_eq!(ack["seq"], n + 2);
    }
    alice.settle();
    bob.settle();
    run.check(&Promises::default());
}

#[test]
fn who_never_wins_a_slot_is_told_to_slow_down_before_time_is_up() {
    let terraform = with_timeout(3);
    let run = Run::start_with(terraform.path(), 0, true, &[]);
    let mut alice = Member::new(&run, "alice", "hot");
    let mut bob = Member::new(&run, "bob", "hot");
    let first = alice.publish("hot");
    let epoch = first["epoch"].as_str().unwrap().to_owned();
    // Another entry takes each number just before alice's message does.
    let rival = run.gateway.dynamodb.clone();
    let (slots, taken) = std::sync::mpsc::channel();
    run.proxy.rules(move |call| {
        if call.kind == Kind::Append && call.item("user") == Some("alice") {
            let seq: u64 = call.item("seq").unwrap().parse().unwrap();
            let data = format!("rival {seq}");
            let item = json!({
                "room": {"S": "hot"}, "seq": {"N": seq.to_string()}, "epoch": {"S": epoch}, "user": {"S": "rival"},
                "data": {"S": json!(data).to_string()}, "at": {"N": "1800000000000"}, "expiresAt": {"N": "9999999999"},
                "nonce": {"S": format!("rival-{seq}")},
            });
            if put_if_free(&rival, &item) {
                slots.send(data).unwrap();
            }
        }
        Fault::None
    });
    let frame = alice.publish_frame("hot", Some("late"), "late");
    alice.send(&frame);
    let error = alice.receive();
    assert_eq!(
        (&error["name"], &error["temporary"]),
        (&json!("slow_down"), &json!(true)),
        "{error}"
    );
    assert!(error["retryAfterMs"].as_u64().unwrap() > 0, "{error}");
    run.proxy.heal();
    let rivals: Vec<String> = taken.try_iter().collect();
    assert!(
        rivals.len() > 3,
        "it goes on after the slots of one read: {rivals:?}"
    );
    for data in rivals {
        run.record.note(
            usize::MAX,
            "rival",
            usize::MAX,
            What::Written {
                room: "hot".to_owned(),
                data: json!(data),
            },
        );
    }
    assert_eq!(alice.ask(&frame, "ack")["id"], "late");
    alice.settle();
    bob.settle();
    run.check(&Promises::default());
}

/// Writes an entry without the proxy, as another function would.
fn put_if_free(dynamodb: &str, item: &serde_json::Value) -> bool {
    let request = json!({
        "TableName": crate::run::MESSAGES,
        "Item": item,
        "ConditionExpression": "attribute_not_exists(room)",
    });
    ureq::post(dynamodb)
        .header("x-amz-target", "DynamoDB_20120810.PutItem")
        .header("content-type", "application/x-amz-json-1.0")
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x",
        )
        .header("x-amz-date", "20260101T000000Z")
        .send(request.to_string())
        .is_ok()
}
