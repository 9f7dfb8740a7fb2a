//! Lambda's Invoke API: `POST /2015-03-31/functions/{name}/invocations`, for functions that no route invokes.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::responses::{error, success};
use super::state::Gateway;
use crate::account::ACCOUNT_ID;
use crate::lambda::InvokeError;
use crate::loopback;

/// Lambda's largest payloads in bytes: with an answer, and without one.
const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;
const MAX_ASYNCHRONOUS_BYTES: usize = 1024 * 1024;

/// Answers a call for a function, which comes decoded: its name, its ARN, or a part of the ARN.
pub(super) async fn handle(
    gateway: &Arc<Gateway>,
    function: &str,
    request: Request<Body>,
) -> Response {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return error(
            StatusCode::FORBIDDEN,
            "MissingAuthenticationTokenException",
            Some("Missing Authentication Token"),
        );
    }
    if loopback::is_foreign(&head.headers) {
        let message =
            "Functions are for programs on this machine: call 127.0.0.1, and not from a web page";
        return error(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            Some(message),
        );
    }
    // An ARN holds the name before its qualifier.
    let name = function.split(":function:").last().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    let Some(pool) = gateway.functions.get(name).cloned() else {
        let region = &gateway.api.region;
        let message =
            format!("Function not found: arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}");
        return error(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            Some(&message),
        );
    };
    let kind = invocation_type(&head.headers);
    let limit = if kind == "Event" {
        MAX_ASYNCHRONOUS_BYTES
    } else {
        MAX_PAYLOAD_BYTES
    };
    let Ok(payload) = axum::body::to_bytes(body, limit).await else {
        let message =
            format!("Request must be smaller than {limit} bytes for the Invoke operation");
        return error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestTooLargeException",
            Some(&message),
        );
    };
    let payload = if payload.is_empty() {
        Bytes::from_static(b"{}")
    } else {
        payload
    };
    if let Err(reason) = serde_json::from_slice::<Value>(&payload) {
        let message = format!("Could not parse request body into json: {reason}");
        return error(
            StatusCode::BAD_REQUEST,
            "InvalidRequestContentException",
            Some(&message),
        );
    }
    match kind {
        "RequestResponse" => answer(pool.invoke(payload).await),
        "DryRun" => success(StatusCode::NO_CONTENT, None),
        "Event" => {
            // Lambda would try a failed event twice more; the failure is in the log here.
            tokio::spawn(async move { drop(pool.invoke(payload).await) });
            success(StatusCode::ACCEPTED, None)
        }
        other => {
            let message = format!("{other} is none of RequestResponse, Event and DryRun");
            error(
                StatusCode::BAD_REQUEST,
                "InvalidParameterValueException",
                Some(&message),
            )
        }
    }
}

fn invocation_type(headers: &HeaderMap) -> &str {
    let kind = headers.get("x-amz-invocation-type");
    kind.map_or("RequestResponse", |kind| kind.to_str().unwrap_or_default())
}

fn answer(result: Result<Bytes, InvokeError>) -> Response {
    let (payload, has_failed) = match result {
        Ok(payload) => (payload, false),
        Err(InvokeError::Function(error)) => {
            let payload = json!({ "errorType": error.error_type, "errorMessage": error.message });
            (payload.to_string().into(), true)
        }
        Err(InvokeError::Throttled) => {
            return error(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequestsException",
                Some("Rate Exceeded."),
            );
        }
    };
    let mut response = success(StatusCode::OK, Some(String::new()));
    *response.body_mut() = Body::from(payload);
    let headers = response.headers_mut();
    headers.insert(
        "x-amz-executed-version",
        HeaderValue::from_static("$LATEST"),
    );
    if has_failed {
        headers.insert(
            "x-amz-function-error",
            HeaderValue::from_static("Unhandled"),
        );
    }
    response
}
