//! `kick`, `ban`, `unban`, `mute` and `unmute`: a moderator ends or limits the part of a user in a room.

use chat::settings::{self, ConnectionsTable, Delivery, Live, MessagesTable, UsersTable};
use chat::{FrameLimit, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let connections = ConnectionsTable::read(&settings::process)?;
    let users = UsersTable::read(&settings::process)?;
    let audit = MessagesTable::read_audit(&settings::process)?;
    let delivery = Delivery::read(&settings::process)?;
    let live = Live::read(&settings::process)?;
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let app = aws::moderation(&config, connections, users, audit, &delivery, live);
    lambda::serve(async |request| chat::moderate(&app, &limit, &request).await).await
}
