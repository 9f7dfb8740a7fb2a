//! `signal`: passes a signal to the other members of the room.

use chat::settings::{self, ConnectionsTable, Delivery, Live, UsersTable};
use chat::{Signals, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let table = ConnectionsTable::read(&settings::process)?;
    let users = UsersTable::read(&settings::process)?;
    let delivery = Delivery::read(&settings::process)?;
    let live = Live::read(&settings::process)?;
    let signals = Signals::new(&aws::config()?, table, users, delivery, live);
    lambda::serve(async |request| chat::signal(&signals, &request).await).await
}
