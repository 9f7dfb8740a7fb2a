//! The authorizer of `$connect`: verifies a JSON Web Token (RFC 7519) at the handshake.
//!
//! A Lambda authorizer of type REQUEST. API Gateway invokes it before `$connect` and adds the context of its answer to
//! every later event of the connection, where `chat::identity` reads it. No other function knows tokens or keys.
//!
//! - [`settings`]: the environment variables, read once.
//! - [`handshake`]: finds the token in the handshake's headers and query.
//! - [`keys`]: the issuer's public keys, and which algorithms each of them verifies.
//! - [`jwks`]: fetches the keys by URL and keeps them.
//! - [`token`]: verifies a token and reads its claims.
//! - [`answer`]: the decision, in the form that API Gateway takes, and the loop that takes handshakes.

pub mod answer;
pub mod handshake;
pub mod jwks;
pub mod keys;
pub mod settings;
pub mod token;

pub use answer::{Authorizer, serve};
pub use settings::Settings;
