//! Access to `$connect`: a Lambda authorizer of type REQUEST, and API keys.
//!
//! Each handshake is decided on its own: no decision is cached.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html>

mod policy;

use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::event::{ApiKey, Client};
use super::integration;
use super::state::Gateway;
use crate::account::{ACCOUNT_ID, API_ID};
use crate::deployment::{ApiKeys, Authorization, Authorizer, IdentitySource, KeySource};
use crate::lambda::InvokeError;
use crate::log;

/// API Gateway's limit for the result of an authorizer.
const MAX_ANSWER_BYTES: usize = 8 * 1024;

/// The limit of integrations: AWS documents none for authorizers.
const TIMEOUT: Duration = Duration::from_secs(29);

/// The reason for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// An identity source is missing, or the authorizer said `Unauthorized`.
    Unauthorized,
    /// The policy does not allow the call, or the API key is unknown.
    Forbidden,
    /// The authorizer failed.
    Failed,
}

impl Denied {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Denied::Unauthorized => StatusCode::UNAUTHORIZED,
            Denied::Forbidden => StatusCode::FORBIDDEN,
            Denied::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Denied::Unauthorized => "Unauthorized",
            Denied::Forbidden => "Forbidden",
            Denied::Failed => "Internal server error",
        }
    }
}

/// The result of an authorizer that admits a client.
#[derive(Debug, PartialEq)]
struct Admission {
    /// `principalId` and the context, as events carry them.
    context: Map<String, Value>,
    usage_identifier_key: Option<String>,
}

/// Invokes the authorizer and checks the API key, if `$connect` declares them. Their results go into the `$connect`
/// event, and into the client for all later events.
///
/// # Errors
/// The reason why the handshake is refused.
pub(crate) async fn admit(
    gateway: &Gateway,
    client: &mut Client,
    event: &mut Value,
) -> Result<(), Denied> {
    let access = &gateway.api.access;
    let mut usage_identifier_key = None;
    if let Authorization::Lambda(authorizer) = &access.authorization {
        let started = gateway.clock.working.now();
        let mut admission = ask(gateway, authorizer, event).await?;
        let latency = gateway.clock.working.now().saturating_sub(started);
        let latency = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        admission
            .context
            .insert("integrationLatency".to_owned(), latency.into());
        usage_identifier_key = admission.usage_identifier_key;
        let context = Value::Object(admission.context);
        event["requestContext"]["authorizer"] = context.clone();
        client.authorizer = Some(context);
    }
    if let Some(keys) = &access.api_keys {
        let key = api_key(keys, event, usage_identifier_key).ok_or(Denied::Forbidden)?;
        event["requestContext"]["identity"]["apiKey"] = key.value.as_str().into();
        event["requestContext"]["identity"]["apiKeyId"] = key.id.as_str().into();
        client.api_key = Some(key);
    }
    Ok(())
}

async fn ask(
    gateway: &Gateway,
    authorizer: &Authorizer,
    connect_event: &Value,
) -> Result<Admission, Denied> {
    let sources = &authorizer.identity_sources;
    if !sources.iter().all(|source| is_given(source, connect_event)) {
        return Err(Denied::Unauthorized);
    }
    let api = &gateway.api;
    let method_arn = format!(
        "arn:aws:execute-api:{}:{ACCOUNT_ID}:{API_ID}/{}/$connect",
        api.region, api.stage
    );
    let event = request_event(connect_event, &method_arn);
    let name = &authorizer.function;
    let pool = gateway.functions.get(name).ok_or(Denied::Failed)?;
    integration::print_event(name, &event);
    let invocation = pool.invoke(event.to_string().into());
    let answer = match gateway.clock.working.timeout(TIMEOUT, invocation).await {
        Some(Ok(answer)) => answer,
        // AWS answers 401 for exactly this text.
        Some(Err(InvokeError::Function(error))) if error.message == "Unauthorized" => {
            return Err(Denied::Unauthorized);
        }
        // The function's own error is logged with its invocation.
        Some(Err(InvokeError::Function(_))) => return Err(Denied::Failed),
        Some(Err(error)) => {
            log::line(name, &error.to_string());
            return Err(Denied::Failed);
        }
        None => {
            log::line(name, "the authorizer did not answer in time");
            return Err(Denied::Failed);
        }
    };
    match read(&answer, &method_arn) {
        Ok(Some(admission)) => Ok(admission),
        Ok(None) => Err(Denied::Forbidden),
        Err(reason) => {
            log::line(
                name,
                &format!("malformed result of an authorizer: {reason}"),
            );
            Err(Denied::Failed)
        }
    }
}

/// Reports whether an identity source is present and not empty.
fn is_given(source: &IdentitySource, event: &Value) -> bool {
    let value = match source {
        IdentitySource::Header(name) => header(event, name),
        IdentitySource::Query(name) => event["queryStringParameters"][name].as_str(),
    };
    value.is_some_and(|value| !value.is_empty())
}

/// Returns a header of the event. The case of its name does not matter.
fn header<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    let headers = event["headers"].as_object()?;
    let (_, value) = headers
        .iter()
        .find(|(header, _)| header.eq_ignore_ascii_case(name))?;
    value.as_str()
}

/// Makes the authorizer's event from the `$connect` event. It has a few more keys and the headers of the hop, and its
/// empty maps are present.
fn request_event(connect_event: &Value, method_arn: &str) -> Value {
    let mut event = connect_event.clone();
    let Some(map) = event.as_object_mut() else {
        return event;
    };
    map.remove("isBase64Encoded");
    map.insert("type".to_owned(), "REQUEST".into());
    map.insert("methodArn".to_owned(), method_arn.into());
    for key in [
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "stageVariables",
    ] {
        map.entry(key).or_insert_with(|| json!({}));
    }
    for (name, value) in [
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("content-length", "0"),
    ] {
        event["headers"][name] = value.into();
        event["multiValueHeaders"][name] = json!([value]);
    }
    event
}

