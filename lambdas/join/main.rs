//! `join`: makes the connection a member of a further room, and says what it has missed there.

use chat::settings::{self, MessagesTable, UsersTable};
use chat::{FrameLimit, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let history = MessagesTable::read(&settings::process)?;
    let users = UsersTable::read(&settings::process)?;
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let log = aws::log(&config, history);
    let presence = aws::presence(&config, &settings::process)?;
    let users = aws::users(&config, users);
    lambda::serve(async |request| chat::join(&presence, &log, &users, &limit, &request).await).await
}
