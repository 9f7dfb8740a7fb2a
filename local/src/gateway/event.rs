//! The events that API Gateway sends to a function, field by field as recorded from AWS.
//!
//! A missing field is absent, not null: without a query there are no query maps, and a MESSAGE has neither headers nor
//! query.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::account::API_ID;
use crate::deployment::Api;
use crate::faults::Handshake;
use crate::{ids, log, query};

/// A client, as known from its handshake.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) connection_id: String,
    /// Epoch milliseconds.
    pub(crate) connected_at: i64,
    pub(crate) source_ip: String,
    pub(crate) user_agent: Option<String>,
    /// The host that the client requested.
    pub(crate) domain_name: String,
    /// For fault rules. The journal does not hold it, since its query may hold a token.
    #[serde(skip)]
    pub(crate) handshake: Handshake,
    /// The context that the Lambda authorizer returned.
    pub(crate) authorizer: Option<Value>,
    pub(crate) api_key: Option<ApiKey>,
}

impl Client {
    /// Returns the client's name for the log: the authorizer's `user` or principal, or else the query's `user`.
    pub(crate) fn name(&self) -> Option<String> {
        let authorizer = self.authorizer.as_ref();
        let name = match authorizer.map(|context| [&context["user"], &context["principalId"]]) {
            Some(names) => names.into_iter().find(|name| name.is_string())?.clone(),
            None => self.handshake.query("user")?.into(),
        };
        if log::looks_secret(&name) {
            return None;
        }
        name.as_str().map(str::to_owned)
    }
}

/// The API key of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApiKey {
    pub(crate) value: String,
    pub(crate) id: String,
}

/// Makes the `$connect` event.
pub(crate) fn connect(
    api: &Api,
    client: &Client,
    now_ms: i64,
    headers: &HeaderMap,
    (scheme, port): (&str, u16),
    query: Option<&str>,
) -> Value {
    let mut multi_headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        // Real events have neither: they belong to the hop, not to the request.
        if !matches!(name.as_str(), "connection" | "upgrade") {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            multi_headers
                .entry(conventional_case(name.as_str()))
                .or_default()
                .push(value);
        }
    }
    let added = [
        ("X-Amzn-Trace-Id", ids::trace_root()),
        ("X-Forwarded-For", client.source_ip.clone()),
        ("X-Forwarded-Port", port.to_string()),
        ("X-Forwarded-Proto", scheme.to_owned()),
    ];
    for (name, value) in added {
        multi_headers
            .entry(name.to_owned())
            .or_default()
            .push(value);
    }
    let mut event = Map::from_iter([
        ("headers".to_owned(), last_values(&multi_headers)),
        ("multiValueHeaders".to_owned(), json!(multi_headers)),
        (
            "requestContext".to_owned(),
            request_context(api, client, "$connect", "CONNECT", now_ms),
        ),
        ("isBase64Encoded".to_owned(), false.into()),
    ]);
    let multi_query = query::parse(query.unwrap_or_default());
    if !multi_query.is_empty() {
        event.insert(
            "queryStringParameters".to_owned(),
            last_values(&multi_query),
        );
        event.insert(
            "multiValueQueryStringParameters".to_owned(),
            json!(multi_query),
        );
    }
    with_stage_variables(api, event)
}

/// Makes the event of a message.
pub(crate) fn message(
    api: &Api,
    client: &Client,
    now_ms: i64,
    route_key: &str,
    body: &str,
) -> Value {
    let mut context = request_context(api, client, route_key, "MESSAGE", now_ms);
    context["messageId"] = ids::generate().into();
    let event = Map::from_iter([
        ("requestContext".to_owned(), context),
        ("body".to_owned(), body.into()),
        ("isBase64Encoded".to_owned(), false.into()),
    ]);
    with_stage_variables(api, event)
}

