//! `publish` and its alias `sendmessage`, and `edit`, `delete` and `react`, which change a message: stores a message or a
//! change, delivers it to the other members of the room, and acknowledges it.

use std::collections::HashSet;
use std::future::ready;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::future::{join, try_join};
use futures::stream::{self, StreamExt};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::answer::{answer, flooded, membership, wanted};
use super::conversation::{announce, destination};
use super::frame_limit::FrameLimit;
use super::moderate::record;
use super::review::Review;
use crate::aws;
use crate::delivery::{ManagementApi, Outcome, Recipient, STOP_BEFORE_DEADLINE, fan_out};
use crate::errors::TableError;
use crate::lambda::{Reply, Request, before};
use crate::log::append::{Range, Stored};
use crate::log::{
    AuditEntry, Change, Draft, Kind, Log, MAX_REACTIONS, Tail, Target, no_such_message,
};
use crate::members::{
    Connections, Membership, Personal, Presence, Pruned, Users, confirm_and_prune,
};
use crate::metrics::{self, Metric};
use crate::paced::lease::End;
use crate::paced::{Own, Paced, Part, lead};
use crate::protocol::{
    Ack, ErrorName, Failure, Frame, MAX_MESSAGE_BYTES, Message, Name, Private, Right, render,
};
use crate::recent::Recent;
use crate::settings::{ConnectionsTable, Delivery, Live, MessagesTable, UsersTable};
use crate::{trace, ulid};

/// Connections whose rooms a process remembers: some 100 bytes each.
const SENDERS_REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// Rooms that a process remembers of one connection.
const ROOMS_OF_A_SENDER: usize = 8;

/// Rooms whose number of connections a process remembers: some 100 bytes each.
const ROOMS_COUNTED: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// A number of connections is told for this time, in milliseconds.
const COUNTED_FOR_MS: i64 = 1_000;

/// Duplicates whose delivery a process remembers: some 100 bytes each.
const DUPLICATES_REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// A process delivers the same duplicate again after this time at the earliest, in milliseconds: a frame of 60 bytes
/// would send 126 KB to all members each time.
const DELIVERED_AGAIN_AFTER_MS: i64 = 30_000;

/// The ack of a stored message is returned when less than this is left of the invocation, whatever is not delivered.
const ACK_BEFORE_DEADLINE: Duration = Duration::from_millis(200);

/// The parts of a process that publishing needs; built once per process.
#[derive(Debug, Clone)]
pub struct App {
    /// The memberships.
    pub connections: Connections,
    /// The blocks between users.
    pub personal: Personal,
    /// The messages.
    pub log: Log,
    /// Posts to members.
    pub management: ManagementApi,
    /// Tells members who is gone.
    pub presence: Presence,
    /// The bounds of a delivery.
    pub delivery: Delivery,
    /// Bans of users who flood.
    users: Users,
    /// Closes connections that send far more frames than their limit, and expels their users.
    frames: FrameLimit,
    /// Reviews messages before they are stored; none where the deployer wants no review.
    review: Option<Review>,
    /// The log with the time for which the audit is kept; none for a process that deletes no messages of others.
    audit: Option<Log>,
    /// The rooms to which a connection has published through this process, the latest first.
    rooms: Recent<Vec<String>>,
    /// The duplicates that this process has delivered again.
    delivered_again: Recent<Redelivery>,
    /// The connections that this process has counted in rooms, with the time in milliseconds since 1970.
    counts: Recent<(i64, usize)>,
    /// The delivery in busy rooms; none if it is off.
    paced: Option<Paced>,
}

impl App {
    /// The app that `config` reaches.
    pub fn new(
        config: &SdkConfig,
        table: ConnectionsTable,
        users: UsersTable,
        history: MessagesTable,
        delivery: Delivery,
        live: Live,
    ) -> Self {
        let connections = aws::connections(config, table);
        let management = aws::management_api(config, &delivery);
        let presence = Presence::new(
            connections.clone(),
            management.clone(),
            delivery.clone(),
            live,
        );
        Self {
            connections,
            personal: aws::personal(config, users.clone()),
            users: aws::users(config, users),
            log: aws::log(config, history),
            management,
            presence,
            delivery,
            frames: FrameLimit::OFF,
            review: None,
            audit: None,
            rooms: Recent::new(SENDERS_REMEMBERED),
            delivered_again: Recent::new(DUPLICATES_REMEMBERED),
            counts: Recent::new(ROOMS_COUNTED),
            paced: None,
        }
    }

