//! `publish` and its alias `sendmessage`: store a message, deliver it to the other members of the room, and acknowledge
//! it.

use std::num::NonZeroUsize;
use std::pin::Pin;

use anyhow::anyhow;
use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::future::join;
use futures::stream::{Peekable, Stream, StreamExt};
use serde_json::value::RawValue;
use tokio::time::timeout_at;

use super::answer::{answer, membership};
use crate::aws;
use crate::delivery::{ManagementApi, STOP_BEFORE_DEADLINE, fan_out};
use crate::errors::TableError;
use crate::lambda::{Reply, Request, before};
use crate::log::append::{Range, Stored};
use crate::log::{Draft, Log, Tail};
use crate::members::{Connections, Membership, confirm_and_prune};
use crate::protocol::{
    Ack, ErrorName, Failure, Frame, MAX_MESSAGE_BYTES, Message, Name, Right, render,
};
use crate::recent::Recent;
use crate::settings::{ConnectionsTable, Delivery, MessagesTable};
use crate::ulid;

/// Connections whose room a process remembers: some 100 bytes each.
const SENDERS_REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// What publishing needs; built once per process.
#[derive(Debug, Clone)]
pub struct App {
    /// Who is where.
    pub connections: Connections,
    /// What has been said.
    pub log: Log,
    /// How members are reached.
    pub management: ManagementApi,
    /// Within which bounds.
    pub delivery: Delivery,
    /// The room in which a connection has last said something.
    last_rooms: Recent<String>,
}

impl App {
    /// The app that `config` reaches.
    pub fn new(
        config: &SdkConfig,
        table: ConnectionsTable,
        history: MessagesTable,
        delivery: Delivery,
    ) -> Self {
        Self {
            connections: aws::connections(config, table),
            log: aws::log(config, history),
            management: aws::management_api(config, &delivery),
            delivery,
            last_rooms: Recent::new(SENDERS_REMEMBERED),
        }
    }
}

/// Answers a publish: always with a frame. An `ack` says that the message is stored, whoever has got it; an `error`
/// does not say that it is not.
pub async fn publish(app: &App, request: &Request) -> Reply {
    answer(request, async |frame| handle(app, request, frame).await).await
}

async fn handle(app: &App, request: &Request, frame: &Frame<'_>) -> Result<String, Failure> {
    let (data, id, room) = (frame.data()?, frame.id()?, frame.room()?);
    if let Some(room) = &room {
        // Before anything is read beside the membership.
        request.caller.check(Right::Publish, room.as_str())?;
    }
    let range = Range::covering(id.as_deref(), frame.after()?);
    let stop = before(request.deadline, STOP_BEFORE_DEADLINE);

    let prepared = timeout_at(stop, authorize_and_read(app, request, room, range)).await;
    let Prepared {
        sender,
        room: Room { tail, members },
    } = prepared.map_err(|_| {
        let message = "the service took too long; nothing was stored, try again";
        Failure::internal(
            message,
            anyhow!("less than {STOP_BEFORE_DEADLINE:?} were left"),
        )
    })??;
    let draft = Draft {
        room: &sender.room,
        user: &sender.user,
        id: id.as_deref(),
        data: data.get(),
        at: request.now_ms,
    };
    check_size(&draft, data)?;
    let stored = app.log.append(&draft, range, tail, stop).await?;

    // It is stored, so whatever happens from here on, the answer is an ack.
    let counts = deliver(app, request, &draft, &stored, data, members).await;
    let Counts {
        delivered,
        gone,
        failed,
        partial,
        ..
    } = counts;
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room = draft.room,
        seq = stored.seq,
        duplicate = stored.duplicate,
        bytes = draft.data.len(),
        delivered,
        gone,
        failed,
        partial,
        pruned_rows = counts.pruned_rows,
        first_failure = counts.failure,
        duration_ms = request.duration_ms(),
        "published"
    );
    Ok(render(&Ack {
        id: draft.id,
        room: draft.room,
        seq: stored.seq,
        epoch: &stored.epoch,
        at: stored.at,
        duplicate: stored.duplicate,
        delivered,
        gone,
        failed,
        partial,
    }))
}

/// What is known before anything is written.
struct Prepared<M: Stream> {
    sender: Membership,
    room: Room<M>,
}

/// What is read of a room.
struct Room<M: Stream> {
    /// The end of its log.
    tail: Tail,
    /// Its members, page by page; the first one is read.
    members: Pin<Box<Peekable<M>>>,
}

