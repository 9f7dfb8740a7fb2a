//! HTTP responses in the form that API Gateway gives them.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::ids;

/// Makes an error response of the gateway itself.
pub(super) fn refuse(status: StatusCode, message: &str) -> Response {
    let body = Body::from(json!({ "message": message }).to_string());
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Makes a response of the management API.
pub(super) fn success(status: StatusCode, body: Option<String>) -> Response {
    let has_body = body.is_some();
    let mut response = Response::new(Body::from(body.unwrap_or_default()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if has_body {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    let request_ids = [
        ("x-amzn-requestid", uuid::Uuid::new_v4().to_string()),
        ("x-amz-apigw-id", ids::generate()),
    ];
    for (name, value) in request_ids {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}

/// Makes an error response of the management API: the name in the header that SDKs read, the message, if any, in a JSON
/// body.
pub(super) fn error(status: StatusCode, name: &'static str, message: Option<&str>) -> Response {
    let body = message.map(|message| json!({ "message": message }).to_string());
    let mut response = success(status, Some(body.unwrap_or_default()));
    response
        .headers_mut()
        .insert("x-amzn-errortype", HeaderValue::from_static(name));
    response
}
