//! `members`: lists the users in a room.

use chat::settings::{self, ConnectionsTable};
use chat::{FrameLimit, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let table = ConnectionsTable::read(&settings::process)?;
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let connections = aws::connections(&config, table);
    lambda::serve(async |request| chat::members(&connections, &limit, &request).await).await
}
