//! The gateway's front door: what a request is, and the state everything behind it shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dynoxide::Database;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::connections::Connections;
use crate::dynamodb::Counters;
use crate::faults::Faults;
use crate::lambda::Pool;
use crate::lambda::callers::Callers;
use crate::listener::Peer;
use crate::quotas::Quotas;
use crate::terraform::{Api, Table};
use crate::{handshake, management};

/// API Gateway's limits for a handshake, in bytes. The headers' is that of its REST and HTTP APIs.
const MAX_URL_BYTES: usize = 4096;
const MAX_HEADER_BYTES: usize = 10_240;

/// All that requests share.
pub(crate) struct Gateway {
    pub(crate) api: Api,
    /// By function name.
    pub(crate) functions: BTreeMap<String, Arc<Pool>>,
    pub(crate) connections: Connections,
    pub(crate) faults: Arc<Faults>,
    /// The functions' processes, by what they sign their calls with.
    pub(crate) callers: Arc<Callers>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) quotas: Quotas,
    pub(crate) tables: Vec<Table>,
    pub(crate) database: Database,
    /// There when something stands between the functions and the tables.
    pub(crate) table_calls: Option<Arc<Counters>>,
    /// Whether calls of @connections, and handshakes under AWS_IAM, must be signed.
    pub(crate) check_signatures: bool,
    pub(crate) port: u16,
    /// A connection without a message for that long is closed.
    pub(crate) idle_timeout: Duration,
    /// A connection is closed at that age, whatever it does.
    pub(crate) max_lifetime: Duration,
    /// How many connections are being served, from before their `$connect` to after their `$disconnect`: its receivers.
    pub(crate) serving: watch::Sender<()>,
}

/// The service for every request, whatever its path.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new().fallback(handle).with_state(gateway)
}

async fn handle(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    if request
        .uri()
        .path_and_query()
        .is_some_and(|url| url.as_str().len() > MAX_URL_BYTES)
    {
        return refuse(StatusCode::URI_TOO_LONG, "Request URL too long");
    }
    if header_bytes(request.headers()) > MAX_HEADER_BYTES {
        return refuse(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Request headers too large",
        );
    }
    // Each segment is decoded once: `%40connections` and `%3D` are the same as `@connections` and `=`.
    let path = request.uri().path().to_owned();
    let decode = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().into_owned();
    let segments: Vec<String> = path
        .strip_prefix('/')
        .unwrap_or(&path)
        .split('/')
        .map(decode)
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [stage, "@connections", id] if *stage == gateway.api.stage => {
            management::handle(&gateway, id, request).await
        }
        // Another stage; or none, and then the id is none, either.
        [_, "@connections", _] | ["@connections", _] => management::error(
            StatusCode::FORBIDDEN,
            "ForbiddenException",
            Some("Forbidden"),
        ),
        [stage] | [stage, ""] => {
            if !handshake::is_upgrade(request.headers()) {
                refuse(StatusCode::UPGRADE_REQUIRED, "Upgrade Required")
            } else if *stage == gateway.api.stage {
                handshake::answer(gateway, &peer, request).await
            } else {
                refuse(StatusCode::FORBIDDEN, "Forbidden")
            }
        }
        _ if handshake::is_upgrade(request.headers()) => refuse(StatusCode::FORBIDDEN, "Forbidden"),
        _ => refuse(StatusCode::UPGRADE_REQUIRED, "Upgrade Required"),
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// An error the gateway makes itself.
pub(crate) fn refuse(status: StatusCode, message: &str) -> Response {
    let body = Body::from(json!({ "message": message }).to_string());
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
