//! `join`: makes the connection a member of a further room, and says what it has missed there.

use chat::settings::{self, ConnectionsTable, Delivery, MessagesTable, UsersTable};
use chat::{FrameLimit, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let table = ConnectionsTable::read(&settings::process)?;
    let history = MessagesTable::read(&settings::process)?;
    let delivery = Delivery::read(&settings::process)?;
    let users = UsersTable::read(&settings::process)?;
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let connections = aws::connections(&config, table);
    let log = aws::log(&config, history);
    let management = aws::management_api(&config, &delivery);
    let users = aws::users(&config, users);
    lambda::serve(async |request| {
        chat::join(&connections, &log, &management, &users, &limit, &request).await
    })
    .await
}
