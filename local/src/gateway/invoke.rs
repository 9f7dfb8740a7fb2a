//! Lambda's Invoke API: `POST /2015-03-31/functions/{name}/invocations`, for callers beside API Gateway.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::responses::{error, success};
use super::signature;
use super::state::Gateway;
use crate::account::ACCOUNT_ID;
use crate::deployment::{LATEST, name_of};
use crate::lambda::{InvokeError, new_request_id};
use crate::loopback;
use crate::query;

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
    let (name, qualifier) = name_of(function);
    let wanted = query::parse(head.uri.query().unwrap_or_default());
    let wanted = wanted.get("Qualifier").and_then(|values| values.last());
    let qualifier = wanted.map_or(qualifier.unwrap_or(LATEST), String::as_str);
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
    if gateway.check_signatures
        && let Err(rejected) = signature::check(&head, &payload, gateway.scope("lambda"))
    {
        return rejected.into_response();
    }
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
    let request_id = new_request_id();
    let mut response = match kind {
        "RequestResponse" => {
            let result = pool.invoke_as(&request_id, payload).await;
            answer(result, &request_id)
        }
        "DryRun" => success(StatusCode::NO_CONTENT, None),
        "Event" => {
            let (request_id, qualifier) = (request_id.clone(), qualifier.to_owned());
            tokio::spawn(async move {
                pool.handle_event(&request_id, payload, &qualifier).await;
            });
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
    };
    if let Ok(request_id) = HeaderValue::try_from(request_id) {
        let headers = response.headers_mut();
        headers.insert("x-amzn-requestid", request_id);
        // API Gateway's, which stands before no function here.
        headers.remove("x-amz-apigw-id");
    }
    response
}

fn invocation_type(headers: &HeaderMap) -> &str {
    let kind = headers.get("x-amz-invocation-type");
    kind.map_or("RequestResponse", |kind| kind.to_str().unwrap_or_default())
}

/// Makes the response of a synchronous invocation. A function's error is a response of status 200, too.
fn answer(result: Result<Bytes, InvokeError>, request_id: &str) -> Response {
    let (payload, has_failed) = match result {
        Ok(payload) => (payload, false),
        Err(InvokeError::Function(error)) => (error.payload(request_id), true),
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
