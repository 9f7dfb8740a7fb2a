//! An identity provider: keys that are made for each run, and tokens under them.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use authorizer::answer::{Authorizer, Decision};
use authorizer::handshake::Event;
use authorizer::settings::Settings;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example/";
pub(crate) const AUDIENCE: &str = "chat";

/// A key, and what the issuer publishes of it.
pub(crate) struct Signer {
    pub(crate) key: EncodingKey,
    pub(crate) jwk: Value,
}

pub(crate) struct Signers {
    pub(crate) rsa: Signer,
    pub(crate) other_rsa: Signer,
    pub(crate) p256: Signer,
    pub(crate) p384: Signer,
    pub(crate) ed: Signer,
}

pub(crate) static KEYS: LazyLock<Signers> = LazyLock::new(|| Signers {
    rsa: rsa("rsa"),
    other_rsa: rsa("rsa"),
    p256: ec("p256", Algorithm::ES256),
    p384: ec("p384", Algorithm::ES384),
    ed: {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        signer(
            "ed",
            EncodingKey::from_ed_der(document.as_ref()),
            Algorithm::EdDSA,
        )
    },
});

fn rsa(kid: &str) -> Signer {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    // The RSA key itself (PKCS #1) follows 26 bytes of PKCS #8.
    let key = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
    signer(kid, key, Algorithm::RS256)
}

fn ec(kid: &str, algorithm: Algorithm) -> Signer {
    let signing = match algorithm {
        Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        _ => &ECDSA_P384_SHA384_FIXED_SIGNING,
    };
    let document = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
    signer(kid, EncodingKey::from_ec_der(document.as_ref()), algorithm)
}

/// Published without `alg`: the kind of the key decides.
fn signer(kid: &str, key: EncodingKey, algorithm: Algorithm) -> Signer {
    let jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk.as_object_mut().unwrap().remove("alg");
    jwk["kid"] = kid.into();
    jwk["use"] = "sig".into();
    Signer { key, jwk }
}

pub(crate) fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// The claims of a good token for alice.
pub(crate) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now_s() + 600, "iat": now_s()})
}

pub(crate) fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with this header, signed in the way of `algorithm`, whatever the header says.
pub(crate) fn signed(
    header: &Value,
    claims: &Value,
    key: &EncodingKey,
    algorithm: Algorithm,
) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// A good token with these claims, under the P-256 key.
pub(crate) fn token(claims: &Value) -> String {
    let header = json!({"alg": "ES256", "kid": "p256"});
    signed(&header, claims, &KEYS.p256.key, Algorithm::ES256)
}

/// An authorizer with these keys.
pub(crate) fn authorizer(keys: &[&Value]) -> Authorizer {
    with(
        &json!({ "jwks": json!({ "keys": keys }).to_string() }),
        None,
    )
}

/// An authorizer with further settings.
pub(crate) fn with(more: &Value, secret: Option<&str>) -> Authorizer {
    let mut auth = json!({"issuer": ISSUER, "audience": ["other", AUDIENCE]});
    for (key, value) in more.as_object().unwrap() {
        auth[key] = value.clone();
    }
    let auth = auth.to_string();
    let settings = Settings::read(&|name| match name {
        "AUTH_SETTINGS" => Some(auth.clone()),
        "AUTH_SECRET" => secret.map(str::to_owned),
        _ => None,
    });
    Authorizer::new(settings.unwrap())
}

pub(crate) fn event(token: &str) -> Event {
    let query = json!({ "token": token });
    serde_json::from_value(json!({"methodArn": "arn", "queryStringParameters": query})).unwrap()
}

/// "alice" for an Allow, the reason for a Deny.
pub(crate) async fn outcome(authorizer: &mut Authorizer, token: &str) -> String {
    outcome_at(authorizer, token, now_s() * 1_000).await
}

pub(crate) async fn outcome_at(authorizer: &mut Authorizer, token: &str, now_ms: i64) -> String {
    match authorizer.decide(&event(token), now_ms).await {
        Decision::Allow(context) => context["user"].as_str().unwrap().to_owned(),
        Decision::Deny(reason) => reason,
        Decision::NoToken => "401".to_owned(),
        Decision::KeysUnavailable => "500".to_owned(),
    }
}
