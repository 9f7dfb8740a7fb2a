//! Removes the rows of connections that are gone.
//!
//! `$disconnect` is best effort, so rows of dead connections remain. A post to a dead connection is answered with 410.
//! So is a post to a connection whose `$connect` still runs, and false 410s have been reported for living clients.
//! Therefore API Gateway is asked a second time, and young rows are left alone. A connection is closed before its rows
//! are deleted: a living client that got two false 410s notices the close and connects again.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::{Connections, Departed};
use crate::delivery::ManagementApi;

/// Connections that are checked in parallel: each takes one call of API Gateway and a few of DynamoDB.
const CONCURRENCY: usize = 32;

/// The longest time that an ack waits for the removal. With many dead connections each message removes some of them.
const PRUNE_FOR: Duration = Duration::from_secs(1);

/// Counts of the suspects.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Connections that are gone according to the second answer. The others live, or got no answer.
    pub gone: usize,
    /// Connections that are there after all.
    pub alive: usize,
    /// The rows that were deleted.
    pub rows: Vec<Departed>,
    /// The first failure's cause, for the log.
    pub failure: Option<String>,
}

/// Asks for each suspect again, closes those that are gone and deletes their rows in all rooms: per suspect one
/// GetConnection, and for a gone one a consistent Query of its rows, one DeleteConnection and a conditional DeleteItem
/// per row. A connection that cannot be closed keeps its rows.
///
/// Rows written after `born_before_ms` (milliseconds since 1970) stay, and so does their connection: API Gateway
/// answers 410 to a post and to GetConnection alike while `$connect` runs. The removals that are not done within
/// `PRUNE_FOR`, or at `until`, are left to the next message.
pub async fn confirm_and_prune(
    management: &ManagementApi,
    connections: &Connections,
    suspects: &[String],
    born_before_ms: i64,
    until: Instant,
) -> Pruned {
    let until = until.min(Instant::now() + PRUNE_FOR);
    let mut pruned = Pruned::default();
    let mut each = stream::iter(suspects)
        .map(async |id| match management.is_alive(id).await {
            Ok(true) => (Some(true), Ok(Vec::new())),
            Ok(false) => (
                Some(false),
                forget(management, connections, id, born_before_ms).await,
            ),
            Err(cause) => (None, Err(cause)),
        })
        .buffer_unordered(CONCURRENCY);
    while let Ok(Some((alive, rows))) = timeout_at(until, each.next()).await {
        pruned.gone += usize::from(alive == Some(false));
        pruned.alive += usize::from(alive == Some(true));
        match rows {
            Ok(rows) => pruned.rows.extend(rows),
            Err(cause) => {
                pruned.failure.get_or_insert(cause);
            }
        }
    }
    pruned
}

/// Closes a connection that has old rows, deletes them and returns them.
async fn forget(
    management: &ManagementApi,
    connections: &Connections,
    id: &str,
    born_before_ms: i64,
) -> Result<Vec<Departed>, String> {
    let mut rows = connections
        .rows(id)
        .await
        .map_err(|error| error.to_string())?;
    rows.retain(|row| row.connected_at <= born_before_ms);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    management.close(id).await?;
    let mut deleted = Vec::new();
    for row in &rows {
        let row = connections.delete_if_old(id, &row.room, born_before_ms);
        deleted.extend(row.await.map_err(|error| error.to_string())?);
    }
    Ok(deleted)
}
