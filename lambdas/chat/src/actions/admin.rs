//! The backend's calls: the actions of clients without a connection, and those that the backend alone has.
//!
//! A call is the frame of a client with a few fields more. It takes the code path of a client's frame, with all rights in
//! every room: the same append, the same search for duplicates, the same delivery.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

use super::erase::erase;
use super::moderate::{self, Change, Moderation, user};
use super::personal::marks;
use super::signal::pass_on;
use super::{App, FrameLimit, Signals, history, members, moderate as moderated, publish};
use crate::identity::Caller;
use crate::lambda::{Reply, Request};
use crate::log::AuditEntry;
use crate::members::ANY_ROOM;
use crate::protocol::{
    Bans, Bye, Closed, Correlation, Done, Epoch, ErrorName, Failure, Frame, Name, check_user,
    render,
};

/// The name of a backend that gives none.
const DEFAULT_NAME: &str = "system";

/// Rooms of one call.
const MAX_ROOMS: usize = 100;

/// Rooms of one call that are worked on in parallel.
const CONCURRENCY: usize = 8;

/// The actions, for the text of errors.
const ACTIONS: [&str; 19] = [
    "publish",
    "edit",
    "delete",
    "react",
    "signal",
    "history",
    "heads",
    "members",
    "marks",
    "kick",
    "ban",
    "unban",
    "mute",
    "unmute",
    "bans",
    "revoke",
    "disconnect",
    "new_epoch",
    "erase",
];

/// The parts of a process that the backend's calls need; built once per process.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The parts of publishing and reading.
    pub app: App,
    /// The parts of moderation.
    pub moderation: Moderation,
    /// The parts of signals.
    pub signals: Signals,
    /// Off: IAM says who may call.
    pub limit: FrameLimit,
}

/// A call, as Lambda hands it over.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The call, JSON text.
    pub body: &'a str,
    /// Lambda's id of the request. All tries of an asynchronous invocation have the same.
    pub request_id: &'a str,
    /// The time of the call, in milliseconds since 1970.
    pub now_ms: i64,
    /// The same moment, for measuring.
    pub started: Instant,
    /// When Lambda ends this invocation.
    pub deadline: Instant,
}

/// The answer to a call.
#[derive(Debug)]
pub struct Answered {
    /// The frame that a client would get, or `{"type":"answers","answers":[…]}` for several rooms.
    pub frame: String,
    /// The error of the frame, if it is one; of several rooms the first temporary one, or else the first.
    pub error: Option<ErrorName>,
    /// Set if the caller wants a temporary error as a failure of the invocation, so that Lambda tries it again.
    pub asynchronous: bool,
}

/// Answers a call of the backend.
pub async fn admin(admin: &Admin, call: &Call<'_>) -> Answered {
    match Prepared::new(call) {
        Ok(prepared) => prepared.answer(admin).await,
        Err(refused) => {
            let (failure, to) = *refused;
            Answered {
                frame: failure.render(&to),
                error: Some(failure.name),
                asynchronous: false,
            }
        }
    }
}

/// A call whose own fields are read.
struct Prepared {
    /// One for each room.
    requests: Vec<Request>,
    /// The call named `rooms`.
    is_several: bool,
    asynchronous: bool,
}

impl Prepared {
    fn new(call: &Call<'_>) -> Result<Self, Box<(Failure, Correlation)>> {
        // A frame has the better sentences for what is no JSON object.
        let to = match Frame::parse(call.body) {
            Ok(frame) => frame.correlation(),
            Err(failure) => return Err(Box::new((failure, Correlation::default()))),
        };
        Self::read(call).map_err(|failure| Box::new((failure, to)))
    }

