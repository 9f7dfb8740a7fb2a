//! `history`: pages of a room's log, backwards from the newest message or forwards from a position. `heads`: where the
//! logs of several rooms end.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::answer::{answer, everywhere, membership};
use super::frame_limit::FrameLimit;
use crate::errors::TableError;
use crate::lambda::{Reply, Request};
use crate::log::{AUDIT, Direction, Log};
use crate::members::Connections;
use crate::protocol::{self, Failure, Frame, Head, Heads, Right, render};

/// Messages of a page when the client gives no limit.
const DEFAULT_LIMIT: usize = 50;

/// The most messages of a page.
const MAX_LIMIT: usize = 100;

/// The most rooms of one `heads`.
const MAX_ROOMS: usize = 50;

/// Logs of a `heads` that are read in parallel.
const CONCURRENCY: usize = 16;

/// Answers `history` and `heads`, always with a frame: of the same name, or an `error`.
pub async fn history(
    connections: &Connections,
    log: &Log,
    limit: &FrameLimit,
    request: &Request,
) -> Reply {
    answer(limit, request, async |frame| {
        match frame.action()?.as_deref() {
            Some("heads") => heads(log, request, frame).await,
            _ => handle(connections, log, request, frame).await,
        }
    })
    .await
}

/// Reads where the logs end, without membership: whoever may join a room may know how much is said there.
async fn heads(log: &Log, request: &Request, frame: &Frame<'_>) -> Result<String, Failure> {
    let (id, rooms) = (frame.id()?, frame.rooms(MAX_ROOMS)?);
    for room in &rooms {
        request.caller.check(Right::Join, room)?;
    }
    let now_s = request.now_s();
    let heads: BTreeMap<&str, Option<Head>> = stream::iter(&rooms)
        .map(async |room| {
            let newest = log.newest_row(room, now_s).await?;
            let head = newest.map(|newest| Head {
                n: newest.n(),
                head: newest.seq,
                epoch: newest.epoch,
            });
            Ok::<_, TableError>((room.as_str(), head))
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        rooms = rooms.len(),
        duration_ms = request.duration_ms(),
        "heads read"
    );
    Ok(render(&Heads {
        id: id.as_deref(),
        heads,
    }))
}

async fn handle(
    connections: &Connections,
    log: &Log,
    request: &Request,
    frame: &Frame<'_>,
) -> Result<String, Failure> {
    let id = frame.id()?;
    // The audit has no members: the backend alone reads it.
    let is_audit = request.caller.is_backend() && frame.is_about(AUDIT);
    let room = if is_audit { None } else { frame.room()? };
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
    let own = if is_audit {
        everywhere(request.caller.user().unwrap_or_default(), AUDIT)
    } else {
        membership(connections, request, room.as_ref(), Right::Join).await?
    };
    let mut bounds = log.bounds(&own.room, request.now_ms).await?;
    let room = own.room.clone();
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
        .page(&room, now_s, &mut bounds, direction, limit, &own.user)
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
