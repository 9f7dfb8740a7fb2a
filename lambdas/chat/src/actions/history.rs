//! `history`: pages of a room's log, backwards from the newest message or forwards from a position.

use super::answer::{answer, membership};
use super::frame_limit::FrameLimit;
use crate::lambda::{Reply, Request};
use crate::log::{Direction, Log};
use crate::members::Connections;
use crate::protocol::{self, Failure, Frame, Right, render};

/// Messages of a page when the client gives no limit.
const DEFAULT_LIMIT: usize = 50;

/// The most messages of a page.
const MAX_LIMIT: usize = 100;

/// Answers `history`, always with a frame: `history` or an `error`.
pub async fn history(
    connections: &Connections,
    log: &Log,
    limit: &FrameLimit,
    request: &Request,
) -> Reply {
    answer(limit, request, async |frame| {
        handle(connections, log, request, frame).await
    })
    .await
}

async fn handle(
    connections: &Connections,
    log: &Log,
    request: &Request,
    frame: &Frame<'_>,
) -> Result<String, Failure> {
    let (id, room) = (frame.id()?, frame.room()?);
    let limit = frame.count("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let direction = match (frame.before()?, frame.after()?) {
        (Some(_), Some(_)) => {
            return Err(Failure::bad_request("give before or after, not both"));
        }
        (None, Some(seq)) => Direction::After(seq),
        (before, None) => Direction::Before(before.unwrap_or(u64::MAX)),
    };

    let now_s = request.now_s();
    // A connection that is not in the room reads nothing of it.
    let own = membership(connections, request, room.as_ref(), Right::Join).await?;
    let mut bounds = log.bounds(&own.room, request.now_ms).await?;
    let room = own.room;
    if !request.caller.may(Right::History, &room) {
        // A row written by the handshake has no position: only a `join` reads the end of the log and writes it down.
        let floor = own.floor.ok_or_else(|| Failure {
            message: format!(
                "the token does not grant the right history in the room {room}; send a join first, to read on from there"
            ),
            ..Failure::forbidden(Right::History, &room)
        })?;
        bounds.cut(&floor);
    }
    let page = log
        .page(&room, now_s, &mut bounds, direction, limit)
        .await?;
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room,
        head = bounds.head,
        messages = page.messages.len(),
        duration_ms = request.duration_ms(),
        "history read"
    );
    Ok(render(&protocol::History {
        id: id.as_deref(),
        room: &room,
        epoch: bounds.epoch.as_deref(),
        first: bounds.first,
        head: bounds.head,
        head_n: bounds.head_n,
        messages: page.messages,
        more: page.more,
    }))
}
