//! The management API: `POST`, `GET` and `DELETE /{stage}/@connections/{connectionId}`.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html>
//! SDKs read the error's name from the header `x-amzn-errortype`, so each error has it.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::connections::{BufferFull, Cause, Connection};
use super::integration::Failure;
use super::responses::{error, success};
use super::state::Gateway;
use super::{frames, signature};
use crate::faults::{Fault, Point, Site};
use crate::lambda::outbound::Outbound;
use crate::{ids, log, loopback};

/// 128 KB, API Gateway's largest message.
const MAX_POST_BYTES: usize = 128 * 1024;

/// Calls of PostToConnection since the gateway started.
#[derive(Debug, Default)]
pub(crate) struct Posts {
    answered: AtomicU64,
    throttled: AtomicU64,
}

/// The same counts for the status.
#[derive(Debug, Serialize)]
pub(crate) struct PostsStatus {
    /// Calls that were answered, whatever the answer.
    pub(crate) answered: u64,
    /// Calls that were answered with 429.
    pub(crate) throttled: u64,
}

impl Posts {
    fn count(&self, status: StatusCode) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let throttled = u64::from(status == StatusCode::TOO_MANY_REQUESTS);
        self.throttled.fetch_add(throttled, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> PostsStatus {
        PostsStatus {
            answered: self.answered.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
        }
    }
}

/// Answers a call for the connection `id`, which is decoded.
pub(crate) async fn handle(gateway: &Gateway, id: &str, request: Request<Body>) -> Response {
    let method = request.method().clone();
    let response = call(gateway, id, request).await;
    if method == Method::POST {
        gateway.posts.count(response.status());
    }
    if log::settings().verbose {
        let status = response.status().as_u16();
        log::event(
            "@connections",
            json!({ "connectionId": id, "method": method.as_str(), "status": status }),
        );
    }
    response
}

async fn call(gateway: &Gateway, id: &str, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    if loopback::is_foreign(&head.headers) {
        return error(
            StatusCode::FORBIDDEN,
            "ForbiddenException",
            Some(
                "@connections is for programs on this machine: call 127.0.0.1, and not from a web page",
            ),
        );
    }
    if !matches!(head.method, Method::POST | Method::GET | Method::DELETE) {
        return error(
            StatusCode::FORBIDDEN,
            "MissingAuthenticationTokenException",
            Some("Missing Authentication Token"),
        );
    }
    // Read in any case: the server notices that a caller has left only when nothing is left to read.
    let message = axum::body::to_bytes(body, MAX_POST_BYTES).await.ok();
    // A body that is too large is refused below: its signature cannot be checked.
    if let Some(message) = message.as_deref().filter(|_| gateway.check_signatures)
        && let Err(rejected) = signature::check(&head, message, gateway.scope("execute-api"))
    {
        return rejected.into_response();
    }
    if !ids::is_well_formed(id) {
        let message = format!("Invalid connectionId: {id}");
        return error(
            StatusCode::BAD_REQUEST,
            "BadRequestException",
            Some(&message),
        );
    }
    if !gateway.quotas.admit_callback(&gateway.clock.working) {
        log::event(
            "throttled",
            json!({ "connectionId": id, "route": "@connections" }),
        );
        return error(
            StatusCode::TOO_MANY_REQUESTS,
            "LimitExceededException",
            Some("Too Many Requests"),
        );
    }
    if gateway.faults.is_active() {
        return faulty(gateway, id, &head, message).await;
    }
    act(gateway, id, &head.method, message, None)
}

/// Answers a call whose form is right, as the fault rules demand.
async fn faulty(gateway: &Gateway, id: &str, head: &Parts, message: Option<Bytes>) -> Response {
    let (site, operation) = match head.method {
        Method::POST => (Site::Post, "PostToConnection"),
        Method::GET => (Site::Get, "GetConnection"),
        _ => (Site::Delete, "DeleteConnection"),
    };
    let connection = gateway.connections.get(id);
    let caller = gateway.callers.of(&head.headers);
    let invocation = caller.as_ref().and_then(|caller| caller.invocation());
    let point = Point {
        connection: Some(id),
        handshake: connection.as_deref().map(|c| &c.client.handshake),
        function: caller.as_ref().map(|caller| caller.function()),
        invocation: invocation.as_deref(),
        operation: Some(operation),
        ..Point::at(site)
    };
    let outbound = match &caller {
        Some(caller) => {
            let site = Site::Call;
            let verdict = gateway.faults.decide(&Point { site, ..point });
            Some(Outbound::begin(verdict, caller).await)
        }
        None => None,
    };
    let mut verdict = gateway.faults.decide(&point);
    verdict.wait().await;
    let response = answer(gateway, id, &head.method, message, verdict.fault).await;
    drop(verdict);
    if let Some(outbound) = outbound {
        outbound.done().await;
    }
    response
}

/// Answers as the fault demands, or else as usual.
async fn answer(
    gateway: &Gateway,
    id: &str,
    method: &Method,
    message: Option<Bytes>,
    fault: Option<Fault>,
) -> Response {
    let has_effect = match fault {
        Some(Fault::Gone) => false,
        Some(
            Fault::FalseGone { deliver } | Fault::Status { deliver, .. } | Fault::Hang { deliver },
        ) => deliver,
        _ => true,
    };
    let truth = has_effect.then(|| act(gateway, id, method, message, fault));
    match (fault, truth) {
        (Some(Fault::Gone), _) => {
            if let Some(connection) = gateway.connections.remove(id) {
                connection.close(Cause::LOST);
            }
            gone()
        }
        (Some(Fault::FalseGone { .. }), _) => gone(),
        (Some(Fault::Status { status, .. }), _) => injected(status),
        (Some(Fault::Hang { .. }), _) | (_, None) => pending().await,
        (_, Some(response)) => response,
    }
}

/// Carries out the call.
fn act(
    gateway: &Gateway,
    id: &str,
    method: &Method,
    message: Option<Bytes>,
    fault: Option<Fault>,
) -> Response {
    // Looked up only now: the connection may have ended while the call waited.
    let Some(connection) = gateway.connections.get(id) else {
        return gone();
    };
    match *method {
        Method::POST => match message {
            Some(message) => post(gateway, &connection, message, fault),
            None => {
                let message = format!("Message exceeds the maximum of {MAX_POST_BYTES} bytes");
                error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "PayloadTooLargeException",
                    Some(&message),
                )
            }
        },
        Method::GET => success(StatusCode::OK, Some(describe(&connection))),
        _ => {
            connection.close(Cause::DELETED);
            // Gone from now on, before its socket is closed.
            gateway.connections.remove(id);
            success(StatusCode::NO_CONTENT, None)
        }
    }
}

