//! `publish` and its alias `sendmessage`: store a message, deliver it to the other members of the room, and acknowledge
//! it.

use std::pin::Pin;

use anyhow::anyhow;
use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::future::join3;
use futures::stream::{Peekable, Stream, StreamExt};
use serde_json::value::RawValue;
use tokio::time::timeout_at;

use crate::action::{answer, membership};
use crate::aws;
use crate::connections::{Connections, Membership};
use crate::event::{Reply, Request};
use crate::fanout::{STOP_BEFORE_DEADLINE, before, fan_out};
use crate::gateway::Gateway;
use crate::log::append::{Range, Stored};
use crate::log::{Draft, Header, Log};
use crate::names::Name;
use crate::protocol::{Ack, ErrorName, Failure, Frame, MAX_MESSAGE_BYTES, Message, render};
use crate::prune::confirm_and_prune;
use crate::settings::{Delivery, History, Table};
use crate::table::TableError;
use crate::ulid;

/// What publishing needs; built once per process.
#[derive(Debug, Clone)]
pub struct App {
    /// Who is where.
    pub connections: Connections,
    /// What has been said.
    pub log: Log,
    /// How members are reached.
    pub gateway: Gateway,
    /// Within which bounds.
    pub delivery: Delivery,
}

impl App {
    /// The app that `config` reaches.
    pub fn new(config: &SdkConfig, table: Table, history: History, delivery: Delivery) -> Self {
        Self {
            connections: aws::connections(config, table),
            log: aws::log(config, history),
            gateway: aws::gateway(config, &delivery),
            delivery,
        }
    }
}

/// Answers a publish: always with a frame. An `ack` says that the message is stored, whoever has got it; an `error`
/// does not say that it is not.
pub async fn publish(app: &App, request: &Request) -> Reply {
    answer(request, async |frame| say(app, request, frame).await).await
}

async fn say(app: &App, request: &Request, frame: &Frame<'_>) -> Result<String, Failure> {
    let (data, id) = (frame.data()?, frame.id()?);
    let range = Range::covering(id.as_deref(), frame.after()?);
    let stop = before(request.deadline, STOP_BEFORE_DEADLINE);

    let opened = timeout_at(stop, open(app, request, frame.room()?, range)).await;
    let Opened {
        sender,
        tail,
        members,
    } = opened.map_err(|_| {
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
    let stored = app.log.append(&draft, range, &tail, stop).await?;

    // It is stored, so whatever happens from here on, the answer is an ack.
    let told = tell(app, request, &draft, &stored, data, members).await;
    let Told {
        delivered,
        gone,
        failed,
        partial,
        ..
    } = told;
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
        pruned_rows = told.pruned_rows,
        first_failure = told.failure,
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
struct Opened<M: Stream> {
    sender: Membership,
    /// The tail of the log, as a message is appended to.
    tail: Vec<Header>,
    /// The members, page by page; the first one is read.
    members: Pin<Box<Peekable<M>>>,
}

/// Who the sender is in which room, how that room's log ends, and who else is there: all at once in a room that is
/// named, else the last two when it is known which room.
async fn open(
    app: &App,
    request: &Request,
    named: Option<Name>,
    range: Range,
) -> Result<Opened<impl Stream<Item = Result<Vec<String>, TableError>> + use<>>, Failure> {
    let (room, known) = match &named {
        Some(room) => (room.to_string(), None),
        None => {
            let own = membership(&app.connections, request, None).await?;
            (own.room.clone(), Some(own))
        }
    };
    let sender = async {
        match known {
            Some(own) => Ok(own),
            None => membership(&app.connections, request, named.as_ref()).await,
        }
    };
    let now_s = request.now_s();
    let mut members = Box::pin(app.connections.members(&room, now_s).peekable());
    let (sender, tail, first) = join3(
        sender,
        app.log.headers(&room, range),
        members.as_mut().peek(),
    )
    .await;
    let broken = matches!(first, Some(Err(_)));
    let (sender, tail) = (sender?, tail?);
    // Nobody could be told: better said now than after it is stored.
    if broken && let Some(Err(error)) = members.next().await {
        return Err(error.into());
    }
    Ok(Opened {
        sender,
        tail,
        members,
    })
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

/// What became of a message that is stored.
#[derive(Debug, Default)]
struct Told {
    delivered: usize,
    gone: usize,
    failed: usize,
    partial: bool,
    pruned_rows: usize,
    /// The first failure's cause, for the log.
    failure: Option<String>,
}

/// Delivers a stored message to all members but the sender, and forgets those that are gone.
async fn tell(
    app: &App,
    request: &Request,
    draft: &Draft<'_>,
    stored: &Stored,
    data: &RawValue,
    members: impl Stream<Item = Result<Vec<String>, TableError>>,
) -> Told {
    let body = if stored.duplicate {
        // What is in the log is what was said first, whatever the second frame holds.
        match app.log.data(draft.room, stored.seq).await {
            Ok(Some(first)) => message(draft, stored, &first),
            // Trimmed in this moment, or unreadable: nobody is told a message that may be another one.
            unread => {
                return Told {
                    partial: true,
                    failure: unread.err().map(|error| error.to_string()),
                    ..Told::default()
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
        &app.gateway,
        members,
        &request.connection_id,
        &Blob::new(body),
        concurrency,
        request.deadline,
    )
    .await;
    let grace_ms = i64::try_from(prune_grace.as_millis()).unwrap_or(i64::MAX);
    let pruned = confirm_and_prune(
        &app.gateway,
        &app.connections,
        &outcome.gone,
        request.now_ms.saturating_sub(grace_ms),
        before(request.deadline, STOP_BEFORE_DEADLINE),
    )
    .await;
    let unread = outcome.unread.map(|error| error.to_string());
    Told {
        delivered: outcome.delivered,
        gone: pruned.gone,
        // Whoever was answered 410 and is not surely gone did not get it either.
        failed: outcome.failed + outcome.gone.len() - pruned.gone,
        partial: outcome.partial || unread.is_some(),
        pruned_rows: pruned.rows,
        failure: unread.or(outcome.first_failure).or(pruned.failure),
    }
}