    /// The same app, which delivers together in busy rooms.
    #[must_use]
    pub fn with_paced(self, paced: Option<Paced>) -> Self {
        Self { paced, ..self }
    }

    /// The delivery in busy rooms, if it is on.
    pub(super) fn paced(&self) -> Option<&Paced> {
        self.paced.as_ref()
    }

    /// The same app, which closes connections and expels verified users that flood by `frames`.
    #[must_use]
    pub fn limited(mut self, frames: FrameLimit) -> Self {
        self.frames = frames.expelling(self.users.clone(), self.connections.clone());
        self
    }

    /// The app, with the review that messages must pass.
    #[must_use]
    pub fn reviewed(self, review: Option<Review>) -> Self {
        Self { review, ..self }
    }

    /// The app, with the log in which the deletions of moderators are noted.
    #[must_use]
    pub fn with_audit(mut self, audit: Log) -> Self {
        self.audit = Some(audit);
        self
    }

    /// The room to read while the membership is checked: the named room or the latest one, if the connection has
    /// published there through this process. For any other connection the check comes first.
    fn likely_room(&self, connection_id: &str, named: Option<&Name>) -> Option<String> {
        self.rooms.change(connection_id, Vec::new, |rooms| {
            let likely = match named {
                Some(name) => rooms.iter().find(|room| *room == name.as_str()),
                None => rooms.first(),
            };
            likely.cloned()
        })
    }

    /// Remembers that the connection has published to `room`.
    fn heard(&self, connection_id: &str, room: &str) {
        self.rooms.change(connection_id, Vec::new, |rooms| {
            rooms.retain(|known| known != room);
            rooms.insert(0, room.to_owned());
            rooms.truncate(ROOMS_OF_A_SENDER);
        });
    }

    /// Returns the number of connections in a room: those read before the put, or those counted within the last second,
    /// since a large room has several pages.
    fn size(&self, room: &str, read: usize, now_ms: i64) -> usize {
        let (at, counted) = self.counts.change(room, || (0, 0), |last| *last);
        let is_fresh = now_ms.saturating_sub(at) <= COUNTED_FOR_MS;
        if is_fresh { counted.max(read) } else { read }
    }

    /// Returns the delivery in busy rooms, if a room of this size is one.
    fn busy(&self, size: usize) -> Option<&Paced> {
        let paced = self.paced.as_ref();
        paced.filter(|paced| size >= paced.pace.from_members)
    }

    /// The most members to read before the message is stored; none for a full page. In a room that was busy a moment ago,
    /// another process delivers most likely, and this process needs no members. A page of 1 MB for each message would use up
    /// the reads that one partition of the index allows.
    fn first_page(&self, room: &str, now_ms: i64) -> Option<usize> {
        let paced = self.busy(self.size(room, 0, now_ms))?;
        Some(paced.pace.from_members)
    }

    /// Returns the number of connections that members are told, of a room that has too many for presence.
    pub(crate) fn told_count(&self, size: usize) -> Option<usize> {
        let most = self.presence.max_members();
        (most > 0 && size > most).then_some(size)
    }

    /// Remembers the number of connections in a room.
    pub(crate) fn counted(&self, room: &str, size: usize, now_ms: i64) {
        let counted = (now_ms, size);
        self.counts.change(room, || counted, |last| *last = counted);
    }

    /// Reads the row of a duplicate as it is now: it may be edited or deleted, and a review may have replaced its data. Does
    /// not read it if this process has delivered the duplicate a moment ago and the row then had the data as sent.
    async fn repeat(
        &self,
        request: &Request,
        draft: &Draft<'_>,
        stored: &Stored,
    ) -> Result<Repeat, TableError> {
        let (room, now_ms) = (draft.room, request.now_ms);
        let key = format!("{room}\n{}\n{}", stored.epoch, stored.seq);
        let last = self
            .delivered_again
            .change(&key, Redelivery::never, |last| *last);
        let is_due = now_ms.saturating_sub(last.at) >= DELIVERED_AGAIN_AFTER_MS;
        if !is_due && last.is_as_sent {
            return Ok(Repeat::HeldBack(None));
        }
        let (epoch, now_s) = (&stored.epoch, request.now_s());
        let frame = self.log.frame(room, stored.seq, epoch, now_s).await?;
        let data = frame.as_deref().and_then(|frame| differing(draft, frame));
        let at = if is_due { now_ms } else { last.at };
        let is_as_sent = data.is_none();
        self.delivered_again
            .remember(&key, Redelivery { at, is_as_sent });
        Ok(match frame {
            Some(frame) if is_due => Repeat::Due(frame, data),
            None if is_due => Repeat::Trimmed,
            _ => Repeat::HeldBack(data),
        })
    }
}

