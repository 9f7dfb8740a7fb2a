//! The rules of the pricing pages of API Gateway, Lambda and DynamoDB (on demand).
//!
//! - <https://aws.amazon.com/api-gateway/pricing/>: a message, sent or received, is metered per started 32 KB. A post to
//!   a connection is a message, except one that is answered 410.
//! - <https://aws.amazon.com/lambda/pricing/>: an invocation. Its duration is not counted here; the bench measures it.
//! - <https://aws.amazon.com/dynamodb/pricing/on-demand/>: a read unit is 4 KB read strongly consistently, or twice that
//!   eventually; a Query's rows are added up first, whatever its filter and its projection leave of them. A write unit is
//!   1 KB, and so is each entry of an index that the write changes. A write whose condition fails is charged all the
//!   same, by the row in its way.

use serde_json::{Value, json};

use kit::Gateway;
use kit::proxy::{Exchange, Kind};

/// A message is metered per started 32 KB.
const METERED_BYTES: usize = 32 * 1024;

/// The usage of an action.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Usage {
    /// Metered messages between clients and API Gateway, in both directions.
    pub(crate) messages: usize,
    /// Calls of `@connections`: they share the account's quota of requests with the messages from clients.
    pub(crate) callbacks: usize,
    pub(crate) invocations: usize,
    /// DynamoDB's calls, by operation.
    pub(crate) dynamodb: std::collections::BTreeMap<String, usize>,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
}

impl Usage {
    /// Adds a frame between a client and API Gateway, in either direction.
    pub(crate) fn message(&mut self, bytes: usize) {
        self.messages += bytes.div_ceil(METERED_BYTES).max(1);
    }

    /// Adds a call of a function.
    pub(crate) fn exchange(&mut self, exchange: &Exchange) {
        if matches!(exchange.kind, Kind::Post | Kind::Ask | Kind::Close) {
            self.callbacks += 1;
            return;
        }
        *self.dynamodb.entry(exchange.operation.clone()).or_default() += 1;
        match exchange.operation.as_str() {
            "GetItem" | "BatchGetItem" | "Query" => self.read_units += consumed(exchange),
            _ => self.write_units += consumed(exchange),
        }
    }

    /// The price of a million times this usage, in US dollars, in us-east-1.
    pub(crate) fn usd(&self, prices: &Value) -> f64 {
        let price = |name: &str| prices[name].as_f64().unwrap();
        let count = |n: usize| f64::from(u32::try_from(n).unwrap());
        count(self.messages) * price("message")
            + count(self.invocations) * price("invocation")
            + self.read_units * price("readUnit")
            + self.write_units * price("writeUnit")
    }
}

/// The units that the engine reports. A test below compares the engine with the pricing page.
fn consumed(exchange: &Exchange) -> f64 {
    if exchange.status == 200 {
        // A batch reports each table.
        let consumed = &exchange.answer["ConsumedCapacity"];
        let consumed = consumed.get(0).unwrap_or(consumed);
        return consumed["CapacityUnits"].as_f64().unwrap();
    }
    let is_condition = exchange.answer["__type"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("ConditionalCheckFailedException"));
    assert!(is_condition, "no price for {exchange:?}");
    write_units(size(&exchange.answer["Item"]))
}

fn write_units(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes.div_ceil(1024).max(1)).unwrap())
}

/// The size of an item of texts and whole numbers: names, UTF-8 bytes, and for a number one byte and one for every two
/// digits.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
fn size(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes
        .map(|(name, value)| {
            let number = |digits: &str| 1 + digits.trim_matches('0').len().div_ceil(2);
            let text = value["S"].as_str().map(str::len);
            name.len() + text.unwrap_or_else(|| number(value["N"].as_str().unwrap()))
        })
        .sum()
}

