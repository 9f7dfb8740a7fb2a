//! Events as the log may show them: without bodies and secrets.

use serde_json::Value;

/// The headers that hold no secret. A token can be in any other, and a browser's is in the subprotocol.
const SHOWN_HEADERS: [&str; 14] = [
    "accept-encoding",
    "accept-language",
    "connection",
    "content-length",
    "host",
    "origin",
    "sec-websocket-extensions",
    "sec-websocket-version",
    "upgrade",
    "user-agent",
    "x-amzn-trace-id",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// The words in the names of query parameters that hold secrets.
const SECRET_WORDS: [&str; 11] = [
    "auth",
    "code",
    "credential",
    "jwt",
    "key",
    "pass",
    "secret",
    "session",
    "sig",
    "ticket",
    "token",
];

/// The longest value of a query parameter that is shown: tokens and keys are longer.
const MAX_SHOWN_CHARS: usize = 64;

/// Returns the event with the size of its body in place of the body, and with stars in place of secrets.
pub(crate) fn redacted(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(Value::String(body)) = event.get_mut("body") {
        *body = format!("({} bytes)", body.len());
    }
    for map in ["headers", "multiValueHeaders"] {
        hide(&mut event[map], |name, _| !SHOWN_HEADERS.contains(&name));
    }
    for map in ["queryStringParameters", "multiValueQueryStringParameters"] {
        hide(&mut event[map], |name, value| {
            SECRET_WORDS.iter().any(|word| name.contains(word)) || looks_secret(value)
        });
    }
    // An authorizer's context may hold anything.
    hide(&mut event["requestContext"]["authorizer"], |name, _| {
        name != "integrationlatency"
    });
    hide(&mut event["requestContext"]["identity"], |name, _| {
        name == "apikey"
    });
    if let Value::Object(event) = &mut event {
        // Indexing has made the maps that were missing.
        event.retain(|_, value| !value.is_null());
        if let Some(Value::Object(context)) = event.get_mut("requestContext") {
            context.retain(|_, value| !value.is_null());
        }
    }
    event
}

/// Reports whether a value is too long for a name, or has the form of a JWT, whatever its parameter is called.
pub(crate) fn looks_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.chars().count() > MAX_SHOWN_CHARS
                || (text.starts_with("eyJ") && text.matches('.').count() >= 2)
        }
        Value::Array(values) => values.iter().any(looks_secret),
        _ => false,
    }
}

fn hide(map: &mut Value, is_secret: impl Fn(&str, &Value) -> bool) {
    for (name, value) in map.as_object_mut().into_iter().flatten() {
        if is_secret(&name.to_ascii_lowercase(), value) {
            *value = "***".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn neither_bodies_nor_secrets_are_left() {
        let event = json!({
            "headers": {"Cookie": "a=secret", "Host": "h"},
            "queryStringParameters": {"room": "r", "accessToken": "secret"},
            "requestContext": {"authorizer": {"principalId": "secret"}, "routeKey": "x"},
            "body": "secret",
        });
        let expected = json!({
            "headers": {"Cookie": "***", "Host": "h"},
            "queryStringParameters": {"room": "r", "accessToken": "***"},
            "requestContext": {"authorizer": {"principalId": "***"}, "routeKey": "x"},
            "body": "(6 bytes)",
        });
        assert_eq!(redacted(&event), expected);
    }

    #[test]
    fn a_token_is_hidden_wherever_it_is() {
        let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.";
        let opaque = "k".repeat(65);
        for header in [
            "Authorization",
            "Sec-WebSocket-Protocol",
            "Cookie",
            "X-Api-Key",
            "X-My-Own",
            "Referer",
        ] {
            let mut event = json!({"headers": {}, "multiValueHeaders": {}});
            event["headers"][header] = jwt.into();
            event["multiValueHeaders"][header] = json!([jwt]);
            assert!(!redacted(&event).to_string().contains(jwt), "{header}");
        }
        for (name, value) in [
            ("token", "short"),
            ("Access_Token", "short"),
            ("x", jwt),
            ("x", opaque.as_str()),
            ("authorization", "short"),
        ] {
            let mut event =
                json!({"queryStringParameters": {}, "multiValueQueryStringParameters": {}});
            event["queryStringParameters"][name] = value.into();
            event["multiValueQueryStringParameters"][name] = json!(["", value]);
            assert!(!redacted(&event).to_string().contains(value), "{name}");
        }
    }

    #[test]
    fn a_message_stays_as_it_is_otherwise() {
        let event = json!({"requestContext": {"routeKey": "x"}, "isBase64Encoded": false});
        assert_eq!(redacted(&event), event);
    }
}
