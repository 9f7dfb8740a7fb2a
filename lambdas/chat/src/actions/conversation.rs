//! Messages to one user: the room of two users, and the entry in their inboxes that says that there is a conversation.

use futures::future::try_join;
use serde::Serialize;
use tokio::time::Instant;

use crate::lambda::Request;
use crate::log::append::Range;
use crate::log::{Draft, Kind, Log, Tail};
use crate::protocol::{Failure, Frame, Name, Private, check_user, inbox, render};

/// The sender of what the service writes itself. No user has this name.
const SERVICE: &str = "system";

/// The data of the entry: the same for every process that writes it.
#[derive(Debug, Serialize)]
struct Conversation<'a> {
    /// The pair room.
    room: &'a str,
    /// The other user.
    user: &'a str,
}

/// The room that a message goes to: `room`, or the pair room of the sender and the user `to`. None for a frame that names
/// neither.
///
/// # Errors
///
/// `bad_request`; `forbidden` for `to`, where identity is off.
pub(super) fn destination(request: &Request, frame: &Frame<'_>) -> Result<Option<Name>, Failure> {
    let room = frame.room()?;
    let Some(to) = frame.to_user()? else {
        return Ok(room);
    };
    if room.is_some() {
        return Err(Failure::bad_request("give room or to, not both"));
    }
    let user = request.caller.verified()?;
    check_user(&to).map_err(|error| Failure::bad_request(format!("to {error}")))?;
    if check_user(user).is_err() {
        return Err(Failure::bad_request(
            "to is for users: the backend gives as and impersonate, too",
        ));
    }
    if to == user {
        return Err(Failure::bad_request("to must be another user"));
    }
    Ok(Some(Name::pair(user, &to)))
}

/// Before the first message of an epoch of a pair room is stored, says so in the inboxes of the two: a client that was away
/// finds the conversation there. So a pair room with a message has its entries, whoever dies when. Returns the tail of the
/// room, whose log is begun.
///
/// Costs nothing in other rooms, and in a pair room that has a message. `check` runs before the entries are written.
pub(super) async fn announce(
    log: &Log,
    request: &Request,
    room: &str,
    tail: Tail,
    until: Instant,
    check: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Result<Tail, Failure> {
    let Some(Private::Pair(one, other)) = Private::of(room) else {
        return Ok(tail);
    };
    let (tail, epoch) = log.silent(room, tail, request.now_ms).await?;
    if let Some(epoch) = epoch {
        check().await?;
        // The same id at each try, so the entry is there once.
        let id = format!("conv:{epoch}");
        try_join(
            enter(log, request, &id, room, (one, other), until),
            enter(log, request, &id, room, (other, one), until),
        )
        .await?;
    }
    Ok(tail)
}

async fn enter(
    log: &Log,
    request: &Request,
    id: &str,
    room: &str,
    (owner, user): (&str, &str),
    until: Instant,
) -> Result<(), Failure> {
    let (inbox, data) = (inbox(owner), render(&Conversation { room, user }));
    let draft = Draft {
        room: &inbox,
        user: SERVICE,
        id: Some(id),
        after: None,
        data: &data,
        kind: Some(Kind::Conversation),
        exempt: true,
        at: request.now_ms,
    };
    let range = Range::covering(draft.id, None);
    let tail = log.tail(&inbox, range, request.now_ms).await?;
    log.append(&draft, range, tail, until).await?;
    Ok(())
}
