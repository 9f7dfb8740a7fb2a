//! `$connect`: the names are checked and the connection becomes a member of its room.

use crate::lambda::{Reply, Request};
use crate::members::{Connection, Connections, LIFETIME_S};
use crate::protocol::{Correlation, Failure, Name, Right, SUBPROTOCOL};

/// Answers a handshake: 200 lets the client in, 400 refuses its names, 401 and 403 its token, 500 is our own failure.
///
/// `?room=` (default `lobby`) and `?user=` (default `guest-…`) may be given once each. One that is empty or repeated
/// is refused rather than guessed at: guessing wrong puts somebody into a room with strangers. A verified user has its
/// name from the token; one that names no room and may not enter the lobby enters none.
pub async fn connect(connections: &Connections, request: &Request) -> Reply {
    let (connection_id, request_id) = (&request.connection_id, &request.request_id);
    let (room, user) = match names(request) {
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
    let welcome = Reply {
        subprotocol: request.offers_subprotocol.then_some(SUBPROTOCOL),
        ..Reply::ok()
    };
    let Some(room) = room else {
        let duration_ms = request.duration_ms();
        tracing::info!(connection_id, request_id, duration_ms, "connected");
        return welcome;
    };
    let row = Connection {
        connection_id: connection_id.clone(),
        room: room.into(),
        user,
        connected_at: request.now_ms,
        expires_at: request.caller.row_end(request.now_s() + LIFETIME_S),
        floor: None,
    };
    let put = connections.put(&row).await;
    let (room, duration_ms) = (row.room.as_str(), request.duration_ms());
    match put {
        Ok(()) => {
            tracing::info!(connection_id, request_id, room, duration_ms, "connected");
            welcome
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

/// The room and the user of a handshake. Other parameters may be meant for an authorizer and are ignored, but not one that
/// is a misspelt `room` or `user`.
fn names(request: &Request) -> Result<(Option<Name>, String), Failure> {
    let (query, caller) = (&request.query, &request.caller);
    caller.authenticate(request.now_s())?;
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
    let room = name(query, "room")?;
    let Some(user) = caller.user() else {
        let user = name(query, "user")?.unwrap_or_else(Name::guest);
        return Ok((Some(room.unwrap_or_else(Name::default_room)), user.into()));
    };
    if query
        .iter()
        .any(|(key, value)| key == "user" && value != user)
    {
        return Err(Failure::bad_request(
            "user differs from the user of the token; leave it out",
        ));
    }
    if let Some(room) = &room {
        caller.check(Right::Join, room.as_str())?;
    }
    let lobby = || Some(Name::default_room()).filter(|room| caller.may(Right::Join, room.as_str()));
    Ok((room.or_else(lobby), user.to_owned()))
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
