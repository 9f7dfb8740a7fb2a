//! `$default`: answers any other frame with an error that says what is possible. Needs no AWS service.

use chat::{FrameLimit, lambda, settings};

pub(crate) async fn main() -> anyhow::Result<()> {
    let actions = settings::actions(&settings::process)?;
    let limit = FrameLimit::read(&settings::process)?;
    lambda::serve(async |request| chat::default(&actions, &limit, &request)).await
}
