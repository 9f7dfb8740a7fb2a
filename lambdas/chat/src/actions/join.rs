//! `join`: makes the connection a member of another room, or returns the state of a room that it is in.

use std::time::Duration;

use futures::future::{join as both, join3};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::answer::{answer, in_no_room, membership, not_in};
use super::frame_limit::FrameLimit;
use crate::delivery::ManagementApi;
use crate::lambda::{Reply, Request};
use crate::log::{Bounds, Direction, Log, Page};
use crate::members::{
    Announced, Connection, Connections, Here, LIFETIME_S, Membership, Mode, Mute, Presence, Users,
};
use crate::metrics::{self, Metric};
use crate::protocol::{
    Done, ErrorName, Failure, Frame, Joined, Name, NameError, Position, PresenceEvent, Private,
    Right, Stated, render,
};

/// The most rooms of a connection: `$disconnect` must delete all its rows within seconds.
const MAX_ROOMS: usize = 100;

/// The most messages of one answer.
const MAX_MESSAGES: usize = 100;

/// The longest wait for GetConnection. If it does not answer in time, the row stays.
const ASK_FOR: Duration = Duration::from_secs(1);

/// A join that repeats an earlier one tells others again for this time, in milliseconds: it may be a retry.
const TOLD_AGAIN_WITHIN_MS: i64 = 60_000;

/// Answers `join`, always with a frame: `joined` or an `error`.
pub async fn join(
    presence: &Presence,
    log: &Log,
    users: &Users,
    limit: &FrameLimit,
    request: &Request,
) -> Reply {
    answer(limit, request, async |frame| {
        match frame.action()?.as_deref() {
            Some("presence") => change_state(presence, request, frame).await,
            _ => handle(presence, log, users, request, frame).await,
        }
    })
    .await
}

async fn handle(
    presence: &Presence,
    log: &Log,
    users: &Users,
    request: &Request,
    frame: &Frame<'_>,
) -> Result<String, Failure> {
    let connections = &presence.connections;
    let (id, room) = (frame.id()?, frame.this_room()?);
    let (since, history) = (frame.since()?, frame.count("history", 0, MAX_MESSAGES)?);
    let wanted = frame.presence()?.filter(|_| presence.is_on());
    let batch = frame.flag("batch")?;
    if let Some(Private::Inbox(_)) = Private::of(room.as_str()) {
        // The service alone writes there, and the owner reads it with history.
        return Err(Failure::bad_request(format!(
            "room {}",
            NameError::Reserved
        )));
    }
    request.caller.check(Right::Join, room.as_str())?;

    // The row is written before the log is read: a publish that appends after the head finds the row.
    let member = if room.is_private() {
        // The name says who is in it, so there is no row to write.
        let own = membership(connections, request, Some(&room), Right::Join).await?;
        Member {
            own,
            is_new: false,
            news: None,
        }
    } else {
        let own = connections
            .memberships(&request.connection_id, request.now_s())
            .await?;
        become_member(connections, users, request, &room, own, wanted, batch).await?
    };
    // Nobody comes to a room of two or leaves it.
    let wanted = wanted.filter(|_| !room.is_private());
    let Member { own, is_new, .. } = &member;

    let room = room.as_str();
    let checked = async {
        if *is_new {
            let (management, written) = (&presence.management, own.muted.as_ref());
            check_row(connections, management, users, request, (room, written)).await?;
        }
        let Some(Stated(state)) = wanted else {
            return Ok(None);
        };
        let here = Here {
            room,
            connection_id: &request.connection_id,
            user: &own.user,
            connected_at: own.connected_at,
            name: shown_name(request),
            state,
        };
        let mode = match member.news {
            Some(PresenceEvent::Join) => presence.joined(request, &here).await?,
            Some(_) => presence.updated(request, &here).await?,
            None => presence.mode(request, &here).await?,
        };
        Ok(Some(mode))
    };
    let read = async {
        let mut bounds = log.begun(room, request.now_ms).await?;
        if !request.caller.may(Right::History, room) {
            let floor = floor(connections, request, own, &bounds).await?;
            bounds.cut(&floor);
        }
        let history = history.unwrap_or(0);
        let (recovered, page) = catch_up(
            log,
            request,
            (room, &own.user),
            &mut bounds,
            since.as_ref(),
            history,
        )
        .await?;
        Ok::<_, Failure>((bounds, recovered, page))
    };
    // In parallel, and both to their end: the row of a refused join is deleted even if reading the log fails.
    let (checked, read): (Result<Option<Mode>, Failure>, _) =
        both(Box::pin(checked), Box::pin(read)).await;
    let mode = checked?;
    let (bounds, recovered, page) = read?;
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room,
        head = bounds.head,
        recovered,
        messages = page.messages.len(),
        duration_ms = request.duration_ms(),
        "joined"
    );
    let kind = match recovered {
        None => Metric::JoinsFresh,
        Some(true) => Metric::JoinsRecovered,
        Some(false) => Metric::JoinsLost,
    };
    let is_lossless = recovered == Some(true) && page.messages.is_empty();
    metrics::emit(
        &request.request_id,
        request.now_ms,
        &[(kind, 1), (Metric::JoinsLossless, usize::from(is_lossless))],
    );
    Ok(render(&Joined {
        id: id.as_deref(),
        room,
        user: &own.user,
        epoch: bounds.epoch.as_deref().unwrap_or_default(),
        first: bounds.first,
        head: bounds.head,
        head_n: bounds.head_n,
        recovered,
        messages: page.messages,
        more: recovered == Some(true) && page.more,
        presence: mode.map(Mode::as_str),
        count: mode.map(Mode::count),
    }))
}

