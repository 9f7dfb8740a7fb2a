//! The replies with which DynamoDB refuses a call.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

/// A reply of DynamoDB. No reply is streamed.
pub(super) type Reply = Response<Full<Bytes>>;

/// The length of DynamoDB's request ids.
const REQUEST_ID_CHARS: usize = 52;

/// Refuses a call for lack of capacity. The error depends on the billing of the table.
pub(super) fn throttled(is_on_demand: bool) -> Reply {
    if is_on_demand {
        error(
            StatusCode::BAD_REQUEST,
            "com.amazon.coral.availability#ThrottlingException",
            "Throughput exceeds the current capacity of your table or index. DynamoDB is automatically scaling your \
             table or index so please try again shortly. If exceptions persist, check if you have a hot key: \
             https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html",
        )
    } else {
        error(
            StatusCode::BAD_REQUEST,
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded. Consider increasing your \
             provisioning level with the UpdateTable API.",
        )
    }
}

/// Makes a failure of the service. 500 and 503 are DynamoDB's own. Any other status comes from a machine in front of
/// DynamoDB, and its body is empty.
pub(super) fn failed(status: u16) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => internal("Internal server error"),
        StatusCode::SERVICE_UNAVAILABLE => error(
            status,
            "com.amazonaws.dynamodb.v20120810#ServiceUnavailable",
            "DynamoDB is currently unavailable.",
        ),
        _ => with_headers(status, HeaderMap::new(), String::new()),
    }
}

pub(super) fn internal(message: &str) -> Reply {
    error(
        StatusCode::INTERNAL_SERVER_ERROR,
        "com.amazonaws.dynamodb.v20120810#InternalServerError",
        message,
    )
}

/// Refuses a call from a web page, or for another host.
pub(super) fn foreign() -> Reply {
    error(
        StatusCode::FORBIDDEN,
        "com.amazon.coral.service#AccessDeniedException",
        "The tables are for programs on this machine: call 127.0.0.1, and not from a web page",
    )
}

pub(super) fn invalid(message: &str) -> Reply {
    error(
        StatusCode::BAD_REQUEST,
        "com.amazon.coral.validate#ValidationException",
        message,
    )
}

/// Refuses a request that is not a call of DynamoDB.
pub(super) fn not_found() -> Reply {
    let body = "<UnknownOperationException/>\n".to_owned();
    with_headers(StatusCode::NOT_FOUND, HeaderMap::new(), body)
}

fn error(status: StatusCode, name: &str, message: &str) -> Reply {
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
    let body = json!({ "__type": name, "message": message }).to_string();
    with_headers(status, headers, body)
}

/// Makes a reply with the headers that every reply of DynamoDB has. SDKs compare the checksum.
fn with_headers(status: StatusCode, mut headers: HeaderMap, body: String) -> Reply {
    let mut request_id = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()]
        .map(|id| id.simple().to_string().to_uppercase())
        .concat();
    request_id.truncate(REQUEST_ID_CHARS);
    if let Ok(request_id) = HeaderValue::try_from(request_id) {
        headers.insert(HeaderName::from_static("x-amzn-requestid"), request_id);
    }
    headers.insert(
        HeaderName::from_static("x-amz-crc32"),
        crc32fast::hash(body.as_bytes()).into(),
    );
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}
