//! Presence: the members of a live room that want it are told who comes, who goes, and who changes its state.
//!
//! Being there is having a row. Nothing else is stored, and no timer runs. An event is posted after the row has changed
//! and the index has been read. It is not posted while another row of the same user stands: a second device, or the
//! connection that replaces the first one. The index may still show a row that is gone, so such a row is read
//! consistently before the event is left out. Of two devices that leave at the same moment at least one finds no row
//! left. Of two that join at the same moment the one that connected first posts the event.
//!
//! Receivers hold a `leave` back for [`HOLD_MS`], and a user who hears of its own `leave` says that it is there. So an
//! event that is wrong, because the index lagged for long, is corrected by who knows best.

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use serde_json::value::RawValue;

use super::connections::{Connections, Departed, Listed, Membership};
use crate::delivery::{ManagementApi, pass};
use crate::errors::TableError;
use crate::lambda::Request;
use crate::protocol::{self, HOLD_MS, PresenceEvent, render};
use crate::settings::{Delivery, Live};

/// Rows of the same user that are read consistently before an event is left out.
const LOOKS: usize = 3;

/// Departures that are announced in parallel: the connection was in so many rooms, or so many were found gone.
const DEPARTURES: usize = 8;

/// Tells members of presence. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Presence {
    /// The memberships.
    pub connections: Connections,
    /// Posts to members.
    pub management: ManagementApi,
    delivery: Delivery,
    live: Live,
}

/// The presence of a connection in a room, after its row was written.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The room.
    pub room: &'a str,
    /// The connection.
    pub connection_id: &'a str,
    /// Its user.
    pub user: &'a str,
    /// The time of connecting, in milliseconds since 1970.
    pub connected_at: i64,
    /// The name to show to people.
    pub name: Option<&'a str>,
    /// The state that it wants others to see.
    pub state: Option<&'a RawValue>,
}

/// The liveness of a room, and its number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Members are told who comes and goes.
    Live(usize),
    /// The room has too many connections for that.
    Count(usize),
}

impl Mode {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live(_) => "live",
            Self::Count(_) => "count",
        }
    }

    /// The number of connections.
    pub fn count(self) -> usize {
        match self {
            Self::Live(count) | Self::Count(count) => count,
        }
    }
}

impl Presence {
    /// Makes presence for the rooms of `connections`.
    pub fn new(
        connections: Connections,
        management: ManagementApi,
        delivery: Delivery,
        live: Live,
    ) -> Self {
        Self {
            connections,
            management,
            delivery,
            live,
        }
    }

    /// Returns whether the service has live rooms at all.
    pub fn is_on(&self) -> bool {
        self.live.max_members > 0
    }

    /// Returns the most connections of a live room.
    pub fn max_members(&self) -> usize {
        self.live.max_members
    }

    /// Returns the time after which a row is too young to be pruned, in milliseconds since 1970.
    pub fn born_before_ms(&self, request: &Request) -> i64 {
        let grace_ms = i64::try_from(self.delivery.prune_grace.as_millis()).unwrap_or(i64::MAX);
        request.now_ms.saturating_sub(grace_ms)
    }

    /// Tells the others that a connection is there now, unless another one of the same user is.
    ///
    /// # Errors
    ///
    /// DynamoDB's.
    pub async fn joined(&self, request: &Request, here: &Here<'_>) -> Result<Mode, TableError> {
        self.present(request, here, PresenceEvent::Join).await
    }

    /// Tells the others the state of a connection that is there.
    ///
    /// # Errors
    ///
    /// DynamoDB's.
    pub async fn updated(&self, request: &Request, here: &Here<'_>) -> Result<Mode, TableError> {
        self.present(request, here, PresenceEvent::Update).await
    }

    /// Returns the mode of a room, without an event.
    ///
    /// # Errors
    ///
    /// DynamoDB's.
    pub async fn mode(&self, request: &Request, here: &Here<'_>) -> Result<Mode, TableError> {
        match self.listed(request, here.room).await? {
            Some(listed) => Ok(Mode::Live(with(&listed, here.connection_id))),
            None => self.count(request, here.room).await.map(Mode::Count),
        }
    }

    async fn present(
        &self,
        request: &Request,
        here: &Here<'_>,
        event: PresenceEvent,
    ) -> Result<Mode, TableError> {
        let Some(listed) = self.listed(request, here.room).await? else {
            return self.count(request, here.room).await.map(Mode::Count);
        };
        let count = with(&listed, here.connection_id);
        let others: Vec<&Listed> = others(&listed, here.user, here.connection_id).collect();
        if event == PresenceEvent::Join {
            let since = (here.connected_at, here.connection_id);
            let earlier = |row: &Membership, id: &str| (row.connected_at, id) < since;
            if self.any(request, here.room, &others, earlier).await {
                return Ok(Mode::Live(count));
            }
        }
        let frame = protocol::Presence {
            room: here.room,
            event,
            user: here.user,
            name: here.name,
            connections: others.len() + 1,
            state: here.state,
            at: request.now_ms,
            hold_ms: None,
            count,
        };
        self.post(request, &listed, here.connection_id, &frame)
            .await;
        Ok(Mode::Live(count))
    }