/// The connection's row in the room.
struct Member {
    own: Membership,
    /// True if this join has written the row.
    is_new: bool,
    /// The event that others are told, if it wants presence.
    news: Option<PresenceEvent>,
}

/// Writes the row, unless it is there.
async fn become_member(
    connections: &Connections,
    users: &Users,
    request: &Request,
    room: &Name,
    own: Vec<Membership>,
    wanted: Option<Stated<'_>>,
    batch: bool,
) -> Result<Member, Failure> {
    let rooms = own.len();
    let here = own.iter().position(|own| own.room == room.as_str());
    let any = own.into_iter().nth(here.unwrap_or(0));
    let any = match (any, request.caller.user()) {
        (Some(own), _) if here.is_some() => {
            if batch && !own.batch {
                let written = connections.set_batch(&request.connection_id, &own.room);
                // The connection has ended, or has left the room again.
                written.await?.then_some(()).ok_or_else(in_no_room)?;
            }
            let news = match wanted {
                Some(stated) => be_present(connections, request, &own, stated).await?,
                None => None,
            };
            return Ok(Member {
                own,
                is_new: false,
                news,
            });
        }
        (Some(any), _) => any,
        // A verified user keeps its name without any row.
        (None, Some(user)) => {
            let ends_s = request.connected_ms / 1000 + LIFETIME_S;
            Membership {
                room: String::new(),
                user: user.to_owned(),
                connected_at: request.connected_ms,
                expires_at: request.caller.row_end(ends_s),
                floor: None,
                batch: false,
                muted: None,
                presence: false,
                state: None,
                state_at: 0,
            }
        }
        (None, None) => return Err(in_no_room()),
    };
    if rooms >= MAX_ROOMS {
        return Err(too_many_rooms());
    }
    // Read again behind the row. A row that a ban deletes again counts as a membership until then: a banned user could join
    // again and again, and read and write meanwhile.
    let muted = bans(users, request, room.as_str()).await?;
    // Both times are those of the handshake: the row ends with the connection, and if the connection has just ended, a
    // row as young as this frame would keep the prune from deleting it.
    let row = Connection {
        connection_id: request.connection_id.clone(),
        room: room.to_string(),
        user: any.user,
        connected_at: any.connected_at,
        expires_at: any.expires_at,
        floor: None,
        batch,
        muted,
    };
    let announced = wanted.map(|Stated(state)| announced(request, state));
    connections.put(&row, announced.as_ref()).await?;
    let own = Membership {
        room: row.room,
        user: row.user,
        connected_at: row.connected_at,
        expires_at: row.expires_at,
        floor: None,
        batch,
        muted: row.muted,
        presence: wanted.is_some(),
        state: None,
        state_at: 0,
    };
    Ok(Member {
        own,
        is_new: true,
        news: wanted.map(|_| PresenceEvent::Join),
    })
}

