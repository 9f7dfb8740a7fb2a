//! The handshake of a connection, up to the response of `$connect`.

use std::future::pending;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connections::{Cause, Connection};
use super::event::{self, Client};
use super::integration::{self, Failure, ProxyResponse};
use super::invocations::{self, Handshake};
use super::listener::Peer;
use super::responses::refuse;
use super::state::Gateway;
use super::websocket::{End, disconnect, ended, serve};
use super::{authorizer, signature};
use crate::deployment::{Authorization, Route};
use crate::faults::{self, Site};
use crate::{ids, log};

/// Reports whether a request asks for an upgrade to a WebSocket.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let has = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Answers an upgrade request after `$connect` has answered. Until then the client waits, and the connection does not
/// exist.
pub(crate) async fn answer(gateway: Arc<Gateway>, peer: &Peer, mut request: Request) -> Response {
    let accept = match check(&request) {
        Ok(key) => derive_accept_key(key.as_bytes()),
        Err(refusal) => return refusal.into_response(),
    };
    if !gateway.quotas.admit_connection(&gateway.clock.working) {
        log::event("throttled", json!({ "route": "$connect" }));
        return refuse(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
    }
    if gateway.check_signatures && matches!(gateway.api.access.authorization, Authorization::Iam) {
        let (head, body) = request.into_parts();
        // An upgrade request has no body.
        if let Err(rejected) = signature::check(&head, b"", gateway.scope("execute-api")) {
            return rejected.into_response();
        }
        request = Request::from_parts(head, body);
    }
    let headers = request.headers();
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let client = Client {
        connection_id: ids::generate(),
        connected_at: gateway.clock.wall_ms(),
        source_ip: peer.address.ip().to_string(),
        user_agent: text(header::USER_AGENT),
        domain_name: text(header::HOST).unwrap_or_default(),
        handshake: faults::Handshake::new(request.uri().query()),
        ..Client::default()
    };
    let event = event::connect(
        &gateway.api,
        &client,
        gateway.clock.wall_ms(),
        headers,
        (peer.scheme(), gateway.port),
        request.uri().query(),
    );
    let upgrade = hyper::upgrade::on(&mut request);
    // On a task of its own: a $connect that has begun is finished, even if the client leaves.
    let connecting = tokio::spawn(connect(gateway, client, event, upgrade));
    let subprotocol = match connecting.await {
        Ok(Ok(subprotocol)) => subprotocol,
        Ok(Err(Unopened::Refused(refusal))) => return refusal.into_response(),
        // The client may leave meanwhile.
        Ok(Err(Unopened::Unanswered)) => return pending().await,
        Err(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in [
        (header::SEC_WEBSOCKET_ACCEPT, Some(accept)),
        (header::SEC_WEBSOCKET_PROTOCOL, subprotocol),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

/// A handshake that is not accepted. Without a message the body is empty.
struct Refusal {
    status: StatusCode,
    message: Option<&'static str>,
}

/// A handshake that opens no connection.
enum Unopened {
    Refused(Refusal),
    /// A fault rule demands that the client gets no answer.
    Unanswered,
}

impl From<Refusal> for Unopened {
    fn from(refusal: Refusal) -> Unopened {
        Unopened::Refused(refusal)
    }
}

impl Refusal {
    fn by_gateway(status: StatusCode, message: &'static str) -> Refusal {
        Refusal {
            status,
            message: Some(message),
        }
    }

    /// Refuses with the status that the function returned. An invalid status counts as a failure, and so does 1xx, which
    /// hyper does not send as a final answer.
    fn by_function(status: i64) -> Refusal {
        match u16::try_from(status)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok())
        {
            Some(status) if !status.is_informational() => Refusal {
                status,
                message: None,
            },
            _ => Refusal::by_gateway(StatusCode::BAD_GATEWAY, "Internal server error"),
        }
    }

    fn into_response(self) -> Response {
        let mut response = match self.message {
            Some(message) => refuse(self.status, message),
            None => Response::new(Body::empty()),
        };
        *response.status_mut() = self.status;
        if self.status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            );
        }
        response
    }
}

/// Checks an upgrade request, and returns its key.
fn check(request: &Request) -> Result<String, Refusal> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if header(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refusal::by_gateway(
            StatusCode::UPGRADE_REQUIRED,
            "Upgrade Required",
        ));
    }
    // RFC 6455, 4.2.1: a GET of HTTP/1.1 with one Host and one key, which is 16 bytes in base64.
    let one = |name| request.headers().get_all(name).iter().count() == 1;
    let is_handshake = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && one(header::HOST)
        && one(header::SEC_WEBSOCKET_KEY);
    match header(header::SEC_WEBSOCKET_KEY) {
        Some(key) if is_handshake && STANDARD.decode(key).is_ok_and(|key| key.len() == 16) => {
            Ok(key.to_owned())
        }
        _ => Err(Refusal::by_gateway(StatusCode::BAD_REQUEST, "Bad Request")),
    }
}

