//! `leave`: the connection is no member of a room any more.

use chat::settings;
use chat::{FrameLimit, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let presence = aws::presence(&config, &settings::process)?;
    lambda::serve(async |request| chat::leave(&presence, &limit, &request).await).await
}
