//! The authorizer of `$connect`: verifies the token of a handshake.

use authorizer::{Authorizer, Settings};
use chat::settings;

pub(crate) async fn main() -> anyhow::Result<()> {
    authorizer::serve(Authorizer::new(Settings::read(&settings::process)?)).await
}
