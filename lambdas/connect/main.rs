//! `$connect`: joins the room named by `?room=`.

use chat::settings::{self, ConnectionsTable, Handshakes, UsersTable};
use chat::{aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let table = ConnectionsTable::read(&settings::process)?;
    let users = UsersTable::read(&settings::process)?;
    let handshakes = Handshakes::read(&settings::process)?;
    let config = aws::config()?;
    let connections = aws::connections(&config, table);
    let users = aws::users(&config, users);
    lambda::serve(async |request| chat::connect(&connections, &users, &handshakes, &request).await)
        .await
}