    /// Tells the others of connections whose rows were deleted. A failure is logged: who lists the members finds it out.
    pub async fn left(&self, request: &Request, departed: &[Departed]) {
        if !self.is_on() {
            return;
        }
        let mut told = stream::iter(departed.iter().filter(|departed| departed.presence))
            .map(async |departed| (departed, self.one_left(request, departed).await))
            .buffer_unordered(DEPARTURES);
        while let Some((departed, told)) = told.next().await {
            if let Err(error) = told {
                tracing::warn!(
                    connection_id = departed.connection_id,
                    request_id = request.request_id,
                    room = departed.room,
                    cause = %error,
                    "a leave was not announced"
                );
            }
        }
    }

    async fn one_left(&self, request: &Request, departed: &Departed) -> Result<(), TableError> {
        let (room, gone) = (departed.room.as_str(), departed.connection_id.as_str());
        let Some(listed) = self.listed(request, room).await? else {
            return Ok(());
        };
        let others: Vec<&Listed> = others(&listed, &departed.user, gone).collect();
        if self.any(request, room, &others, |_, _| true).await {
            return Ok(());
        }
        let frame = protocol::Presence {
            room,
            event: PresenceEvent::Leave,
            user: &departed.user,
            name: departed.name.as_deref(),
            connections: 0,
            state: None,
            at: request.now_ms,
            hold_ms: Some(HOLD_MS),
            count: listed
                .iter()
                .filter(|row| row.connection_id != gone)
                .count(),
        };
        self.post(request, &listed, gone, &frame).await;
        Ok(())
    }

    /// Returns the members of a live room, or none of a room that has too many.
    async fn listed(
        &self,
        request: &Request,
        room: &str,
    ) -> Result<Option<Vec<Listed>>, TableError> {
        let most = self.live.max_members;
        self.connections.listed(room, request.now_s(), most).await
    }

    async fn count(&self, request: &Request, room: &str) -> Result<usize, TableError> {
        self.connections.count(room, request.now_s()).await
    }

    /// Returns whether one of these rows stands in the table and `counts`. Some of them are read consistently, since the
    /// index lags. A row that cannot be read does not count: an event too many is corrected sooner than one that is
    /// missing.
    async fn any(
        &self,
        request: &Request,
        room: &str,
        rows: &[&Listed],
        counts: impl Fn(&Membership, &str) -> bool,
    ) -> bool {
        let looks = rows.iter().take(LOOKS).map(async |row| {
            let id = row.connection_id.as_str();
            let stands = self.connections.membership(id, room, request.now_s());
            match stands.await {
                Ok(stands) => stands.is_some_and(|row| row.presence && counts(&row, id)),
                Err(error) => {
                    tracing::warn!(
                        connection_id = request.connection_id,
                        request_id = request.request_id,
                        cause = %error,
                        "a row of the same user was not read"
                    );
                    false
                }
            }
        });
        join_all(looks).await.contains(&true)
    }

    /// Posts an event to all members that want presence, but for its own connection. A member that does not get it finds
    /// it out when it lists the members.
    async fn post(
        &self,
        request: &Request,
        listed: &[Listed],
        own: &str,
        frame: &protocol::Presence<'_>,
    ) {
        let to = listed.iter().filter(|row| row.presence);
        let to = to.map(|row| row.connection_id.clone()).collect();
        let outcome = pass(
            &self.management,
            to,
            own,
            render(frame),
            self.delivery.concurrency,
            request.deadline,
        )
        .await;
        tracing::info!(
            connection_id = own,
            request_id = request.request_id,
            room = frame.room,
            event = frame.event.as_str(),
            delivered = outcome.delivered,
            gone = outcome.gone.len(),
            failed = outcome.failed,
            first_failure = outcome.first_failure,
            "presence announced"
        );
    }
}

/// Counts the connections, the own one included, which the index may not show yet.
fn with(listed: &[Listed], own: &str) -> usize {
    listed.len() + usize::from(listed.iter().all(|row| row.connection_id != own))
}

/// Returns the other rows of the same user that want presence.
fn others<'a>(
    listed: &'a [Listed],
    user: &'a str,
    own: &'a str,
) -> impl Iterator<Item = &'a Listed> {
    listed
        .iter()
        .filter(move |row| row.presence && row.user == user && row.connection_id != own)
}