/// Runs `$connect`. If it succeeds, serves the connection once the client has its answer, and returns the subprotocol
/// for that answer.
async fn connect(
    gateway: Arc<Gateway>,
    mut client: Client,
    mut event: Value,
    upgrade: OnUpgrade,
) -> Result<Option<String>, Unopened> {
    let serving = gateway.serving.subscribe();
    let opened = gateway.clock.waiting.now();
    if let Err(denied) = authorizer::admit(&gateway, &mut client, &mut event).await {
        refused(&client, json!({ "error": denied.message() }));
        return Err(Refusal::by_gateway(denied.status(), denied.message()).into());
    }
    // Only now: a rule counts the invocations of $connect, and a refused client causes none.
    let mut faulty = gateway.faults.is_active().then(|| {
        let route = gateway.api.routes.get_key_value("$connect");
        let decide = |(key, route): (&String, _)| {
            invocations::decide(&gateway, Site::Connect, &client, (key, route))
        };
        Handshake(route.map(decide).unwrap_or_default())
    });
    if faulty.as_ref().is_some_and(Handshake::hangs) {
        return Err(Unopened::Unanswered);
    }
    // Before $connect: it may have written its rows when the gateway is killed.
    if let Some(journal) = &gateway.journal {
        journal.add(&gateway.api.stage, &client);
    }
    let accepted = ask(&gateway, &client, faulty.as_mut(), &event).await;
    let is_early = faulty.as_ref().is_some_and(Handshake::is_early);
    if let (Some(journal), true) = (&gateway.journal, accepted.is_err() || is_early) {
        journal.remove(&client.connection_id);
    }
    let subprotocol = accepted?;
    if is_early {
        // The connection has ended already: its client finds the socket closed.
        tokio::spawn(upgrade);
        return Ok(subprotocol);
    }
    // The connection exists before its client knows: earlier posts wait for the socket.
    let (connection, outbox) = Connection::new(client, opened);
    let connection = Arc::new(connection);
    gateway.connections.insert(Arc::clone(&connection));
    if let Some(cause) = faulty.as_ref().and_then(Handshake::cut) {
        connection.close(cause);
    }
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => serve(&gateway, &connection, outbox, upgraded).await,
            // The client left while $connect ran. The function has accepted it, so $disconnect is invoked.
            Err(_) => ended(&gateway, &connection.client, End::from_cause(Cause::LOST)).await,
        }
        drop(serving);
    });
    Ok(subprotocol)
}

/// Asks `$connect` whether it accepts the client, and returns the subprotocol. Without a `$connect` route every client is
/// accepted.
async fn ask(
    gateway: &Gateway,
    client: &Client,
    faulty: Option<&mut Handshake>,
    event: &Value,
) -> Result<Option<String>, Refusal> {
    let Some(route) = gateway.api.routes.get("$connect") else {
        return Ok(None);
    };
    match invoke_connect(gateway, client, faulty, route, event).await {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(answer.subprotocol),
        Ok(answer) => {
            refused(client, json!({ "status": answer.status }));
            Err(Refusal::by_function(answer.status))
        }
        Err(failure) => {
            refused(client, json!({ "error": failure.message() }));
            let status = failure.handshake_status();
            Err(Refusal::by_gateway(status, failure.message()))
        }
    }
}

/// Invokes `$connect`, and `$disconnect` beside it if a fault rule demands that.
async fn invoke_connect(
    gateway: &Gateway,
    client: &Client,
    faulty: Option<&mut Handshake>,
    route: &Route,
    event: &Value,
) -> Result<ProxyResponse, Failure> {
    let Some(faulty) = faulty else {
        return integration::call(gateway, route, event).await;
    };
    if !faulty.is_early() {
        return faulty.connect(gateway, route, event).await;
    }
    let lost = End::from_cause(Cause::LOST);
    let disconnected = disconnect(gateway, client, &lost);
    let ((), response) = tokio::join!(disconnected, faulty.connect(gateway, route, event));
    response
}

fn refused(client: &Client, why: Value) {
    let mut fields = why;
    fields["connectionId"] = client.connection_id.as_str().into();
    if let Some(name) = client.name() {
        fields["name"] = name.into();
    }
    log::event("refuse", fields);
}
