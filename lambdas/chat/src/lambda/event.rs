//! API Gateway's event and response. No other file knows their form.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use aws_lambda_events::encodings::Body;
use tokio::time::Instant;

use crate::identity::{Auth, Caller};
use crate::protocol::SUBPROTOCOL;

/// The event of a WebSocket API: CONNECT, MESSAGE or DISCONNECT.
pub type Event = ApiGatewayWebsocketProxyRequest;

/// The response for API Gateway. It has no key beyond the five of a proxy response: an unknown key would make the
/// response malformed.
pub type Response = ApiGatewayProxyResponse;

/// An event, reduced to the fields that the functions use.
#[derive(Debug, Clone)]
pub struct Request {
    /// The connection that sent it. Opaque; API Gateway promises no form or length.
    pub connection_id: String,
    /// The client's address, as API Gateway sees it; none for the backend.
    pub source_ip: Option<String>,
    /// The user of the connection and its rights.
    pub caller: Caller,
    /// The time of the handshake, in milliseconds since 1970, by API Gateway's clock.
    pub connected_ms: i64,
    /// True if the client offers [`SUBPROTOCOL`]; always false after `$connect`.
    pub offers_subprotocol: bool,
    /// The values of the header `Origin`, which a browser sends for the page it shows; empty but for `$connect`.
    pub origins: Vec<String>,
    /// API Gateway's id of this request, the one in its access log and in its own error frames.
    pub request_id: String,
    /// The text of the frame; empty for `$connect` and `$disconnect`.
    pub body: String,
    /// The query of the handshake's URL, percent-decoded, in order; present for `$connect` alone.
    pub query: Vec<(String, String)>,
    /// The WebSocket close code of the connection's end; present for `$disconnect` alone.
    pub close_code: Option<i64>,
    /// The time when this function got the event, in milliseconds since 1970, by this function's clock.
    pub now_ms: i64,
    /// The same moment, for measuring.
    pub started: Instant,
    /// The time when Lambda ends this invocation.
    pub deadline: Instant,
}

impl Request {
    /// Reduces an event. `deadline_ms` is Lambda's, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// The event names no connection: it does not come from a WebSocket API.
    pub fn new(event: Event, deadline_ms: u64, auth: Auth) -> anyhow::Result<Self> {
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
        let offered = event.multi_value_headers.get_all("sec-websocket-protocol");
        let offers_subprotocol = offered
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|offer| offer.trim() == SUBPROTOCOL);
        // A value that is not text is kept: it is not the origin of a page, and must not count as absent.
        let origins = event.multi_value_headers.get_all("origin");
        let origins = origins
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        Ok(Self {
            origins,
            caller: Caller::new(auth, &context.authorizer.fields),
            source_ip: context.identity.source_ip,
            connected_ms: context.connected_at,
            offers_subprotocol,
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

    /// The duration of this invocation so far, in milliseconds to a tenth, for the log.
    pub fn duration_ms(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
    }
}

/// The moment `time` before `deadline`.
pub fn before(deadline: Instant, time: Duration) -> Instant {
    deadline.checked_sub(time).unwrap_or(deadline)
}

/// The answer of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The handshake's status for `$connect`; 200 elsewhere.
    pub status: u16,
    /// The frame for the caller. Never sent for `$connect` and `$disconnect`.
    pub body: Option<String>,
    /// The subprotocol that `$connect` answers.
    pub subprotocol: Option<&'static str>,
}

impl Reply {
    /// Success without a frame.
    pub fn ok() -> Self {
        Self {
            status: 200,
            body: None,
            subprotocol: None,
        }
    }

    /// A frame for the caller, through the route response.
    ///
    /// An error frame has the status 200 too: API Gateway sends the body with any status, but counts 400 and above as
    /// errors of the API, and a mistake of a client is not one.
    pub fn frame(frame: String) -> Self {
        Self {
            status: 200,
            body: Some(frame),
            subprotocol: None,
        }
    }

