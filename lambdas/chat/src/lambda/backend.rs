//! The edge of the function that the backend invokes: directly, or through a Function URL.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

use crate::actions::{Answered, Call};

/// The event of a Function URL.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UrlEvent {
    #[serde(rename = "requestContext")]
    _context: HttpContext,
    #[serde(default)]
    body: String,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// Tells the event of a Function URL from a call with a field of the same name.
#[derive(Deserialize)]
struct HttpContext {
    #[serde(rename = "http")]
    _http: Box<RawValue>,
}

impl UrlEvent {
    fn text(self) -> String {
        if !self.is_base64_encoded {
            return self.body;
        }
        // A body that is not base64 of a text is not a call, and is answered as an empty one.
        let bytes = STANDARD.decode(&self.body).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    }
}

/// Takes calls until the process ends, one at a time.
///
/// # Errors
///
/// The Runtime API cannot be reached.
pub async fn serve_backend(function: impl AsyncFn(&Call<'_>) -> Answered) -> anyhow::Result<()> {
    let handler = service_fn(async |event: LambdaEvent<Box<RawValue>>| {
        let context = &event.context;
        let started = Instant::now();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let left = Duration::from_millis(context.deadline).saturating_sub(now);
        let url = serde_json::from_str::<UrlEvent>(event.payload.get()).ok();
        let is_url = url.is_some();
        let body = match url {
            Some(url) => url.text(),
            None => event.payload.get().to_owned(),
        };
        let call = Call {
            body: &body,
            request_id: &context.request_id,
            now_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            started,
            deadline: started + left,
        };
        respond(Box::pin(function(&call)).await, is_url)
    });
    lambda_runtime::run(handler)
        .await
        .map_err(|error| anyhow!(error))
}

/// The response of the function, or its failure where the caller wants Lambda to try again.
fn respond(answered: Answered, is_url: bool) -> Result<Box<RawValue>, Diagnostic> {
    let failed = |error_type: &str, message: String| Diagnostic {
        error_type: error_type.to_owned(),
        error_message: message,
    };
    if let Some(error) = answered.error.filter(|error| error.temporary())
        && answered.asynchronous
    {
        return Err(failed(error.as_str(), answered.frame));
    }
    let response = if is_url {
        let status = answered.error.map_or(200, |error| error.code());
        to_raw_value(&json!({
            "statusCode": status,
            "headers": {"content-type": "application/json"},
            "body": answered.frame,
        }))
    } else {
        RawValue::from_string(answered.frame)
    };
    response.map_err(|error| failed("internal", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ErrorName;

    fn answered(error: Option<ErrorName>, asynchronous: bool) -> Answered {
        Answered {
            frame: r#"{"type":"x"}"#.to_owned(),
            error,
            asynchronous,
        }
    }

    #[test]
    fn a_temporary_error_fails_an_asynchronous_call_alone() {
        let temporary = Some(ErrorName::SlowDown);
        assert_eq!(
            respond(answered(temporary, false), false).unwrap().get(),
            r#"{"type":"x"}"#
        );
        let failed = respond(answered(temporary, true), false).unwrap_err();
        assert_eq!(failed.error_type, "slow_down");
        assert!(respond(answered(Some(ErrorName::BadRequest), true), false).is_ok());
    }

    #[test]
    fn a_function_url_is_answered_in_its_form() {
        let response = respond(answered(Some(ErrorName::Forbidden), false), true).unwrap();
        let response: serde_json::Value = serde_json::from_str(response.get()).unwrap();
        assert_eq!(response["statusCode"], 403);
        assert_eq!(response["body"], r#"{"type":"x"}"#);
        let text = |event: serde_json::Value| {
            serde_json::from_str::<UrlEvent>(&event.to_string()).map(UrlEvent::text)
        };
        let context = json!({"http": {"method": "POST"}});
        let plain = json!({"requestContext": context, "body": "{}", "isBase64Encoded": false});
        assert_eq!(text(plain).unwrap(), "{}");
        let encoded = json!({"requestContext": context, "body": "e30=", "isBase64Encoded": true});
        assert_eq!(text(encoded).unwrap(), "{}");
        assert!(text(json!({"action": "publish", "requestContext": {}})).is_err());
    }
}
