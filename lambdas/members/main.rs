//! `members`: lists the users in a room.

use chat::settings;
use chat::{FrameLimit, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let presence = aws::presence(&config, &settings::process)?;
    lambda::serve(async |request| chat::members(&presence, &limit, &request).await).await
}
