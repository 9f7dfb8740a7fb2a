//! Indexes that lag.

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::dynamodb::call::Call;
use crate::dynamodb::lag::Shadow;

#[test]
fn an_index_lags_and_the_table_does_not() {
    let running = Running::start(&json!([]));
    running.put("before", "r");
    running.set(&json!({"on": "table", "do": "lag", "ms": 3_600_000}));
    running.put("joins", "r");
    assert_eq!(running.indexed("r"), ["before"]);
    assert_eq!(running.stored(), ["before", "joins"]);
    running.delete("before");
    assert_eq!(running.indexed("r"), ["before"]);
    let write = |put: &str, delete: &str| {
        json!([
            {"PutRequest": {"Item": {"id": {"S": put}, "room": {"S": "r"}}}},
            {"DeleteRequest": {"Key": {"id": {"S": delete}}}},
        ])
    };
    let batch = json!({"RequestItems": {"members": write("batch", "joins")}});
    running.ok("BatchWriteItem", &batch);
    let transaction = json!({"TransactItems": [
        {"Update": {
            "TableName": "members",
            "Key": {"id": {"S": "transaction"}},
            "UpdateExpression": "SET room = :r",
            "ExpressionAttributeValues": {":r": {"S": "r"}},
        }},
    ]});
    running.ok("TransactWriteItems", &transaction);
    assert_eq!(running.indexed("r"), ["before"]);
    assert_eq!(running.stored(), ["batch", "transaction"]);
    let statement = json!({"Statement": "SELECT * FROM members"});
    let (status, refusal) = running.call("ExecuteStatement", &statement);
    assert_eq!(status, 400, "{refusal}");
    // Without the rule the index knows everything.
    running.set(&json!([]));
    assert_eq!(running.indexed("r"), ["batch", "transaction"]);
    running.ok("ExecuteStatement", &statement);
}

