//! `kick`, `ban`, `unban`, `mute` and `unmute`: a moderator ends or limits the part of a user in a room.
//!
//! A ban is written to the table of users, and then the user's rows in the room are deleted. `join` and the handshake
//! write their row, and then read the table of users. So of a ban and a join that run in parallel, at least one sees the
//! other. The index that lists the rows lags a little, so it is read several times. A kick reads it as often, and leaves a
//! connection alone that it has removed already: such a connection has joined again.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::anyhow;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::{sleep, timeout_at};

use super::answer::answer;
use super::frame_limit::FrameLimit;
use crate::delivery::{ManagementApi, Posted};
use crate::lambda::{Reply, Request, before};
use crate::log::append::Range;
use crate::log::{AUDIT, AuditEntry, Draft, Kind, Log};
use crate::members::{ANY_ROOM, Connections, Penalty, PenaltyKind, Presence, Users};
use crate::protocol::{Bye, Failure, Frame, Moderated, Removed, Right, check_user, inbox, render};

/// The longest ban or mute with an end, in seconds: ten years.
const LONGEST_S: i64 = 3650 * 24 * 3600;

/// The waits before the user's rows are looked for. An index follows its table within a second as a rule. Their sum is
/// the time for which a kick removes new connections of the user.
pub(super) const PASSES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Connections of a user that are worked on in parallel.
const CONCURRENCY: usize = 32;

/// The answer comes when less than this is left of the invocation, with a failure if passes are missing.
const STOP_BEFORE_DEADLINE: Duration = Duration::from_secs(1);

/// The parts of a process that moderation needs; built once per process.
#[derive(Debug, Clone)]
pub struct Moderation {
    /// The memberships.
    pub connections: Connections,
    /// Bans and mutes.
    pub users: Users,
    /// Tells the removed.
    pub management: ManagementApi,
    /// Tells the others of them.
    pub presence: Presence,
    /// The log, with the time for which the audit is kept.
    pub audit: Log,
}

/// The actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Kick,
    Ban,
    Unban,
    Mute,
    Unmute,
}

impl Act {
    fn parse(action: &str) -> Option<Self> {
        Some(match action {
            "kick" => Self::Kick,
            "ban" => Self::Ban,
            "unban" => Self::Unban,
            "mute" => Self::Mute,
            "unmute" => Self::Unmute,
            _ => return None,
        })
    }

    /// The penalty that the action imposes or lifts.
    fn penalty(self) -> Option<PenaltyKind> {
        match self {
            Self::Kick => None,
            Self::Ban | Self::Unban => Some(PenaltyKind::Ban),
            Self::Mute | Self::Unmute => Some(PenaltyKind::Mute),
        }
    }
}

/// Answers a moderator, always with a frame: `moderated` or an `error`. Idempotent.
pub async fn moderate(app: &Moderation, limit: &FrameLimit, request: &Request) -> Reply {
    answer(limit, request, async |frame| {
        handle(app, request, frame).await
    })
    .await
}

