//! `$default`: answers any other frame with an error that says what is possible. Needs no AWS service.

use std::process::ExitCode;

use chat::{lambda, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::main(async {
        let actions = settings::actions(&settings::process)?;
        lambda::serve(async |request| chat::default(&actions, &request)).await
    })
    .await
}
