//! `history`: reads a page of a room's log.

use std::process::ExitCode;

use chat::settings::{self, History, Table};
use chat::{aws, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run::main(async {
        let table = Table::read(&settings::process)?;
        let history = History::read(&settings::process)?;
        let config = aws::config()?;
        let connections = aws::connections(&config, table);
        let log = aws::log(&config, history);
        run::serve(async |request| chat::history(&connections, &log, &request).await).await
    })
    .await
}