    /// Refuses a handshake with a status. The body is for logs and local tools: API Gateway is not known to pass it on.
    pub fn refused(status: u16, body: String) -> Self {
        Self {
            status,
            body: Some(body),
            subprotocol: None,
        }
    }
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        let mut response = Response::default();
        response.status_code = i64::from(reply.status);
        response.body = reply.body.map(Body::Text);
        if let Some(Ok(subprotocol)) = reply.subprotocol.map(str::parse) {
            response
                .headers
                .insert("sec-websocket-protocol", subprotocol);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn context(kind: &str) -> Value {
        json!({
            "routeKey": "$connect", "eventType": kind, "extendedRequestId": "T0aBcEfGDoEFhIg=",
            "requestTime": "09/Feb/2024:09:30:07 +0000", "messageDirection": "IN", "stage": "prod",
            "connectedAt": 1_707_471_007_396_i64, "requestTimeEpoch": 1_707_471_007_397_i64,
            "identity": {"sourceIp": "203.0.113.9"}, "requestId": "T0aBcEfGDoEFhIg=",
            "domainName": "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com",
            "connectionId": "T0aBceHkDoECIQw=", "apiId": "a1b2c3d4e5",
        })
    }

    fn request(event: Value) -> anyhow::Result<Request> {
        Request::new(serde_json::from_value(event).unwrap(), 0, Auth::Off)
    }

    #[test]
    fn every_value_of_the_query_is_kept() {
        let event = json!({
            "headers": {"Host": "h"}, "multiValueHeaders": {"Host": ["h"]},
            "queryStringParameters": {"room": "b", "user": "ü x"},
            "multiValueQueryStringParameters": {"room": ["a", "b"], "user": ["ü x"]},
            "requestContext": context("CONNECT"), "isBase64Encoded": false,
        });
        let request = request(event).unwrap();
        let mut query: Vec<(&str, &str)> = request
            .query
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        query.sort_unstable();
        assert_eq!(query, [("room", "a"), ("room", "b"), ("user", "ü x")]);
        assert_eq!(request.connection_id, "T0aBceHkDoECIQw=");
        assert_eq!(request.body, "");
    }

    #[test]
    fn a_query_that_is_in_one_map_alone_is_read() {
        let event =
            json!({"queryStringParameters": {"room": "a"}, "requestContext": context("CONNECT")});
        assert_eq!(
            request(event).unwrap().query,
            [("room".to_owned(), "a".to_owned())]
        );
        for nothing in [json!({}), json!({"queryStringParameters": null})] {
            let mut event = nothing;
            event["requestContext"] = context("CONNECT");
            assert!(request(event).unwrap().query.is_empty());
        }
    }

    #[test]
    fn a_frame_is_handed_over_unread() {
        let event = json!({"requestContext": context("MESSAGE"), "body": "{ \"x\": 1 }", "isBase64Encoded": false});
        assert_eq!(request(event).unwrap().body, "{ \"x\": 1 }");
    }

    #[test]
    fn the_close_code_is_read() {
        let mut event = json!({"requestContext": context("DISCONNECT")});
        event["requestContext"]["disconnectStatusCode"] = 1005.into();
        event["requestContext"]["disconnectReason"] =
            "Client-side close frame status not set".into();
        assert_eq!(request(event).unwrap().close_code, Some(1005));
    }

    #[test]
    fn the_subprotocol_is_found_among_the_offers() {
        let offers = |values: Value| {
            let mut event = json!({"requestContext": context("CONNECT")});
            event["multiValueHeaders"] = json!({"Sec-WebSocket-Protocol": values});
            request(event).unwrap().offers_subprotocol
        };
        assert!(offers(json!(["roomchat.v1, roomchat.token.a.b.c"])));
        assert!(offers(json!(["roomchat.token.a.b.c", "roomchat.v1"])));
        assert!(!offers(json!(["roomchat.v2,xroomchat.v1"])));
        let event = json!({"requestContext": context("CONNECT")});
        assert!(!request(event).unwrap().offers_subprotocol);
        let mut reply = Reply::ok();
        reply.subprotocol = Some(SUBPROTOCOL);
        let response = serde_json::to_value(Response::from(reply)).unwrap();
        let headers = response["headers"].as_object().unwrap();
        let (name, value) = headers.iter().next().unwrap();
        assert!(name.eq_ignore_ascii_case("Sec-WebSocket-Protocol"));
        assert_eq!(value, "roomchat.v1");
    }

    #[test]
    fn the_authorizers_context_is_read_where_identity_is_on() {
        let mut event = json!({"requestContext": context("MESSAGE")});
        event["requestContext"]["authorizer"] =
            json!({"principalId": "alice", "integrationLatency": 3});
        let event: Event = serde_json::from_value(event).unwrap();
        let caller = |auth| Request::new(event.clone(), 0, auth).unwrap().caller;
        assert_eq!(caller(Auth::Off), Caller::Anyone);
        let required = Auth::Required {
            direct_messages: true,
        };
        assert_eq!(caller(required).user(), Some("alice"));
        let none = json!({"requestContext": context("MESSAGE")});
        let none = Request::new(serde_json::from_value(none).unwrap(), 0, required);
        assert!(matches!(none.unwrap().caller, Caller::Unverified(_)));
    }

    #[test]
    fn an_event_of_something_else_is_refused() {
        let mut event = json!({"requestContext": context("MESSAGE")});
        event["requestContext"]
            .as_object_mut()
            .unwrap()
            .remove("connectionId");
        let error = request(event).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the event has no requestContext.connectionId"
        );
    }

    #[test]
    fn the_deadline_is_as_far_off_as_lambda_says() {
        let event: Event =
            serde_json::from_value(json!({"requestContext": context("MESSAGE")})).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let in_an_hour = u64::try_from(now.as_millis()).unwrap() + 3_600_000;
        let request = Request::new(event.clone(), in_an_hour, Auth::Off).unwrap();
        let left = request.deadline - request.started;
        assert!(
            left <= Duration::from_secs(3_601) && left > Duration::from_secs(3_500),
            "{left:?}"
        );
        // A deadline that has passed is now, not a panic.
        let request = Request::new(event, 1, Auth::Off).unwrap();
        assert_eq!(request.deadline, request.started);
    }

    #[test]
    fn a_response_has_no_key_that_api_gateway_does_not_know() {
        let response = |reply: Reply| serde_json::to_value(Response::from(reply)).unwrap();
        assert_eq!(
            response(Reply::frame("{}".to_owned())),
            json!({"statusCode": 200, "headers": {}, "multiValueHeaders": {}, "body": "{}", "isBase64Encoded": false})
        );
        assert_eq!(
            response(Reply::ok()),
            json!({"statusCode": 200, "headers": {}, "multiValueHeaders": {}, "isBase64Encoded": false})
        );
    }
}
