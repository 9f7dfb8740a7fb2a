//! A call to DynamoDB, as far as the front needs to know it.

use axum::http::HeaderMap;
use serde_json::Value;

/// A call, read from its headers and its body. A part that cannot be read is empty: the engine reports the error.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// `PutItem`, for example.
    pub(crate) operation: String,
    /// The tables that the call names, each once.
    pub(crate) tables: Vec<String>,
    /// The index that a `Query` or `Scan` reads.
    pub(crate) index: Option<String>,
    request: Value,
}

/// The effect of an operation on tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
    /// Creates, changes or deletes a table.
    Table,
    /// A PartiQL statement, which may read or write.
    PartiQl,
    /// Neither reads nor changes items or indexes.
    Other,
}

impl Call {
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Call {
        let operation = headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok())
            .and_then(|target| target.strip_prefix("DynamoDB_20120810."))
            .unwrap_or_default();
        let request: Value = if operation.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).unwrap_or_default()
        };
        Call {
            operation: operation.to_owned(),
            tables: tables(&request),
            index: request["IndexName"].as_str().map(str::to_owned),
            request,
        }
    }

    pub(crate) fn effect(&self) -> Effect {
        match self.operation.as_str() {
            "GetItem" | "Query" | "Scan" | "BatchGetItem" | "TransactGetItems" => Effect::Read,
            "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "TransactWriteItems" => {
                Effect::Write
            }
            "CreateTable" | "UpdateTable" | "DeleteTable" => Effect::Table,
            "ExecuteStatement" | "ExecuteTransaction" | "BatchExecuteStatement" => Effect::PartiQl,
            _ => Effect::Other,
        }
    }

    /// Returns each item that the call writes: its table, and an object that holds at least its key.
    pub(crate) fn written(&self) -> Vec<(&str, &Value)> {
        let item = |write: &'_ Value| {
            if write["Item"].is_object() {
                "Item"
            } else {
                "Key"
            }
        };
        let request = &self.request;
        match self.operation.as_str() {
            "PutItem" | "UpdateItem" | "DeleteItem" => request["TableName"]
                .as_str()
                .map(|table| (table, &request[item(request)]))
                .into_iter()
                .collect(),
            "BatchWriteItem" => request["RequestItems"]
                .as_object()
                .into_iter()
                .flatten()
                .flat_map(|(table, writes)| {
                    let writes = writes.as_array().into_iter().flatten();
                    writes
                        .flat_map(|write| write.as_object().into_iter().flatten())
                        .map(|(_, write)| (table.as_str(), &write[item(write)]))
                })
                .collect(),
            "TransactWriteItems" => actions(request)
                .filter(|(kind, _)| kind.as_str() != "ConditionCheck")
                .filter_map(|(_, write)| Some((write["TableName"].as_str()?, &write[item(write)])))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// Returns the body with the name of each table in the place of its ARN; `None` when it names no table by an ARN.
///
/// DynamoDB accepts both (API reference, `TableName`). The engine accepts names.
pub(super) fn with_names(body: &[u8]) -> Option<Vec<u8>> {
    let quoted = b"\"arn:aws:dynamodb:";
    body.windows(quoted.len()).find(|part| part == quoted)?;
    let mut request: Value = serde_json::from_slice(body).ok()?;
    let mut has_changed = rename(&mut request);
    let transaction = request
        .get_mut("TransactItems")
        .and_then(Value::as_array_mut);
    for item in transaction.into_iter().flatten() {
        for (_, action) in item.as_object_mut().into_iter().flatten() {
            has_changed |= rename(action);
        }
    }
    let batch = request
        .get_mut("RequestItems")
        .and_then(Value::as_object_mut);
    if let Some(batch) = batch {
        for (table, items) in std::mem::take(batch) {
            let name = table_name(&table);
            has_changed |= name.is_some();
            batch.insert(name.map_or(table.clone(), str::to_owned), items);
        }
    }
    has_changed.then(|| request.to_string().into_bytes())
}

/// Replaces an ARN in `TableName`, and returns whether there was one.
fn rename(request: &mut Value) -> bool {
    let Some(table) = request.get_mut("TableName") else {
        return false;
    };
    let Some(name) = table.as_str().and_then(table_name).map(str::to_owned) else {
        return false;
    };
    *table = Value::String(name);
    true
}

/// Returns the table's name in its ARN, `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME`.
fn table_name(arn: &str) -> Option<&str> {
    let (_, name) = arn
        .strip_prefix("arn:aws:dynamodb:")?
        .split_once(":table/")?;
    (!name.contains('/')).then_some(name)
}

fn tables(request: &Value) -> Vec<String> {
    let single = request["TableName"].as_str();
    let batch = request["RequestItems"].as_object().into_iter().flatten();
    let transaction = actions(request).filter_map(|(_, action)| action["TableName"].as_str());
    let mut tables: Vec<String> = single
        .into_iter()
        .chain(batch.map(|(table, _)| table.as_str()))
        .chain(transaction)
        .map(str::to_owned)
        .collect();
    tables.sort();
    tables.dedup();
    tables
}

/// Returns the actions of a transaction, each under its kind: `Put`, `Get` and so on.
fn actions(request: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let items = request["TransactItems"].as_array().into_iter().flatten();
    items.flat_map(|item| item.as_object().into_iter().flatten())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(operation: &str, request: &Value) -> Call {
        let mut headers = HeaderMap::new();
        let target = format!("DynamoDB_20120810.{operation}");
        headers.insert("x-amz-target", target.parse().unwrap());
        Call::read(&headers, request.to_string().as_bytes())
    }

    #[test]
    fn an_arn_of_a_table_becomes_its_name() {
        let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/t";
        let requests = |table: &str| {
            [
                json!({"TableName": table, "Item": {"id": {"S": arn}}}),
                json!({"RequestItems": {table: [], "u": []}}),
                json!({"TransactItems": [{"Put": {"TableName": table}}, {"Delete": {"TableName": "u"}}]}),
            ]
        };
        for (request, expected) in requests(arn).iter().zip(requests("t")) {
            let named = with_names(request.to_string().as_bytes()).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&named).unwrap(), expected);
        }
        for unchanged in [
            requests("t")[0].to_string(),
            format!("\"{arn}\""),
            format!("[\"{arn}"),
            json!({"TableName": format!("{arn}/index/i")}).to_string(),
        ] {
            assert_eq!(with_names(unchanged.as_bytes()), None, "{unchanged}");
        }
    }

    #[test]
    fn what_is_called() {
        let call = call("Query", &json!({"TableName": "t", "IndexName": "i"}));
        assert_eq!(call.operation, "Query");
        assert_eq!(call.tables, ["t"]);
        assert_eq!(call.index.as_deref(), Some("i"));
        assert_eq!(call.effect(), Effect::Read);
        let nothing = Call::read(&HeaderMap::new(), b"{\"TableName\": \"t\"}");
        assert_eq!((nothing.operation.as_str(), nothing.tables.len()), ("", 0));
        assert_eq!(nothing.effect(), Effect::Other);
    }

    #[test]
    fn what_is_written() {
        let key = json!({"id": {"S": "1"}});
        let item = json!({"id": {"S": "2"}, "more": {"N": "1"}});
        let put = call("PutItem", &json!({"TableName": "t", "Item": item}));
        assert_eq!(put.written(), [("t", &item)]);
        let update = call("UpdateItem", &json!({"TableName": "t", "Key": key}));
        assert_eq!(update.written(), [("t", &key)]);
        let batch = json!({"RequestItems": {
            "a": [{"PutRequest": {"Item": item}}],
            "b": [{"DeleteRequest": {"Key": key}}],
        }});
        let batch = call("BatchWriteItem", &batch);
        assert_eq!(batch.written(), [("a", &item), ("b", &key)]);
        assert_eq!(batch.tables, ["a", "b"]);
        let transaction = json!({"TransactItems": [
            {"ConditionCheck": {"TableName": "c", "Key": key}},
            {"Put": {"TableName": "a", "Item": item}},
            {"Update": {"TableName": "b", "Key": key}},
            {"Delete": {"TableName": "a", "Key": key}},
        ]});
        let transaction = call("TransactWriteItems", &transaction);
        assert_eq!(
            transaction.written(),
            [("a", &item), ("b", &key), ("a", &key)]
        );
        assert_eq!(transaction.tables, ["a", "b", "c"]);
        let get = call("GetItem", &json!({"TableName": "t", "Key": key}));
        assert!(get.written().is_empty());
    }
}