/// Who the sender is in which room, how that room's log ends, and who else is there: all at once in the room that is
/// named, or in which this process has last heard the sender, if it turns out to be the one.
async fn authorize_and_read(
    app: &App,
    request: &Request,
    named: Option<Name>,
    range: Range,
) -> Result<Prepared<impl Stream<Item = Result<Vec<String>, TableError>> + use<>>, Failure> {
    let connection_id = &request.connection_id;
    let sender = membership(&app.connections, request, named.as_ref(), Right::Publish);
    let likely = match &named {
        Some(name) => Some(name.to_string()),
        None => app.last_rooms.take(connection_id),
    };
    let (sender, room) = match likely {
        Some(likely) => {
            let (sender, room) = join(sender, read_room(app, request, &likely, range)).await;
            let sender = sender?;
            let is_the_one = sender.room == likely;
            (sender, is_the_one.then_some(room))
        }
        None => (sender.await?, None),
    };
    let room = match room {
        Some(room) => room?,
        None => read_room(app, request, &sender.room, range).await?,
    };
    app.last_rooms.remember(connection_id, sender.room.clone());
    Ok(Prepared { sender, room })
}

/// Reads what must be known of a room.
async fn read_room(
    app: &App,
    request: &Request,
    room: &str,
    range: Range,
) -> Result<Room<impl Stream<Item = Result<Vec<String>, TableError>> + use<>>, Failure> {
    let mut members = Box::pin(app.connections.members(room, request.now_s()).peekable());
    let tail = app.log.tail(room, range);
    let (tail, first) = join(tail, members.as_mut().peek()).await;
    let broken = matches!(first, Some(Err(_)));
    let tail = tail?;
    // Nobody could be told: better said now than after it is stored.
    if broken && let Some(Err(error)) = members.next().await {
        return Err(error.into());
    }
    Ok(Room { tail, members })
}

/// Refuses a message whose frame could not be sent to members, whatever its number will be.
fn check_size(draft: &Draft<'_>, data: &RawValue) -> Result<(), Failure> {
    let longest = Stored {
        seq: u64::MAX,
        epoch: "0".repeat(ulid::LENGTH),
        at: draft.at,
        duplicate: false,
    };
    let bytes = message(draft, &longest, data).len();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(Failure::new(
            ErrorName::PayloadTooLarge,
            format!(
                "the message is too large: {bytes} bytes as sent to members, at most {MAX_MESSAGE_BYTES}"
            ),
        ));
    }
    Ok(())
}

fn message(draft: &Draft<'_>, stored: &Stored, data: &RawValue) -> String {
    render(&Message {
        room: draft.room,
        seq: stored.seq,
        epoch: &stored.epoch,
        id: draft.id,
        from: draft.user,
        data,
        received: stored.at / 1000,
        at: stored.at,
    })
}

/// Delivery counts of a stored message.
#[derive(Debug, Default)]
struct Counts {
    delivered: usize,
    gone: usize,
    failed: usize,
    partial: bool,
    pruned_rows: usize,
    /// The first failure's cause, for the log.
    failure: Option<String>,
}

/// Delivers a stored message to all members but the sender, and forgets those that are gone.
async fn deliver(
    app: &App,
    request: &Request,
    draft: &Draft<'_>,
    stored: &Stored,
    data: &RawValue,
    members: impl Stream<Item = Result<Vec<String>, TableError>>,
) -> Counts {
    let body = if stored.duplicate {
        // What is in the log is what was said first, whatever the second frame holds.
        match app.log.data(draft.room, stored.seq).await {
            Ok(Some(first)) => message(draft, stored, &first),
            // Trimmed in this moment, or unreadable: nobody is told a message that may be another one.
            unread => {
                return Counts {
                    partial: true,
                    failure: unread.err().map(|error| error.to_string()),
                    ..Counts::default()
                };
            }
        }
    } else {
        message(draft, stored, data)
    };
    let Delivery {
        concurrency,
        prune_grace,
        ..
    } = app.delivery;
    let outcome = fan_out(
        &app.management,
        members,
        &request.connection_id,
        &Blob::new(body),
        concurrency,
        request.deadline,
    )
    .await;
    let grace_ms = i64::try_from(prune_grace.as_millis()).unwrap_or(i64::MAX);
    let pruned = confirm_and_prune(
        &app.management,
        &app.connections,
        &outcome.gone,
        request.now_ms.saturating_sub(grace_ms),
        before(request.deadline, STOP_BEFORE_DEADLINE),
    )
    .await;
    let unread = outcome.unread.map(|error| error.to_string());
    Counts {
        delivered: outcome.delivered,
        gone: pruned.gone,
        // Whoever was answered 410 and is not surely gone did not get it either.
        failed: outcome.failed + outcome.gone.len() - pruned.gone,
        partial: outcome.partial || unread.is_some(),
        pruned_rows: pruned.rows,
        failure: unread.or(outcome.first_failure).or(pruned.failure),
    }
}
