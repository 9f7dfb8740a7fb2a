//! `$disconnect`: removes the connection from every room.

use futures::stream::{self, StreamExt};

use crate::errors::TableError;
use crate::lambda::{Reply, Request};
use crate::members::Connections;

/// Rows deleted at a time.
const CONCURRENCY: usize = 16;

/// Deletes every row of the connection. Always returns 200: the client is gone, API Gateway does not try again, and the
/// next message of a room prunes rows that stay.
///
/// Idempotent: API Gateway calls this never, once, or more often.
pub async fn disconnect(connections: &Connections, request: &Request) -> Reply {
    let (connection_id, request_id, close_code) = (
        &request.connection_id,
        &request.request_id,
        request.close_code,
    );
    let left = leave_all(connections, connection_id).await;
    let duration_ms = request.duration_ms();
    match left {
        Ok(rows) => tracing::info!(
            connection_id,
            request_id,
            close_code,
            rows,
            duration_ms,
            "disconnected"
        ),
        Err(error) => {
            tracing::error!(connection_id, request_id, close_code, cause = %error, duration_ms, "disconnect failed");
        }
    }
    Reply::ok()
}

/// Deletes as many rows as possible, and returns their number or the first failure.
async fn leave_all(connections: &Connections, connection_id: &str) -> Result<usize, TableError> {
    let rows = connections.rows(connection_id).await?;
    let deleted: Vec<Result<(), TableError>> = stream::iter(&rows)
        .map(|row| connections.delete(connection_id, &row.room))
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    deleted.into_iter().collect::<Result<(), TableError>>()?;
    Ok(rows.len())
}