/// The last delivery of a duplicate by a process.
#[derive(Debug, Clone, Copy)]
struct Redelivery {
    /// The time, in milliseconds since 1970.
    at: i64,
    /// True if the row held the data that the client has sent.
    is_as_sent: bool,
}

impl Redelivery {
    fn never() -> Self {
        Self {
            at: i64::MIN,
            is_as_sent: false,
        }
    }
}

/// A duplicate, and its row as it is now. The data are for the ack: those of the row, if they differ from the data as sent.
#[derive(Debug)]
enum Repeat {
    /// It is delivered again, with this frame.
    Due(Box<RawValue>, Option<Box<RawValue>>),
    /// This process has delivered it a moment ago.
    HeldBack(Option<Box<RawValue>>),
    /// Its row is trimmed at this moment.
    Trimmed,
    /// Its row cannot be read, so it is not delivered: the frame that was sent may differ from the row.
    Unread(String),
}

impl Repeat {
    fn data(&self) -> Option<&RawValue> {
        match self {
            Self::Due(_, data) | Self::HeldBack(data) => data.as_deref(),
            Self::Trimmed | Self::Unread(_) => None,
        }
    }
}

/// The data of the `frame` of a row, if they differ from those of `draft`: `null` for a deleted message.
fn differing(draft: &Draft<'_>, frame: &RawValue) -> Option<Box<RawValue>> {
    #[derive(serde::Deserialize)]
    struct Shown {
        #[serde(default = "null")]
        data: Box<RawValue>,
    }
    fn null() -> Box<RawValue> {
        RawValue::NULL.to_owned()
    }
    let shown: Shown = serde_json::from_str(frame.get()).ok()?;
    let has_data = draft.kind.is_none_or(|kind| kind.has_data());
    (has_data && shown.data.get() != draft.data).then_some(shown.data)
}

/// Answers `publish`, always with a frame: an `ack` or an `error`. An `ack` says that the message is stored, whatever
/// its delivery counts are. After an `error` the message may be stored nevertheless.
pub async fn publish(app: &App, request: &Request) -> Reply {
    if let Some(reply) = flooded(&app.frames, request).await {
        return reply;
    }
    // The log limits messages. A retry must not be refused here: its sender could not know that the message is stored.
    answer(&FrameLimit::OFF, request, async |frame| {
        Box::pin(handle(app, request, frame)).await
    })
    .await
}

