//! API Gateway's event and response: the only file that knows them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use aws_lambda_events::encodings::Body;
use tokio::time::Instant;

/// What Lambda hands a function of a WebSocket API: CONNECT, MESSAGE or DISCONNECT.
pub type Event = ApiGatewayWebsocketProxyRequest;

/// What API Gateway takes back. It serialises no key beyond the five a proxy response may have; an unknown one would
/// make the response malformed.
pub type Response = ApiGatewayProxyResponse;

/// One event, reduced to what the functions use.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who sent it. Opaque; API Gateway promises no form or length.
    pub connection_id: String,
    /// API Gateway's id of this request, the one in its access log and in its own error frames.
    pub request_id: String,
    /// The text of the frame; empty for `$connect` and `$disconnect`.
    pub body: String,
    /// The query of the handshake's URL, percent-decoded, in order; present for `$connect` alone.
    pub query: Vec<(String, String)>,
    /// Why the connection ended (a WebSocket close code); present for `$disconnect` alone.
    pub close_code: Option<i64>,
    /// When this function got it, in milliseconds since 1970, by this function's clock.
    pub now_ms: i64,
    /// The same moment, for measuring.
    pub started: Instant,
    /// When Lambda ends this invocation.
    pub deadline: Instant,
}

impl Request {
    /// Reduces an event. `deadline_ms` is Lambda's, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// The event names no connection: it is not a WebSocket API's.
    pub fn new(event: Event, deadline_ms: u64) -> anyhow::Result<Self> {
        let started = Instant::now();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let left = Duration::from_millis(deadline_ms).saturating_sub(now);
        // The multi-value map alone holds every value of a repeated key.
        let query = match event.multi_value_query_string_parameters {
            multi if !multi.is_empty() => multi,
            _ => event.query_string_parameters,
        };
        let context = event.request_context;
        Ok(Self {
            connection_id: context
                .connection_id
                .context("the event has no requestContext.connectionId")?,
            request_id: context.request_id.unwrap_or_default(),
            body: event.body.unwrap_or_default(),
            query: query
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            close_code: context.disconnect_status_code,
            now_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            started,
            deadline: started + left,
        })
    }

    /// `now_ms` in whole seconds, as TTL attributes count.
    pub fn now_s(&self) -> i64 {
        self.now_ms / 1000
    }

    /// How long this invocation has taken, in milliseconds to a tenth, for the log.
    pub fn duration_ms(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
    }
}

/// What a function answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The handshake's status for `$connect`; 200 elsewhere.
    pub status: u16,
    /// The frame for the caller. Never sent for `$connect` and `$disconnect`.
    pub body: Option<String>,
}

impl Reply {
    /// Done, and nothing to say.
    pub fn ok() -> Self {
        Self {
            status: 200,
            body: None,
        }
    }

    /// A frame for the caller, through the route response.
    ///
    /// The status is 200 for an error frame too: API Gateway sends the body whatever the status is, but counts 400 and
    /// above as errors of the API, and a client's typing mistake is none.
    pub fn frame(frame: String) -> Self {
        Self {
            status: 200,
            body: Some(frame),
        }
    }

    /// Refuses a handshake: the client sees the status. The body is for logs and local tools, API Gateway is not known
    /// to pass it on.
    pub fn refused(status: u16, body: String) -> Self {
        Self {
            status,
            body: Some(body),
        }
    }
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        let mut response = Response::default();
        response.status_code = i64::from(reply.status);
        response.body = reply.body.map(Body::Text);
        response
    }
}
