//! Indexes that lag behind their tables, as every global secondary index of DynamoDB does.
//!
//! A second database, the shadow, is a copy that gets each write later. Queries of global indexes are answered from the
//! shadow, all other calls from the real database. Nothing runs in the background: the writes wait in a queue, and those
//! that are due are made just before the shadow is read.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use dynoxide::Database;
use dynoxide::actions::delete_item::DeleteItemRequest;
use dynoxide::actions::get_item::GetItemRequest;
use dynoxide::actions::put_item::PutItemRequest;
use dynoxide::types::Item;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard};
use tokio::time::Instant;

use super::Engine;
use super::call::Call;

/// The state of the indexes.
pub(super) struct Shadow {
    database: Database,
    engine: Engine,
    queue: Mutex<Queue>,
    writing: AsyncMutex<()>,
}

/// The writes that the shadow has not got.
#[derive(Default)]
struct Queue {
    /// By the time at which they are due, then by their order.
    changes: BTreeMap<(Instant, u64), Change>,
    /// The time at which the last waiting change of an item is due. Later changes of the item are not due before it.
    last: HashMap<ItemKey, Instant>,
    count: u64,
}

struct Change {
    item_key: ItemKey,
    key: Item,
    /// The item after the write; none if it was deleted.
    image: Option<Item>,
}

/// A table and the values of a key, each in the engine's canonical form.
type ItemKey = (String, Vec<String>);

impl Shadow {
    /// Copies the real database. Nothing may write to it meanwhile.
    ///
    /// # Errors
    /// Fails if there is no space for the copy, in memory or in the folder for temporary files.
    pub(super) async fn of(real: &Database) -> Result<Shadow> {
        let real = real.clone();
        let database = tokio::task::spawn_blocking(move || copy(&real))
            .await?
            .context("cannot copy the tables for an index that lags")?;
        let engine = Engine::start_on_free_port(database.clone()).await?;
        Ok(Shadow {
            database,
            engine,
            queue: Mutex::default(),
            writing: AsyncMutex::new(()),
        })
    }

    /// Returns the address of the shadow.
    pub(super) fn address(&self) -> SocketAddr {
        self.engine.address
    }

    /// Locks the queue from before a write until the write is noted: the notes have the order of the writes.
    pub(super) async fn writing(&self) -> AsyncGuard<'_, ()> {
        self.writing.lock().await
    }

    /// Notes each item after a write. The shadow gets it when the lag of its table has passed.
    pub(super) fn note(
        &self,
        real: &Database,
        call: &Call,
        lag: impl Fn(&str) -> Duration,
        now: Instant,
    ) {
        for (table, attributes) in call.written() {
            // A write that succeeded can be read back. Otherwise there is nothing to note.
            let Some((item_key, key)) = key_of(real, table, attributes) else {
                continue;
            };
            let request = GetItemRequest {
                table_name: table.to_owned(),
                key: key.clone(),
                consistent_read: Some(true),
                ..GetItemRequest::default()
            };
            let Ok(found) = real.get_item(request) else {
                continue;
            };
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.push(item_key, key, found.item, now + lag(table));
        }
    }

    /// Makes the writes that are due in the shadow.
    pub(super) fn catch_up(&self, now: Instant) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(change) = queue.pop(now) {
            let table_name = change.item_key.0;
            // The table may have been deleted since.
            let _ = match change.image {
                Some(item) => self
                    .database
                    .put_item(PutItemRequest {
                        table_name,
                        item,
                        ..PutItemRequest::default()
                    })
                    .map(drop),
                None => self
                    .database
                    .delete_item(DeleteItemRequest {
                        table_name,
                        key: change.key,
                        ..DeleteItemRequest::default()
                    })
                    .map(drop),
            };
        }
    }

    /// Drops the waiting changes of a deleted table: another table of that name begins empty.
    pub(super) fn forget(&self, table: &str) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.changes.retain(|_, change| change.item_key.0 != table);
        queue.last.retain(|item_key, _| item_key.0 != table);
    }

    /// Reports whether the call reads a global index, which is eventually consistent. A local secondary index need not be.
    pub(super) fn answers(&self, call: &Call) -> bool {
        let (Some(index), [table]) = (&call.index, call.tables.as_slice()) else {
            return false;
        };
        let Ok(Some(table)) = self.database.get_table_metadata(table) else {
            return false;
        };
        let indexes = table.gsi_definitions.unwrap_or_default();
        let indexes: Vec<Value> = serde_json::from_str(&indexes).unwrap_or_default();
        indexes.iter().any(|global| global["IndexName"] == **index)
    }
}

#[cfg(test)]
impl Shadow {
    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    pub(super) fn is_up_to_date(&self) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.changes.is_empty() && queue.last.is_empty()
    }
}

impl Queue {
    fn push(&mut self, item_key: ItemKey, key: Item, image: Option<Item>, due: Instant) {
        let due = self.last.get(&item_key).map_or(due, |last| due.max(*last));
        self.last.insert(item_key.clone(), due);
        self.count += 1;
        let change = Change {
            item_key,
            key,
            image,
        };
        self.changes.insert((due, self.count), change);
    }

    /// Returns the next change, if it is due.
    fn pop(&mut self, now: Instant) -> Option<Change> {
        let first = self.changes.first_entry()?;
        let (due, _) = *first.key();
        if due > now {
            return None;
        }
        let change = first.remove();
        if self.last.get(&change.item_key) == Some(&due) {
            self.last.remove(&change.item_key);
        }
        Some(change)
    }
}

fn copy(real: &Database) -> Result<Database> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("copy");
    let file = file
        .to_str()
        .context("the folder for temporary files has a name that is not valid UTF-8")?;
    real.vacuum_into(file)?;
    let database = Database::memory()?;
    database.restore_from(file)?;
    Ok(database)
}

/// Returns the key among the attributes.
fn key_of(real: &Database, table: &str, attributes: &Value) -> Option<(ItemKey, Item)> {
    let metadata = real.get_table_metadata(table).ok()??;
    let schema: Vec<Value> = serde_json::from_str(&metadata.key_schema).ok()?;
    let mut key = Item::new();
    let mut values = Vec::new();
    for part in schema {
        let name = part["AttributeName"].as_str()?;
        let value: dynoxide::types::AttributeValue =
            serde_json::from_value(attributes[name].clone()).ok()?;
        values.push(value.to_key_string()?);
        key.insert(name.to_owned(), value);
    }
    Some(((table.to_owned(), values), key))
}
