//! Messages on their way to a client.

use std::sync::Arc;

use serde_json::json;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::connections::{BufferFull, Cause, Connection};
use super::state::Gateway;
use crate::faults::{Fault, Point, Site, Verdict};
use crate::log;

/// Queues a message for the connection's client. `route` is the route of the message that it answers.
///
/// # Errors
/// [`BufferFull`] when the client does not read its messages.
pub(super) fn send(
    gateway: &Gateway,
    connection: &Arc<Connection>,
    message: Utf8Bytes,
    route: Option<&str>,
) -> Result<(), BufferFull> {
    if !gateway.faults.is_active() {
        return connection.send(message);
    }
    let client = &connection.client;
    let point = Point {
        route,
        ..Point::at(Site::Frame).of(&client.connection_id, &client.handshake)
    };
    send_with(gateway.faults.decide(&point), connection, message)
}

/// Queues a message as the verdict says. A message that is held back is overtaken by others.
fn send_with(
    mut verdict: Verdict,
    connection: &Arc<Connection>,
    message: Utf8Bytes,
) -> Result<(), BufferFull> {
    if !verdict.waits() {
        return act(connection, message, verdict.fault);
    }
    let connection = Arc::clone(connection);
    tokio::spawn(async move {
        verdict.wait().await;
        if act(&connection, message, verdict.fault).is_err() {
            log_dropped(&connection);
        }
    });
    Ok(())
}

/// Logs that a message for the client was dropped.
pub(super) fn log_dropped(connection: &Connection) {
    log::event(
        "reply",
        json!({
            "connectionId": connection.client.connection_id,
            "error": "the client reads nothing, and the message was dropped",
        }),
    );
}

fn act(
    connection: &Connection,
    message: Utf8Bytes,
    fault: Option<Fault>,
) -> Result<(), BufferFull> {
    match fault {
        Some(Fault::Drop) => Ok(()),
        Some(Fault::Cut { close, .. }) => {
            connection.close(Cause::cut(close));
            Ok(())
        }
        Some(Fault::Duplicate) => {
            connection.send(message.clone())?;
            connection.send(message)
        }
        _ => connection.send(message),
    }
}
