//! The common parts of the actions: a frame is answered, whatever happens, and concerns one room of its sender.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::timeout_at;

use super::frame_limit::{Flood, FrameLimit, Verdict, bye};
use crate::identity::Caller;
use crate::lambda::{Reply, Request, before};
use crate::members::{Connections, Membership, Mute, Personal};
use crate::metrics;
use crate::protocol::{Correlation, ErrorName, Failure, Frame, Name, Private, Right, inbox};

/// Rooms that an error message lists at most.
const ROOMS_LISTED: usize = 10;

/// An action that is not finished when less than this is left of the invocation is answered with an error: Lambda would
/// end the invocation without an answer.
const ANSWER_BEFORE_DEADLINE: Duration = Duration::from_millis(100);

/// The answer to a frame beyond `limit`, or none for a frame within it: `slow_down` for the first one, and no frame for
/// those that follow. A connection that floods gets `bye`, and is closed.
pub(crate) async fn beyond(limit: &FrameLimit, request: &Request) -> Option<Reply> {
    let (connection_id, request_id) = (&request.connection_id, &request.request_id);
    match limit.count(request) {
        Verdict::Accepted => None,
        // Without a log line, which would cost more than the frame.
        Verdict::Dropped => Some(Reply::ok()),
        Verdict::Refused { retry_after_ms } => {
            let failure = Failure {
                retry_after_ms: Some(retry_after_ms),
                ..Failure::new(
                    ErrorName::SlowDown,
                    "too many frames; until the time is over, further ones are dropped without an answer",
                )
            };
            tracing::info!(
                connection_id,
                request_id,
                error = failure.name.as_str(),
                retry_after_ms,
                "too many frames"
            );
            metrics::refused(request_id, request.now_ms, &failure);
            let to = Frame::parse(&request.body).map(|frame| frame.correlation());
            Some(Reply::frame(failure.render(&to.unwrap_or_default())))
        }
        Verdict::Flood(flood) => Some(end(limit, request, flood).await),
    }
}

/// The answer to a `publish` of a connection or user that floods, or none for any other: messages are counted by the log, so a
/// frame beyond `limit` is neither refused nor dropped before that.
pub(crate) async fn flooded(limit: &FrameLimit, request: &Request) -> Option<Reply> {
    match limit.count(request) {
        Verdict::Flood(flood) => Some(end(limit, request, flood).await),
        Verdict::Accepted | Verdict::Refused { .. } | Verdict::Dropped => None,
    }
}

/// Tells a connection that floods to end, and ends it.
async fn end(limit: &FrameLimit, request: &Request, flood: Flood) -> Reply {
    let (connection_id, request_id) = (&request.connection_id, &request.request_id);
    match flood {
        Flood::Nothing => Reply::ok(),
        Flood::Bye => Reply::frame(bye()),
        Flood::Close => {
            let until = before(request.deadline, ANSWER_BEFORE_DEADLINE);
            let closed = match timeout_at(until, limit.close(request)).await {
                Ok(closed) => closed,
                Err(_) => Err(format!("less than {ANSWER_BEFORE_DEADLINE:?} were left")),
            };
            match closed {
                Ok(()) => tracing::warn!(
                    connection_id,
                    request_id,
                    user = request.caller.user(),
                    "connection closed: too many frames"
                ),
                Err(cause) => tracing::warn!(
                    connection_id,
                    request_id,
                    cause,
                    "DeleteConnection failed for a connection with too many frames"
                ),
            }
            Reply::ok()
        }
    }
}

/// Reads the frame of `request`, does the `work`, and answers with the returned frame or with an `error`. A frame beyond
/// `limit` is answered as [`beyond`] says.
pub(crate) async fn answer<'a>(
    limit: &FrameLimit,
    request: &'a Request,
    work: impl AsyncFnOnce(&Frame<'a>) -> Result<String, Failure>,
) -> Reply {
    if let Some(reply) = beyond(limit, request).await {
        return reply;
    }
    Reply::frame(attempt(request, work).await.unwrap_or_else(|error| error))
}

/// Reads the frame of `request` and does the `work`.
///
/// # Errors
///
/// The text of an `error` frame, for the sender.
pub(crate) async fn attempt<'a, T>(
    request: &'a Request,
    work: impl AsyncFnOnce(&Frame<'a>) -> Result<T, Failure>,
) -> Result<T, String> {
    let mut to = Correlation::default();
    let until = before(request.deadline, ANSWER_BEFORE_DEADLINE);
    let done = async {
        let frame = Frame::parse(&request.body)?;
        to = frame.correlation();
        request.caller.authenticate(request.now_s())?;
        // Boxed, so that the SDK's deeply nested futures are not part of this one.
        Box::pin(work(&frame)).await
    };
    let mut failure = match timeout_at(until, done).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::internal(
            "the service took too long; try again",
            anyhow!("less than {ANSWER_BEFORE_DEADLINE:?} were left"),
        ),
    };
    let (connection_id, request_id) = (&request.connection_id, &request.request_id);
    let (action, error) = (to.action.as_deref(), failure.name.as_str());
    let duration_ms = request.duration_ms();
    match &failure.cause {
        Some(cause) => tracing::error!(
            connection_id,
            request_id,
            action,
            error,
            cause = format!("{cause:#}"),
            duration_ms,
            "action failed"
        ),
        None => tracing::info!(
            connection_id,
            request_id,
            action,
            error,
            duration_ms,
            "action refused"
        ),
    }
    metrics::refused(request_id, request.now_ms, &failure);
    if failure.name == ErrorName::Internal {
        failure.request_id = Some(request_id.clone());
    }
    Err(failure.render(&to))
}