/// Writes presence into a row that stands, unless it has the same already, and returns what is news to others.
async fn be_present(
    connections: &Connections,
    request: &Request,
    own: &Membership,
    Stated(state): Stated<'_>,
) -> Result<Option<PresenceEvent>, Failure> {
    let is_same = own.presence && own.state.as_deref() == state.map(RawValue::get);
    // The answer of the join before may have been lost, and what it was to tell others with it.
    let is_retry = request.now_ms.saturating_sub(own.state_at) < TOLD_AGAIN_WITHIN_MS;
    if is_same && !is_retry {
        return Ok(None);
    }
    let (connection_id, room) = (&request.connection_id, &own.room);
    let announced = announced(request, state);
    let written = connections.announce(connection_id, room, &announced, request.now_s());
    // The connection has ended, or has left the room again.
    written.await?.ok_or_else(in_no_room)?;
    Ok(Some(if own.presence && !is_same {
        PresenceEvent::Update
    } else {
        PresenceEvent::Join
    }))
}

fn announced<'a>(request: &'a Request, state: Option<&'a RawValue>) -> Announced<'a> {
    Announced {
        state,
        name: shown_name(request),
        at: request.now_ms,
    }
}

/// The name that the token gives the user, to be shown to people.
fn shown_name(request: &Request) -> Option<&str> {
    request.caller.identity()?.name.as_deref()
}

/// Answers `presence`: writes the state of a connection and tells it the others.
async fn change_state(
    presence: &Presence,
    request: &Request,
    frame: &Frame<'_>,
) -> Result<String, Failure> {
    let (id, room, state) = (frame.id()?, frame.this_room()?, frame.state()?);
    if room.is_private() {
        return Err(Failure::bad_request("a room of two has no states"));
    }
    let room = room.as_str();
    request.caller.check(Right::Join, room)?;
    if !presence.is_on() {
        return Err(Failure::new(
            ErrorName::RoomTooLarge,
            "this service has no presence: it is turned off",
        ));
    }
    let (connection_id, announced) = (&request.connection_id, announced(request, state));
    let before = presence
        .connections
        .announce(connection_id, room, &announced, request.now_s())
        .await?
        .ok_or_else(|| not_in(room))?;
    let here = Here {
        room,
        connection_id,
        user: &before.user,
        connected_at: before.connected_at,
        name: announced.name,
        state,
    };
    // A connection that did not want presence does from now on.
    let mode = if before.presence {
        presence.updated(request, &here).await?
    } else {
        presence.joined(request, &here).await?
    };
    if let Mode::Count(_) = mode {
        return Err(Failure::new(
            ErrorName::RoomTooLarge,
            format!(
                "the room has more than {} connections: nobody is told of states",
                presence.max_members()
            ),
        ));
    }
    Ok(render(&Done {
        id: id.as_deref(),
        room: Some(room),
        user: None,
        at: request.now_ms,
    }))
}

/// The end of the log when this connection joined. The connection may read everything after it, to fill gaps.
async fn floor(
    connections: &Connections,
    request: &Request,
    own: &Membership,
    bounds: &Bounds,
) -> Result<Position, Failure> {
    if let Some(floor) = &own.floor {
        return Ok(floor.clone());
    }
    let floor = Position {
        epoch: bounds.epoch.clone().unwrap_or_default(),
        seq: bounds.head,
    };
    let connection_id = &request.connection_id;
    if connections
        .set_floor(connection_id, &own.room, &floor)
        .await?
    {
        Ok(floor)
    } else {
        // The connection has ended, or has left the room again.
        Err(in_no_room())
    }
}