async fn handle(app: &App, request: &Request, frame: &Frame<'_>) -> Result<String, Failure> {
    let (id, room) = (frame.id()?, destination(request, frame)?);
    let asked = Asked::read(frame)?;
    let kind = asked.kind();
    let data = match kind {
        Some(kind) if !kind.has_data() => RawValue::NULL,
        _ => frame.data()?,
    };
    if let Some(room) = &room {
        // Checked first, because the room is read in parallel with the membership.
        request.caller.check(Right::Publish, room.as_str())?;
    }
    let after = frame.after()?;
    let range = Range::covering(id.as_deref(), after);
    let stop = before(request.deadline, STOP_BEFORE_DEADLINE);

    let prepared = timeout_at(stop, authorize_and_read(app, request, room, range)).await;
    let (sender, Room { tail, members }) = prepared.map_err(|_| {
        let message = "the service took too long; nothing was stored, try again";
        Failure::internal(
            message,
            anyhow!("less than {STOP_BEFORE_DEADLINE:?} were left"),
        )
    })??;
    let target = match kind {
        Some(kind) => {
            // The retry of an entry that is stored: its message may have been deleted since.
            let is_retry = id
                .as_deref()
                .is_some_and(|id| tail.holds(&sender.user, id, after));
            Some(to_be_changed(app, request, &sender, &tail, kind, is_retry).await?)
        }
        None => None,
    };
    if let (
        Some(Kind::Change {
            target: seq,
            change: Change::Delete { reason },
        }),
        Some(target),
    ) = (kind, &target)
        && target.user() != sender.user
        && let Some(audit) = &app.audit
    {
        let entry = AuditEntry {
            action: "delete",
            room: Some(&sender.room),
            user: Some(target.user()),
            by: &sender.user,
            reason,
            target: Some(seq),
            ..AuditEntry::default()
        };
        record(audit, request, id.as_deref(), &entry).await?;
    }
    let draft = Draft {
        room: &sender.room,
        user: &sender.user,
        id: id.as_deref(),
        after,
        data: data.get(),
        kind,
        exempt: request.caller.may(Right::Moderate, &sender.room),
        at: request.now_ms,
    };
    check_size(&draft, data)?;
    // The backend may pass the review by.
    let is_exempt = request.caller.is_backend() && frame.is_false("review");
    let review = app.review.as_ref().filter(|_| !is_exempt);
    let review = review.filter(|review| review.concerns(&draft));
    let fits = |data: &RawValue| check_size(&draft, data);
    let ask = async || match review {
        Some(review) => review.ask(request, &draft, data, stop, fits).await,
        None => Ok(None),
    };
    let appended = announce_and_append(app, request, &draft, range, tail, stop, ask);
    let (stored, replaced) = appended.await?;
    let data = replaced.as_deref().unwrap_or(data);
    let data = match (kind, &target) {
        (Some(Kind::Change { change, .. }), Some(target)) => {
            let applied = async {
                let entry;
                let mut data = data;
                if stored.duplicate && change == Change::Edit {
                    // A review may have replaced the data of the frame when the entry was stored.
                    entry = app.log.data(draft.room, stored.seq).await?;
                    let Some(stored) = entry.as_deref() else {
                        return Ok(false);
                    };
                    data = stored;
                }
                app.log
                    .apply(draft.room, target, change, draft.user, data.get(), &stored)
                    .await
            };
            match timeout_at(stop, applied).await {
                Ok(Ok(true)) => data,
                // The message was deleted meanwhile.
                Ok(Ok(false)) => RawValue::NULL,
                Ok(Err(error)) => return Err(half_done(error.into())),
                Err(_) => {
                    let cause = anyhow!("less than {STOP_BEFORE_DEADLINE:?} were left");
                    return Err(half_done(Failure::internal("", cause)));
                }
            }
        }
        _ => data,
    };

    let ack_at = before(request.deadline, ACK_BEFORE_DEADLINE);
    let repeat = if stored.duplicate {
        let read = timeout_at(ack_at, app.repeat(request, &draft, &stored)).await;
        let read = read
            .unwrap_or_else(|_| Err(TableError::odd("reading a duplicate", &"no time was left")));
        match read {
            Ok(repeat) => Some(repeat),
            // Without its row, the sender would show a text that the review has replaced.
            Err(error) if review.is_some() => {
                let message = "the message is stored, and the service failed to read it; send it again with the same id";
                return Err(Failure {
                    message: message.to_owned(),
                    ..error.into()
                });
            }
            Err(error) => Some(Repeat::Unread(error.to_string())),
        }
    } else {
        None
    };

    // The message is stored, so the answer is an ack from here on.
    let delivery = deliver(
        app,
        request,
        &draft,
        &stored,
        data,
        repeat.as_ref(),
        members,
    );
    let counts = timeout_at(ack_at, delivery)
        .await
        .unwrap_or_else(|_| Counts {
            partial: true,
            failure: Some(format!("less than {ACK_BEFORE_DEADLINE:?} were left")),
            ..Counts::default()
        });
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
        paced = counts.paced,
        pruned_rows = counts.pruned_rows,
        first_failure = counts.failure,
        duration_ms = request.duration_ms(),
        "published"
    );
    let duration_ms = usize::try_from(request.started.elapsed().as_millis()).unwrap_or(usize::MAX);
    metrics::emit(
        &request.request_id,
        request.now_ms,
        &[
            (Metric::Published, usize::from(!stored.duplicate)),
            (Metric::Duplicates, usize::from(stored.duplicate)),
            (Metric::Delivered, delivered),
            (Metric::Failed, failed),
            (Metric::Gone, gone),
            (Metric::FalselyGone, counts.falsely_gone),
            (Metric::PrunedRows, counts.pruned_rows),
            (Metric::Partial, usize::from(partial)),
            (Metric::IndexBehind, usize::from(counts.index_behind)),
            // A paced message has no fan-out of its own.
            (
                metrics::fan_out(delivered + failed + gone),
                if counts.paced { 0 } else { duration_ms },
            ),
        ],
    );
    Ok(render(&Ack {
        id: draft.id,
        room: draft.room,
        seq: stored.seq,
        epoch: &stored.epoch,
        n: stored.n,
        at: stored.at,
        duplicate: stored.duplicate,
        // A review of this try says nothing about a copy that another try has stored.
        data: match &repeat {
            Some(repeat) => repeat.data(),
            None => replaced.as_deref(),
        },
        delivered: (!counts.paced).then_some(delivered),
        gone: (!counts.paced).then_some(gone),
        failed: (!counts.paced).then_some(failed),
        paced: counts.paced,
        partial,
    }))
}