/// Makes the `$disconnect` event. `code` is the close code and `reason` its text as API Gateway reports them.
pub(crate) fn disconnect(
    api: &Api,
    client: &Client,
    now_ms: i64,
    code: u16,
    reason: &str,
) -> Value {
    let mut context = request_context(api, client, "$disconnect", "DISCONNECT", now_ms);
    context["disconnectStatusCode"] = code.into();
    context["disconnectReason"] = reason.into();
    // Real events hold these four headers, and none of the handshake.
    let headers = [
        ("Host", client.domain_name.as_str()),
        ("x-api-key", ""),
        ("X-Forwarded-For", ""),
        ("x-restapi", ""),
    ];
    let multi_headers: BTreeMap<String, Vec<String>> = headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
        .collect();
    let event = Map::from_iter([
        ("headers".to_owned(), last_values(&multi_headers)),
        ("multiValueHeaders".to_owned(), json!(multi_headers)),
        ("requestContext".to_owned(), context),
        ("isBase64Encoded".to_owned(), false.into()),
    ]);
    with_stage_variables(api, event)
}

fn request_context(
    api: &Api,
    client: &Client,
    route_key: &str,
    event_type: &str,
    now_ms: i64,
) -> Value {
    let request_id = ids::generate();
    let time = DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    let mut identity = json!({ "sourceIp": client.source_ip });
    if let Some(user_agent) = &client.user_agent {
        identity["userAgent"] = user_agent.as_str().into();
    }
    if let Some(key) = &client.api_key {
        identity["apiKey"] = key.value.as_str().into();
        identity["apiKeyId"] = key.id.as_str().into();
    }
    let mut context = json!({
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": request_id,
        "requestTime": time.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        "messageDirection": "IN",
        "stage": api.stage,
        "connectedAt": client.connected_at,
        "requestTimeEpoch": now_ms,
        "identity": identity,
        "requestId": request_id,
        "domainName": client.domain_name,
        "connectionId": client.connection_id,
        "apiId": API_ID,
    });
    if let Some(authorizer) = &client.authorizer {
        context["authorizer"] = authorizer.clone();
    }
    context
}

fn with_stage_variables(api: &Api, mut event: Map<String, Value>) -> Value {
    if !api.stage_variables.is_empty() {
        event.insert("stageVariables".to_owned(), json!(api.stage_variables));
    }
    Value::Object(event)
}

/// Makes the single-value map: a repeated name has its last value.
fn last_values(multi: &BTreeMap<String, Vec<String>>) -> Value {
    let last = multi
        .iter()
        .map(|(name, values)| (name.clone(), values.last().cloned().into()));
    Value::Object(last.collect())
}

