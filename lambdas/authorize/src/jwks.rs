//! Fetches the issuer's keys by URL and keeps them.
//!
//! The keys are fetched when first needed and kept for as long as the issuer says (`Cache-Control: max-age`), at least
//! 5 minutes and at most a day. While the issuer does not answer, they are used for another day. A token with an
//! unknown `kid` has them fetched at once, since the issuer may have changed its key, but at most once a minute: a
//! flood of made-up `kid`s is not passed on to the issuer.

use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use http_body_util::{BodyExt as _, Limited};
use thiserror::Error;
use tokio::time::timeout;

use crate::keys::KeySet;

/// The least and the longest time that keys are kept, in milliseconds.
const FRESH_MS: (i64, i64) = (300_000, 86_400_000);

/// The time that keys are used beyond that while the issuer does not answer, in milliseconds.
const STALE_MS: i64 = 86_400_000;

/// The least time between two fetches for an unknown `kid`, and between two of an issuer that does not answer.
const PAUSE_MS: i64 = 60_000;

/// The least time between two fetches while there are no keys: until then nobody can connect.
const PAUSE_WITHOUT_KEYS_MS: i64 = 5_000;

/// The longest time of a fetch. The handshake waits for it, and API Gateway allows 29 s for it and `$connect` together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest key set. An RSA key with its certificates has about 5 KB.
const MAX_BYTES: usize = 256 * 1024;

/// The keys of a URL.
#[derive(Debug)]
pub struct Jwks {
    url: String,
    connector: SharedHttpConnector,
    kept: Option<Kept>,
    tried_ms: Option<i64>,
    tried_for_unknown_ms: Option<i64>,
}

#[derive(Debug)]
struct Kept {
    keys: KeySet,
    fresh_until_ms: i64,
}

/// There are no keys, and the issuer does not answer.
#[derive(Debug, Error)]
#[error("the keys of the issuer cannot be had")]
pub struct Unavailable;

impl Jwks {
    /// Makes the store of keys. They are fetched when first needed.
    pub fn new(url: String) -> Self {
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build();
        Self {
            url,
            connector: SharedHttpConnector::new(connector),
            kept: None,
            tried_ms: None,
            tried_for_unknown_ms: None,
        }
    }

    /// The keys, fetched if that is due. `kid` is the token's.
    ///
    /// # Errors
    ///
    /// There are none.
    pub async fn keys(&mut self, kid: Option<&str>, now_ms: i64) -> Result<&KeySet, Unavailable> {
        let (due, last, pause_ms) = match &self.kept {
            None => (true, &mut self.tried_ms, PAUSE_WITHOUT_KEYS_MS),
            Some(kept) if now_ms >= kept.fresh_until_ms => (true, &mut self.tried_ms, PAUSE_MS),
            Some(kept) => {
                let unknown = kid.is_some() && kept.keys.of(kid).is_empty();
                (unknown, &mut self.tried_for_unknown_ms, PAUSE_MS)
            }
        };
        // A clock that was set back must not stop the fetching.
        let rested = last.is_none_or(|last| !(last..last + pause_ms).contains(&now_ms));
        if due && rested {
            *last = Some(now_ms);
            match self.fetch().await {
                Ok((keys, max_age_s)) => {
                    let max_age_ms = max_age_s.unwrap_or(0).saturating_mul(1_000);
                    let fresh_ms = max_age_ms.clamp(FRESH_MS.0, FRESH_MS.1);
                    self.kept = Some(Kept {
                        keys,
                        fresh_until_ms: now_ms.saturating_add(fresh_ms),
                    });
                }
                Err(cause) => {
                    tracing::warn!(url = self.url, cause, "the issuer's keys were not fetched");
                }
            }
        }
        match &self.kept {
            Some(kept) if now_ms < kept.fresh_until_ms.saturating_add(STALE_MS) => Ok(&kept.keys),
            _ => Err(Unavailable),
        }
    }

    /// The key set and its `max-age` in seconds. Redirects are not followed.
    async fn fetch(&self) -> Result<(KeySet, Option<i64>), String> {
        timeout(TIMEOUT, self.get())
            .await
            .map_err(|_| format!("no answer within {TIMEOUT:?}"))?
    }

    async fn get(&self) -> Result<(KeySet, Option<i64>), String> {
        let mut request = HttpRequest::get(&self.url).map_err(|error| error.to_string())?;
        request.headers_mut().insert("accept", "application/json");
        let response = self
            .connector
            .call(request)
            .await
            .map_err(|error| chat::errors::causes(&error))?;
        if response.status().as_u16() != 200 {
            return Err(format!("status {}", response.status().as_u16()));
        }
        let max_age_s = response.headers().get("cache-control").and_then(max_age);
        let body = Limited::new(response.into_body(), MAX_BYTES)
            .collect()
            .await;
        let body = body
            .map_err(|_| format!("the key set breaks off, or has more than {MAX_BYTES} bytes"))?;
        let keys = KeySet::parse(&body.to_bytes()).map_err(|error| error.to_string())?;
        Ok((keys, max_age_s))
    }
}

fn max_age(cache_control: &str) -> Option<i64> {
    let directives = cache_control.split(',').map(str::trim);
    directives
        .filter_map(|directive| directive.split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("max-age"))
        .and_then(|(_, value)| value.trim_matches('"').parse().ok())
}
