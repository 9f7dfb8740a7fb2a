//! `erase`: deletes the messages of one user in a room, takes the user's reactions back, and deletes how far the user has
//! read it.
//!
//! Each message is deleted and each reaction is taken back by an entry in the log, as the user would do it. So members
//! and clients that come later are told. A call ends after some rows, and its answer says where the next call goes on. The
//! next call passes over what is deleted or taken back already, so a call can be repeated at will.

use std::time::Duration;

use tokio::time::Instant;

use super::admin::{Admin, needs_identity};
use super::moderate::user;
use super::publish::deliver_change;
use crate::lambda::{Request, before};
use crate::log::append::{Range, Stored};
use crate::log::{AuditEntry, Change, Draft, Kind, Target, Trace};
use crate::protocol::{Erased, ErrorName, Failure, Frame, render};

/// The rows of one call: some 20 s of work in a small room.
const MOST: usize = 200;

/// A call begins with no further row when less than this is left of the invocation.
const LONGEST_ROW: Duration = Duration::from_secs(15);

/// The reason in the deletions, the same for each try. The reason of the call is in the audit.
const REASON: &str = "erased";

/// Answers `erase`.
///
/// # Errors
///
/// `bad_request`; those of the log. The rows before the failure are erased nevertheless.
pub(super) async fn erase(
    admin: &Admin,
    request: &Request,
    frame: &Frame<'_>,
) -> Result<String, Failure> {
    let (log, by) = (&admin.app.log, request.caller.user().unwrap_or_default());
    let (id, room, user) = (frame.id()?, frame.this_room()?, user(frame)?);
    let (reason, after) = (frame.reason()?, frame.after()?.unwrap_or(0));
    let room = room.as_str();
    let entry = AuditEntry {
        action: "erase",
        room: Some(room),
        user: Some(&user),
        by,
        reason: reason.as_deref(),
        ..AuditEntry::default()
    };
    admin
        .moderation
        .record(request, id.as_deref(), &entry)
        .await?;
    if needs_identity(&admin.moderation).is_ok() {
        admin.app.personal.unmark(&user, room).await?;
    }
    let until = before(request.deadline, LONGEST_ROW);
    let traces = log.traces_of(room, &user, after, MOST + 1).await?;
    let (mut messages, mut reactions, mut reached) = (0, 0, None);
    for (count, trace) in traces.iter().enumerate() {
        if count == MOST || Instant::now() >= until {
            reached = Some(trace.seq().saturating_sub(1));
            break;
        }
        match trace {
            Trace::Message(target) => {
                delete(admin, request, room, by, target).await?;
                messages += 1;
            }
            Trace::Edit { seq, target } => log.empty_edit(room, *seq, *target).await?,
            Trace::Reaction { target, key, .. } => {
                let target = match log.target(room, *target, request.now_s()).await {
                    Err(failure) if failure.name == ErrorName::NoSuchMessage => continue,
                    target => target?,
                };
                reactions +=
                    usize::from(take_back(admin, request, room, &user, &target, key).await?);
            }
        }
    }
    tracing::info!(
        request_id = request.request_id,
        room,
        messages,
        reactions,
        duration_ms = request.duration_ms(),
        "erased"
    );
    Ok(render(&Erased {
        id: id.as_deref(),
        room,
        user: &user,
        messages,
        reactions,
        more: reached.is_some(),
        after: reached,
    }))
}

/// Deletes a message.
async fn delete(
    admin: &Admin,
    request: &Request,
    room: &str,
    by: &str,
    target: &Target,
) -> Result<(), Failure> {
    let log = &admin.app.log;
    let change = Change::Delete {
        reason: Some(REASON),
    };
    let (seq, id) = (target.header.seq, format!("erase:{}", target.header.seq));
    let draft = Draft {
        id: Some(&id),
        // The deletion is behind its message.
        after: Some(seq),
        ..draft(request, room, by, seq, change)
    };
    if !enter(admin, request, &draft, target, change).await? {
        // Nobody is told of an epoch that has ended, and nobody can read it. Its row holds the text nevertheless.
        let ended = Stored {
            seq,
            epoch: target.header.epoch.clone(),
            n: target.header.n(),
            at: request.now_ms,
            duplicate: false,
        };
        log.apply(room, target, change, by, draft.data, &ended)
            .await?;
    }
    Ok(())
}

/// Takes a reaction back, in the name of the user: the row counts users by their names. Returns false if the message does
/// not count the reaction, or if its epoch has ended.
///
/// The entry has no id: users choose the ids of their entries, and could use this id first. A call that dies after the entry
/// and before the change of the message leaves the entry, and the next call adds a second one.
async fn take_back(
    admin: &Admin,
    request: &Request,
    room: &str,
    user: &str,
    target: &Target,
    key: &str,
) -> Result<bool, Failure> {
    if target.is_deleted || !target.has_reaction(key, user) {
        return Ok(false);
    }
    let change = Change::React { key, on: false };
    let draft = draft(request, room, user, target.header.seq, change);
    enter(admin, request, &draft, target, change).await
}

/// The draft of a change in the name of `user`.
fn draft<'a>(
    request: &Request,
    room: &'a str,
    user: &'a str,
    target: u64,
    change: Change<'a>,
) -> Draft<'a> {
    Draft {
        room,
        user,
        id: None,
        after: None,
        data: "null",
        kind: Some(Kind::Change { target, change }),
        exempt: true,
        at: request.now_ms,
    }
}

/// Appends a change, brings its message up to date, and delivers the entry. Returns false, and does nothing, if the epoch of
/// the message has ended.
async fn enter(
    admin: &Admin,
    request: &Request,
    draft: &Draft<'_>,
    target: &Target,
    change: Change<'_>,
) -> Result<bool, Failure> {
    let log = &admin.app.log;
    let range = Range::covering(draft.id, draft.after);
    let tail = log.tail(draft.room, range, request.now_ms).await?;
    let is_current = tail
        .newest()
        .is_some_and(|newest| newest.epoch == target.header.epoch);
    if !is_current {
        return Ok(false);
    }
    let stop = before(request.deadline, LONGEST_ROW / 2);
    let stored = log.append(draft, range, tail, stop).await?;
    log.apply(draft.room, target, change, draft.user, draft.data, &stored)
        .await?;
    deliver_change(&admin.app, request, draft, &stored).await;
    Ok(true)
}
