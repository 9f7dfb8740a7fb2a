//! `leave`: removes the connection from a room.

use super::answer::answer;
use super::frame_limit::FrameLimit;
use crate::lambda::{Reply, Request};
use crate::members::Presence;
use crate::protocol::{Left, render};

/// Answers `leave`, always with a frame: `left` or an `error`. Idempotent.
pub async fn leave(presence: &Presence, limit: &FrameLimit, request: &Request) -> Reply {
    answer(limit, request, async |frame| {
        let (id, room) = (frame.id()?, frame.this_room()?);
        frame.shared_room()?;
        let room = room.as_str();
        let connections = &presence.connections;
        let departed = connections.delete(&request.connection_id, room).await?;
        presence.left(request, departed.as_slice()).await;
        tracing::info!(
            connection_id = request.connection_id,
            request_id = request.request_id,
            room,
            duration_ms = request.duration_ms(),
            "left"
        );
        Ok(render(&Left {
            id: id.as_deref(),
            room,
        }))
    })
    .await
}
