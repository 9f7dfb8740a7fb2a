//! The backend's door: invoked directly, or through a Function URL. IAM says who may call, no route leads here.

use chat::settings::{self, ConnectionsTable, Delivery, Live, MessagesTable, UsersTable};
use chat::{Admin, App, FrameLimit, Review, Signals, aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let connections = ConnectionsTable::read(&settings::process)?;
    let history = MessagesTable::read(&settings::process)?;
    let audit = MessagesTable::read_audit(&settings::process)?;
    let delivery = Delivery::read(&settings::process)?;
    let users = UsersTable::read(&settings::process)?;
    let live = Live::read(&settings::process)?;
    let config = aws::config()?;
    let moderation = aws::moderation(
        &config,
        connections.clone(),
        users.clone(),
        audit,
        &delivery,
        live,
    );
    let paced = aws::paced(&config, &history, &settings::process)?;
    let admin = Admin {
        signals: Signals::new(
            &config,
            connections.clone(),
            users.clone(),
            delivery.clone(),
            live,
        ),
        app: App::new(&config, connections, users, history, delivery, live)
            .reviewed(Review::read(&settings::process, &config)?)
            .with_paced(paced)
            .with_audit(moderation.audit.clone()),
        moderation,
        limit: FrameLimit::OFF,
    };
    lambda::serve_backend(async |call| chat::admin(&admin, call).await).await
}
