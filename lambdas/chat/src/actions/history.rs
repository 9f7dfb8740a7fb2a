//! `history`: pages of a room's log, backwards from the newest message or forwards from a position.

use futures::future::try_join;

use super::answer::{answer, membership};
use crate::lambda::{Reply, Request};
use crate::log::{Direction, Log};
use crate::members::Connections;
use crate::protocol::{self, Failure, Frame, render};

/// How many messages are in a page when the client does not say.
const DEFAULT_LIMIT: usize = 50;

/// The most messages of a page.
const MAX_LIMIT: usize = 100;

/// Answers a history: always with a frame, `history` or an `error`.
pub async fn history(connections: &Connections, log: &Log, request: &Request) -> Reply {
    answer(request, async |frame| {
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
    let own = membership(connections, request, room.as_ref());
    let (room, mut bounds) = match &room {
        // Both at once; what was read is told to members alone.
        Some(room) => {
            let bounds = Box::pin(async { Ok(log.bounds(room.as_str(), request.now_ms).await?) });
            let (own, bounds) = try_join(own, bounds).await?;
            (own.room, bounds)
        }
        None => {
            let room = own.await?.room;
            let bounds = log.bounds(&room, request.now_ms).await?;
            (room, bounds)
        }
    };
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
        messages: page.messages,
        more: page.more,
    }))
}
