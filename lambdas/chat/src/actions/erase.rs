//! `erase`: deletes the messages of one user in a room, and how far the user has read it.
//!
//! Each message is deleted through the log, as any deletion: members and clients that come later are told. A call ends
//! after some messages, and its answer says where the next call goes on. A message that is deleted already is passed
//! over, so a call can be repeated at will.

use std::time::Duration;

use tokio::time::Instant;

use super::admin::{Admin, needs_identity};
use super::moderate::user;
use super::publish::deliver_change;
use crate::lambda::{Request, before};
use crate::log::append::{Range, Stored};
use crate::log::{AuditEntry, Change, Draft, Kind, Target, Text};
use crate::protocol::{Erased, Failure, Frame, render};

/// The rows of one call: some 20 s of work in a small room.
const MOST: usize = 200;

/// A call begins no message when less than this is left of the invocation.
const LONGEST_MESSAGE: Duration = Duration::from_secs(15);

/// The reason in the deletions, the same for each try. The reason of the call is in the audit.
const REASON: &str = "erased";

/// Answers `erase`.
///
/// # Errors
///
/// `bad_request`; those of the log. The messages so far are deleted then.
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
        target: None,
        for_seconds: None,
    };
    admin
        .moderation
        .record(request, id.as_deref(), &entry)
        .await?;
    if needs_identity(&admin.moderation).is_ok() {
        admin.app.personal.unmark(&user, room).await?;
    }
    let until = before(request.deadline, LONGEST_MESSAGE);
    let texts = log.texts_of(room, &user, after, MOST + 1).await?;
    let (mut messages, mut reached) = (0, None);
    for (count, text) in texts.iter().enumerate() {
        if count == MOST || Instant::now() >= until {
            reached = Some(text.seq().saturating_sub(1));
            break;
        }
        match text {
            Text::Message(target) => {
                erase_one(admin, request, room, by, target).await?;
                messages += 1;
            }
            Text::Edit { seq, target } => log.empty_edit(room, *seq, *target).await?,
        }
    }
    tracing::info!(
        request_id = request.request_id,
        room,
        messages,
        duration_ms = request.duration_ms(),
        "erased"
    );
    Ok(render(&Erased {
        id: id.as_deref(),
        room,
        user: &user,
        messages,
        more: reached.is_some(),
        after: reached,
    }))
}

async fn erase_one(
    admin: &Admin,
    request: &Request,
    room: &str,
    by: &str,
    target: &Target,
) -> Result<(), Failure> {
    let (log, change) = (
        &admin.app.log,
        Change::Delete {
            reason: Some(REASON),
        },
    );
    let (seq, id) = (target.header.seq, format!("erase:{}", target.header.seq));
    let draft = Draft {
        room,
        user: by,
        id: Some(&id),
        // The deletion is behind its message.
        after: Some(seq),
        data: "null",
        kind: Some(Kind::Change {
            target: seq,
            change,
        }),
        exempt: true,
        at: request.now_ms,
    };
    let range = Range::covering(draft.id, draft.after);
    let tail = log.tail(room, range, request.now_ms).await?;
    let is_current = tail
        .newest()
        .is_some_and(|newest| newest.epoch == target.header.epoch);
    if !is_current {
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
        return Ok(());
    }
    let stop = before(request.deadline, LONGEST_MESSAGE / 2);
    let stored = log.append(&draft, range, tail, stop).await?;
    log.apply(room, target, change, by, draft.data, &stored)
        .await?;
    deliver_change(&admin.app, request, &draft, &stored).await;
    Ok(())
}
