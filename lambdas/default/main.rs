//! `$default`: answers any other frame with an error that lists the actions.

use chat::{FrameLimit, aws, lambda, settings};

pub(crate) async fn main() -> anyhow::Result<()> {
    let actions = settings::actions(&settings::process)?;
    let limit = FrameLimit::read(&settings::process, &aws::config()?)?;
    lambda::serve(async |request| chat::default(&actions, &limit, &request).await).await
}
