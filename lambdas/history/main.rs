//! `history`: reads a page of a room's log.

use chat::settings::{self, ConnectionsTable, MessagesTable};
use chat::{FrameLimit, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let table = ConnectionsTable::read(&settings::process)?;
    let history = MessagesTable::read(&settings::process)?;
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let connections = aws::connections(&config, table);
    let log = aws::log(&config, history);
    lambda::serve(async |request| chat::history(&connections, &log, &limit, &request).await).await
}