/// The sender's membership of the room that the frame names, or of the sender's only room. Refuses a sender without
/// `right` in the room; if the frame names the room, without a request.
///
/// # Errors
///
/// `forbidden`; `not_a_member`; `banned` for a muted user who would write; `bad_request` if the frame names no room and the sender is in several; an error of the
/// table.
pub(crate) async fn membership(
    connections: &Connections,
    request: &Request,
    room: Option<&Name>,
    right: Right,
) -> Result<Membership, Failure> {
    let (sender, now_s) = (&request.connection_id, request.now_s());
    if let Caller::Backend(name) = &request.caller {
        let room = room.ok_or_else(|| Failure::bad_request("room is missing"))?;
        return Ok(everywhere(name, room.as_str()));
    }
    let own = match room {
        None => {
            let own = only(connections.memberships(sender, now_s).await?)?;
            request.caller.check(right, &own.room)?;
            own
        }
        Some(room) => {
            request.caller.check(right, room.as_str())?;
            // A room that belongs to the user has no rows of members: the row by which the user's connections are found
            // will do.
            let row = match request.caller.user() {
                Some(user) if room.is_private() => inbox(user),
                _ => room.to_string(),
            };
            let own = connections.membership(sender, &row, now_s).await?;
            let own = own.ok_or_else(|| not_in(room.as_str()))?;
            Membership {
                room: room.to_string(),
                ..own
            }
        }
    };
    match &own.muted {
        Some(mute) if right == Right::Publish && mute.holds(now_s) => Err(muted(mute, &own.room)),
        _ => Ok(own),
    }
}

/// The backend needs no row to be in a room.
pub(crate) fn everywhere(name: &str, room: &str) -> Membership {
    Membership {
        room: room.to_owned(),
        user: name.to_owned(),
        connected_at: 0,
        expires_at: i64::MAX,
        floor: None,
        batch: false,
        muted: None,
        presence: false,
        state: None,
        state_at: 0,
    }
}

fn muted(mute: &Mute, room: &str) -> Failure {
    Failure {
        until: mute.until,
        reason: mute.reason.clone(),
        mute: true,
        ..Failure::new(
            ErrorName::Banned,
            format!("this user is muted in the room {room}"),
        )
    }
}

/// The failure for a connection that is not in a room.
pub(crate) fn not_in(room: &str) -> Failure {
    let message = format!("this connection is not in the room {room}");
    Failure::new(ErrorName::NotAMember, message)
}

/// Refuses a frame in a pair room whose other user wants nothing from the sender: one consistent GetItem, in pair rooms
/// alone.
///
/// # Errors
///
/// `forbidden`; an error of the table.
pub(crate) async fn wanted(
    personal: &Personal,
    request: &Request,
    room: Option<&Name>,
) -> Result<(), Failure> {
    let private = room.and_then(|room| Private::of(room.as_str()));
    let Some((user, other)) = request
        .caller
        .user()
        .zip(private)
        .and_then(|(user, room)| Some((user, room.other(user)?)))
    else {
        return Ok(());
    };
    if personal.blocks(other, user).await? {
        return Err(Failure::new(
            ErrorName::Forbidden,
            "this user wants no messages from you",
        ));
    }
    Ok(())
}

/// The failure for a connection without rows: it has left its last room, or its two hours are over.
pub(crate) fn in_no_room() -> Failure {
    Failure::new(
        ErrorName::NotAMember,
        "this connection is in no room; connect with ?room=NAME",
    )
}

/// The only room of a connection whose frame names no room.
fn only(mut own: Vec<Membership>) -> Result<Membership, Failure> {
    match own.len() {
        0 => Err(in_no_room()),
        1 => Ok(own.remove(0)),
        several => {
            own.sort_by(|a, b| a.room.cmp(&b.room));
            let listed: Vec<&str> = own
                .iter()
                .take(ROOMS_LISTED)
                .map(|own| own.room.as_str())
                .collect();
            let more = if several > ROOMS_LISTED { ", …" } else { "" };
            Err(Failure::bad_request(format!(
                "this connection is in {several} rooms; say which with room: {}{more}",
                listed.join(", ")
            )))
        }
    }
}
