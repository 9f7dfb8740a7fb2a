//! The front door: tells handshakes, management calls and all other requests apart.

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use percent_encoding::percent_decode_str;

use super::listener::Peer;
use super::responses::{self, refuse};
use super::state::Gateway;
use super::{handshake, invoke, management};

/// API Gateway's limits for a handshake, in bytes. The limit of headers is documented for its REST and HTTP APIs.
const MAX_URL_BYTES: usize = 4096;
const MAX_HEADER_BYTES: usize = 10_240;

/// Makes the service for every request, whatever its path.
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
        ["2015-03-31", "functions", function, "invocations"] => {
            invoke::handle(&gateway, function, request).await
        }
        // Another stage, or none.
        [_, "@connections", _] | ["@connections", _] => responses::error(
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
        [version, ..] if is_api_version(version) => responses::error(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            Some(
                "The local gateway has only the operation Invoke of Lambda's API; Terraform declares the functions",
            ),
        ),
        _ => refuse(StatusCode::UPGRADE_REQUIRED, "Upgrade Required"),
    }
}

/// True for the date with which the paths of Lambda's API begin, such as `2015-03-31`.
fn is_api_version(segment: &str) -> bool {
    segment.len() == 10 && segment.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}
