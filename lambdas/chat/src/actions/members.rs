//! `members`: lists the users in a room.

use std::collections::BTreeMap;

use futures::stream::StreamExt;

use super::answer::{answer, membership};
use super::frame_limit::FrameLimit;
use crate::lambda::{Reply, Request};
use crate::members::Connections;
use crate::protocol::{self, Failure, Frame, MAX_PAGE_BYTES, Member, Right, render};

/// The users of a page if the client names no number.
const DEFAULT_LIMIT: usize = 100;

/// The most users of a page.
const MAX_LIMIT: usize = 1_000;

/// Connections counted at most: about 2 MB of the index, a few hundred milliseconds.
const MAX_CONNECTIONS: usize = 20_000;

/// Answers `members`, always with a frame: `members` or an `error`.
pub async fn members(connections: &Connections, limit: &FrameLimit, request: &Request) -> Reply {
    answer(limit, request, async |frame| {
        handle(connections, request, frame).await
    })
    .await
}

async fn handle(
    connections: &Connections,
    request: &Request,
    frame: &Frame<'_>,
) -> Result<String, Failure> {
    let (id, room, after) = (frame.id()?, frame.shared_room()?, frame.after_user()?);
    let limit = frame.count("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let room = membership(connections, request, room.as_ref(), Right::Join)
        .await?
        .room;

    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    let (mut count, mut partial) = (0, false);
    let mut pages = Box::pin(connections.users(&room, request.now_s()));
    while let Some(page) = pages.next().await {
        let mut page = page?;
        partial = count + page.len() > MAX_CONNECTIONS;
        page.truncate(MAX_CONNECTIONS - count);
        count += page.len();
        for user in page {
            *users.entry(user).or_default() += 1;
        }
        if partial {
            break;
        }
    }

    let mut listed = Vec::new();
    let (mut bytes, mut more) = (0, false);
    let further = users.iter().filter(|(user, _)| {
        after
            .as_ref()
            .is_none_or(|after| user.as_str() > after.as_str())
    });
    for (user, &connections) in further {
        let member = Member { user, connections };
        bytes += render(&member).len() + 1;
        if listed.len() == limit || bytes > MAX_PAGE_BYTES {
            more = true;
            break;
        }
        listed.push(member);
    }
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room,
        count,
        duration_ms = request.duration_ms(),
        "members listed"
    );
    Ok(render(&protocol::Members {
        id: id.as_deref(),
        room: &room,
        count,
        members: listed,
        more,
        partial,
    }))
}
