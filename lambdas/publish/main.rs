//! `publish` and its alias `sendmessage`, `edit`, `delete` and `react`: stores a message or a change of one, delivers it to
//! the members of the room and acknowledges it.

use chat::settings::{self, ConnectionsTable, Delivery, Live, MessagesTable, UsersTable};
use chat::{App, FrameLimit, Review, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let table = ConnectionsTable::read(&settings::process)?;
    let users = UsersTable::read(&settings::process)?;
    let history = MessagesTable::read(&settings::process)?;
    let delivery = Delivery::read(&settings::process)?;
    let live = Live::read(&settings::process)?;
    let config = aws::config()?;
    let limit = FrameLimit::read(&settings::process, &config)?;
    let audit = aws::log(&config, MessagesTable::read_audit(&settings::process)?);
    let paced = aws::paced(&config, &history, &settings::process)?;
    let app = App::new(&config, table, users, history, delivery, live)
        .with_paced(paced)
        .limited(limit)
        .reviewed(Review::read(&settings::process, &config)?)
        .with_audit(audit);
    lambda::serve(async |request| chat::publish(&app, &request).await).await
}
