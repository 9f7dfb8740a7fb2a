//! The pump of busy rooms: delivers what is said there, at a pace. `publish` and `admin` invoke it, no route leads here.

use chat::settings::{self, ConnectionsTable, Delivery, Live, MessagesTable, UsersTable};
use chat::{App, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let table = ConnectionsTable::read(&settings::process)?;
    let history = MessagesTable::read(&settings::process)?;
    let delivery = Delivery::read(&settings::process)?;
    let live = Live::read(&settings::process)?;
    let config = aws::config()?;
    let paced = aws::paced(&config, &history, &settings::process)?;
    // It checks nobody's rights.
    let users = UsersTable { name: None };
    let app = App::new(&config, table, users, history, delivery, live).with_paced(paced);
    lambda::serve_backend(async |call| chat::deliver(&app, call).await).await
}
