//! `$disconnect`: removes the connection from every room.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use rand::RngExt as _;
use tokio::time::{Instant, sleep_until};

use crate::delivery::STOP_BEFORE_DEADLINE;
use crate::errors::TableError;
use crate::lambda::{Reply, Request, before};
use crate::members::{Connections, Departed, Presence, Row};

/// Close codes of connections that API Gateway has ended, or that were cut: many may end at the same moment.
const CUT: [i64; 2] = [1001, 1006];

/// After a cut others are told within this time, at a random moment. In a mass cut the rows of the others are deleted by
/// then, and nothing is posted to the dead.
const WAIT: Duration = Duration::from_secs(1);

/// Rows deleted at a time.
const CONCURRENCY: usize = 16;

/// Deletes every row of the connection. Always returns 200: the client is gone, API Gateway does not try again, and the
/// next message of a room prunes rows that stay.
///
/// Idempotent: API Gateway calls this never, once, or more often.
pub async fn disconnect(presence: &Presence, request: &Request) -> Reply {
    let (connection_id, request_id, close_code) = (
        &request.connection_id,
        &request.request_id,
        request.close_code,
    );
    let (departed, failure) = match presence.connections.rows(connection_id).await {
        Ok(rows) => delete_all(&presence.connections, connection_id, &rows).await,
        Err(error) => (Vec::new(), Some(error)),
    };
    let (rows, duration_ms) = (departed.len(), request.duration_ms());
    match failure {
        None => tracing::info!(
            connection_id,
            request_id,
            close_code,
            rows,
            duration_ms,
            "disconnected"
        ),
        Some(error) => {
            tracing::error!(connection_id, request_id, close_code, rows, cause = %error, duration_ms, "disconnect failed");
        }
    }
    if departed.iter().any(|row| row.presence) {
        if close_code.is_some_and(|code| CUT.contains(&code)) {
            let wait = rand::rng().random_range(Duration::ZERO..WAIT);
            let latest = before(request.deadline, STOP_BEFORE_DEADLINE);
            sleep_until(latest.min(Instant::now() + wait)).await;
        }
        presence.left(request, &departed).await;
    }
    Reply::ok()
}

/// Deletes as many rows as possible, and returns them and the first failure.
async fn delete_all(
    connections: &Connections,
    connection_id: &str,
    rows: &[Row],
) -> (Vec<Departed>, Option<TableError>) {
    let mut deleted = stream::iter(rows)
        .map(|row| connections.delete(connection_id, &row.room))
        .buffer_unordered(CONCURRENCY);
    let (mut departed, mut failure) = (Vec::new(), None);
    while let Some(row) = deleted.next().await {
        match row {
            Ok(row) => departed.extend(row),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    (departed, failure)
}