pub(super) async fn handle(
    app: &Moderation,
    request: &Request,
    frame: &Frame<'_>,
) -> Result<String, Failure> {
    let action = frame.action()?.unwrap_or_default();
    let Some(act) = Act::parse(&action) else {
        let message = "action must be kick, ban, unban, mute or unmute";
        return Err(Failure::bad_request(message));
    };
    let id = frame.id()?;
    let room = if request.caller.is_backend() && frame.is_about(ANY_ROOM) && act != Act::Kick {
        ANY_ROOM.to_owned()
    } else {
        frame.this_room()?.into()
    };
    request.caller.check(Right::Moderate, &room)?;
    let user = user(frame)?;
    let reason = frame.reason()?;
    let for_s = frame.count("forSeconds", 1, LONGEST_S)?;
    if for_s.is_some() && !matches!(act, Act::Ban | Act::Mute) {
        return Err(Failure::bad_request("forSeconds is for ban and mute"));
    }
    if act != Act::Kick && !app.users.are_verified() {
        return Err(Failure::bad_request(format!(
            "users are not verified here, so a {action} would bind nobody: set the Terraform variable auth"
        )));
    }
    let by = request.caller.user().unwrap_or_default();
    let until = for_s.map(|seconds| request.now_s().saturating_add(seconds));

    // First: nothing happens that the audit does not hold.
    app.record(
        request,
        id.as_deref(),
        &AuditEntry {
            action: &action,
            room: Some(&room),
            user: Some(&user),
            by,
            reason: reason.as_deref(),
            for_seconds: for_s,
            ..AuditEntry::default()
        },
    )
    .await?;
    let penalty = act.penalty().map(|kind| Penalty {
        kind,
        user: &user,
        room: &room,
        until,
        reason: reason.as_deref(),
        by,
        at: request.now_ms,
    });
    match (act, &penalty) {
        (Act::Ban | Act::Mute, Some(penalty)) => app.users.impose(penalty).await?,
        (Act::Unban | Act::Unmute, Some(penalty)) => {
            app.users.lift(penalty.kind, &user, &room).await?;
        }
        _ => {}
    }
    let change = match act {
        Act::Kick | Act::Ban if room == ANY_ROOM => Change::Close(Bye {
            reason: "banned",
            reconnect: if until.is_some() { "later" } else { "never" },
            retry_after_ms: for_s.and_then(|seconds| u64::try_from(seconds * 1000).ok()),
        }),
        Act::Kick | Act::Ban => Change::Remove(render(&Removed {
            room: &room,
            reason: if act == Act::Ban { "banned" } else { "kicked" },
            by,
            until,
        })),
        // A user who is not banned any more has no rows to change.
        Act::Unban => Change::None,
        Act::Mute | Act::Unmute => Change::Mute,
    };
    let connections = app.apply(request, &room, &user, &change, &PASSES).await?;
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        action,
        room,
        connections,
        duration_ms = request.duration_ms(),
        "moderated"
    );
    Ok(render(&Moderated {
        id: id.as_deref(),
        action: &action,
        room: &room,
        user: &user,
        until,
        connections,
    }))
}

/// The field `user`, a name that a user can have.
pub(super) fn user(frame: &Frame<'_>) -> Result<String, Failure> {
    let user = frame.this_user()?;
    check_user(&user).map_err(|error| Failure::bad_request(format!("user {error}")))?;
    Ok(user)
}

/// A change to the connections of a user.
#[derive(Debug)]
pub(super) enum Change {
    None,
    /// Their row of the room goes, and they get this frame.
    Remove(String),
    /// Their rows get the mute that holds there, or none.
    Mute,
    /// They are told why, all their rows go, and they are closed.
    Close(Bye),
}

/// Appends an entry to the room `@audit`. With an `id`, a retry adds no second entry.
///
/// # Errors
///
/// Those of [`Log::append`].
pub(super) async fn record(
    audit: &Log,
    request: &Request,
    id: Option<&str>,
    entry: &AuditEntry<'_>,
) -> Result<(), Failure> {
    let range = Range::covering(id, None);
    let until = before(request.deadline, STOP_BEFORE_DEADLINE);
    let data = render(entry);
    let draft = Draft {
        room: AUDIT,
        user: entry.by,
        id,
        after: None,
        data: &data,
        kind: Some(Kind::Audit),
        exempt: true,
        at: request.now_ms,
    };
    let tail = audit.tail(AUDIT, range, request.now_ms).await?;
    audit.append(&draft, range, tail, until).await?;
    Ok(())
}

impl Moderation {
    /// Appends an entry to the room `@audit`. With an `id`, a retry adds no second entry.
    ///
    /// # Errors
    ///
    /// Those of [`Log::append`].
    pub(super) async fn record(
        &self,
        request: &Request,
        id: Option<&str>,
        entry: &AuditEntry<'_>,
    ) -> Result<(), Failure> {
        record(&self.audit, request, id, entry).await
    }

