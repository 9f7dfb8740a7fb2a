//! `$connect`: the names are checked and the connection becomes a member of its room.

use crate::lambda::{Reply, Request};
use crate::members::{Connection, Connections, LIFETIME_S};
use crate::protocol::{Correlation, Failure, Name};

/// Answers a handshake: 200 lets the client in, 400 refuses its names, 500 is our own failure.
///
/// `?room=` (default `lobby`) and `?user=` (default `guest-…`) may be given once each. One that is empty or repeated
/// is refused rather than guessed at: guessing wrong puts somebody into a room with strangers.
pub async fn connect(connections: &Connections, request: &Request) -> Reply {
    let (connection_id, request_id) = (&request.connection_id, &request.request_id);
    let (room, user) = match names(&request.query) {
        Ok(names) => names,
        Err(failure) => {
            let duration_ms = request.duration_ms();
            tracing::info!(
                connection_id,
                request_id,
                error = failure.name.as_str(),
                duration_ms,
                "connect refused"
            );
            return refused(&failure);
        }
    };
    let row = Connection {
        connection_id: connection_id.clone(),
        room: room.into(),
        user: user.into(),
        connected_at: request.now_ms,
        expires_at: request.now_s() + LIFETIME_S,
    };
    let put = connections.put(&row).await;
    let (room, duration_ms) = (row.room.as_str(), request.duration_ms());
    match put {
        Ok(()) => {
            tracing::info!(connection_id, request_id, room, duration_ms, "connected");
            Reply::ok()
        }
        Err(error) => {
            tracing::error!(connection_id, request_id, room, cause = %error, duration_ms, "connect failed");
            refused(&Failure::internal(
                "the service failed; try again",
                error.into(),
            ))
        }
    }
}

/// The room and the user of a handshake's query. Other parameters may be meant for an authorizer and are ignored, but not
/// one that is a misspelt `room` or `user`.
fn names(query: &[(String, String)]) -> Result<(Name, Name), Failure> {
    for (key, _) in query {
        let meant: String = key
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if key != &meant && ["room", "user"].contains(&meant.as_str()) {
            return Err(Failure::bad_request(format!(
                "{key:?} is not a parameter; use {meant}"
            )));
        }
    }
    let room = name(query, "room")?.unwrap_or_else(Name::default_room);
    let user = name(query, "user")?.unwrap_or_else(Name::guest);
    Ok((room, user))
}

fn name(query: &[(String, String)], key: &str) -> Result<Option<Name>, Failure> {
    let mut values = query
        .iter()
        .filter(|(k, _)| k == key)
        .map(|(_, value)| value);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Failure::bad_request(format!(
            "{key} is given more than once"
        )));
    }
    Name::parse(value)
        .map(Some)
        .map_err(|error| Failure::bad_request(format!("{key} {error}")))
}

fn refused(failure: &Failure) -> Reply {
    Reply::refused(failure.name.code(), failure.render(&Correlation::default()))
}
