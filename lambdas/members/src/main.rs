//! `members`: lists the users in a room.

use std::process::ExitCode;

use chat::settings::{self, ConnectionsTable};
use chat::{aws, lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::main(async {
        let table = ConnectionsTable::read(&settings::process)?;
        let connections = aws::connections(&aws::config()?, table);
        lambda::serve(async |request| chat::members(&connections, &request).await).await
    })
    .await
}
