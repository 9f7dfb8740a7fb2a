//! `publish` and its alias `sendmessage`: stores a message, delivers it to the members of the room and acknowledges it.

use chat::settings::{self, ConnectionsTable, Delivery, MessagesTable, UsersTable};
use chat::{App, FrameLimit, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let table = ConnectionsTable::read(&settings::process)?;
    let users = UsersTable::read(&settings::process)?;
    let history = MessagesTable::read(&settings::process)?;
    let delivery = Delivery::read(&settings::process)?;
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let app = App::new(&config, table, users, history, delivery).limited(limit);
    lambda::serve(async |request| chat::publish(&app, &request).await).await
}
