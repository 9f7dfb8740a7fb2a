//! `$connect`: joins the room named by `?room=`.

use chat::settings::{self, ConnectionsTable};
use chat::{aws, lambda};

pub(crate) async fn main() -> anyhow::Result<()> {
    let table = ConnectionsTable::read(&settings::process)?;
    let connections = aws::connections(&aws::config()?, table);
    lambda::serve(async |request| chat::connect(&connections, &request).await).await
}
