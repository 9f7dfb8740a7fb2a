//! An open connection: its messages and its end.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::connections::{Cause, Connection, Outbox};
use super::event::{self, Client};
use super::quotas::REFUSALS_BEFORE_CLOSE;
use super::state::Gateway;
use super::{frames, integration, invocations};
use crate::faults::{Site, Verdict};
use crate::{ids, log};

/// API Gateway's limits for a client's frames and messages.
const MAX_FRAME_BYTES: usize = 32 * 1024;
const MAX_MESSAGE_BYTES: usize = 128 * 1024;

/// The size of the socket's read buffer. It is small because an idle connection keeps it.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// The most bytes that are gathered for one write when several messages wait.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// The time for the closing handshake of a connection.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The end of a connection.
#[derive(Clone)]
pub(crate) struct End {
    /// The code and the reason for `$disconnect`.
    code: u16,
    reason: String,
    /// The close frame for the client, unless the client closed.
    close: Option<CloseFrame>,
}

impl End {
    fn by_gateway(code: u16, reason: &'static str) -> End {
        let close = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        End {
            code,
            reason: reason.to_owned(),
            close: Some(close),
        }
    }

    fn by_client(code: u16, reason: &str) -> End {
        End {
            code,
            reason: reason.to_owned(),
            close: None,
        }
    }

    pub(crate) fn from_cause(cause: Cause) -> End {
        match cause {
            Cause::LOST => End::by_client(cause.code, cause.reason),
            Cause { code, reason } => End::by_gateway(code, reason),
        }
    }

    /// Returns the end that an error on the socket means.
    fn from_error(error: &Error) -> End {
        match error {
            Error::Capacity(_) => End::by_gateway(1009, ""),
            Error::Utf8(_) => End::by_gateway(1007, ""),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                End::from_cause(Cause::LOST)
            }
            Error::Protocol(_) => End::by_gateway(1002, ""),
            _ => End::from_cause(Cause::LOST),
        }
    }
}

/// Serves an open connection until it ends.
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    outbox: Outbox,
    upgraded: Upgraded,
) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_frame_size(Some(MAX_FRAME_BYTES))
        .max_message_size(Some(MAX_MESSAGE_BYTES));
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (sink, mut stream) = socket.split();
    let mut opened = json!({ "connectionId": connection.client.connection_id });
    if let Some(name) = connection.client.name() {
        opened["name"] = name.into();
    }
    log::event("open", opened);

    let (goodbye, wanted) = watch::channel(None);
    let writer = tokio::spawn(write(sink, outbox, wanted, Arc::clone(connection)));
    let end = read(gateway, connection, &mut stream).await;
    let farewell = say_goodbye(stream, writer, goodbye, end.close.clone());
    tokio::join!(farewell, ended(gateway, &connection.client, end));
}

/// Sends the close frame, and waits for the client's part of the closing handshake.
async fn say_goodbye(
    mut stream: SplitStream<Socket>,
    mut writer: JoinHandle<Option<SplitSink<Socket, Message>>>,
    goodbye: watch::Sender<Option<Option<CloseFrame>>>,
    close: Option<CloseFrame>,
) {
    goodbye.send_replace(Some(close));
    let closing = async {
        // Reading answers the client's close frame.
        while let Some(Ok(_)) = stream.next().await {}
        // Unread bytes would make the system reset the connection, and the client might never see the close frame.
        if let Ok(Some(sink)) = (&mut writer).await
            && let Ok(socket) = stream.reunite(sink)
        {
            let mut socket = socket.into_inner();
            // The server closes first (RFC 6455, 7.1.1): clients wait for it.
            let _ = socket.shutdown().await;
            let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
        }
    };
    if timeout(CLOSE_GRACE, closing).await.is_err() {
        writer.abort();
    }
}

/// Removes the connection, which answers 410 from now on, and runs `$disconnect`.
pub(crate) async fn ended(gateway: &Gateway, client: &Client, end: End) {
    gateway.connections.remove(&client.connection_id);
    log::event(
        "close",
        json!({ "connectionId": client.connection_id, "code": end.code, "reason": end.reason }),
    );
    disconnect(gateway, client, &end).await;
    if let Some(journal) = &gateway.journal {
        journal.remove(&client.connection_id);
    }
}

