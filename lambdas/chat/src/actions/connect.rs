//! `$connect`: the names are checked and the connection becomes a member of its room.

use std::pin::pin;

use futures::future::{join, join_all, try_join_all};
use futures::stream::StreamExt;

use crate::lambda::{Reply, Request};
use crate::members::{Connection, Connections, LIFETIME_S, Users};
use crate::metrics::{self, Metric};
use crate::protocol::{Correlation, ErrorName, Failure, Name, Right, SUBPROTOCOL, inbox};
use crate::settings::Handshakes;

/// Answers a handshake: 200 accepts the client, 400 refuses its names, 401 and 403 its token, its user or its page, 429
/// one connection too many of its user. 500 is a failure of the service.
///
/// `?room=` (default `lobby`) and `?user=` (default `guest-…`) may be given once each. An empty or repeated parameter
/// is refused: a wrong guess would put somebody into a room with strangers. The name of a verified user comes from the
/// token. A verified user who names no room and may not enter the lobby enters no room.
pub async fn connect(
    connections: &Connections,
    users: &Users,
    settings: &Handshakes,
    request: &Request,
) -> Reply {
    let (connection_id, request_id) = (&request.connection_id, &request.request_id);
    let entered = match check_origin(settings, request).and_then(|()| names(request)) {
        Ok((room, user)) => enter(connections, users, settings, request, room, &user).await,
        Err(failure) => Err(failure),
    };
    let duration_ms = request.duration_ms();
    match entered {
        Ok(room) => {
            tracing::info!(connection_id, request_id, room, duration_ms, "connected");
            metrics::emit(request_id, request.now_ms, &[(Metric::Connected, 1)]);
            Reply {
                subprotocol: request.offers_subprotocol.then_some(SUBPROTOCOL),
                ..Reply::ok()
            }
        }
        Err(failure) => {
            let error = failure.name.as_str();
            match &failure.cause {
                Some(cause) => {
                    tracing::error!(
                        connection_id,
                        request_id,
                        error,
                        cause = format!("{cause:#}"),
                        duration_ms,
                        "connect failed"
                    );
                }
                None => {
                    tracing::info!(
                        connection_id,
                        request_id,
                        error,
                        duration_ms,
                        "connect refused"
                    );
                }
            }
            // No client reads the body of a handshake's answer, so the status alone says what to do: a throttled table is
            // our failure, and 429 is a limit of the user.
            let name = match (failure.name, &failure.cause) {
                (ErrorName::SlowDown, Some(_)) => ErrorName::Internal,
                (name, _) => name,
            };
            let failure = Failure { name, ..failure };
            metrics::refused(request_id, request.now_ms, &failure);
            refused(&failure)
        }
    }
}

/// Refuses the browser of a page that is not allowed. Other clients send no `Origin`, or any they like.
fn check_origin(settings: &Handshakes, request: &Request) -> Result<(), Failure> {
    let allowed = &settings.allowed_origins;
    let is_allowed = |origin: &String| allowed.iter().any(|one| one.eq_ignore_ascii_case(origin));
    match request.origins.iter().find(|origin| !is_allowed(origin)) {
        Some(_) if !allowed.is_empty() => Err(Failure::new(
            ErrorName::Forbidden,
            "pages of this origin may not connect",
        )),
        _ => Ok(()),
    }
}

/// Writes the rows of the connection and returns the room: its membership, and for a verified user the row by which its
/// connections are found. Rows of a verified user who must not be here are deleted again.
async fn enter(
    connections: &Connections,
    users: &Users,
    settings: &Handshakes,
    request: &Request,
    room: Option<Name>,
    user: &str,
) -> Result<Option<String>, Failure> {
    let room = room.map(String::from);
    let inbox = request.caller.user().map(inbox);
    let rows: Vec<Connection> = [room.clone(), inbox.clone()]
        .into_iter()
        .flatten()
        .map(|room| Connection {
            connection_id: request.connection_id.clone(),
            room,
            user: user.to_owned(),
            connected_at: request.now_ms,
            expires_at: request.caller.row_end(request.now_s() + LIFETIME_S),
            floor: None,
            batch: false,
            muted: None,
        })
        .collect();
    let checked = async {
        try_join_all(rows.iter().map(|row| connections.put(row, None))).await?;
        let (Some(identity), Some(inbox)) = (request.caller.identity(), &inbox) else {
            return Ok(());
        };
        let (bans, others) = join(
            users.check(identity, room.as_deref(), request.now_s()),
            others(connections, request, inbox),
        )
        .await;
        let mute = bans?;
        if others? < settings.max_connections_per_user {
            if let (Some(mute), Some(room)) = (mute, &room) {
                let id = &request.connection_id;
                connections.set_muted(id, room, Some(&mute)).await?;
            }
            return Ok(());
        }
        Err(Failure::new(
            ErrorName::SlowDown,
            format!(
                "this user has {} connections already; close one first",
                settings.max_connections_per_user
            ),
        ))
    };
    match Box::pin(checked).await {
        Ok(()) => Ok(room),
        Err(failure) if inbox.is_none() => Err(failure),
        Err(failure) => {
            let deleted = join_all(
                rows.iter()
                    .map(|row| connections.delete(&row.connection_id, &row.room)),
            );
            // The handshake is refused in any case; the next message finds a row that stays.
            for error in deleted.await.into_iter().filter_map(Result::err) {
                tracing::warn!(connection_id = request.connection_id, cause = %error, "a row stays");
            }
            Err(failure)
        }
    }
}

/// The number of other connections of a user, by the index. The index may lack a connection that was just made.
async fn others(
    connections: &Connections,
    request: &Request,
    inbox: &str,
) -> Result<usize, Failure> {
    let mut pages = pin!(connections.members(inbox, request.now_s()));
    let mut others = 0;
    while let Some(page) = pages.next().await {
        others += page?
            .iter()
            .filter(|id| **id != request.connection_id)
            .count();
    }
    Ok(others)
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
