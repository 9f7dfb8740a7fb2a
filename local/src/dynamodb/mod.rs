//! DynamoDB on one machine: dynoxide, an engine on SQLite, served on a loopback port of this process.
//!
//! A front stands before the engine: it refuses web pages, counts the calls, and carries out fault rules. Functions call
//! the engine itself while nobody needs any of this.

mod call;
mod counters;
mod front;
mod lag;
mod reply;

use std::convert::Infallible;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use dynoxide::Database;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::deployment::Table;
use crate::faults::Faults;
use crate::lambda::callers::Callers;

pub(crate) use counters::{Counters, Counts};
use front::Front;

/// The file in the `--data` folder.
const FILE: &str = "dynamodb.sqlite";

/// A running DynamoDB.
pub struct DynamoDb {
    /// The URL of the front, for everybody.
    pub endpoint: String,
    /// The URL of the engine itself, for functions only. It saves the way through the front.
    pub(crate) direct: String,
    /// The calls that the front has counted.
    pub(crate) counters: Arc<Counters>,
    front: JoinHandle<Infallible>,
    engine: Engine,
}

/// An engine that serves a database until this is dropped.
struct Engine {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), String>>,
}

/// An open database. No other gateway can use its folder meanwhile.
pub struct Store {
    /// The database, for reads without HTTP.
    pub database: Database,
    _lock: Option<File>,
}

/// Opens the database: in memory, or in a folder that keeps it.
///
/// # Errors
/// Fails if the folder cannot be made or written, its files are not a database of this program, or another gateway uses
/// it.
pub fn open(data: Option<&Path>) -> Result<Store> {
    let Some(directory) = data else {
        let database = Database::memory().context("cannot make a database in memory")?;
        return Ok(Store {
            database,
            _lock: None,
        });
    };
    let name = directory.display();
    let hint = || format!("--data {name}: cannot keep a database there");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(hint)?;
    let lock = private(&directory.join("lock")).with_context(hint)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("--data {name}: another gateway uses that folder"),
        Err(TryLockError::Error(error)) => return Err(error).with_context(hint),
    }
    let path = directory.join(FILE);
    // SQLite gives the files beside it the same mode.
    private(&path).with_context(hint)?;
    let text = path
        .to_str()
        .ok_or_else(|| anyhow!("the path is not valid UTF-8"))
        .with_context(hint)?;
    // SQLite opens lazily: a file that is not a database shows at the first read.
    match Database::new(text).and_then(|database| database.table_count().map(|_| database)) {
        Ok(database) => Ok(Store {
            database,
            _lock: Some(lock),
        }),
        // The engine's own text names features of the engine.
        Err(_) => bail!(
            "{}: {} is not a database of this program, is damaged, or cannot be written",
            hint(),
            path.display()
        ),
    }
}

/// Opens a file that only its owner can read, and makes it if it is missing. A symbolic link is refused.
fn private(path: &Path) -> Result<File> {
    let open = || -> std::io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(file)
    };
    open().with_context(|| path.display().to_string())
}

/// Makes the declared tables that are missing.
///
/// # Errors
/// Fails if a table cannot be made, or a kept table has other keys or indexes than the declaration.
pub fn create_tables(database: &Database, tables: &[Table]) -> Result<()> {
    for table in tables {
        let name = &table.name;
        let existing = database
            .get_table_metadata(name)
            .with_context(|| format!("table {name}"))?;
        if existing.is_some() {
            check_unchanged(database, table)?;
            continue;
        }
        let request = serde_json::from_value(table.create.clone())
            .with_context(|| format!("table {name}"))?;
        database
            .create_table(request)
            .with_context(|| format!("table {name}"))?;
        if let Some(attribute) = &table.ttl_attribute {
            let request = serde_json::from_value(serde_json::json!({
                "TableName": name,
                "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
            }))?;
            database
                .update_time_to_live(request)
                .with_context(|| format!("table {name}"))?;
        }
    }
    Ok(())
}

fn check_unchanged(database: &Database, table: &Table) -> Result<()> {
    let request = serde_json::from_value(serde_json::json!({ "TableName": table.name }))?;
    let described = serde_json::to_value(database.describe_table(request)?)?;
    for part in ["KeySchema", "GlobalSecondaryIndexes"] {
        if shape(&described["Table"][part]) != shape(&table.create[part]) {
            bail!(
                "table {} was kept with another {part} than Terraform declares now: start with another --data folder",
                table.name
            );
        }
    }
    Ok(())
}

/// Returns the parts that identify keys and indexes, without those that a description adds.
fn shape(value: &serde_json::Value) -> Vec<String> {
    let mut entries: Vec<String> = value
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| match entry.get("IndexName") {
            Some(name) => format!("{name} {}", entry["KeySchema"]),
            None => entry.to_string(),
        })
        .collect();
    entries.sort();
    entries
}

/// Serves the database until it is stopped.
///
/// # Errors
/// Fails if there is no port for the engine behind the front.
pub async fn serve(
    database: Database,
    listener: TcpListener,
    faults: Arc<Faults>,
    callers: Arc<Callers>,
) -> Result<DynamoDb> {
    let endpoint = format!("http://{}", listener.local_addr()?);
    let engine = Engine::start_on_free_port(database.clone()).await?;
    let tables = database.table_stats()?;
    let names = tables.iter().map(|table| table.table_name.as_str());
    let counters = Arc::new(Counters::new(names));
    let counted = Arc::clone(&counters);
    let front = Front::new(engine.address, database, faults, callers, counted);
    Ok(DynamoDb {
        endpoint,
        direct: format!("http://{}", engine.address),
        counters,
        front: tokio::spawn(Arc::new(front).serve(listener)),
        engine,
    })
}

impl Engine {
    fn start(database: Database, listener: TcpListener) -> Result<Engine> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let server = tokio::spawn(dynoxide::server::serve_with_shutdown(
            listener, database, stopped,
        ));
        Ok(Engine {
            address,
            stop,
            server,
        })
    }

    async fn start_on_free_port(database: Database) -> Result<Engine> {
        // The engine answers web pages, too. On Linux its address is one of 16 million, which no page can find; other
        // systems have one loopback address.
        let [a, b, c] = rand::random();
        let hidden = Ipv4Addr::new(127, a, b, c);
        let listener = match TcpListener::bind((hidden, 0)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .context("cannot listen on a port for the database")?,
        };
        Engine::start(database, listener)
    }
}

impl DynamoDb {
    /// Finishes running calls and closes the database.
    pub async fn stop(self) {
        self.front.abort();
        let _ = self.engine.stop.send(());
        let _ = self.engine.server.await;
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]
mod tests;
