//! `publish` and its alias `sendmessage`: deliver a message to the other members of a room, and acknowledge it.

use anyhow::anyhow;
use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::future::join;
use futures::stream::{Stream, StreamExt};
use tokio::time::timeout_at;

use crate::aws;
use crate::connections::{Connections, Membership};
use crate::event::{Reply, Request};
use crate::fanout::{STOP_BEFORE_DEADLINE, before, fan_out};
use crate::gateway::Gateway;
use crate::names::Name;
use crate::protocol::{
    Ack, Correlation, ErrorName, Failure, Frame, MAX_FRAME_BYTES, Message, render,
};
use crate::prune::confirm_and_prune;
use crate::settings::{Delivery, Table};
use crate::table::TableError;

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
    let stop = before(request.deadline, STOP_BEFORE_DEADLINE);

    let opened = timeout_at(stop, open(app, request, frame.room()?)).await;
    let (sender, members) = opened.map_err(|_| {
        let message = "the service took too long; nothing was sent, try again";
        Failure::internal(
            message,
            anyhow!("less than {STOP_BEFORE_DEADLINE:?} were left"),
        )
    })??;
    let room = sender.room.as_str();

    let at = request.now_ms;
    let message = Message {
        room,
        id: id.as_deref(),
        from: &sender.user,
        data,
        received: at / 1000,
        at,
    };
    let body = render(&message);
    let bytes = body.len();
    if bytes > MAX_FRAME_BYTES {
        let message = format!(
            "the message is too large: {bytes} bytes as sent to members, at most {MAX_FRAME_BYTES}"
        );
        return Err(Failure::new(ErrorName::PayloadTooLarge, message));
    }

    let Delivery {
        concurrency,
        prune_grace,
        ..
    } = app.delivery;
    let body = Blob::new(body);
    let outcome = fan_out(
        &app.gateway,
        members,
        &request.connection_id,
        &body,
        concurrency,
        request.deadline,
    )
    .await;
    let grace_ms = i64::try_from(prune_grace.as_millis()).unwrap_or(i64::MAX);
    let born_before_ms = request.now_ms.saturating_sub(grace_ms);
    let pruned = confirm_and_prune(
        &app.gateway,
        &app.connections,
        &outcome.gone,
        born_before_ms,
        stop,
    )
    .await;

    let delivered = outcome.delivered;
    let gone = pruned.gone;
    // Whoever was answered 410 and is not surely gone did not get it either.
    let failed = outcome.failed + outcome.gone.len() - gone;
    if let Some(error) = outcome.unread {
        return Err(half_way(error, delivered, gone, failed));
    }
    let partial = outcome.partial;
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room,
        bytes,
        delivered,
        gone,
        failed,
        partial,
        pruned_rows = pruned.rows,
        first_failure = outcome.first_failure.or(pruned.failure),
        duration_ms = request.duration_ms(),
        "published"
    );
    Ok(render(&Ack {
        id: id.as_deref(),
        room,
        at,
        delivered,
        gone,
        failed,
        partial,
    }))
}

/// Who the sender is in which room, and who else is there. The first page of members of a room that is named is read
/// while the sender's own row is.
async fn open(
    app: &App,
    request: &Request,
    room: Option<Name>,
) -> Result<
    (
        Membership,
        impl Stream<Item = Result<Vec<String>, TableError>> + use<>,
    ),
    Failure,
> {
    let (connections, sender, now_s) = (&app.connections, &request.connection_id, request.now_s());
    match room {
        Some(room) => {
            let mut members = Box::pin(connections.members(room.as_str(), now_s).peekable());
            let own = connections.membership(sender, room.as_str(), now_s);
            let (own, _) = join(own, members.as_mut().peek()).await;
            Ok((own?.ok_or_else(|| not_a_member(room.as_str()))?, members))
        }
        None => {
            let own = only(connections.memberships(sender, now_s).await?)?;
            let members = Box::pin(connections.members(&own.room, now_s).peekable());
            Ok((own, members))
        }
    }
}

/// The list of members broke off. Unless that was before anything was sent, a second try reaches some members twice;
/// the sender decides.
fn half_way(error: TableError, delivered: usize, gone: usize, failed: usize) -> Failure {
    let failure = Failure::from(error);
    if delivered + gone + failed == 0 {
        return failure;
    }
    let counts = format!("{delivered} delivered, {gone} gone, {failed} failed");
    Failure {
        message: format!(
            "not all members of the room could be read: {delivered} got the message, others did not; \
             sent again, it reaches some twice"
        ),
        cause: failure.cause.map(|cause| cause.context(counts)),
        ..failure
    }
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
