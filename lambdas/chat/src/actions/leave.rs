//! `leave`: removes the connection from a room.

use super::answer::answer;
use super::frame_limit::FrameLimit;
use crate::lambda::{Reply, Request};
use crate::members::Connections;
use crate::protocol::{Left, render};

/// Answers `leave`, always with a frame: `left` or an `error`. Idempotent.
pub async fn leave(connections: &Connections, limit: &FrameLimit, request: &Request) -> Reply {
    answer(limit, request, async |frame| {
        let (id, room) = (frame.id()?, frame.this_room()?);
        frame.shared_room()?;
        let room = room.as_str();
        connections.delete(&request.connection_id, room).await?;
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