/// Returns a header name in the case that clients conventionally use. AWS keeps the client's case, which the HTTP
/// library here has lost.
fn conventional_case(name: &str) -> String {
    let words = name.split('-').map(|word| match word {
        "websocket" => "WebSocket".to_owned(),
        word => {
            let mut chars = word.chars();
            chars
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(chars)
                .collect()
        }
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Access;
    use crate::deployment::SelectionExpression;
    use axum::http::HeaderValue;

    fn api() -> Api {
        Api {
            region: "eu-central-1".to_owned(),
            access: Access::default(),
            stage: "prod".to_owned(),
            stage_variables: BTreeMap::new(),
            selection: SelectionExpression::parse("$request.body.action").unwrap(),
            routes: BTreeMap::new(),
        }
    }

    fn client() -> Client {
        Client {
            connection_id: "T0aBceHkDoECIQw=".to_owned(),
            connected_at: 1_707_471_007_396,
            source_ip: "127.0.0.1".to_owned(),
            domain_name: "127.0.0.1:3000".to_owned(),
            ..Client::default()
        }
    }

    fn connect_event(headers: &HeaderMap, query: Option<&str>) -> Value {
        connect(
            &api(),
            &client(),
            1_707_471_007_397,
            headers,
            ("http", 3000),
            query,
        )
    }

    #[test]
    fn without_a_query_its_keys_are_absent() {
        for query in [None, Some("")] {
            let event = connect_event(&HeaderMap::new(), query);
            assert!(event.get("queryStringParameters").is_none());
            assert!(event.get("multiValueQueryStringParameters").is_none());
            assert!(event.get("body").is_none());
            assert!(event.get("stageVariables").is_none());
        }
    }

    #[test]
    fn a_query_is_decoded_once_and_keeps_repeated_names_in_order() {
        let event = connect_event(
            &HeaderMap::new(),
            Some("room=a%20b%2520&x=1&x=2&flag&plus=a+b&ü=%C3%BC"),
        );
        assert_eq!(
            event["multiValueQueryStringParameters"],
            json!({"room": ["a b%20"], "x": ["1", "2"], "flag": [""], "plus": ["a+b"], "ü": ["ü"]})
        );
        assert_eq!(
            event["queryStringParameters"],
            json!({"room": "a b%20", "x": "2", "flag": "", "plus": "a+b", "ü": "ü"})
        );
    }

    #[test]
    fn headers_are_those_of_a_real_event() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "127.0.0.1:3000"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "c2FtcGxlLXNhbXBsZS0xNg=="),
            ("x-custom", "1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.append("x-custom", HeaderValue::from_static("2"));
        let event = connect_event(&headers, None);
        let names: Vec<&String> = event["headers"].as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            [
                "Host",
                "Sec-WebSocket-Key",
                "X-Amzn-Trace-Id",
                "X-Custom",
                "X-Forwarded-For",
                "X-Forwarded-Port",
                "X-Forwarded-Proto"
            ]
        );
        assert_eq!(event["headers"]["X-Custom"], "2");
        assert_eq!(event["multiValueHeaders"]["X-Custom"], json!(["1", "2"]));
    }

    #[test]
    fn the_request_context_is_that_of_a_real_event() {
        let event = connect_event(&HeaderMap::new(), None);
        let id = event["requestContext"]["requestId"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            event["requestContext"],
            json!({
                "routeKey": "$connect", "eventType": "CONNECT", "extendedRequestId": id,
                "requestTime": "09/Feb/2024:09:30:07 +0000", "messageDirection": "IN", "stage": "prod",
                "connectedAt": 1_707_471_007_396_i64, "requestTimeEpoch": 1_707_471_007_397_i64,
                "identity": {"sourceIp": "127.0.0.1"}, "requestId": id, "domainName": "127.0.0.1:3000",
                "connectionId": "T0aBceHkDoECIQw=", "apiId": "local00000",
            })
        );
    }

    #[test]
    fn a_message_has_a_body_and_no_headers() {
        let event = message(&api(), &client(), 1_707_471_009_102, "publish", "{\"a\":1}");
        let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["body", "isBase64Encoded", "requestContext"]);
        assert_eq!(event["body"], "{\"a\":1}");
        let context = &event["requestContext"];
        assert_eq!(context["routeKey"], "publish");
        assert_eq!(context["connectedAt"], 1_707_471_007_396_i64);
        assert_eq!(context["requestId"], context["extendedRequestId"]);
        assert!(ids::is_well_formed(context["messageId"].as_str().unwrap()));
    }

    #[test]
    fn a_disconnect_tells_code_and_reason() {
        let event = disconnect(
            &api(),
            &client(),
            1_707_471_009_102,
            1005,
            "Client-side close frame status not set",
        );
        let context = &event["requestContext"];
        assert_eq!(context["disconnectStatusCode"], 1005);
        assert_eq!(
            context["disconnectReason"],
            "Client-side close frame status not set"
        );
        assert_eq!(context["eventType"], "DISCONNECT");
        assert_eq!(
            event["headers"],
            json!({"Host": "127.0.0.1:3000", "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""})
        );
        assert!(event.get("body").is_none());
    }
}
