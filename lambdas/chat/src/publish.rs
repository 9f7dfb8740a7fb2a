//! `publish` and its alias `sendmessage`: deliver a message to the other members of a room, and acknowledge it.

use anyhow::anyhow;
use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::future::join;
use futures::stream::StreamExt;
use tokio::time::timeout_at;

use crate::aws;
use crate::connections::{Connections, Membership};
use crate::event::{Reply, Request};
use crate::fanout::{self, Outcome, fan_out};
use crate::gateway::Gateway;
use crate::protocol::{
    Ack, Correlation, ErrorName, Failure, Frame, MAX_FRAME_BYTES, Message, render,
};
use crate::prune::{Pruned, confirm_and_prune};
use crate::settings::{Delivery, Table};

/// How many rooms an error message lists.
const ROOMS_LISTED: usize = 10;

/// What publishing needs; built once per process.
#[derive(Debug, Clone)]
pub struct App {
    /// Who is where.
    pub connections: Connections,
    /// How members are reached.
    pub gateway: Gateway,
    /// Within which bounds.
    pub delivery: Delivery,
}

impl App {
    /// The app that `config` reaches.
    pub fn new(config: &SdkConfig, table: Table, delivery: Delivery) -> Self {
        Self {
            connections: aws::connections(config, table),
            gateway: aws::gateway(config, &delivery),
            delivery,
        }
    }
}

/// Answers a publish: always with a frame, an `ack` or an `error`.
pub async fn publish(app: &App, request: &Request) -> Reply {
    let mut to = Correlation::default();
    match deliver(app, request, &mut to).await {
        Ok(ack) => Reply::frame(ack),
        Err(failure) => {
            let name = failure.name.as_str();
            let (connection_id, request_id) = (&request.connection_id, &request.request_id);
            let duration_ms = request.duration_ms();
            match &failure.cause {
                Some(cause) => tracing::error!(
                    connection_id,
                    request_id,
                    error = name,
                    cause = format!("{cause:#}"),
                    duration_ms,
                    "publish failed"
                ),
                None => tracing::info!(
                    connection_id,
                    request_id,
                    error = name,
                    duration_ms,
                    "publish refused"
                ),
            }
            Reply::frame(failure.render(&to))
        }
    }
}

async fn deliver(app: &App, request: &Request, to: &mut Correlation) -> Result<String, Failure> {
    let frame = Frame::parse(&request.body)?;
    *to = frame.correlation();
    let data = frame.data()?;
    let id = frame.id()?;
    let wanted = frame.room()?;

    let now_s = request.now_s();
    let stop = fanout::before(request.deadline, fanout::STOP_BEFORE_DEADLINE);
    let late = |_| {
        Failure::internal(
            "the service took too long; nothing was sent, try again",
            anyhow!("deadline"),
        )
    };

    // A room that is named is read ahead, while the sender's own row is fetched.
    let (membership, members) = match wanted {
        Some(room) => {
            let mut members = Box::pin(app.connections.members(room.as_str(), now_s).peekable());
            let own = app
                .connections
                .membership(&request.connection_id, room.as_str(), now_s);
            let both = join(own, members.as_mut().peek());
            let (own, _) = timeout_at(stop, both).await.map_err(late)?;
            (own?.ok_or_else(|| not_a_member(room.as_str()))?, members)
        }
        None => {
            let own = app.connections.memberships(&request.connection_id, now_s);
            let own = only(timeout_at(stop, own).await.map_err(late)??)?;
            let members = Box::pin(app.connections.members(&own.room, now_s).peekable());
            (own, members)
        }
    };
    let Membership { room, user, .. } = membership;

    let at = request.now_ms;
    let message = Message {
        room: &room,
        id: id.as_deref(),
        from: &user,
        data,
        received: at / 1000,
        at,
    };
    let body = render(&message);
    if body.len() > MAX_FRAME_BYTES {
        return Err(Failure::new(
            ErrorName::PayloadTooLarge,
            format!(
                "the message is too large: {} bytes as sent to members, at most {MAX_FRAME_BYTES}",
                body.len()
            ),
        ));
    }

    let bytes = body.len();
    let outcome = fan_out(
        &app.gateway,
        members,
        &request.connection_id,
        &Blob::new(body),
        app.delivery.concurrency,
        request.deadline,
    )
    .await;
    let Outcome {
        delivered,
        gone,
        mut failed,
        mut first_failure,
        partial,
        unread,
    } = outcome;
    let suspects = gone;
    let grace_ms = i64::try_from(app.delivery.prune_grace.as_millis()).unwrap_or(i64::MAX);
    let born_before_ms = request.now_ms.saturating_sub(grace_ms);
    let pruned = confirm_and_prune(
        &app.gateway,
        &app.connections,
        &suspects,
        born_before_ms,
        stop,
    )
    .await;
    let Pruned {
        gone,
        rows,
        failure,
    } = pruned;
    failed += suspects.len() - gone;
    first_failure = first_failure.or(failure);

    if let Some(error) = unread {
        let nothing_sent = delivered + gone + failed == 0;
        let failure = Failure::from(error);
        if nothing_sent {
            return Err(failure);
        }
        return Err(Failure {
            message: format!(
                "not all members of the room could be read: {delivered} got the message, others did not; \
                 sent again, it reaches some twice"
            ),
            ..failure
        });
    }

    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room,
        bytes,
        delivered,
        gone,
        failed,
        pruned_rows = rows,
        partial,
        first_failure,
        duration_ms = request.duration_ms(),
        "published"
    );
    Ok(render(&Ack {
        id: id.as_deref(),
        room: &room,
        at,
        delivered,
        gone,
        failed,
        partial,
    }))
}

/// The one room of a connection that names none.
fn only(mut own: Vec<Membership>) -> Result<Membership, Failure> {
    match own.len() {
        0 => Err(Failure::new(
            ErrorName::NotAMember,
            "this connection is in no room; connect with ?room=NAME",
        )),
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

fn not_a_member(room: &str) -> Failure {
    Failure::new(
        ErrorName::NotAMember,
        format!("this connection is not in the room {room}"),
    )
}
