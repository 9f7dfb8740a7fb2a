//! The status of the gateway, as JSON and as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dynoxide::Database;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::deployment::Table;
use crate::dynamodb::Counts;
use crate::gateway::Gateway;
use crate::gateway::{PostsStatus, quotas};
use crate::lambda::PoolStatus;

/// The most connections that are listed; all are counted.
const LISTED_CONNECTIONS: usize = 100;

/// The most rows of an index that are read to count its partitions.
const COUNTED_ROWS: usize = 10_000;

/// The most partitions of an index that are listed.
const LISTED_PARTITIONS: usize = 20;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    stage: String,
    /// The speeds of time: for the age of connections, and for the timeouts of functions.
    time_scale: f64,
    timeout_scale: f64,
    open_connections: usize,
    /// The fullest connections.
    connections: Vec<ConnectionStatus>,
    /// By name.
    functions: BTreeMap<String, PoolStatus>,
    /// The quotas that are enforced.
    quotas: BTreeMap<String, quotas::Status>,
    posts: PostsStatus,
    /// Calls by table.
    tables: BTreeMap<String, Counts>,
    /// The number of rows by partition key of each global secondary index, the largest first. For `room-index` these
    /// are the members of each room.
    indexes: BTreeMap<String, Partitions>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionStatus {
    connection_id: String,
    source_ip: String,
    /// The age on the clock by which connections age.
    age_seconds: u64,
    idle_seconds: u64,
    /// Bytes that wait for the client.
    buffered_bytes: usize,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Partitions {
    rows: usize,
    /// Set if not all rows were counted.
    and_more: bool,
    partitions: Vec<(String, usize)>,
}

impl Status {
    /// Reads the status.
    pub(crate) fn now(gateway: &Gateway) -> Status {
        let all = gateway.connections.all();
        let now = gateway.clock.waiting.now();
        let mut connections: Vec<ConnectionStatus> = all
            .iter()
            .map(|connection| ConnectionStatus {
                connection_id: connection.client.connection_id.clone(),
                source_ip: connection.client.source_ip.clone(),
                age_seconds: now.saturating_sub(connection.opened).as_secs(),
                idle_seconds: now.saturating_sub(connection.last_active()).as_secs(),
                buffered_bytes: connection.buffered(),
            })
            .collect();
        // The fullest first: their clients may have a problem.
        connections.sort_by_key(|c| (std::cmp::Reverse(c.buffered_bytes), c.idle_seconds));
        connections.truncate(LISTED_CONNECTIONS);
        Status {
            stage: gateway.api.stage.clone(),
            time_scale: gateway.clock.waiting.speed(),
            timeout_scale: gateway.clock.working.speed(),
            open_connections: all.len(),
            connections,
            functions: gateway
                .functions
                .iter()
                .map(|(name, pool)| (name.clone(), pool.status()))
                .collect(),
            quotas: gateway.quotas.status(),
            posts: gateway.posts.status(),
            tables: gateway.table_calls.snapshot(),
            indexes: gateway
                .tables
                .iter()
                .flat_map(|table| indexes(&gateway.database, table))
                .collect(),
        }
    }

    /// Renders the status for a person.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "stage {}", self.stage)?;
        if (self.time_scale, self.timeout_scale) != (1.0, 1.0) {
            writeln!(
                text,
                "time runs {} times as fast, timeouts {} times",
                self.time_scale, self.timeout_scale
            )?;
        }
        writeln!(text, "\n{} connections", self.open_connections)?;
        for c in &self.connections {
            writeln!(
                text,
                "  {}  {}  {} s old  idle {} s  {} bytes buffered",
                c.connection_id, c.source_ip, c.age_seconds, c.idle_seconds, c.buffered_bytes
            )?;
        }
        if self.connections.len() < self.open_connections {
            writeln!(text, "  …")?;
        }
        writeln!(text, "\nfunctions")?;
        for (name, pool) in &self.functions {
            writeln!(
                text,
                "  {name:<28} {} running  {} waiting  {} idle   {} invocations  {} cold starts  {} errors  {} throttled",
                pool.running,
                pool.waiting,
                pool.idle,
                pool.invocations,
                pool.cold_starts,
                pool.errors,
                pool.throttled
            )?;
        }
        let PostsStatus {
            answered,
            throttled,
        } = self.posts;
        writeln!(text, "\n{answered} posts  {throttled} throttled")?;
        if !self.quotas.is_empty() {
            writeln!(text, "\nthrottles")?;
        }
        for (name, quota) in &self.quotas {
            writeln!(text, "  {name:<28} {quota}")?;
        }
        if !self.tables.is_empty() {
            writeln!(text, "\ntables")?;
        }
        for (name, calls) in &self.tables {
            writeln!(
                text,
                "  {name:<28} {} reads  {} writes  {} throttled",
                calls.reads, calls.writes, calls.throttles
            )?;
        }
        for (name, index) in &self.indexes {
            let more = if index.and_more { " and more" } else { "" };
            writeln!(text, "\n{name}: {} rows{more}", index.rows)?;
            for (partition, rows) in &index.partitions {
                writeln!(text, "  {:<28} {rows}", partition.escape_debug())?;
            }
        }
        Ok(())
    }
}

/// Returns the indexes of a table, by `TABLE/INDEX`.
fn indexes(database: &Database, table: &Table) -> Vec<(String, Partitions)> {
    let declared = table.create["GlobalSecondaryIndexes"].as_array();
    let named = declared.into_iter().flatten().filter_map(|index| {
        let name = index["IndexName"].as_str()?;
        let hash_key = index["KeySchema"][0]["AttributeName"].as_str()?;
        Some((
            format!("{}/{name}", table.name),
            // An index that cannot be read is shown as empty.
            partitions(database, &table.name, name, hash_key).unwrap_or_default(),
        ))
    });
    named.collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    items: Vec<BTreeMap<String, Value>>,
    last_evaluated_key: Option<Value>,
}

fn partitions(
    database: &Database,
    table: &str,
    index: &str,
    hash_key: &str,
) -> anyhow::Result<Partitions> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    let mut rows = 0;
    let mut start = None;
    loop {
        let mut request = json!({
            "TableName": table,
            "IndexName": index,
            "ProjectionExpression": "#key",
            "ExpressionAttributeNames": { "#key": hash_key },
        });
        if let Some(key) = start.take() {
            request["ExclusiveStartKey"] = key;
        }
        let answer = database.scan(serde_json::from_value(request)?)?;
        let page: Page = serde_json::from_value(serde_json::to_value(answer)?)?;
        for item in page.items {
            let value = item.get(hash_key).and_then(|value| value.as_object());
            let value = value.and_then(|value| value.values().next());
            let value = value.and_then(Value::as_str).unwrap_or_default().to_owned();
            *counted.entry(value).or_default() += 1;
            rows += 1;
        }
        start = page.last_evaluated_key;
        if start.is_none() || rows >= COUNTED_ROWS {
            break;
        }
    }
    let mut partitions: Vec<_> = counted.into_iter().collect();
    partitions.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    partitions.truncate(LISTED_PARTITIONS);
    Ok(Partitions {
        rows,
        and_more: start.is_some(),
        partitions,
    })
}
