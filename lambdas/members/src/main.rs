//! `members`: lists the users in a room.

use std::process::ExitCode;

use chat::settings::{self, Table};
use chat::{aws, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run::main(async {
        let table = Table::read(&settings::process)?;
        let connections = aws::connections(&aws::config()?, table);
        run::serve(async |request| chat::members(&connections, &request).await).await
    })
    .await
}
