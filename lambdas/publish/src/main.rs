//! `publish` and its alias `sendmessage`: stores a message, delivers it to the members of the room and acknowledges it.

use std::process::ExitCode;

use chat::settings::{self, ConnectionsTable, Delivery, MessagesTable};
use chat::{App, aws, lambda};
use mimalloc::MiMalloc;

/// The SDK allocates some hundred times for a post: with the system's allocator a large room waits a tenth longer.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lambda::main(async {
        let table = ConnectionsTable::read(&settings::process)?;
        let history = MessagesTable::read(&settings::process)?;
        let delivery = Delivery::read(&settings::process)?;
        let app = App::new(&aws::config()?, table, history, delivery);
        lambda::serve(async |request| chat::publish(&app, &request).await).await
    })
    .await
}
