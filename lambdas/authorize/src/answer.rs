//! The decision, in the form that API Gateway takes.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use chat::identity::Identity;
use chat::protocol::Grants;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::handshake::{Event, Found};
use crate::jwks::{Jwks, Unavailable};
use crate::keys::KeySet;
use crate::settings::{Claims, KeySource, Settings};
use crate::token::{self, Refused};

/// The largest context, in bytes of JSON. API Gateway allows 8 KB for the whole answer.
pub const MAX_CONTEXT_BYTES: usize = 4_096;

/// The authorizer; one for each process.
#[derive(Debug)]
pub struct Authorizer {
    claims: Claims,
    anonymous: Option<Grants>,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    Fetched(Box<Jwks>),
    Fixed(KeySet),
}

/// The decision about a handshake.
#[derive(Debug)]
pub enum Decision {
    /// The client may connect, as this context says.
    Allow(Map<String, Value>),
    /// The client may not connect (403). The reason is for the log.
    Deny(String),
    /// The handshake has no token (401).
    NoToken,
    /// The issuer's keys are unavailable (500).
    KeysUnavailable,
}

impl Authorizer {
    /// Makes the authorizer. Keys are read later.
    pub fn new(settings: Settings) -> Self {
        Self {
            claims: settings.claims,
            anonymous: settings.anonymous,
            keys: match settings.keys {
                KeySource::Url(url) => Keys::Fetched(Box::new(Jwks::new(url))),
                KeySource::Fixed(keys) => Keys::Fixed(keys),
            },
        }
    }

    /// Decides about a handshake.
    pub async fn decide(&mut self, event: &Event, now_ms: i64) -> Decision {
        let identity = match event.token() {
            Found::Token(token) => match self.verify(&token, now_ms).await {
                Ok(Ok(identity)) => identity,
                Ok(Err(refused)) => return Decision::Deny(refused.to_string()),
                Err(Unavailable) => return Decision::KeysUnavailable,
            },
            Found::Unusable(why) => return Decision::Deny(why.to_owned()),
            Found::Nothing => match &self.anonymous {
                Some(grants) => Identity {
                    user: guest(),
                    name: None,
                    grants: grants.clone(),
                    exp: None,
                    iat: None,
                },
                None => return Decision::NoToken,
            },
        };
        let context = context(&identity);
        let bytes = Value::Object(context.clone()).to_string().len();
        if bytes > MAX_CONTEXT_BYTES {
            return Decision::Deny(format!(
                "the token's rooms are too long: the context has {bytes} bytes, at most {MAX_CONTEXT_BYTES}"
            ));
        }
        Decision::Allow(context)
    }

    async fn verify(
        &mut self,
        token: &str,
        now_ms: i64,
    ) -> Result<Result<Identity, Refused>, Unavailable> {
        let header = match token::header(token) {
            Ok(header) => header,
            Err(refused) => return Ok(Err(refused)),
        };
        let kid = header.kid.as_deref();
        let keys = match &mut self.keys {
            Keys::Fetched(jwks) => jwks.keys(kid, now_ms).await?,
            Keys::Fixed(keys) => keys,
        };
        Ok(token::verify(token, &keys.of(kid), &self.claims))
    }
}

/// A user without a token: `guest-` and 12 random characters of 31, so that no two are alike.
fn guest() -> String {
    // Without 0, 1, i, l and o, which people misread.
    const ALPHABET: &[u8] = b"23456789abcdefghjkmnpqrstuvwxyz";
    let tail = (0..12).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]));
    "guest-".chars().chain(tail).collect()
}

/// The context, which `chat::identity` reads. Every value is a string, as API Gateway would make it.
fn context(identity: &Identity) -> Map<String, Value> {
    let mut context = Map::new();
    let mut insert = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            context.insert(key.to_owned(), value.into());
        }
    };
    insert("user", Some(identity.user.clone()));
    insert("name", identity.name.clone());
    insert("rooms", serde_json::to_string(&identity.grants).ok());
    insert("exp", identity.exp.map(|exp| exp.to_string()));
    insert("iat", identity.iat.map(|iat| iat.to_string()));
    context
}

/// The answer to API Gateway: a policy for this one API and stage, and the context.
pub fn policy(event: &Event, context: Option<Map<String, Value>>) -> Value {
    let user = context.as_ref().and_then(|context| context.get("user"));
    json!({
        "principalId": user.unwrap_or(&"denied".into()),
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{
                "Action": "execute-api:Invoke",
                "Effect": if context.is_some() { "Allow" } else { "Deny" },
                "Resource": event.method_arn,
            }],
        },
        "context": context.unwrap_or_default(),
    })
}

/// Takes handshakes until the process ends, one at a time.
///
/// # Errors
///
/// The Runtime API cannot be reached.
pub async fn serve(authorizer: Authorizer) -> anyhow::Result<()> {
    let authorizer = Mutex::new(authorizer);
    let handler = service_fn(async |event: LambdaEvent<Event>| {
        let mut authorizer = authorizer.lock().await;
        answer(&mut authorizer, &event.payload).await
    });
    lambda_runtime::run(handler)
        .await
        .map_err(|error| anyhow!(error))
}

async fn answer(authorizer: &mut Authorizer, event: &Event) -> Result<Value, Diagnostic> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    match authorizer.decide(event, now_ms).await {
        Decision::Allow(context) => {
            tracing::info!("authorized");
            Ok(policy(event, Some(context)))
        }
        Decision::Deny(reason) => {
            tracing::info!(reason, "refused");
            Ok(policy(event, None))
        }
        // API Gateway answers 401 to exactly this text, and 500 to any other error.
        Decision::NoToken => Err(error("Unauthorized", "Unauthorized")),
        Decision::KeysUnavailable => {
            // An alarm looks for these words: terraform/observability.tf.
            const WHY: &str = "the issuer does not answer, and no keys are kept";
            tracing::error!("{WHY}");
            Err(error("KeysUnavailable", WHY))
        }
    }
}

fn error(error_type: &str, error_message: &str) -> Diagnostic {
    Diagnostic {
        error_type: error_type.to_owned(),
        error_message: error_message.to_owned(),
    }
}