    fn read(call: &Call<'_>) -> Result<Self, Failure> {
        let unreadable = |_| Failure::bad_request("the call is not a JSON object");
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(call.body).map_err(unreadable)?;
        let flag = |name: &str, field: Option<Box<RawValue>>| match field.as_deref() {
            None => Ok(false),
            Some(raw) => serde_json::from_str::<bool>(raw.get())
                .map_err(|_| Failure::bad_request(format!("{name} must be true or false"))),
        };
        let impersonate = flag("impersonate", fields.remove("impersonate"))?;
        let asynchronous = flag("asynchronous", fields.remove("asynchronous"))?;
        let name = match fields.remove("as") {
            None => DEFAULT_NAME.to_owned(),
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|_| Failure::bad_request("as must be a string"))?,
        };
        check_name(&name, impersonate)?;
        // Without an id of its own, the tries of one asynchronous invocation would be messages of their own.
        let has_id = fields.get("id").is_some_and(|id| id.get() != "null");
        if !has_id && let Ok(id) = to_raw_value(call.request_id) {
            fields.insert("id".to_owned(), id);
        }
        // `heads` has a field of this name itself, and one answer for all rooms.
        let action = fields.get("action");
        let is_heads = action.is_some_and(|raw| {
            serde_json::from_str(raw.get()).is_ok_and(|action: String| action == "heads")
        });
        let rooms = if is_heads {
            None
        } else {
            fields.remove("rooms")
        };
        let frames: Vec<String> = match &rooms {
            None => vec![render(&fields)],
            Some(rooms) => {
                if fields.contains_key("room") {
                    return Err(Failure::bad_request("give room or rooms, not both"));
                }
                let rooms: Vec<Box<RawValue>> = serde_json::from_str(rooms.get())
                    .map_err(|_| Failure::bad_request("rooms must be a list of rooms"))?;
                if !(1..=MAX_ROOMS).contains(&rooms.len()) {
                    return Err(Failure::bad_request(format!(
                        "rooms must be 1 to {MAX_ROOMS} rooms"
                    )));
                }
                let with_room = |room: Box<RawValue>| {
                    fields.insert("room".to_owned(), room);
                    render(&fields)
                };
                rooms.into_iter().map(with_room).collect()
            }
        };
        let requests = frames.into_iter().map(|body| Request {
            // No connection has this id, so a delivery leaves nobody out.
            connection_id: String::new(),
            source_ip: None,
            caller: Caller::Backend(name.clone()),
            connected_ms: call.now_ms,
            offers_subprotocol: false,
            origins: Vec::new(),
            request_id: call.request_id.to_owned(),
            body,
            query: Vec::new(),
            close_code: None,
            now_ms: call.now_ms,
            started: call.started,
            deadline: call.deadline,
        });
        Ok(Self {
            requests: requests.collect(),
            is_several: rooms.is_some(),
            asynchronous,
        })
    }

    async fn answer(self, admin: &Admin) -> Answered {
        let asynchronous = self.asynchronous;
        let answers: Vec<String> = stream::iter(&self.requests)
            .map(|request| dispatch(admin, request))
            .buffered(CONCURRENCY)
            .collect()
            .await;
        let errors: Vec<ErrorName> = answers.iter().filter_map(|frame| error(frame)).collect();
        let temporary = errors.iter().find(|error| error.temporary());
        let error = temporary.or(errors.first()).copied();
        let frame = if self.is_several {
            format!(r#"{{"type":"answers","answers":[{}]}}"#, answers.join(","))
        } else {
            answers.concat()
        };
        Answered {
            frame,
            error,
            asynchronous,
        }
    }
}

/// The name under which the backend speaks.
fn check_name(name: &str, impersonate: bool) -> Result<(), Failure> {
    let fault = |error: String| Failure::bad_request(format!("as {error}"));
    if impersonate {
        return check_user(name).map_err(|error| fault(error.to_string()));
    }
    if !name.starts_with(DEFAULT_NAME) {
        return Err(fault(
            "must begin with system; to speak as a user, give impersonate: true".to_owned(),
        ));
    }
    Name::parse(name).map_err(|error| fault(error.to_string()))?;
    Ok(())
}

/// The error of a frame, if it is one.
fn error(frame: &str) -> Option<ErrorName> {
    #[derive(serde::Deserialize)]
    struct Kind<'a> {
        r#type: &'a str,
        name: Option<&'a str>,
    }
    let kind: Kind<'_> = serde_json::from_str(frame).ok()?;
    (kind.r#type == "error").then(|| ErrorName::parse(kind.name.unwrap_or_default()))?
}

async fn dispatch(admin: &Admin, request: &Request) -> String {
    let (app, moderation, limit) = (&admin.app, &admin.moderation, &admin.limit);
    let action = Frame::parse(&request.body)
        .and_then(|frame| frame.action())
        .ok()
        .flatten()
        .unwrap_or_default();
    let reply: Reply = match action.as_str() {
        "publish" | "sendmessage" | "edit" | "delete" | "react" => publish(app, request).await,
        "history" | "heads" => history(&app.connections, &app.log, limit, request).await,
        "members" => members(&app.presence, limit, request).await,
        "kick" | "ban" | "unban" | "mute" | "unmute" => moderated(moderation, limit, request).await,
        _ => {
            super::answer::answer(limit, request, async |frame| {
                Box::pin(own(admin, request, frame, &action)).await
            })
            .await
        }
    };
    reply.body.unwrap_or_default()
}