/// Stores a message. `ask` runs once, before the first write of any kind.
async fn announce_and_append(
    app: &App,
    request: &Request,
    draft: &Draft<'_>,
    range: Range,
    tail: Tail,
    stop: Instant,
    ask: impl AsyncFn() -> Result<Option<Box<RawValue>>, Failure>,
) -> Result<(Stored, Option<Box<RawValue>>), Failure> {
    let mut asked = None;
    let tail = announce(&app.log, request, draft.room, tail, stop, async || {
        asked = Some(ask().await?);
        Ok(())
    })
    .await?;
    let check = async || match asked {
        Some(replaced) => Ok(replaced),
        None => ask().await,
    };
    app.log
        .append_checked(draft, range, tail, stop, check)
        .await
}

/// The change that a frame asks for; none for an ordinary message.
#[derive(Debug)]
enum Asked {
    Message,
    Edit(u64),
    Delete(u64, Option<String>),
    React(u64, String, bool),
}

impl Asked {
    fn read(frame: &Frame<'_>) -> Result<Self, Failure> {
        Ok(match frame.action()?.as_deref() {
            Some("edit") => Self::Edit(frame.target()?),
            Some("delete") => Self::Delete(frame.target()?, frame.reason()?),
            Some("react") => Self::React(frame.target()?, frame.key()?, frame.on()?),
            _ => Self::Message,
        })
    }

    fn kind(&self) -> Option<Kind<'_>> {
        let (target, change) = match self {
            Self::Message => return None,
            Self::Edit(target) => (target, Change::Edit),
            Self::Delete(target, reason) => {
                let reason = reason.as_deref();
                (target, Change::Delete { reason })
            }
            Self::React(target, key, on) => (target, Change::React { key, on: *on }),
        };
        Some(Kind::Change {
            target: *target,
            change,
        })
    }
}

/// Reads the message that is to be changed, and checks that the sender may do that.
///
/// # Errors
///
/// `no_such_message`; `forbidden` for the message of another user without the right `moderate`; `too_many` for one kind of
/// reaction too many; and the table's.
async fn to_be_changed(
    app: &App,
    request: &Request,
    sender: &Membership,
    tail: &Tail,
    kind: Kind<'_>,
    is_retry: bool,
) -> Result<Target, Failure> {
    let Kind::Change {
        target: seq,
        change,
    } = kind
    else {
        return Err(Failure::bad_request("the audit is not for clients"));
    };
    let target = app.log.target(&sender.room, seq, request.now_s()).await?;
    let is_deletion = matches!(change, Change::Delete { .. });
    let is_current = tail
        .newest()
        .is_some_and(|newest| newest.epoch == target.header.epoch);
    if !is_current || (target.is_deleted && !is_deletion && !is_retry) {
        return Err(no_such_message(seq));
    }
    match change {
        Change::React { key, on } => {
            if on && target.is_full(key) {
                return Err(Failure::new(
                    ErrorName::TooMany,
                    format!("a message has at most {MAX_REACTIONS} kinds of reactions"),
                ));
            }
        }
        Change::Edit | Change::Delete { .. } => {
            if target.user() != sender.user {
                request.caller.check(Right::Moderate, &sender.room)?;
            }
        }
    }
    Ok(target)
}

