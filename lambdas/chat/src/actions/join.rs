//! `join`: the connection becomes a member of a further room, or learns where it stands in one it is in.

use super::answer::{answer, in_no_room};
use crate::lambda::{Reply, Request};
use crate::log::{Bounds, Direction, Log, Page};
use crate::members::{Connection, Connections, Membership};
use crate::protocol::{Failure, Frame, Joined, Name, Position, render};

/// How many rooms a connection may be in: `$disconnect` must delete all its rows within seconds.
const MAX_ROOMS: usize = 100;

/// The most messages of one answer.
const MAX_MESSAGES: usize = 100;

/// Answers a join: always with a frame, `joined` or an `error`.
pub async fn join(connections: &Connections, log: &Log, request: &Request) -> Reply {
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
    let (id, room) = (frame.id()?, frame.this_room()?);
    let (since, history) = (frame.since()?, frame.count("history", 0, MAX_MESSAGES)?);

    // The row first, the log after it: what is appended past the head that is read here finds the row.
    let own = connections
        .memberships(&request.connection_id, request.now_s())
        .await?;
    let user = become_member(connections, request, &room, own).await?;

    let room = room.as_str();
    let mut bounds = log.begun(room, request.now_ms).await?;
    let (recovered, page) = catch_up(
        log,
        request,
        room,
        &mut bounds,
        since.as_ref(),
        history.unwrap_or(0),
    )
    .await?;
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room,
        head = bounds.head,
        recovered,
        messages = page.messages.len(),
        duration_ms = request.duration_ms(),
        "joined"
    );
    Ok(render(&Joined {
        id: id.as_deref(),
        room,
        user: &user,
        epoch: bounds.epoch.as_deref().unwrap_or_default(),
        first: bounds.first,
        head: bounds.head,
        recovered,
        messages: page.messages,
        more: recovered == Some(true) && page.more,
    }))
}

/// Writes the row, unless it is there, and says by which name the connection goes.
async fn become_member(
    connections: &Connections,
    request: &Request,
    room: &Name,
    own: Vec<Membership>,
) -> Result<String, Failure> {
    let rooms = own.len();
    let here = own.iter().position(|own| own.room == room.as_str());
    let Some(any) = own.into_iter().nth(here.unwrap_or(0)) else {
        return Err(in_no_room());
    };
    if here.is_some() {
        return Ok(any.user);
    }
    if rooms >= MAX_ROOMS {
        return Err(Failure::bad_request(format!(
            "this connection is in {rooms} rooms, and may be in {MAX_ROOMS}; leave one first"
        )));
    }
    // Both times are those of the handshake: the row ends with the connection, and if the connection has just ended, a
    // row as young as this frame would keep the prune from deleting it.
    let row = Connection {
        connection_id: request.connection_id.clone(),
        room: room.to_string(),
        user: any.user,
        connected_at: any.connected_at,
        expires_at: any.expires_at,
    };
    connections.put(&row).await?;
    Ok(row.user)
}

/// What the client has missed, all or nothing, or else the newest messages.
async fn catch_up(
    log: &Log,
    request: &Request,
    room: &str,
    bounds: &mut Bounds,
    since: Option<&Position>,
    history: usize,
) -> Result<(Option<bool>, Page), Failure> {
    let now_s = request.now_s();
    if let Some(since) = since
        && holds(bounds, since)
    {
        let after = Direction::After(since.seq);
        let page = log.page(room, now_s, bounds, after, MAX_MESSAGES).await?;
        // Reading may have found that the log begins later.
        if holds(bounds, since) {
            return Ok((Some(true), page));
        }
    }
    let newest = Direction::Before(bounds.head.saturating_add(1));
    let page = log.page(room, now_s, bounds, newest, history).await?;
    Ok((since.map(|_| false), page))
}

/// Whether everything after `since` is in the log.
fn holds(bounds: &Bounds, since: &Position) -> bool {
    bounds.epoch.as_deref() == Some(&since.epoch)
        && since.seq.saturating_add(1) >= bounds.first
        && since.seq <= bounds.head
}
