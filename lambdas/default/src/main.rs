//! `$default`: answers any other frame with an error that says what is possible. Needs no AWS service.

use std::process::ExitCode;

use chat::{run, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run::main(async {
        let actions = settings::actions(&settings::process)?;
        run::serve(async |request| chat::default(&actions, &request)).await
    })
    .await
}
