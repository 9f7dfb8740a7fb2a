//! The environment variables, read once at start.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use chat::protocol::Grants;
use chat::settings::Lookup;
use serde::Deserialize;

use crate::keys::KeySet;

/// The shortest secret, in bytes: as long as the hash of HS256 (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// The settings of the authorizer.
#[derive(Debug)]
pub struct Settings {
    /// The rules for accepting tokens, and the names of the claims that are read.
    pub claims: Claims,
    /// The rights of a user without a token; none where every user needs one.
    pub anonymous: Option<Grants>,
    /// The source of the keys.
    pub keys: KeySource,
}

/// The rules for accepting tokens, and the names of the claims that are read.
#[derive(Debug)]
pub struct Claims {
    /// The only accepted `iss`.
    pub issuer: String,
    /// The accepted `aud`: one of them must be among a token's.
    pub audience: Vec<String>,
    /// The claim that holds the user.
    pub user: String,
    /// The claim that holds the name to show.
    pub name: String,
    /// The claim that holds the rights by pattern of rooms.
    pub rooms: String,
    /// The rights of a token without that claim.
    pub default_rooms: Grants,
}

/// The source of the keys.
#[derive(Debug)]
pub enum KeySource {
    /// The URL of a JSON Web Key Set (RFC 7517).
    Url(String),
    /// Keys that do not change: those of the setting `jwks`, or the one of `AUTH_SECRET`.
    Fixed(KeySet),
}

/// Terraform's variable `auth`, as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    issuer: String,
    audience: Vec<String>,
    jwks_url: Option<String>,
    jwks: Option<String>,
    user_claim: Option<String>,
    name_claim: Option<String>,
    rooms_claim: Option<String>,
    default_rooms: Option<BTreeMap<String, Vec<String>>>,
    anonymous: Option<BTreeMap<String, Vec<String>>>,
}

impl Settings {
    /// Reads `AUTH_SETTINGS` (JSON: Terraform's variable `auth`) and `AUTH_SECRET`.
    ///
    /// # Errors
    ///
    /// One sentence naming the missing or invalid setting, without the secret.
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Self> {
        let json = env("AUTH_SETTINGS")
            .filter(|json| !json.is_empty())
            .context("AUTH_SETTINGS is not set: it must hold issuer, audience and more as JSON")?;
        let auth: Auth = serde_json::from_str(&json).context("AUTH_SETTINGS is not valid")?;
        if auth.issuer.is_empty() {
            bail!("AUTH_SETTINGS: issuer must not be empty");
        }
        if auth.audience.is_empty() || auth.audience.iter().any(String::is_empty) {
            bail!("AUTH_SETTINGS: audience must name at least one audience");
        }
        let secret = env("AUTH_SECRET").filter(|secret| !secret.is_empty());
        let keys = match (secret, auth.jwks, auth.jwks_url) {
            (Some(secret), None, None) => {
                if secret.len() < MIN_SECRET_BYTES {
                    bail!("AUTH_SECRET must have at least {MIN_SECRET_BYTES} bytes");
                }
                KeySource::Fixed(KeySet::secret(secret.as_bytes()))
            }
            (None, Some(jwks), None) => KeySource::Fixed(
                KeySet::parse(jwks.as_bytes()).context("AUTH_SETTINGS: jwks is not valid")?,
            ),
            (None, None, url) => {
                let default = || {
                    let issuer = auth.issuer.trim_end_matches('/');
                    format!("{issuer}/.well-known/jwks.json")
                };
                KeySource::Url(checked_url(url.unwrap_or_else(default))?)
            }
            _ => bail!("give one of AUTH_SECRET and jwks and jwks_url of AUTH_SETTINGS, not two"),
        };
        let grants = |given: BTreeMap<_, _>, name: &str| {
            Grants::new(given).with_context(|| format!("AUTH_SETTINGS: {name} is not valid"))
        };
        let anonymous = grants(auth.anonymous.unwrap_or_default(), "anonymous")?;
        Ok(Self {
            claims: Claims {
                issuer: auth.issuer,
                audience: auth.audience,
                user: auth.user_claim.unwrap_or_else(|| "sub".to_owned()),
                name: auth.name_claim.unwrap_or_else(|| "name".to_owned()),
                rooms: auth.rooms_claim.unwrap_or_else(|| "rooms".to_owned()),
                default_rooms: match auth.default_rooms {
                    Some(given) => grants(given, "default_rooms")?,
                    None => Grants::everywhere(),
                },
            },
            anonymous: Some(anonymous).filter(|grants| !grants.is_empty()),
            keys,
        })
    }
}

