//! `publish` and its alias `sendmessage`: delivers a message to the members of a room and acknowledges it.

use std::process::ExitCode;

use chat::settings::{self, Delivery, Table};
use chat::{App, aws, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run::main(async {
        let table = Table::read(&settings::process)?;
        let delivery = Delivery::read(&settings::process)?;
        let app = App::new(&aws::config().await?, table, delivery);
        run::serve(async |request| chat::publish(&app, &request).await).await
    })
    .await
}
