//! `history`: reads a page of a room's log.

use std::process::ExitCode;

use chat::settings::{self, ConnectionsTable, MessagesTable};
use chat::{aws, lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::main(async {
        let table = ConnectionsTable::read(&settings::process)?;
        let history = MessagesTable::read(&settings::process)?;
        let config = aws::config()?;
        let connections = aws::connections(&config, table);
        let log = aws::log(&config, history);
        lambda::serve(async |request| chat::history(&connections, &log, &request).await).await
    })
    .await
}