/// The actions that clients do not have.
async fn own(
    admin: &Admin,
    request: &Request,
    frame: &Frame<'_>,
    action: &str,
) -> Result<String, Failure> {
    let moderation = &admin.moderation;
    let id = frame.id()?;
    let id = id.as_deref();
    let by = request.caller.user().unwrap_or_default();
    let reason = frame.reason()?;
    let entry = AuditEntry {
        action,
        by,
        reason: reason.as_deref(),
        ..AuditEntry::default()
    };
    match action {
        "signal" => {
            let room = pass_on(&admin.signals, request, frame).await?;
            Ok(render(&Done {
                id,
                room: Some(&room),
                user: None,
                at: request.now_ms,
            }))
        }
        "marks" => {
            needs_identity(moderation)?;
            let personal = &admin.app.personal;
            marks(personal, request, frame, &user(frame)?).await
        }
        "erase" => erase(admin, request, frame).await,
        "bans" => {
            needs_identity(moderation)?;
            let room = frame.text_of("room")?;
            let bans = moderation
                .users
                .bans(room.as_deref(), request.now_s())
                .await?;
            Ok(render(&Bans { id, bans: &bans }))
        }
        "revoke" => {
            needs_identity(moderation)?;
            let user = user(frame)?;
            let entry = AuditEntry {
                user: Some(&user),
                ..entry
            };
            moderation.record(request, id, &entry).await?;
            // Tokens of this second, too: some of them are older than the call.
            moderation.users.revoke(&user, request.now_s() + 1).await?;
            let bye = Change::Close(Bye {
                reason: "revoked",
                reconnect: "now",
                retry_after_ms: None,
            });
            let connections = moderation
                .apply(request, ANY_ROOM, &user, &bye, &moderate::PASSES)
                .await?;
            Ok(done(id, action, Some(&user), connections))
        }
        "disconnect" => {
            let bye = Bye {
                reason: "disconnected",
                reconnect: "later",
                retry_after_ms: None,
            };
            if let Some(connection) = connection(frame)? {
                let entry = AuditEntry {
                    connection_id: Some(&connection),
                    ..entry
                };
                moderation.record(request, id, &entry).await?;
                let closed = moderation.close(request, &connection, &bye).await?;
                return Ok(done(id, action, None, usize::from(closed)));
            }
            let user = user(frame)?;
            needs_identity(moderation)?;
            let entry = AuditEntry {
                user: Some(&user),
                ..entry
            };
            moderation.record(request, id, &entry).await?;
            let bye = Change::Close(bye);
            let connections = moderation
                .apply(request, ANY_ROOM, &user, &bye, &moderate::PASSES[..1])
                .await?;
            Ok(done(id, action, Some(&user), connections))
        }
        "new_epoch" => {
            let room = frame.this_room()?;
            let entry = AuditEntry {
                room: Some(room.as_str()),
                ..entry
            };
            moderation.record(request, id, &entry).await?;
            let bounds = admin
                .app
                .log
                .new_epoch(room.as_str(), request.now_ms)
                .await?;
            Ok(render(&Epoch {
                id,
                room: room.as_str(),
                epoch: bounds.epoch.as_deref().unwrap_or_default(),
                head: bounds.head,
            }))
        }
        "" => Err(Failure::no_action(&ACTIONS.map(str::to_owned))),
        other => Err(Failure::unknown_action(other, &ACTIONS.map(str::to_owned))),
    }
}

/// Reads the field `connectionId`.
fn connection(frame: &Frame<'_>) -> Result<Option<String>, Failure> {
    let id = frame.text_of("connectionId")?;
    let is_id =
        |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if id.as_ref().is_some_and(|id| !is_id(id)) {
        let message = "connectionId must be the id of a connection, 1 to 128 ASCII characters";
        return Err(Failure::bad_request(message));
    }
    Ok(id)
}

fn done(id: Option<&str>, action: &str, user: Option<&str>, connections: usize) -> String {
    render(&Closed {
        id,
        action,
        user,
        connections,
    })
}

/// Without verified users, no row says whose a connection is.
pub(super) fn needs_identity(moderation: &Moderation) -> Result<(), Failure> {
    if moderation.users.are_verified() {
        return Ok(());
    }
    Err(Failure::bad_request(
        "users are not verified here: set the Terraform variable auth, or name a connectionId",
    ))
}