/// The entry is in the log, and the row of its target is not known to be up to date.
fn half_done(failure: Failure) -> Failure {
    Failure {
        message: "the service failed, and the message may be changed or not; \
                  send it again with the same id, and it is changed once"
            .to_owned(),
        ..failure
    }
}

/// The parts of a room that are read before the put.
struct Room {
    /// The end of its log.
    tail: Tail,
    /// The first page of its members.
    members: Vec<Recipient>,
}

/// The sender's membership, and the room: both at once if this process remembers the sender in that room.
async fn authorize_and_read(
    app: &App,
    request: &Request,
    named: Option<Name>,
    range: Range,
) -> Result<(Membership, Room), Failure> {
    let connection_id = &request.connection_id;
    let sender = async {
        let sender = membership(&app.connections, request, named.as_ref(), Right::Publish);
        let (sender, ()) = try_join(sender, wanted(&app.personal, request, named.as_ref())).await?;
        Ok::<_, Failure>(sender)
    };
    let (sender, room) = match app.likely_room(connection_id, named.as_ref()) {
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
    app.heard(connection_id, &sender.room);
    Ok((sender, room))
}

/// Reads the end of the log and the first page of members.
async fn read_room(
    app: &App,
    request: &Request,
    room: &str,
    range: Range,
) -> Result<Room, Failure> {
    let most = app.first_page(room, request.now_ms);
    let mut pages = Box::pin(app.connections.recipients(room, request.now_s(), most));
    let tail = app.log.tail(room, range, request.now_ms);
    let (tail, members) = join(tail, pages.next()).await;
    // This error must reach the sender before the message is stored.
    let members: Vec<Recipient> = members.transpose()?.unwrap_or_default();
    if most.is_none() && app.busy(members.len()).is_some() {
        app.counted(room, members.len(), request.now_ms);
    }
    Ok(Room {
        tail: tail?,
        members,
    })
}

/// Refuses a message whose frame would be too long for members, whatever its number will be.
fn check_size(draft: &Draft<'_>, data: &RawValue) -> Result<(), Failure> {
    let longest = Stored {
        seq: u64::MAX,
        epoch: "0".repeat(ulid::LENGTH),
        n: u64::MAX,
        at: draft.at,
        duplicate: false,
    };
    let bytes = message(draft, &longest, data, None).len();
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

/// A `count` makes the frame a little longer than [`MAX_MESSAGE_BYTES`], and not longer than API Gateway allows.
fn message(draft: &Draft<'_>, stored: &Stored, data: &RawValue, count: Option<usize>) -> String {
    let reaction = draft.kind.and_then(|kind| kind.reaction());
    render(&Message {
        room: draft.room,
        seq: stored.seq,
        epoch: &stored.epoch,
        n: stored.n,
        id: draft.id,
        from: draft.user,
        kind: draft.kind.map(|kind| kind.as_str()),
        target: draft.kind.and_then(|kind| kind.target()),
        key: reaction.map(|(key, _)| key),
        on: reaction.map(|(_, on)| on),
        reason: draft.kind.and_then(|kind| kind.reason()),
        data: Some(data),
        received: stored.at / 1000,
        at: stored.at,
        count,
        ..Message::PLAIN
    })
}

/// Delivery counts of a stored message.
#[derive(Debug, Default)]
struct Counts {
    delivered: usize,
    gone: usize,
    failed: usize,
    partial: bool,
    /// True if somebody else delivers the message.
    paced: bool,
    pruned_rows: usize,
    falsely_gone: usize,
    /// The index did not show the row of the sender.
    index_behind: bool,
    /// The first failure's cause, for the log.
    failure: Option<String>,
}

/// Delivers a stored change without data. Members that do not get it read it in the log.
pub(super) async fn deliver_change(
    app: &App,
    request: &Request,
    draft: &Draft<'_>,
    stored: &Stored,
) {
    let delivery = deliver(
        app,
        request,
        draft,
        stored,
        RawValue::NULL,
        None,
        Vec::new(),
    );
    let until = before(request.deadline, ACK_BEFORE_DEADLINE);
    // A delivery that takes longer ends here: the entry is in the log.
    let _ = timeout_at(until, delivery).await;
}

/// Delivers a stored message to all members but the sender, and removes dead connections.
///
/// `first_page` was read before the put, so it is posted to at once. A member that has joined since may have got a
/// head below this message: the whole list is read again while the first posts run.
async fn deliver(
    app: &App,
    request: &Request,
    draft: &Draft<'_>,
    stored: &Stored,
    data: &RawValue,
    repeat: Option<&Repeat>,
    first_page: Vec<Recipient>,
) -> Counts {
    let size = app.size(draft.room, first_page.len(), request.now_ms);
    let count = app.told_count(size);
    let body = match repeat {
        None => message(draft, stored, data, count),
        Some(Repeat::Due(frame, _)) => frame.get().to_owned(),
        Some(Repeat::HeldBack(_)) => return Counts::default(),
        Some(Repeat::Trimmed) => {
            return Counts {
                partial: true,
                ..Counts::default()
            };
        }
        Some(Repeat::Unread(cause)) => {
            return Counts {
                partial: true,
                failure: Some(cause.clone()),
                ..Counts::default()
            };
        }
    };
    if let Some(paced) = app.busy(size)
        && Private::of(draft.room).is_none()
    {
        let own = Own {
            stored,
            frame: &body,
            first_page: &first_page,
            members: size,
        };
        let led = lead(app, paced, request, draft.room, Part::Publisher(own));
        let led = Box::pin(led).await;
        match (led.end, led.own) {
            (_, Some((outcome, pruned))) => return Counts::new(outcome, pruned),
            (End::Alone | End::Delivered, None) => {}
            (End::Relied | End::Over, None) => {
                return Counts {
                    paced: true,
                    ..Counts::default()
                };
            }
        }
    }
    let ids = first_page.iter().map(|member| member.connection_id.clone());
    let known: HashSet<String> = ids.collect();
    let first_page = known.iter().cloned().collect();
    let all = app.connections.members(draft.room, request.now_s());
    let counted = AtomicUsize::new(0);
    let has_sender = AtomicBool::new(false);
    let joined_since = all.map(|page: Result<Vec<String>, TableError>| {
        page.map(|mut page| {
            counted.fetch_add(page.len(), Ordering::Relaxed);
            if page.contains(&request.connection_id) {
                has_sender.store(true, Ordering::Relaxed);
            }
            page.retain(|id| !known.contains(id));
            page
        })
    });
    let started = SystemTime::now();
    let outcome = fan_out(
        &app.management,
        stream::once(ready(Ok(first_page))).chain(joined_since),
        &request.connection_id,
        &Blob::new(body),
        app.delivery.concurrency,
        request.deadline,
    )
    .await;
    let counts = [
        ("delivered", outcome.delivered),
        ("failed", outcome.failed),
        ("gone", outcome.gone.len()),
    ];
    trace::ended("posts", started, &request.request_id, &counts);
    let is_read = outcome.unread.is_none() && !outcome.partial;
    // Users write to each other without a row, and so does the backend.
    let has_row = !draft.room.starts_with('@') && !request.connection_id.is_empty();
    if is_read {
        app.counted(draft.room, counted.into_inner(), request.now_ms);
    }
    let pruned = confirm_and_prune(
        &app.management,
        &app.connections,
        &outcome.gone,
        app.presence.born_before_ms(request),
        before(request.deadline, STOP_BEFORE_DEADLINE),
    )
    .await;
    app.presence.left(request, &pruned.rows).await;
    Counts {
        index_behind: is_read && has_row && !has_sender.into_inner(),
        ..Counts::new(outcome, pruned)
    }
}

impl Counts {
    fn new(outcome: Outcome, pruned: Pruned) -> Self {
        let unread = outcome.unread.map(|error| error.to_string());
        Self {
            delivered: outcome.delivered,
            gone: pruned.gone,
            // A member that answered 410 and may still be connected did not get the message either.
            failed: outcome.failed + outcome.gone.len() - pruned.gone,
            partial: outcome.partial || unread.is_some(),
            paced: false,
            pruned_rows: pruned.rows.len(),
            falsely_gone: pruned.alive,
            index_behind: false,
            failure: unread.or(outcome.first_failure).or(pruned.failure),
        }
    }
}
