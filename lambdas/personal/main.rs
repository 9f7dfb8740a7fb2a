//! `mark`, `marks`, `block`, `unblock`: how far a user has read, and from whom the user wants no messages.

use chat::{Desk, FrameLimit, aws, lambda, settings};

pub(crate) async fn main() -> anyhow::Result<()> {
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let desk = Desk::read(&settings::process, || Ok(config))?;
    lambda::serve(async |request| chat::personal(desk.as_ref(), &limit, &request).await).await
}
