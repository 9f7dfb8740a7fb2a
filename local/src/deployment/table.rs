//! Declared tables.

use anyhow::Result;

use crate::terraform::{Instance, Value};

/// A DynamoDB table, in the shape of the CreateTable request.
#[derive(Debug)]
pub struct Table {
    /// The name on AWS.
    pub name: String,
    /// The CreateTable request.
    pub create: serde_json::Value,
    /// The attribute that holds when an item expires, in epoch seconds.
    pub ttl_attribute: Option<String>,
}

/// Reads a table.
pub(super) fn read(declared: &Instance) -> Result<Table> {
    let name = declared.string("name")?;
    let attributes: Vec<_> = declared
        .blocks("attribute")?
        .into_iter()
        .map(|a| Ok(serde_json::json!({ "AttributeName": a.string("name")?, "AttributeType": a.string("type")? })))
        .collect::<Result<_>>()?;
    let indexes: Vec<_> = declared
        .blocks("global_secondary_index")?
        .into_iter()
        .map(global_secondary_index)
        .collect::<Result<_>>()?;
    let mut create = serde_json::json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": key_schema(declared)?,
    });
    if !indexes.is_empty() {
        create["GlobalSecondaryIndexes"] = indexes.into();
    }
    let ttl_attribute = declared
        .blocks("ttl")?
        .into_iter()
        .find(|ttl| {
            ttl.get("enabled")
                .is_ok_and(|enabled| enabled.is_none_or(|e| e.as_bool() != Some(false)))
        })
        .map(|ttl| ttl.string("attribute_name"))
        .transpose()?;
    Ok(Table {
        name,
        create,
        ttl_attribute,
    })
}

fn key_schema(declared: &Instance) -> Result<Vec<serde_json::Value>> {
    let mut schema = vec![
        serde_json::json!({ "AttributeName": declared.string("hash_key")?, "KeyType": "HASH" }),
    ];
    if let Some(range_key) = declared.optional_string("range_key")? {
        schema.push(serde_json::json!({ "AttributeName": range_key, "KeyType": "RANGE" }));
    }
    Ok(schema)
}

fn global_secondary_index(declared: &Instance) -> Result<serde_json::Value> {
    let mut projection =
        serde_json::json!({ "ProjectionType": declared.string("projection_type")? });
    let attributes = declared.list("non_key_attributes")?;
    if !attributes.is_empty() {
        let names: Vec<_> = attributes.iter().filter_map(Value::as_str).collect();
        projection["NonKeyAttributes"] = names.into();
    }
    Ok(serde_json::json!({
        "IndexName": declared.string("name")?,
        "KeySchema": key_schema(declared)?,
        "Projection": projection,
    }))
}
