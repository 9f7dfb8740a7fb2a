//! Tokens for a gateway with identity.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The secret that [`token`] signs with.
pub const SECRET: &str = "the secret of the tests, 32 bytes";

/// The gateway's flags that turn identity on, with [`SECRET`].
pub const IDENTITY: [&str; 4] = [
    "--var",
    r#"auth={issuer="roomchat",audience=["roomchat"]}"#,
    "--var",
    "auth_secret=the secret of the tests, 32 bytes",
];

/// Seconds since 1970.
pub fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// A token of `user` that is valid for `seconds`, with these rights; null: those of a token without the claim.
pub fn token(user: &str, rooms: &Value, seconds: i64) -> String {
    let claims = json!({
        "iss": "roomchat", "aud": "roomchat", "sub": user, "rooms": rooms, "iat": now_s(), "exp": now_s() + seconds,
    });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &claims, &key).unwrap()
}