/// Checks after the row is written that the connection is still open and not in too many rooms, and that its user is
/// not banned. Each may have changed since the connection's rows were read. If a check fails, deletes the row again.
/// Asks in parallel: a GetConnection, a consistent Query of the rows, and for a verified user a Query of its bans.
///
/// A connection that ends before the GetConnection is found here, and one that ends later has its row deleted by its
/// `$disconnect`. If several parallel joins exceed the limit of rooms, each of them counts too many rows.
async fn check_row(
    connections: &Connections,
    management: &ManagementApi,
    users: &Users,
    request: &Request,
    (room, written): (&str, Option<&Mute>),
) -> Result<(), Failure> {
    let id = &request.connection_id;
    let (alive, own, bans) = join3(
        timeout(ASK_FOR, management.is_alive(id)),
        connections.memberships(id, request.now_s()),
        bans(users, request, room),
    )
    .await;
    let refusal = match alive {
        Ok(Ok(false)) => Some(ended()),
        Ok(Ok(true)) => None,
        unknown => {
            let cause = match unknown {
                Ok(Err(cause)) => cause,
                _ => format!("no answer within {ASK_FOR:?}"),
            };
            tracing::warn!(connection_id = id, room, cause, "GetConnection failed");
            None
        }
    };
    let refusal = match (refusal, bans, own) {
        (Some(refusal), _, _) | (None, Err(refusal), _) => refusal,
        (None, Ok(mute), Ok(own)) if own.len() <= MAX_ROOMS => {
            if mute.as_ref() == written {
                return Ok(());
            }
            match connections.set_muted(id, room, mute.as_ref()).await {
                Ok(_) => return Ok(()),
                Err(error) => error.into(),
            }
        }
        (None, Ok(_), Ok(_)) => too_many_rooms(),
        // A check that fails refuses the join, so the row must not stay.
        (None, Ok(_), Err(error)) => error.into(),
    };
    connections.delete(id, room).await?;
    Err(refusal)
}

/// Refuses a user who is banned from the room, and a token that is revoked. Returns the mute of a user who is muted there.
async fn bans(users: &Users, request: &Request, room: &str) -> Result<Option<Mute>, Failure> {
    match request.caller.identity() {
        Some(identity) => users.check(identity, Some(room), request.now_s()).await,
        None => Ok(None),
    }
}

/// The answer when API Gateway says that the connection has ended. A client that gets it nevertheless connects again.
fn ended() -> Failure {
    Failure::new(
        ErrorName::NotAMember,
        "this connection has ended; connect again",
    )
}

fn too_many_rooms() -> Failure {
    Failure::new(
        ErrorName::TooMany,
        format!("a connection may be in {MAX_ROOMS} rooms; leave one first"),
    )
}

/// The messages after the position of the client, if none is lost; otherwise the newest messages.
async fn catch_up(
    log: &Log,
    request: &Request,
    (room, user): (&str, &str),
    bounds: &mut Bounds,
    since: Option<&Position>,
    history: usize,
) -> Result<(Option<bool>, Page), Failure> {
    let now_s = request.now_s();
    if let Some(since) = since
        && holds(bounds, since)
    {
        let after = Direction::After(since.seq);
        let page = log
            .page(room, now_s, bounds, after, MAX_MESSAGES, user)
            .await?;
        // Reading may have found that the log begins later.
        if holds(bounds, since) {
            return Ok((Some(true), page));
        }
    }
    let newest = Direction::Before(bounds.head.saturating_add(1));
    let page = log.page(room, now_s, bounds, newest, history, user).await?;
    Ok((since.map(|_| false), page))
}

/// True if the log holds every message after `since`.
fn holds(bounds: &Bounds, since: &Position) -> bool {
    bounds.epoch.as_deref() == Some(&since.epoch)
        && since.seq.saturating_add(1) >= bounds.first
        && since.seq <= bounds.head
}
