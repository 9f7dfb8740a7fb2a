//! The actions about one user's own settings: `mark` and `marks` keep how far the user has read, `block` and `unblock`
//! whose messages the user does not want. All of them need a verified user.

use std::collections::HashSet;

use aws_config::SdkConfig;
use futures::future::try_join;
use serde_json::value::to_raw_value;

use super::answer::{answer, membership, wanted};
use super::frame_limit::FrameLimit;
use crate::aws;
use crate::delivery::{ManagementApi, pass};
use crate::errors::TableError;
use crate::identity::{Auth, no_identity};
use crate::lambda::{Reply, Request};
use crate::members::{Connections, Personal};
use crate::protocol::{
    self, Done, Failure, Frame, Private, ReadUpTo, Right, Signal, check_user, inbox, render,
};
use crate::settings::{self, ConnectionsTable, Delivery, Live, Lookup, Retention, UsersTable};

/// Connections of one user that hear of a mark.
const MOST_DEVICES: usize = 1_000;

/// Marks of a page: some 50 KB.
const MARKS: usize = 300;

/// The parts of a process that these actions need; built once per process.
#[derive(Debug, Clone)]
pub struct Desk {
    connections: Connections,
    management: ManagementApi,
    personal: Personal,
    delivery: Delivery,
    live: Live,
    retention: Retention,
}

impl Desk {
    /// The parts, by the environment; none where identity is off, since nobody has marks or blocks there.
    ///
    /// # Errors
    ///
    /// Names the missing or invalid variable.
    pub fn read(
        env: Lookup<'_>,
        config: impl FnOnce() -> anyhow::Result<SdkConfig>,
    ) -> anyhow::Result<Option<Self>> {
        if settings::auth(env)? == Auth::Off {
            return Ok(None);
        }
        Ok(Some(Self::new(
            &config()?,
            ConnectionsTable::read(env)?,
            UsersTable::read(env)?,
            Delivery::read(env)?,
            Live::read(env)?,
            Retention::read(env)?,
        )))
    }

    /// The parts that `config` reaches.
    pub fn new(
        config: &SdkConfig,
        table: ConnectionsTable,
        users: UsersTable,
        delivery: Delivery,
        live: Live,
        retention: Retention,
    ) -> Self {
        Self {
            connections: aws::connections(config, table),
            management: aws::management_api(config, &delivery),
            personal: aws::personal(config, users),
            delivery,
            live,
            retention,
        }
    }
}

/// Answers `mark`, `marks`, `block` and `unblock`, always with a frame.
pub async fn personal(desk: Option<&Desk>, limit: &FrameLimit, request: &Request) -> Reply {
    answer(limit, request, async |frame| {
        let user = request.caller.verified()?;
        let desk = desk.ok_or_else(no_identity)?;
        match frame.action()?.as_deref() {
            Some("mark") => mark(desk, request, frame, user).await,
            Some("marks") => marks(&desk.personal, request, frame, user).await,
            Some("block") => block(desk, request, frame, user, true).await,
            Some("unblock") => block(desk, request, frame, user, false).await,
            _ => Err(Failure::bad_request(
                "action must be mark, marks, block or unblock",
            )),
        }
    })
    .await
}

