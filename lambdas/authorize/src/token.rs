//! Verifies a token and reads its claims.

use std::collections::BTreeMap;

use chat::identity::{Identity, LEEWAY_S, MAX_DISPLAY_CHARS, check_user};
use chat::protocol::Grants;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::keys::Key;
use crate::settings::Claims;

/// The reason why a token is refused. It goes to the log only, and the text holds nothing of the token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// Not three parts of base64url, or not JSON in them.
    #[error("the token cannot be read")]
    Malformed,
    /// The header has `crit`: extensions that a verifier must know. None is known here.
    #[error("the token's header has crit")]
    Critical,
    /// No key has this `kid`, or the token has no `kid` and the set has several keys.
    #[error("no key of the token's kid")]
    UnknownKey,
    /// The key does not verify the header's `alg`.
    #[error("the token's algorithm is not one of its key")]
    Algorithm,
    /// The signature does not match.
    #[error("the signature does not match")]
    Signature,
    /// A claim is missing or of another type.
    #[error("the claim {0} is missing or not valid")]
    Claim(&'static str),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    Early,
    /// `iss` is another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` is another audience.
    #[error("the token is for another audience")]
    Audience,
    /// The user breaks a rule for names.
    #[error("the token's user is not allowed: user {0}")]
    User(String),
    /// The rights cannot be read.
    #[error("the token's rooms are not valid: rooms {0}")]
    Rooms(String),
}

/// Reads the header of a token, to find the key that must have signed it.
///
/// # Errors
///
/// The text is not a token, or the header has `crit`.
pub fn header(token: &str) -> Result<Header, Refused> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Malformed)?;
    match header.crit {
        None => Ok(header),
        Some(_) => Err(Refused::Critical),
    }
}

/// Verifies `token` under one of `keys`.
///
/// # Errors
///
/// The first check that fails.
pub fn verify(token: &str, keys: &[&Key], claims: &Claims) -> Result<Identity, Refused> {
    let mut refused = Refused::UnknownKey;
    for key in keys {
        match jsonwebtoken::decode::<Map<String, Value>>(
            token,
            &key.decoding,
            &validation(&key.algorithms, claims),
        ) {
            Ok(token) => return identity(&token.claims, claims),
            Err(error) => refused = reason(&error),
        }
    }
    Err(refused)
}

fn validation(algorithms: &[Algorithm], claims: &Claims) -> Validation {
    let mut validation = Validation {
        algorithms: algorithms.to_vec(),
        validate_nbf: true,
        leeway: LEEWAY_S.unsigned_abs(),
        // `check_audience` does that.
        validate_aud: false,
        ..Validation::default()
    };
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    validation.set_issuer(&[&claims.issuer]);
    validation
}

/// The texts of some of the crate's errors quote the token.
fn reason(error: &Error) -> Refused {
    match error.kind() {
        ErrorKind::InvalidSignature => Refused::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Refused::Algorithm,
        ErrorKind::ExpiredSignature => Refused::Expired,
        ErrorKind::ImmatureSignature => Refused::Early,
        ErrorKind::InvalidIssuer => Refused::Issuer,
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => {
            Refused::Claim(match name.as_str() {
                "exp" => "exp",
                "iss" => "iss",
                "sub" => "sub",
                _ => "nbf",
            })
        }
        _ => Refused::Malformed,
    }
}

/// Reads the claims of a token whose signature, `exp`, `nbf` and `iss` are good.
fn identity(token: &Map<String, Value>, claims: &Claims) -> Result<Identity, Refused> {
    // The crate would also accept a list of issuers.
    if !token.get("iss").is_some_and(Value::is_string) {
        return Err(Refused::Claim("iss"));
    }
    check_audience(token, &claims.audience)?;
    let user = token
        .get(&claims.user)
        .and_then(Value::as_str)
        .ok_or(Refused::Claim("of the user"))?;
    check_user(user).map_err(|error| Refused::User(error.to_string()))?;
    // Such names are for users without a token.
    if user.starts_with("guest-") {
        return Err(Refused::User("must not begin with guest-".to_owned()));
    }
    let name = match token.get(&claims.name) {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => {
            let shown = name.chars().filter(|c| !c.is_control());
            Some(shown.take(MAX_DISPLAY_CHARS).collect()).filter(|name: &String| !name.is_empty())
        }
        Some(_) => return Err(Refused::Claim("of the name")),
    };
    Ok(Identity {
        user: user.to_owned(),
        name,
        grants: grants(token.get(&claims.rooms), &claims.default_rooms)?,
        exp: Some(seconds(token, "exp")?.ok_or(Refused::Claim("exp"))?),
        iat: seconds(token, "iat")?,
    })
}

/// Requires that one of the token's audiences is an accepted one. An access token of Cognito has its audience in
/// `client_id` and no `aud`. Like API Gateway's own JWT authorizers, takes `client_id` where `aud` is missing.
fn check_audience(token: &Map<String, Value>, audience: &[String]) -> Result<(), Refused> {
    let is_ours = |value: &Value| {
        value
            .as_str()
            .is_some_and(|aud| audience.iter().any(|a| a == aud))
    };
    let given = token.get("aud").or_else(|| token.get("client_id"));
    let ours = match given {
        None | Some(Value::Null) => return Err(Refused::Claim("aud")),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => list.iter().any(is_ours),
        Some(one @ Value::String(_)) => is_ours(one),
        Some(_) => return Err(Refused::Claim("aud")),
    };
    if ours { Ok(()) } else { Err(Refused::Audience) }
}

/// Reads the rights: an object, or its JSON as text, since some identity providers have only claims of text.
fn grants(claim: Option<&Value>, default: &Grants) -> Result<Grants, Refused> {
    let grants = match claim {
        None | Some(Value::Null) => return Ok(default.clone()),
        Some(Value::String(json)) => Grants::parse(json),
        Some(object) => {
            let object: BTreeMap<String, Vec<String>> = serde_json::from_value(object.clone())
                .map_err(|_| Refused::Claim("of the rooms"))?;
            Grants::new(object)
        }
    };
    grants.map_err(|error| Refused::Rooms(error.to_string()))
}

/// A NumericDate (RFC 7519, section 2): seconds, possibly with a fraction.
fn seconds(token: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, Refused> {
    match token.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            // `as` cuts a fraction, and takes the nearest i64 for a number outside its range.
            let seconds = number
                .as_i64()
                .or_else(|| number.as_f64().map(|seconds| seconds as i64));
            Ok(seconds)
        }
        Some(_) => Err(Refused::Claim(name)),
    }
}
