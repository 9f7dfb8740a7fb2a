//! An event without what it should not be printed with.

use serde_json::Value;

/// Headers that hold secrets. A browser has no other place for a token than the subprotocol.
const SECRET_HEADERS: [&str; 5] = [
    "authorization",
    "cookie",
    "x-api-key",
    "x-amz-security-token",
    "sec-websocket-protocol",
];

/// What the names of query parameters hold whose values are secrets.
const SECRET_WORDS: [&str; 6] = ["token", "key", "secret", "password", "auth", "signature"];

/// The event with its body's size for the body, and stars for secrets.
pub(crate) fn redacted(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(Value::String(body)) = event.get_mut("body") {
        *body = format!("({} bytes)", body.len());
    }
    for map in ["headers", "multiValueHeaders"] {
        hide(&mut event[map], |name| SECRET_HEADERS.contains(&name));
    }
    for map in ["queryStringParameters", "multiValueQueryStringParameters"] {
        hide(&mut event[map], |name| {
            SECRET_WORDS.iter().any(|word| name.contains(word))
        });
    }
    // What an authorizer passes on may be anything.
    hide(&mut event["requestContext"]["authorizer"], |name| {
        name != "integrationlatency"
    });
    hide(&mut event["requestContext"]["identity"], |name| {
        name == "apikey"
    });
    if let Value::Object(event) = &mut event {
        // Indexing has made those that were not there.
        event.retain(|_, value| !value.is_null());
        if let Some(Value::Object(context)) = event.get_mut("requestContext") {
            context.retain(|_, value| !value.is_null());
        }
    }
    event
}

fn hide(map: &mut Value, is_secret: impl Fn(&str) -> bool) {
    for (name, value) in map.as_object_mut().into_iter().flatten() {
        if is_secret(&name.to_ascii_lowercase()) {
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
    fn a_message_stays_as_it_is_otherwise() {
        let event = json!({"requestContext": {"routeKey": "x"}, "isBase64Encoded": false});
        assert_eq!(redacted(&event), event);
    }
}