/// Answers for a connection that is unknown, closed, or still in its $connect. The body is empty, unlike that of any
/// other error.
fn gone() -> Response {
    error(StatusCode::GONE, "GoneException", None)
}

/// Answers with the status that a fault rule demands.
fn injected(status: u16) -> Response {
    let failure = Failure::Injected(status);
    let (status, message) = (failure.handshake_status(), failure.message());
    if status == StatusCode::TOO_MANY_REQUESTS {
        return error(status, "LimitExceededException", Some(message));
    }
    success(status, Some(json!({ "message": message }).to_string()))
}

fn post(
    gateway: &Gateway,
    connection: &Arc<Connection>,
    message: Bytes,
    fault: Option<Fault>,
) -> Response {
    let Ok(message) = Utf8Bytes::try_from(message) else {
        // AWS sends text frames only, and does not document other bytes.
        return error(
            StatusCode::BAD_REQUEST,
            "BadRequestException",
            Some("The message is not valid UTF-8"),
        );
    };
    let copies = match fault {
        Some(Fault::Drop) => 0,
        Some(Fault::Duplicate) => 2,
        _ => 1,
    };
    for _ in 0..copies {
        let sent = frames::send(gateway, connection, message.clone(), None);
        if let Err(BufferFull) = sent {
            return error(
                StatusCode::TOO_MANY_REQUESTS,
                "LimitExceededException",
                Some("The client's buffer is full"),
            );
        }
    }
    connection.touch(&gateway.clock);
    success(StatusCode::OK, Some(String::new()))
}

fn describe(connection: &Connection) -> String {
    let time = |epoch_ms| {
        DateTime::from_timestamp_millis(epoch_ms)
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Millis, true)
    };
    let client = &connection.client;
    let mut identity = json!({ "sourceIp": client.source_ip });
    if let Some(user_agent) = &client.user_agent {
        identity["userAgent"] = Value::from(user_agent.as_str());
    }
    json!({
        "identity": identity,
        "connectedAt": time(client.connected_at),
        "lastActiveAt": time(connection.last_active_ms()),
    })
    .to_string()
}
