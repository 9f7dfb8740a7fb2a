//! `$disconnect`: leaves every room.

use chat::settings;
use chat::{aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let presence = aws::presence(&aws::config()?, &settings::process)?;
    lambda::serve(async |request| chat::disconnect(&presence, &request).await).await
}
