//! The issuer's public keys. **A key says which algorithms it verifies, a token never does**: an attacker could choose
//! `none`, or an HMAC whose secret is the text of the public key.

use std::str::FromStr as _;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// The shortest RSA modulus, in bits.
const MIN_RSA_BITS: usize = 2_048;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Usable keys; at least one.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

/// A key.
#[derive(Debug)]
pub struct Key {
    kid: Option<String>,
    /// The algorithms that the key verifies.
    pub algorithms: Vec<Algorithm>,
    /// The key itself.
    pub decoding: DecodingKey,
}

/// The reason why a key set cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Not a JSON object with a list `keys`.
    #[error("the key set is not a JSON object with a list of keys")]
    Shape,
    /// No key of the set fits an accepted algorithm.
    #[error(
        "none of its {0} keys can be used: RSA of at least 2048 bits, EC P-256 or P-384, or Ed25519, for signatures"
    )]
    NoUsableKey(usize),
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys for other purposes and of other kinds are skipped, symmetric ones too: a secret
    /// that is published is not a secret.
    ///
    /// # Errors
    ///
    /// It is not a key set, or no key of it can be used.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| KeySetError::Shape)?;
        let count = set.keys.len();
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::new).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey(count));
        }
        Ok(Self(keys))
    }

    /// One secret, for HS256 alone.
    pub fn secret(secret: &[u8]) -> Self {
        Self(vec![Key {
            kid: None,
            algorithms: vec![Algorithm::HS256],
            decoding: DecodingKey::from_secret(secret),
        }])
    }

    /// The keys that may have signed a token: those of its `kid`; without a `kid`, the only one of the set. A secret
    /// has no `kid` and matches every token.
    pub fn of(&self, kid: Option<&str>) -> Vec<&Key> {
        match (kid, self.0.as_slice()) {
            (_, [only]) if only.algorithms == [Algorithm::HS256] => vec![only],
            (None, [only]) => vec![only],
            (None, _) => Vec::new(),
            (Some(kid), keys) => keys
                .iter()
                .filter(|key| key.kid.as_deref() == Some(kid))
                .collect(),
        }
    }
}

impl Key {
    fn new(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        if let Some(operations) = &common.key_operations
            && !operations.contains(&KeyOperations::Verify)
        {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        let mut algorithms = algorithms(&jwk, &decoding)?;
        if let Some(named) = common.key_algorithm {
            let named = Algorithm::from_str(&named.to_string()).ok()?;
            algorithms.retain(|algorithm| *algorithm == named);
        }
        (!algorithms.is_empty()).then_some(Self {
            kid: jwk.common.key_id,
            algorithms,
            decoding,
        })
    }
}

/// The algorithms that a kind of key verifies.
fn algorithms(jwk: &Jwk, decoding: &DecodingKey) -> Option<Vec<Algorithm>> {
    let bytes = || decoding.try_get_as_bytes().map_or(0, <[u8]>::len);
    // An EC point is written as 4 and its two coordinates.
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => match decoding.kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } => {
                (bits(n) >= MIN_RSA_BITS).then(|| RSA.to_vec())
            }
            DecodingKeyKind::SecretOrDer(_) => None,
        },
        AlgorithmParameters::EllipticCurve(key) => match (&key.curve, bytes()) {
            (EllipticCurve::P256, 65) => Some(vec![Algorithm::ES256]),
            (EllipticCurve::P384, 97) => Some(vec![Algorithm::ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) => match (&key.curve, bytes()) {
            (EllipticCurve::Ed25519, 32) => Some(vec![Algorithm::EdDSA]),
            _ => None,
        },
        // `oct` among them: a secret that is published is not a secret.
        _ => None,
    }
}

fn bits(modulus: &[u8]) -> usize {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let significant = &modulus[zeros..];
    let leading = significant
        .first()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    significant.len() * 8 - leading
}