    /// Changes the connections of `user` in `room`, found by the index, which is read after each of the waits `passes`. Returns the number of
    /// connections.
    ///
    /// # Errors
    ///
    /// The table's, and `internal` when the time ends before the last pass.
    pub(super) async fn apply(
        &self,
        request: &Request,
        room: &str,
        user: &str,
        change: &Change,
        passes: &[Duration],
    ) -> Result<usize, Failure> {
        if matches!(change, Change::None) {
            return Ok(0);
        }
        let until = before(request.deadline, STOP_BEFORE_DEADLINE);
        let work = async {
            let mut seen = HashSet::new();
            for wait in passes {
                sleep(*wait).await;
                self.pass(request, room, user, change, &mut seen).await?;
            }
            Ok(seen.len())
        };
        timeout_at(until, work).await.unwrap_or_else(|_| {
            let cause = anyhow!("less than {STOP_BEFORE_DEADLINE:?} were left");
            Err(Failure::internal(
                "the service took too long; send the same frame again",
                cause,
            ))
        })
    }

    /// Changes the connections that the index shows and that are not among those `seen`.
    async fn pass(
        &self,
        request: &Request,
        room: &str,
        user: &str,
        change: &Change,
        seen: &mut HashSet<String>,
    ) -> Result<(), Failure> {
        let now_s = request.now_s();
        let mut found = if room == ANY_ROOM {
            let pages = self.connections.members(&inbox(user), now_s);
            pages.try_collect::<Vec<_>>().await?.concat()
        } else {
            self.connections.of_user(room, user, now_s).await?
        };
        found.retain(|id| seen.insert(id.clone()));
        let mut work = stream::iter(found)
            .map(|id| async move {
                match change {
                    Change::None => Ok(()),
                    Change::Remove(frame) => self.remove(request, &id, room, frame).await,
                    Change::Mute => self.mute(&id, room, user, now_s).await,
                    Change::Close(bye) => self.close(request, &id, bye).await.map(drop),
                }
            })
            .buffer_unordered(CONCURRENCY);
        let mut done = Ok(());
        while let Some(each) = work.next().await {
            done = done.and(each);
        }
        done
    }

    /// Deletes the row first: a connection that knows of its removal gets no further message.
    async fn remove(
        &self,
        request: &Request,
        id: &str,
        room: &str,
        frame: &str,
    ) -> Result<(), Failure> {
        let departed = self.connections.delete(id, room).await?;
        self.tell(id, frame).await;
        self.presence.left(request, departed.as_slice()).await;
        Ok(())
    }

    /// Writes the mute that holds, or takes out one that does not: a user may be muted in a room and everywhere.
    async fn mute(&self, id: &str, room: &str, user: &str, now_s: i64) -> Result<(), Failure> {
        let mut rooms = vec![room.to_owned()];
        if room == ANY_ROOM {
            let own = self.connections.memberships(id, now_s).await?;
            rooms = own.into_iter().map(|own| own.room).collect();
        }
        for room in &rooms {
            let mute = self.users.mute(user, room, now_s).await?;
            self.connections.set_muted(id, room, mute.as_ref()).await?;
        }
        Ok(())
    }

    /// Deletes all rows of a connection and closes it. Returns false if there is no such connection.
    pub(super) async fn close(
        &self,
        request: &Request,
        id: &str,
        bye: &Bye,
    ) -> Result<bool, Failure> {
        let mut departed = Vec::new();
        for row in self.connections.rows(id).await? {
            departed.extend(self.connections.delete(id, &row.room).await?);
        }
        self.presence.left(request, &departed).await;
        self.tell(id, &render(bye)).await;
        let closed = self.management.close(id).await;
        closed.map_err(|cause| {
            Failure::internal(
                "a connection was not closed; send the same frame again",
                anyhow!("DeleteConnection failed: {cause}"),
            )
        })
    }

    /// A connection that does not get the frame notices from the answers to its own frames.
    async fn tell(&self, id: &str, frame: &str) {
        if let Posted::Failed(cause) = self.management.post(id, Blob::new(frame)).await {
            tracing::warn!(
                connection_id = id,
                cause,
                "a removed connection was not told"
            );
        }
    }
}
