//! `signal`: passes a signal, such as typing, to the other members of a room. It is not stored, not numbered and not
//! answered.

use std::num::NonZeroUsize;

use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::future::try_join;

use super::answer::{attempt, membership, wanted};
use super::frame_limit::SignalLimit;
use crate::aws;
use crate::delivery::{ManagementApi, Posted, pass};
use crate::lambda::{Reply, Request};
use crate::members::{Connections, Listed, Personal};
use crate::protocol::{self, ErrorName, Failure, Frame, Private, Right, render};
use crate::recent::Recent;
use crate::settings::{ConnectionsTable, Delivery, Live, UsersTable};

/// Rooms whose members a process remembers: at most some 10 KB each, with 100 members.
const ROOMS_REMEMBERED: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// A process that has read the members of a room passes signals to them for this time, in milliseconds.
const MEMBERS_KNOWN_FOR_MS: i64 = 2_000;

/// The parts of a process that signals need; built once per process.
#[derive(Debug, Clone)]
pub struct Signals {
    connections: Connections,
    personal: Personal,
    management: ManagementApi,
    delivery: Delivery,
    live: Live,
    limit: SignalLimit,
    rooms: Recent<Room>,
}

/// The members of a room, or none where it has too many, and when they were read in milliseconds since 1970.
#[derive(Debug, Clone)]
struct Room {
    read_ms: i64,
    members: Option<Vec<Listed>>,
}

impl Signals {
    /// The parts that `config` reaches.
    pub fn new(
        config: &SdkConfig,
        table: ConnectionsTable,
        users: UsersTable,
        delivery: Delivery,
        live: Live,
    ) -> Self {
        Self {
            connections: aws::connections(config, table),
            personal: aws::personal(config, users),
            management: aws::management_api(config, &delivery),
            delivery,
            live,
            limit: SignalLimit::new(),
            rooms: Recent::new(ROOMS_REMEMBERED),
        }
    }

    /// The members of a room: a Query, unless this process has read them within 2 s.
    async fn members(&self, request: &Request, room: &str) -> Result<Vec<Listed>, Failure> {
        let most = self.live.max_members;
        let is_fresh = |known: &Room| {
            (0..MEMBERS_KNOWN_FOR_MS).contains(&request.now_ms.saturating_sub(known.read_ms))
        };
        let known = match self.rooms.take(room).filter(is_fresh) {
            Some(known) => known,
            None => Room {
                read_ms: request.now_ms,
                members: self.connections.listed(room, request.now_s(), most).await?,
            },
        };
        self.rooms.remember(room, known.clone());
        known.members.ok_or_else(|| {
            Failure::new(
                ErrorName::RoomTooLarge,
                format!("the room has more than {most} connections, too many for signals"),
            )
        })
    }
}

/// Handles `signal`. The reply has no frame: the route has no response. A refusal is posted to the sender as an `error`.
pub async fn signal(app: &Signals, request: &Request) -> Reply {
    // An answer would cost more than the signal.
    if !app.limit.accepts(&request.connection_id, request.now_ms) {
        return Reply::ok();
    }
    let done = attempt(request, async |frame| {
        pass_on(app, request, frame).await.map(|_| ())
    });
    if let Err(error) = done.await {
        let sender = &request.connection_id;
        if let Posted::Failed(cause) = app.management.post(sender, Blob::new(error)).await {
            tracing::warn!(
                connection_id = sender,
                request_id = request.request_id,
                cause,
                "the error was not posted"
            );
        }
    }
    Reply::ok()
}

/// Passes a signal to the other members. Returns the room.
pub(super) async fn pass_on(
    app: &Signals,
    request: &Request,
    frame: &Frame<'_>,
) -> Result<String, Failure> {
    let (kind, data, to) = (frame.kind()?, frame.small_data()?, frame.to_user()?);
    // Checked, because an error repeats it.
    frame.id()?;
    let room = frame.room()?;
    if app.live.max_members == 0 {
        let message = "this service passes no signals: they are turned off";
        return Err(Failure::new(ErrorName::RoomTooLarge, message));
    }
    let sender = membership(&app.connections, request, room.as_ref(), Right::Publish);
    let (sender, ()) = try_join(sender, wanted(&app.personal, request, room.as_ref())).await?;
    let members = app.members(request, &sender.room).await?;
    let is_pair = Private::of(&sender.room).is_some();
    let wanted = members
        .into_iter()
        // The two of a pair room want to hear of each other.
        .filter(|member| member.presence || is_pair)
        .filter(|member| to.as_ref().is_none_or(|to| *to == member.user))
        .map(|member| member.connection_id)
        .collect();
    let signal = protocol::Signal {
        room: &sender.room,
        kind: &kind,
        from: &sender.user,
        data,
        at: request.now_ms,
    };
    // A connection that is gone is found by the next message, or by a member that looks.
    let outcome = pass(
        &app.management,
        wanted,
        &request.connection_id,
        render(&signal),
        app.delivery.concurrency,
        request.deadline,
    )
    .await;
    tracing::debug!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room = sender.room,
        delivered = outcome.delivered,
        gone = outcome.gone.len(),
        failed = outcome.failed,
        first_failure = outcome.first_failure,
        duration_ms = request.duration_ms(),
        "signal passed"
    );
    Ok(sender.room)
}