#[test]
fn the_index_learns_of_a_write_whose_caller_has_left() {
    let running = Running::start(&json!({"on": "table", "do": "lag", "ms": 0}));
    // Large, so that the caller is gone long before the engine is through.
    let filling = "x".repeat(300 * 1024);
    let writes: Vec<Value> = (0..25)
        .map(|n| json!({"PutRequest": {"Item": {"id": {"S": n.to_string()}, "room": {"S": "r"}, "f": {"S": filling}}}}))
        .collect();
    let batch = http(
        "BatchWriteItem",
        &json!({"RequestItems": {"members": writes}}),
    );
    let one = json!({"TableName": "members", "Key": {"id": {"S": "0"}}});
    let mut polls = 0;
    while running.ok("GetItem", &one)["Item"].is_null() {
        // Sent again: the first caller may have left before its call had begun.
        if polls % 100 == 0 {
            let mut stream = TcpStream::connect(running.front).unwrap();
            stream.write_all(&batch).unwrap();
            std::thread::sleep(Duration::from_millis(30));
        }
        polls += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    // This write waits until the write before it is noted.
    running.put("last", "r");
    let count = json!({
        "TableName": "members",
        "IndexName": "rooms",
        "Select": "COUNT",
        "KeyConditionExpression": "room = :room",
        "ExpressionAttributeValues": {":room": {"S": "r"}},
    });
    // A page of an index is at most 1 MB.
    let mut counted = 0;
    let mut start = Value::Null;
    loop {
        let mut request = count.clone();
        if start.is_object() {
            request["ExclusiveStartKey"] = start;
        }
        let page = running.ok("Query", &request);
        counted += page["Count"].as_u64().unwrap();
        start = page["LastEvaluatedKey"].clone();
        if start.is_null() {
            break;
        }
    }
    assert_eq!(counted, 26);
}

#[test]
fn an_index_learns_of_what_the_rule_is_not_about_at_once() {
    let running = Running::start(&json!({
        "on": "table", "operation": "DeleteItem", "do": "lag", "ms": 3_600_000, "nth": 2,
    }));
    for id in ["a", "b", "c"] {
        running.put(id, "r");
    }
    for id in ["a", "b", "c"] {
        running.delete(id);
    }
    assert_eq!(running.indexed("r"), ["b"]);
    // The changes of one item keep their order, so this one waits for the other.
    running.put("b", "elsewhere");
    assert_eq!(running.indexed("r"), ["b"]);
    assert_eq!(running.indexed("elsewhere"), [""; 0]);
}

#[test]
fn a_lag_ends() {
    let running = Running::start(&json!({"on": "table", "do": "lag", "ms": [1, 50]}));
    running.put("a", "r");
    while running.indexed("r").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    running.delete("a");
    while !running.indexed("r").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn tables_come_and_go_while_indexes_lag() {
    let running = Running::start(&json!({"on": "table", "do": "lag", "ms": 3_600_000}));
    running.put("a", "r");
    let mut create = running.ok("DescribeTable", &json!({"TableName": "members"}))["Table"].take();
    create = json!({
        "TableName": "second",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": create["AttributeDefinitions"],
        "KeySchema": create["KeySchema"],
        "GlobalSecondaryIndexes": [{
            "IndexName": "rooms",
            "KeySchema": create["GlobalSecondaryIndexes"][0]["KeySchema"],
            "Projection": {"ProjectionType": "ALL"},
        }],
    });
    running.ok("CreateTable", &create);
    let item = json!({"id": {"S": "b"}, "room": {"S": "r"}});
    running.ok("PutItem", &json!({"TableName": "second", "Item": item}));
    let scan = |index: Option<&str>| {
        let mut request = json!({"TableName": "second"});
        if let Some(index) = index {
            request["IndexName"] = index.into();
        }
        running.call("Scan", &request)
    };
    let (status, page) = scan(Some("rooms"));
    assert_eq!((status, ids(&page).len()), (200, 0), "{page}");
    assert_eq!(ids(&scan(None).1), ["b"]);
    running.ok("DeleteTable", &json!({"TableName": "second"}));
    assert_eq!(scan(Some("rooms")).0, 400);
}

/// Puts (with a number) and deletions of a few items, each with its lag, and how much time passes before.
fn writes() -> impl Strategy<Value = Vec<(usize, Option<u32>, u64, u64)>> {
    prop::collection::vec(
        (0..3_usize, any::<Option<u32>>(), 0..100_u64, 0..40_u64),
        1..40,
    )
}

#[test]
fn each_item_of_an_index_goes_through_its_states_in_order() {
    let runtime = Runtime::new().unwrap();
    let cases = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(60)
    };
    proptest!(cases, |(writes in writes())| {
        let real = database();
        let shadow = runtime.block_on(Shadow::of(&real)).unwrap();
        // The same number is the same key however it is written.
        let keys = ["1", "1.0", "2"];
        let same = [0, 0, 1];
        let mut now = Instant::now();
        // Each state and when it shows, as the definition has it.
        let mut states = [vec![(now, None)], vec![(now, None)]];
        for (key, value, lag, passes) in writes {
            now += Duration::from_millis(passes);
            let (operation, request) = match value {
                Some(value) => ("PutItem", json!({"TableName": "plain", "Item": {"n": {"N": keys[key]}, "v": {"N": value.to_string()}}})),
                None => ("DeleteItem", json!({"TableName": "plain", "Key": {"n": {"N": keys[key]}}})),
            };
            if value.is_some() {
                real.put_item(serde_json::from_value(request.clone()).unwrap()).unwrap();
            } else {
                real.delete_item(serde_json::from_value(request.clone()).unwrap()).unwrap();
            }
            let lag = Duration::from_millis(lag);
            shadow.note(&real, &call(operation, &request), |_| lag, now);
            let states_of_it = &mut states[same[key]];
            let due = (now + lag).max(states_of_it[states_of_it.len() - 1].0);
            states_of_it.push((due, value));
            shadow.catch_up(now);
            for (item, states) in states.iter().enumerate() {
                let (_, shown) = states.iter().rev().find(|(due, _)| *due <= now).unwrap();
                prop_assert_eq!(&value_in(&shadow, ["1", "2"][item]), shown);
            }
        }
        shadow.catch_up(now + Duration::from_millis(100));
        for (item, states) in states.iter().enumerate() {
            prop_assert_eq!(value_in(&shadow, ["1", "2"][item]), states[states.len() - 1].1);
        }
        prop_assert!(shadow.is_up_to_date());
    });
}

#[test]
fn nothing_of_a_removed_table_shows_in_its_successor() {
    let real = database();
    let shadow = Runtime::new().unwrap().block_on(Shadow::of(&real)).unwrap();
    let put = json!({"TableName": "plain", "Item": {"n": {"N": "1"}}});
    real.put_item(serde_json::from_value(put.clone()).unwrap())
        .unwrap();
    shadow.note(&real, &call("PutItem", &put), |_| PATIENCE, Instant::now());
    assert!(!shadow.is_up_to_date());
    shadow.forget("members");
    assert!(!shadow.is_up_to_date());
    shadow.forget("plain");
    assert!(shadow.is_up_to_date());
}

fn call(operation: &str, request: &Value) -> Call {
    let target = format!("DynamoDB_20120810.{operation}").parse().unwrap();
    let headers = axum::http::HeaderMap::from_iter([(
        axum::http::HeaderName::from_static("x-amz-target"),
        target,
    )]);
    Call::read(&headers, request.to_string().as_bytes())
}

fn value_in(shadow: &Shadow, key: &str) -> Option<u32> {
    let request = json!({"TableName": "plain", "Key": {"n": {"N": key}}});
    let found = shadow
        .database()
        .get_item(serde_json::from_value(request).unwrap());
    let found = serde_json::to_value(found.unwrap()).unwrap();
    Some(found["Item"]["v"]["N"].as_str()?.parse().unwrap())
}