/// Refuses keys from a connection that an attacker can change.
fn checked_url(url: String) -> anyhow::Result<String> {
    let loopback = ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
        url.strip_prefix("http://")
            .and_then(|rest| rest.strip_prefix(host))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    if !url.starts_with("https://") && !loopback {
        bail!(
            "AUTH_SETTINGS: the URL of the keys must begin with https://, not be {url:?}; give jwks_url, or jwks"
        );
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(auth: &Value, secret: Option<&str>) -> anyhow::Result<Settings> {
        let auth = auth.to_string();
        Settings::read(&|name| match name {
            "AUTH_SETTINGS" => Some(auth.clone()),
            "AUTH_SECRET" => secret.map(str::to_owned),
            _ => None,
        })
    }

    fn url(auth: &Value) -> String {
        match read(auth, None).unwrap().keys {
            KeySource::Url(url) => url,
            KeySource::Fixed(keys) => panic!("{keys:?}"),
        }
    }

    #[test]
    fn the_keys_are_at_the_issuer_unless_said_otherwise() {
        for issuer in ["https://x.auth0.com", "https://x.auth0.com/"] {
            let auth = json!({"issuer": issuer, "audience": ["chat"]});
            assert_eq!(url(&auth), "https://x.auth0.com/.well-known/jwks.json");
        }
        let auth = json!({"issuer": "i", "audience": ["chat"], "jwks_url": "http://127.0.0.1:9/k",
            "jwks": null, "user_claim": null, "anonymous": {}});
        assert_eq!(url(&auth), "http://127.0.0.1:9/k");
        let settings = read(&auth, None).unwrap();
        assert!(settings.anonymous.is_none());
        assert_eq!(settings.claims.default_rooms, Grants::everywhere());
        assert_eq!(
            (
                settings.claims.user.as_str(),
                settings.claims.rooms.as_str()
            ),
            ("sub", "rooms")
        );
    }

    #[test]
    fn each_wrong_setting_is_named() {
        let good = json!({"issuer": "https://i", "audience": ["chat"]});
        let with = |key: &str, value: Value| {
            let mut auth = good.clone();
            auth[key] = value;
            auth
        };
        let long = "s".repeat(32);
        for (auth, secret, text) in [
            (json!({}), None, "AUTH_SETTINGS is not valid"),
            (with("issuer", json!("")), None, "issuer must not be empty"),
            (
                with("issuer", json!("mine")),
                None,
                "must begin with https://",
            ),
            (with("audience", json!([])), None, "audience"),
            (with("audience", json!([""])), None, "audience"),
            (
                with("audience", json!("chat")),
                None,
                "AUTH_SETTINGS is not valid",
            ),
            (
                with("jwks_url", json!("http://i/k")),
                None,
                "must begin with https://",
            ),
            (
                with("jwks_url", json!("http://localhost.example.com/k")),
                None,
                "must begin with https://",
            ),
            (with("jwks", json!("{}")), None, "jwks is not valid"),
            (
                with("jwks", json!(r#"{"keys":[]}"#)),
                None,
                "jwks is not valid",
            ),
            (
                with("default_rooms", json!({"*": ["fly"]})),
                None,
                "default_rooms is not valid",
            ),
            (
                with("anonymous", json!({"****": []})),
                None,
                "anonymous is not valid",
            ),
            (
                with("isuer", json!("x")),
                None,
                "AUTH_SETTINGS is not valid",
            ),
            (
                good.clone(),
                Some("short-secret"),
                "AUTH_SECRET must have at least 32 bytes",
            ),
            (
                with("jwks_url", json!("https://i/k")),
                Some(long.as_str()),
                "give one of",
            ),
        ] {
            let error = format!("{:#}", read(&auth, secret).unwrap_err());
            assert!(error.contains(text), "{auth}: {error}");
            assert!(
                !secret.is_some_and(|secret| error.contains(secret)),
                "{error}"
            );
        }
        assert!(
            Settings::read(&|_| None)
                .unwrap_err()
                .to_string()
                .starts_with("AUTH_SETTINGS")
        );
        assert!(read(&good, Some(&long)).is_ok());
    }
}