/// Runs `$disconnect` for the clients of a gateway that was killed: one after the other, so that no limit of
/// concurrency refuses one.
pub(crate) async fn end_former(gateway: Arc<Gateway>, clients: Vec<Client>) {
    let _serving = gateway.serving.subscribe();
    for client in &clients {
        ended(&gateway, client, End::from_cause(Cause::LOST)).await;
    }
}

/// Runs `$disconnect`.
pub(crate) async fn disconnect(gateway: &Gateway, client: &Client, end: &End) {
    let Some(route) = gateway.api.routes.get("$disconnect") else {
        return;
    };
    let now_ms = gateway.clock.wall_ms();
    let event = event::disconnect(&gateway.api, client, now_ms, end.code, &end.reason);
    let results = if gateway.faults.is_active() {
        let route = ("$disconnect", route);
        let verdict = invocations::decide(gateway, Site::Disconnect, client, route);
        invocations::disconnect(gateway, verdict, route.1, &event).await
    } else {
        [Some(integration::call(gateway, route, &event).await), None]
    };
    for failure in results.into_iter().flatten().filter_map(Result::err) {
        let error = failure.message();
        log::event(
            "disconnect",
            json!({ "connectionId": client.connection_id, "error": error }),
        );
    }
}

/// Reads messages until the connection ends.
async fn read(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    stream: &mut SplitStream<Socket>,
) -> End {
    let clock = &gateway.clock;
    let dies_at = connection.opened + gateway.max_lifetime;
    let closed = connection.closed();
    tokio::pin!(closed);
    loop {
        let idle_at = connection.last_active() + gateway.idle_timeout;
        let message = tokio::select! {
            message = stream.next() => message,
            cause = &mut closed => return End::from_cause(cause),
            () = clock.waiting.sleep_until(dies_at.min(idle_at)) => {
                // A message sent to the client in the meantime counts as activity.
                let still_idle = connection.last_active() + gateway.idle_timeout <= idle_at;
                if dies_at <= idle_at || still_idle {
                    return End::from_cause(Cause::GOING_AWAY);
                }
                continue;
            }
        };
        match message {
            Some(Ok(Message::Text(body))) => {
                connection.touch(clock);
                accept(gateway, connection, body);
            }
            Some(Ok(Message::Binary(_))) => return End::by_gateway(1003, ""),
            Some(Ok(Message::Close(Some(frame)))) => {
                return End::by_client(frame.code.into(), &frame.reason);
            }
            Some(Ok(Message::Close(None))) => {
                return End::by_client(1005, "Client-side close frame status not set");
            }
            // The library answers pings. They do not count as activity.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return End::from_error(&error),
            None => return End::from_cause(Cause::LOST),
        }
    }
}

/// Writes the queued messages, then the close frame. If the client is gone, closes the connection and returns nothing.
async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut outbox: Outbox,
    mut goodbye: watch::Receiver<Option<Option<CloseFrame>>>,
    connection: Arc<Connection>,
) -> Option<SplitSink<Socket, Message>> {
    let frame = loop {
        // Messages first: those accepted for the client are sent before the close frame.
        let message = tokio::select! {
            biased;
            message = outbox.next() => message,
            frame = goodbye.wait_for(Option::is_some) => break frame.ok()?.clone().flatten(),
        };
        if write_waiting(&mut sink, &mut outbox, message)
            .await
            .is_err()
        {
            connection.close(Cause::LOST);
            return None;
        }
    };
    if let Some(frame) = frame {
        sink.send(Message::Close(Some(frame))).await.ok()?;
    }
    Some(sink)
}

/// Writes a message and all messages that wait behind it in one write.
async fn write_waiting(
    sink: &mut SplitSink<Socket, Message>,
    outbox: &mut Outbox,
    message: Utf8Bytes,
) -> Result<(), Error> {
    let mut bytes = 0;
    let mut next = Some(message);
    while let Some(message) = next {
        bytes += message.len();
        sink.feed(Message::Text(message)).await?;
        next = outbox.next_now();
    }
    sink.flush().await?;
    outbox.sent(bytes);
    Ok(())
}

