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