/// Reads the result of an authorizer; `None` if its policy does not allow the client to connect.
///
/// # Errors
/// The defect of the result, without its values.
fn read(answer: &Bytes, method_arn: &str) -> Result<Option<Admission>, String> {
    if answer.len() > MAX_ANSWER_BYTES {
        return Err(format!("it has more than {MAX_ANSWER_BYTES} bytes"));
    }
    let Ok(Value::Object(answer)) = serde_json::from_slice(answer) else {
        return Err("it is not a JSON object".to_owned());
    };
    let Some(Value::String(principal)) = answer.get("principalId") else {
        return Err("principalId is missing or not a string".to_owned());
    };
    let document = answer.get("policyDocument").unwrap_or(&Value::Null);
    let is_allowed = policy::allows(document, method_arn)?;
    let mut context = Map::new();
    match answer.get("context") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => {
            for (name, value) in given {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Bool(_) | Value::Number(_) => value.to_string(),
                    Value::Null => continue,
                    Value::Array(_) | Value::Object(_) => {
                        return Err("context holds a list or an object".to_owned());
                    }
                };
                context.insert(name.clone(), text.into());
            }
        }
        Some(_) => return Err("context is not an object".to_owned()),
    }
    context.insert("principalId".to_owned(), principal.as_str().into());
    let usage_identifier_key = answer.get("usageIdentifierKey").and_then(Value::as_str);
    Ok(is_allowed.then(|| Admission {
        context,
        usage_identifier_key: usage_identifier_key.map(str::to_owned),
    }))
}

fn api_key(keys: &ApiKeys, event: &Value, from_authorizer: Option<String>) -> Option<ApiKey> {
    let value = match keys.source {
        KeySource::Header => header(event, "x-api-key")?.to_owned(),
        KeySource::Authorizer => from_authorizer?,
    };
    let id = keys.ids.get(&value)?.clone();
    Some(ApiKey { value, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ARN: &str = "arn:aws:execute-api:eu-central-1:000000000000:local00000/prod/$connect";

    fn answer(more: Value) -> Bytes {
        let mut answer = json!({
            "principalId": "alice",
            "policyDocument": {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": ARN}],
            },
        });
        let Value::Object(more) = more else { panic!() };
        for (name, value) in more {
            answer[name] = value;
        }
        answer.to_string().into()
    }

    #[test]
    fn the_context_is_flat_and_its_values_become_texts() {
        let context = json!({"text": "a", "number": 1.5, "yes": true, "nothing": null});
        let given = answer(json!({"context": context, "usageIdentifierKey": "k"}));
        let admission = read(&given, ARN).unwrap().unwrap();
        assert_eq!(
            Value::Object(admission.context),
            json!({"principalId": "alice", "text": "a", "number": "1.5", "yes": "true"})
        );
        assert_eq!(admission.usage_identifier_key.as_deref(), Some("k"));
        for context in [
            json!({"a": []}),
            json!({"a": {"b": 1}}),
            json!([]),
            json!("a"),
        ] {
            let given = answer(json!({ "context": context }));
            assert!(read(&given, ARN).is_err(), "{context}");
        }
    }

    #[test]
    fn what_has_not_the_form_of_an_answer_is_malformed() {
        for given in ["", "null", "[]", "{}", r#"{"principalId":"a"}"#] {
            assert!(
                read(&Bytes::from_static(given.as_bytes()), ARN).is_err(),
                "{given}"
            );
        }
        assert!(read(&answer(json!({"principalId": 5})), ARN).is_err());
        let of_bytes = |bytes: usize| {
            let empty = answer(json!({"context": {"a": ""}})).len();
            answer(json!({"context": {"a": "x".repeat(bytes - empty)}}))
        };
        assert!(read(&of_bytes(8192), ARN).unwrap().is_some());
        assert!(read(&of_bytes(8193), ARN).is_err());
    }

    #[test]
    fn every_identity_source_must_be_there_and_not_empty() {
        let event = json!({
            "headers": {"X-Auth": "token", "X-Empty": ""},
            "queryStringParameters": {"token": "t", "empty": ""},
        });
        let header = |name: &str| is_given(&IdentitySource::Header(name.to_owned()), &event);
        let query = |name: &str| is_given(&IdentitySource::Query(name.to_owned()), &event);
        assert!(header("x-auth") && header("X-AUTH") && query("token"));
        assert!(!header("X-Empty") && !header("X-None") && !query("empty") && !query("Token"));
        assert!(!is_given(
            &IdentitySource::Query("a".to_owned()),
            &json!({})
        ));
    }

    #[test]
    fn the_authorizers_event_lacks_nothing_that_is_empty() {
        let connect = json!({
            "headers": {"Host": "h"}, "multiValueHeaders": {"Host": ["h"]},
            "requestContext": {"routeKey": "$connect"}, "isBase64Encoded": false,
        });
        assert_eq!(
            request_event(&connect, ARN),
            json!({
                "type": "REQUEST", "methodArn": ARN,
                "headers": {"Host": "h", "Connection": "upgrade", "Upgrade": "websocket", "content-length": "0"},
                "multiValueHeaders": {
                    "Host": ["h"], "Connection": ["upgrade"], "Upgrade": ["websocket"], "content-length": ["0"],
                },
                "queryStringParameters": {}, "multiValueQueryStringParameters": {}, "stageVariables": {},
                "requestContext": {"routeKey": "$connect"},
            })
        );
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_malformed(answer in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&answer.into(), ARN);
        }
    }
}