/// Finds the route of a message, and has a task of its own invoke it. Routes, throttles and fault rules see the messages
/// in the order of arrival.
fn accept(gateway: &Arc<Gateway>, connection: &Arc<Connection>, body: Utf8Bytes) {
    let client = &connection.client;
    let Some((route_key, route)) = gateway.api.route(&body) else {
        let frame = own_frame("Forbidden", client, &ids::generate());
        return reply(gateway, connection, frame, None);
    };
    let clock = &gateway.clock.working;
    if !gateway.quotas.admit_request(route_key, clock) {
        return throttled(gateway, connection, route_key);
    }
    connection.admitted();
    let verdict = gateway
        .faults
        .is_active()
        .then(|| invocations::decide(gateway, Site::Message, client, (route_key, route)));
    let route_key = route_key.to_owned();
    let (gateway, connection) = (Arc::clone(gateway), Arc::clone(connection));
    tokio::spawn(dispatch(gateway, connection, route_key, body, verdict));
}

/// Invokes the route of a message, and sends the response to the client.
async fn dispatch(
    gateway: Arc<Gateway>,
    connection: Arc<Connection>,
    route_key: String,
    body: Utf8Bytes,
    verdict: Option<Verdict>,
) {
    let api = &gateway.api;
    let client = &connection.client;
    let route_key = route_key.as_str();
    let Some(route) = api.routes.get(route_key) else {
        return;
    };
    let started = Instant::now();
    let event = event::message(api, client, gateway.clock.wall_ms(), route_key, &body);
    let fail = |message| {
        let request_id = event["requestContext"]["requestId"]
            .as_str()
            .unwrap_or_default();
        reply(
            &gateway,
            &connection,
            own_frame(message, client, request_id),
            Some(route_key),
        );
        Some(message)
    };
    let results = match verdict {
        None => [Some(integration::call(&gateway, route, &event).await), None],
        Some(verdict) => invocations::message(&gateway, &connection, verdict, route, &event).await,
    };
    let (mut error, mut status) = (None, None);
    for result in results.into_iter().flatten() {
        if let (Ok(response), false) = (&result, route.two_way) {
            status = Some(response.status);
        }
        match result {
            Ok(response) => match response
                .body
                .filter(|body| route.two_way && !body.is_empty())
            {
                // AWS does not document the case of a response that is too large to be sent.
                Some(body) if body.len() > MAX_MESSAGE_BYTES => {
                    error = fail("Internal server error");
                }
                Some(body) => reply(&gateway, &connection, body, Some(route_key)),
                None => {}
            },
            Err(failure) => error = fail(failure.message()),
        }
    }
    let mut fields = json!({
        "connectionId": client.connection_id,
        "route": route_key,
        "bytes": body.len(),
        "ms": millis(started),
    });
    // A client of a one-way route never learns the status.
    if let Some(status) = status {
        fields["status"] = status.into();
    }
    if let Some(error) = error {
        fields["error"] = error.into();
    }
    log::event("message", fields);
}

fn millis(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 100_000.0).round() / 100.0
}

/// Refuses a message. The connection of a client that keeps sending is closed, as on AWS.
fn throttled(gateway: &Gateway, connection: &Arc<Connection>, route_key: &str) {
    let client = &connection.client;
    let refusals = connection.refused();
    log::event(
        "throttled",
        json!({ "connectionId": client.connection_id, "route": route_key }),
    );
    if refusals >= REFUSALS_BEFORE_CLOSE {
        connection.close(Cause::TOO_MANY_REQUESTS);
    } else {
        let frame = own_frame("Too Many Requests", client, &ids::generate());
        reply(gateway, connection, frame, Some(route_key));
    }
}

fn reply(gateway: &Gateway, connection: &Arc<Connection>, frame: String, route: Option<&str>) {
    connection.touch(&gateway.clock);
    if frames::send(gateway, connection, frame.into(), route).is_err() {
        frames::log_dropped(connection);
    }
}

/// Makes a frame of the gateway itself, with the spacing that AWS uses.
fn own_frame(message: &str, client: &Client, request_id: &str) -> String {
    let connection_id = &client.connection_id;
    format!(
        r#"{{"message": "{message}", "connectionId":"{connection_id}", "requestId":"{request_id}"}}"#
    )
}
