//! The authorizer against forged tokens and a misbehaving issuer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod issuer;
mod jwks;
mod tokens;
