//! Calls the integration of a route.

use axum::body::Bytes;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::state::Gateway;
use crate::deployment::{Integration, Route};
use crate::lambda::InvokeError;
use crate::log;
use crate::log::redacted;

/// The response of an integration.
#[derive(Debug, PartialEq)]
pub(crate) struct ProxyResponse {
    pub(crate) status: i64,
    /// The header `Sec-WebSocket-Protocol`. No other header of a response reaches a client, and this one only in the
    /// answer to a handshake.
    pub(crate) subprotocol: Option<String>,
    pub(crate) body: Option<String>,
}

/// The failure of an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The function failed, or its response is malformed.
    Broken,
    /// Lambda refused to run the function, or the templates of a MOCK make no response.
    Refused,
    /// The integration's timeout passed.
    TimedOut,
    /// A fault rule demands this status.
    Injected(u16),
}

impl Failure {
    /// Returns the status of a handshake whose `$connect` fails in this way.
    pub(crate) fn handshake_status(self) -> StatusCode {
        match self {
            Failure::Broken => StatusCode::BAD_GATEWAY,
            Failure::Refused => StatusCode::INTERNAL_SERVER_ERROR,
            Failure::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Failure::Injected(status) => {
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Failure::Injected(429) => "Too Many Requests",
            Failure::Injected(503) => "Service Unavailable",
            Failure::TimedOut | Failure::Injected(504) => "Endpoint request timed out",
            Failure::Broken | Failure::Refused | Failure::Injected(_) => "Internal server error",
        }
    }
}

/// Calls the integration of a route.
pub(crate) async fn call(
    gateway: &Gateway,
    route: &Route,
    event: &Value,
) -> Result<ProxyResponse, Failure> {
    let function = match &route.integration {
        Integration::Mock(mock) => {
            let (status, body) = mock.answer(event).map_err(|reason| {
                log::line("mock", &reason);
                Failure::Refused
            })?;
            return Ok(ProxyResponse {
                status,
                subprotocol: None,
                body,
            });
        }
        Integration::Lambda(function) => function,
    };
    let Some(pool) = gateway.functions.get(function) else {
        return Err(Failure::Refused);
    };
    print_event(function, event);
    let invocation = pool.invoke(event.to_string().into());
    let answer = gateway.clock.working.timeout(route.timeout, invocation);
    match answer.await {
        Some(Ok(result)) => parse(&result).map_err(|reason| {
            log::line(function, &format!("malformed response: {reason}"));
            Failure::Broken
        }),
        // The function's own error is logged with its invocation.
        Some(Err(InvokeError::Function(_))) => Err(Failure::Broken),
        Some(Err(error @ InvokeError::Throttled)) => {
            log::line(function, &error.to_string());
            Err(Failure::Refused)
        }
        None => Err(Failure::TimedOut),
    }
}

/// Logs the event of an invocation, with `--verbose`.
pub(crate) fn print_event(function: &str, event: &Value) {
    let printed = log::settings();
    if printed.verbose {
        let event = if printed.bodies {
            event.clone()
        } else {
            redacted(event)
        };
        log::event("event", json!({ "source": function, "input": event }));
    }
}

/// Reads a proxy response: an object with the known keys only.
///
/// # Errors
/// The defect of the response, without its values: they may be somebody's message.
fn parse(result: &Bytes) -> Result<ProxyResponse, String> {
    let Ok(Value::Object(response)) = serde_json::from_slice(result) else {
        return Err("it is not a JSON object".to_owned());
    };
    const KEYS: [&str; 5] = [
        "statusCode",
        "headers",
        "multiValueHeaders",
        "body",
        "isBase64Encoded",
    ];
    if let Some(unknown) = response.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!(
            "the key \"{unknown}\" is not one of {}",
            KEYS.join(", ")
        ));
    }
    let Some(status) = response.get("statusCode").and_then(Value::as_i64) else {
        return Err("statusCode is missing or not an integer".to_owned());
    };
    let is_base64 = match response.get("isBase64Encoded") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_base64)) => *is_base64,
        Some(_) => return Err("isBase64Encoded is not a boolean".to_owned()),
    };
    let body = match response.get("body") {
        None | Some(Value::Null) => None,
        Some(Value::String(body)) if is_base64 => Some(
            STANDARD
                .decode(body)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or("body is not base64 of UTF-8 text")?,
        ),
        Some(Value::String(body)) => Some(body.clone()),
        Some(_) => return Err("body is not a string".to_owned()),
    };
    let mut subprotocol = None;
    for key in ["headers", "multiValueHeaders"] {
        let headers = match response.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(headers)) => headers,
            Some(_) => return Err(format!("{key} is not an object")),
        };
        let header = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"));
        let value = header.and_then(|(_, value)| value.as_str().or_else(|| value.get(0)?.as_str()));
        subprotocol = subprotocol.or(value.map(str::to_owned));
    }
    Ok(ProxyResponse {
        status,
        subprotocol,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_perhaps_a_body() {
        let check = |result: &'static str, expected: (i64, Option<&str>, Option<&str>)| {
            let answer = parse(&Bytes::from_static(result.as_bytes())).unwrap();
            let seen = (
                answer.status,
                answer.subprotocol.as_deref(),
                answer.body.as_deref(),
            );
            assert_eq!(seen, expected, "{result}");
        };
        check(r#"{"statusCode":200}"#, (200, None, None));
        check(
            r#"{"statusCode":200,"headers":{},"multiValueHeaders":{},"isBase64Encoded":false,"body":"hi"}"#,
            (200, None, Some("hi")),
        );
        check(
            r#"{"statusCode":500,"body":null,"headers":null}"#,
            (500, None, None),
        );
        check(
            r#"{"statusCode":200,"body":"aGk=","isBase64Encoded":true}"#,
            (200, None, Some("hi")),
        );
        check(
            r#"{"statusCode":200,"headers":{"sec-WebSocket-protocol":"chat"}}"#,
            (200, Some("chat"), None),
        );
        check(
            r#"{"statusCode":200,"multiValueHeaders":{"Sec-WebSocket-Protocol":["chat"]}}"#,
            (200, Some("chat"), None),
        );
    }

    #[test]
    fn anything_else_is_malformed() {
        for result in [
            "",
            "null",
            "[]",
            "\"hi\"",
            "200",
            "{}",
            "[200,{},{},\"hi\",false]",
            r#"{"statusCode":"200"}"#,
            r#"{"statusCode":200.5}"#,
            r#"{"statusCode":200,"body":{"a":1}}"#,
            r#"{"statusCode":200,"headers":[]}"#,
            r#"{"statusCode":200,"isBase64Encoded":1}"#,
            r#"{"statusCode":200,"cookies":[]}"#,
            r#"{"statusCode":200,"body":"é!","isBase64Encoded":true}"#,
        ] {
            assert!(
                parse(&Bytes::from_static(result.as_bytes())).is_err(),
                "{result}"
            );
        }
    }
}
