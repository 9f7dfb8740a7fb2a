//! Messages on their way to a client.

use std::sync::Arc;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Fault, Faults, Place, Point};
use crate::gateway::connections::{BufferFull, Cause, Connection};
use crate::log;

/// Why a client is cut off.
pub(super) fn cause(close: Option<u16>) -> Cause {
    match close {
        None => Cause::LOST,
        Some(1001) => Cause::GOING_AWAY,
        Some(code) => Cause { code, reason: "" },
    }
}

impl Faults {
    /// Queues a message for the connection's client, or does to it what the rules want. `route` is that of the message
    /// it answers.
    ///
    /// A message that is held back is overtaken by those that are not.
    ///
    /// # Errors
    /// [`BufferFull`] when the client does not read what it has been sent.
    pub(crate) fn send(
        &self,
        connection: &Arc<Connection>,
        message: Utf8Bytes,
        route: Option<&str>,
    ) -> Result<(), BufferFull> {
        let point = Point {
            route,
            ..Point::at(Place::Frame).of(&connection.client)
        };
        let mut verdict = self.decide(&point);
        if !verdict.waits() {
            return act(connection, message, verdict.fault);
        }
        let connection = Arc::clone(connection);
        tokio::spawn(async move {
            verdict.wait().await;
            if act(&connection, message, verdict.fault).is_err() {
                let id = &connection.client.connection_id;
                let error = "the client reads nothing, and the message was dropped";
                log::event(
                    "reply",
                    serde_json::json!({ "connectionId": id, "error": error }),
                );
            }
        });
        Ok(())
    }
}

fn act(
    connection: &Connection,
    message: Utf8Bytes,
    fault: Option<Fault>,
) -> Result<(), BufferFull> {
    match fault {
        Some(Fault::Drop) => Ok(()),
        Some(Fault::Cut { close, .. }) => {
            connection.close(cause(close));
            Ok(())
        }
        Some(Fault::Duplicate) => {
            connection.send(message.clone())?;
            connection.send(message)
        }
        _ => connection.send(message),
    }
}