/// Compares the units of the engine with numbers calculated by hand.
#[test]
fn the_engine_charges_by_the_pricing_page() {
    let gateway = Gateway::start(&[]);
    let call = |operation: &str, mut request: Value| {
        request["TableName"] = json!("roomchat-prod-connections");
        request["ReturnConsumedCapacity"] = json!("TOTAL");
        let answer = gateway.dynamodb(operation, &request);
        answer["ConsumedCapacity"]["CapacityUnits"]
            .as_f64()
            .unwrap()
    };
    // connectionId (12) and its 5, room (4) and its 1, user (4) and its 3, expiresAt (9) and 1 + 10 digits / 2, and
    // pad (3) and what is left.
    let row = |id: &str, bytes: usize| {
        let pad = "x".repeat(bytes - 12 - 5 - 4 - 1 - 4 - 3 - 9 - 6 - 3);
        json!({
            "connectionId": {"S": id}, "room": {"S": "r"}, "user": {"S": "eve"}, "expiresAt": {"N": "4102444801"},
            "pad": {"S": pad},
        })
    };
    let key = |id: &str| json!({"connectionId": {"S": id}, "room": {"S": "r"}});
    assert_eq!(size(&row("12345", 1024)), 1024);

    // The row, and its entry in room-index, which has no pad.
    let put = |id: &str, bytes: usize| call("PutItem", json!({"Item": row(id, bytes)}));
    assert_eq!((put("a----", 1024), put("b----", 1025)), (2.0, 3.0));
    // An overwrite costs the larger of both rows. The unchanged index entry costs nothing.
    assert_eq!((put("b----", 1024), put("a----", 2049)), (2.0, 3.0));
    // A changed index entry: the row, and the entry.
    let mut renamed = row("b----", 1024);
    renamed["user"] = json!({"S": "bob"});
    assert_eq!(call("PutItem", json!({"Item": renamed})), 2.0);
    // Deleting a missing row costs one unit; an existing row costs its size and that of its index entry.
    let delete = |id: &str| call("DeleteItem", json!({"Key": key(id)}));
    assert_eq!(
        (delete("c----"), delete("a----"), delete("a----")),
        (1.0, 4.0, 1.0)
    );

    let get = |id: &str, consistent: bool| {
        call(
            "GetItem",
            json!({"Key": key(id), "ConsistentRead": consistent, "ProjectionExpression": "room"}),
        )
    };
    put("d----", 4096);
    put("e----", 4097);
    assert_eq!((get("d----", true), get("d----", false)), (1.0, 0.5));
    assert_eq!((get("e----", true), get("e----", false)), (2.0, 1.0));
    assert_eq!((get("c----", true), get("c----", false)), (1.0, 0.5));

    // Queries: the sum, rounded once, filtered and projected or not; an entry of the index has 44 bytes here, and with
    // a name of 41 characters 82. A Query that finds nothing costs as much as one that finds little.
    let query = |room: &str, more: Value| {
        let mut request = json!({
            "IndexName": "room-index",
            "KeyConditionExpression": "room = :room",
            "ExpressionAttributeValues": {":room": {"S": room}},
        });
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        call("Query", request)
    };
    assert_eq!(
        (query("r", json!({})), query("nowhere", json!({}))),
        (0.5, 0.5)
    );
    for n in 0..50 {
        let mut entry = row(&format!("{n:05}"), 500);
        entry["room"] = json!({"S": "s"});
        entry["user"] = json!({"S": "u".repeat(41)});
        call("PutItem", json!({"Item": entry}));
    }
    // 49 x 82 = 4,018 bytes; 50 x 82 = 4,100.
    assert_eq!(query("s", json!({"Limit": 49})), 0.5);
    assert_eq!(query("s", json!({"Limit": 50})), 1.0);
    assert_eq!(
        query(
            "s",
            json!({"ProjectionExpression": "connectionId", "FilterExpression": "expiresAt < :room"})
        ),
        1.0
    );
    let own = json!({
        "KeyConditionExpression": "connectionId = :id",
        "ExpressionAttributeValues": {":id": {"S": "e----"}},
        "ConsistentRead": true,
    });
    assert_eq!(call("Query", own), 2.0);
}
