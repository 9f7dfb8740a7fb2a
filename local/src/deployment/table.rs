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
    /// The attribute that holds the expiry time of an item, in epoch seconds.
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
    let hash_key = declared.optional_string("hash_key")?;
    let indexes = |kind: &str, hash_key: Option<&str>| -> Result<Vec<serde_json::Value>> {
        let declared = declared.blocks(kind)?.into_iter();
        declared.map(|one| index(one, hash_key)).collect()
    };
    let mut create = serde_json::json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": key_schema(declared, None)?,
    });
    // A local index has the table's hash key.
    for (part, indexes) in [
        (
            "GlobalSecondaryIndexes",
            indexes("global_secondary_index", None)?,
        ),
        (
            "LocalSecondaryIndexes",
            indexes("local_secondary_index", hash_key.as_deref())?,
        ),
    ] {
        if !indexes.is_empty() {
            create[part] = indexes.into();
        }
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

/// The keys of a table or index: `hash_key` and `range_key`, or the `key_schema` blocks of newer providers.
fn key_schema(declared: &Instance, hash_key: Option<&str>) -> Result<Vec<serde_json::Value>> {
    let blocks = declared.blocks("key_schema")?;
    if !blocks.is_empty() {
        let key = |block: &Instance| {
            let (name, kind) = (block.string("attribute_name")?, block.string("key_type")?);
            Ok(serde_json::json!({ "AttributeName": name, "KeyType": kind }))
        };
        return blocks.into_iter().map(key).collect();
    }
    let hash_key = match hash_key {
        Some(hash_key) => hash_key.to_owned(),
        None => declared.string("hash_key")?,
    };
    let mut schema = vec![serde_json::json!({ "AttributeName": hash_key, "KeyType": "HASH" })];
    if let Some(range_key) = declared.optional_string("range_key")? {
        schema.push(serde_json::json!({ "AttributeName": range_key, "KeyType": "RANGE" }));
    }
    Ok(schema)
}

fn index(declared: &Instance, hash_key: Option<&str>) -> Result<serde_json::Value> {
    let mut projection =
        serde_json::json!({ "ProjectionType": declared.string("projection_type")? });
    let attributes = declared.list("non_key_attributes")?;
    if !attributes.is_empty() {
        let names: Vec<_> = attributes.iter().filter_map(Value::as_str).collect();
        projection["NonKeyAttributes"] = names.into();
    }
    Ok(serde_json::json!({
        "IndexName": declared.string("name")?,
        "KeySchema": key_schema(declared, hash_key)?,
        "Projection": projection,
    }))
}
