//! `members`: lists the users in a room.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::future::{join as both, join_all};
use rand::seq::IndexedRandom as _;
use tokio::time::timeout;

use super::answer::{answer, membership};
use super::frame_limit::FrameLimit;
use crate::delivery::STOP_BEFORE_DEADLINE;
use crate::lambda::{Reply, Request, before};
use crate::members::{Departed, LIFETIME_S, Listed, Presence, Shown, confirm_and_prune};
use crate::protocol::{self, Failure, Frame, MAX_PAGE_BYTES, Member, Present, Right, render};

/// The users of a page if the client names no number.
const DEFAULT_LIMIT: usize = 100;

/// The most users of a page.
const MAX_LIMIT: usize = 1_000;

/// Connections that a question probes: those that follow the asker's in the order of their ids, so that members which
/// ask in turn probe every connection, and a random one, since the connection before a dead one may not ask.
const PROBED_NEXT: usize = 2;
const PROBED_AT_RANDOM: usize = 1;

/// The time that the answer waits for a probe. The next one that looks probes again.
const PROBE_FOR: Duration = Duration::from_secs(1);

/// Answers `members`, always with a frame: `members` or an `error`.
pub async fn members(presence: &Presence, limit: &FrameLimit, request: &Request) -> Reply {
    answer(limit, request, async |frame| {
        handle(presence, request, frame).await
    })
    .await
}

async fn handle(
    presence: &Presence,
    request: &Request,
    frame: &Frame<'_>,
) -> Result<String, Failure> {
    let (id, room, after) = (frame.id()?, frame.shared_room()?, frame.after_user()?);
    let limit = frame.count("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let (with_state, with_probe) = (frame.flag("state")?, frame.flag("probe")?);
    let connections = &presence.connections;
    let room = membership(connections, request, room.as_ref(), Right::Join)
        .await?
        .room;

    let (mut listed, partial) = connections.most_listed(&room, request.now_s()).await?;
    let is_live = presence.is_on() && listed.len() <= presence.max_members();
    let mode = (presence.is_on() && (with_state || with_probe)).then_some(if is_live {
        "live"
    } else {
        "count"
    });

    let shown = async {
        if !(with_state && is_live) {
            return Ok(Vec::new());
        }
        let present: Vec<&str> = listed
            .iter()
            .filter(|row| row.presence && is_after(&row.user, after.as_deref()))
            .map(|row| row.connection_id.as_str())
            .collect();
        connections.shown(&room, &present).await
    };
    let probed = async {
        if with_probe {
            probe(presence, request, &listed).await
        } else {
            Vec::new()
        }
    };
    let (shown, gone) = both(Box::pin(shown), Box::pin(probed)).await;
    presence.left(request, &gone).await;
    let shown: HashMap<String, Shown> = shown?
        .into_iter()
        .map(|shown| (shown.connection_id.clone(), shown))
        .collect();
    // A row that stood in the index alone is not there any more either.
    listed.retain(|row| {
        !gone
            .iter()
            .any(|gone| gone.connection_id == row.connection_id && gone.room == room)
    });

    let count = listed.len();
    let mut users: BTreeMap<&str, Vec<&Listed>> = BTreeMap::new();
    for row in &listed {
        users.entry(row.user.as_str()).or_default().push(row);
    }
    let mut page = Vec::new();
    let (mut bytes, mut more) = (0, false);
    let further = users
        .iter()
        .filter(|(user, _)| is_after(user, after.as_deref()));
    for (user, rows) in further {
        let member = Member {
            user,
            connections: rows.len(),
            present: present(rows, &shown),
        };
        bytes += render(&member).len() + 1;
        if page.len() == limit || bytes > MAX_PAGE_BYTES {
            more = true;
            break;
        }
        page.push(member);
    }
    let answer = render(&protocol::Members {
        id: id.as_deref(),
        room: &room,
        count,
        members: page,
        more,
        partial,
        mode,
        at: mode.map(|_| request.now_ms),
    });
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room,
        count,
        gone = gone.len(),
        duration_ms = request.duration_ms(),
        "members listed"
    );
    Ok(answer)
}

fn is_after(user: &str, after: Option<&str>) -> bool {
    after.is_none_or(|after| user > after)
}

/// The presence of a user with these rows: none if none of them is present.
fn present<'a>(rows: &[&Listed], shown: &'a HashMap<String, Shown>) -> Option<Present<'a>> {
    let here = || rows.iter().filter_map(|row| shown.get(&row.connection_id));
    let newest = here().max_by_key(|shown| shown.state_at)?;
    let state = newest.state.as_deref();
    Some(Present {
        presence: true,
        name: newest.name.as_deref(),
        // The service has written it, and so it is JSON.
        state: state.and_then(|state| serde_json::from_str(state).ok()),
        since: here().map(|shown| shown.connected_at).min()?,
    })
}

/// Asks API Gateway whether some connections of the room are open, and removes those that are not: one GetConnection for
/// each, and for one that is gone what [`confirm_and_prune`] takes. Returns the rows that were deleted, of all rooms.
async fn probe(presence: &Presence, request: &Request, listed: &[Listed]) -> Vec<Departed> {
    let own = request.connection_id.as_str();
    let asked = probed(presence, request, listed)
        .into_iter()
        .map(async |id| {
            let alive = timeout(PROBE_FOR, presence.management.is_alive(id)).await;
            matches!(alive, Ok(Ok(false))).then(|| id.to_owned())
        });
    let suspects: Vec<String> = join_all(asked).await.into_iter().flatten().collect();
    if suspects.is_empty() {
        return Vec::new();
    }
    let pruned = confirm_and_prune(
        &presence.management,
        &presence.connections,
        &suspects,
        presence.born_before_ms(request),
        before(request.deadline, STOP_BEFORE_DEADLINE),
    )
    .await;
    if let Some(cause) = pruned.failure {
        tracing::warn!(
            connection_id = own,
            request_id = request.request_id,
            cause,
            "a dead connection was not removed"
        );
    }
    pruned.rows
}

/// Returns the connections to probe. A young one may still be connecting, which looks as if it were gone.
fn probed<'a>(presence: &Presence, request: &Request, listed: &'a [Listed]) -> Vec<&'a str> {
    let own = request.connection_id.as_str();
    // The row ends so long after the handshake, or earlier with its token: then it only seems older.
    let born_before_s = presence.born_before_ms(request) / 1000;
    let mut old: Vec<&str> = listed
        .iter()
        .filter(|row| row.expires_at.saturating_sub(LIFETIME_S) <= born_before_s)
        .map(|row| row.connection_id.as_str())
        .filter(|id| *id != own)
        .collect();
    old.sort_unstable();
    let next = old.partition_point(|id| *id < own);
    old.rotate_left(next);
    let others = old.split_off(old.len().min(PROBED_NEXT));
    old.extend(others.sample(&mut rand::rng(), PROBED_AT_RANDOM).copied());
    old
}