/// Stores how far the user has read, and tells the user's other connections if that is news.
async fn mark(
    desk: &Desk,
    request: &Request,
    frame: &Frame<'_>,
    user: &str,
) -> Result<String, Failure> {
    let (id, named) = (frame.id()?, frame.this_room()?);
    let (position, n) = frame.read_up_to()?;
    let public = frame.flag("public")?;
    let room = named.as_str();
    request.caller.check(Right::Join, room)?;
    if public {
        // Only a member can send something to the room.
        let named = Some(&named);
        try_join(
            membership(&desk.connections, request, named, Right::Publish),
            wanted(&desk.personal, request, named),
        )
        .await?;
    }
    let expires_at = request.now_s() + desk.retention.seconds;
    let is_newer = desk
        .personal
        .mark(user, room, (&position, n), request.now_ms, expires_at)
        .await?;
    let mut told = 0;
    if is_newer {
        let data = to_raw_value(&ReadUpTo {
            epoch: &position.epoch,
            seq: position.seq,
            n,
        });
        let signal = Signal {
            room,
            kind: "read",
            from: user,
            data: data.as_deref().ok(),
            at: request.now_ms,
        };
        told = tell(desk, request, room, user, public, render(&signal)).await;
    }
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        room,
        seq = position.seq,
        is_newer,
        told,
        duration_ms = request.duration_ms(),
        "marked"
    );
    Ok(render(&Done {
        id: id.as_deref(),
        room: Some(room),
        user: None,
        at: request.now_ms,
    }))
}

/// Posts the signal to the user's other connections, and where it is public to the members of a small room. Returns the
/// number of connections that got it. What is not told now is read with `marks`.
async fn tell(
    desk: &Desk,
    request: &Request,
    room: &str,
    user: &str,
    public: bool,
    signal: String,
) -> usize {
    let listeners = async {
        let now_s = request.now_s();
        // The members that want presence are told, as of any signal; the user's own devices and the two of a pair room
        // in any case.
        let of_room = async |room: &str, most: usize, all: bool| {
            let listed = desk.connections.listed(room, now_s, most).await?;
            let told = listed
                .into_iter()
                .flatten()
                .filter(|one| all || one.presence);
            let ids = told.map(|one| one.connection_id);
            Ok::<HashSet<String>, TableError>(ids.collect())
        };
        let mut ids = of_room(&inbox(user), MOST_DEVICES, true).await?;
        if public {
            let is_pair = Private::of(room).is_some();
            ids.extend(of_room(room, desk.live.max_members, is_pair).await?);
        }
        Ok::<_, Failure>(ids.into_iter().collect())
    };
    let ids = match listeners.await {
        Ok(ids) => ids,
        Err(failure) => {
            let cause = failure.cause.map(|cause| format!("{cause:#}"));
            tracing::warn!(
                connection_id = request.connection_id,
                request_id = request.request_id,
                cause,
                "nobody is told of a mark"
            );
            return 0;
        }
    };
    pass(
        &desk.management,
        ids,
        &request.connection_id,
        signal,
        desk.delivery.concurrency,
        request.deadline,
    )
    .await
    .delivered
}

/// Reads how far the user has read.
pub(super) async fn marks(
    personal: &Personal,
    request: &Request,
    frame: &Frame<'_>,
    user: &str,
) -> Result<String, Failure> {
    let (id, after) = (frame.id()?, frame.after_user()?);
    let now_s = request.now_s();
    let found = personal.marks(user, after.as_deref(), MARKS, now_s);
    let found = found.await?;
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        marks = found.marks.len(),
        duration_ms = request.duration_ms(),
        "marks read"
    );
    Ok(render(&protocol::Marks {
        id: id.as_deref(),
        marks: &found.marks,
        more: found.more,
    }))
}

/// Notes that the user wants no messages from another, or takes the note back.
async fn block(
    desk: &Desk,
    request: &Request,
    frame: &Frame<'_>,
    user: &str,
    on: bool,
) -> Result<String, Failure> {
    let (id, other) = (frame.id()?, frame.this_user()?);
    check_user(&other).map_err(|error| Failure::bad_request(format!("user {error}")))?;
    if other == user {
        return Err(Failure::bad_request("user must be another user"));
    }
    let done = desk.personal.block(user, &other, on, request.now_ms);
    done.await?;
    tracing::info!(
        connection_id = request.connection_id,
        request_id = request.request_id,
        on,
        duration_ms = request.duration_ms(),
        "blocked"
    );
    Ok(render(&Done {
        id: id.as_deref(),
        room: None,
        user: Some(&other),
        at: request.now_ms,
    }))
}
