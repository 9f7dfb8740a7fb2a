//! Confirming that a connection is gone, and forgetting it.
//!
//! `$disconnect` is best effort, so rows of dead connections remain. A post to one answers 410; but so does a post to
//! a connection whose `$connect` still runs, and false ones have been reported for living clients. Therefore: ask a
//! second time, and leave young rows alone.

use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::Connections;
use crate::delivery::ManagementApi;
use crate::errors::TableError;

/// Connections looked after at a time: each takes one call of API Gateway and a few of DynamoDB.
const CONCURRENCY: usize = 32;

/// What became of the suspects.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Connections that API Gateway says are gone when asked again. The others live, or nobody knows.
    pub gone: usize,
    /// Rows deleted.
    pub rows: usize,
    /// The first failure's cause, for the log.
    pub failure: Option<String>,
}

/// Asks for each suspect again and deletes the rows of those that are gone, in all their rooms: per suspect one
/// GetConnection, and for a gone one a consistent Query of its rows and a conditional DeleteItem per row.
///
/// Rows written after `born_before_ms` (milliseconds since 1970) stay: API Gateway answers 410 to a post and to
/// GetConnection alike while `$connect` runs, so their connection may be about to live. Suspects that are not done
/// with at `until` are left as they are; the next message finds them again.
pub async fn confirm_and_prune(
    management: &ManagementApi,
    connections: &Connections,
    suspects: &[String],
    born_before_ms: i64,
    until: Instant,
) -> Pruned {
    let mut pruned = Pruned::default();
    let mut each = stream::iter(suspects)
        .map(async |id| match management.is_alive(id).await {
            Ok(true) => (false, Ok(0)),
            Ok(false) => (
                true,
                forget(connections, id, born_before_ms)
                    .await
                    .map_err(|error| error.to_string()),
            ),
            Err(cause) => (false, Err(cause)),
        })
        .buffer_unordered(CONCURRENCY);
    while let Ok(Some((gone, rows))) = timeout_at(until, each.next()).await {
        pruned.gone += usize::from(gone);
        match rows {
            Ok(rows) => pruned.rows += rows,
            Err(cause) => {
                pruned.failure.get_or_insert(cause);
            }
        }
    }
    pruned
}

/// Deletes the old rows of a connection, and says how many.
async fn forget(
    connections: &Connections,
    id: &str,
    born_before_ms: i64,
) -> Result<usize, TableError> {
    let mut deleted = 0;
    for row in connections.rows(id).await? {
        if row.connected_at <= born_before_ms {
            connections
                .delete_if_old(id, &row.room, born_before_ms)
                .await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}
