//! The journal of open connections in the folder of `--data`: one file per connection, named by its id.
//!
//! A gateway that is killed cannot invoke `$disconnect`. The next one reads the journal and does it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;

use super::event::Client;
use crate::{ids, log};

/// The folder in the `--data` folder.
const FOLDER: &str = "connections";

/// The journal of a data folder. The lock of the folder keeps other gateways out.
#[derive(Debug)]
pub(crate) struct Journal(PathBuf);

/// One file.
#[derive(Deserialize)]
struct Entry {
    /// The stage that the client is connected to. The folder may hold the tables of several stages.
    stage: String,
    client: Client,
}

impl Journal {
    /// Opens the journal, and makes its folder if it is missing. Only the owner can read it.
    ///
    /// # Errors
    /// Fails if the folder cannot be made.
    pub(crate) fn open(data: &Path) -> Result<Journal> {
        let folder = data.join(FOLDER);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("--data: cannot make the folder {}", folder.display()))?;
        Ok(Journal(folder))
    }

    /// Adds a connection, before its `$connect` is invoked. A failure is logged: it costs one `$disconnect` if the gateway
    /// is killed, and must not cost a client its connection.
    pub(crate) fn add(&self, stage: &str, client: &Client) {
        let path = self.0.join(&client.connection_id);
        let entry = json!({ "stage": stage, "client": client }).to_string();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        if let Err(error) = file.and_then(|mut file| file.write_all(entry.as_bytes())) {
            log::plain(&format!("cannot write {}: {error}", path.display()));
        }
    }

    /// Removes a connection, after its `$disconnect`.
    pub(crate) fn remove(&self, connection_id: &str) {
        let path = self.0.join(connection_id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                log::plain(&format!("cannot remove {}: {error}", path.display()));
            }
            _ => {}
        }
    }

    /// Returns the clients of a stage whose `$disconnect` is missing. To be called before the first handshake.
    ///
    /// # Errors
    /// Fails if the folder or a file cannot be read.
    pub(crate) fn left_open(&self, stage: &str) -> Result<Vec<Client>> {
        let hint = || format!("--data: cannot read {}", self.0.display());
        let mut clients = Vec::new();
        for file in fs::read_dir(&self.0).with_context(hint)? {
            let file = file.with_context(hint)?;
            let name = file.file_name();
            let Some(id) = name.to_str().filter(|name| ids::is_well_formed(name)) else {
                continue;
            };
            let text = fs::read(file.path()).with_context(hint)?;
            match serde_json::from_slice::<Entry>(&text) {
                Ok(entry) if entry.stage == stage => clients.push(entry.client),
                Ok(_) => {}
                // The gateway was killed while it wrote the file: `$connect` was not invoked.
                Err(_) => self.remove(id),
            }
        }
        Ok(clients)
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]
mod tests {
    use super::*;
    use crate::gateway::event::ApiKey;

    fn client(connection_id: &str) -> Client {
        Client {
            connection_id: connection_id.to_owned(),
            connected_at: 1_707_471_007_396,
            source_ip: "127.0.0.1".to_owned(),
            user_agent: Some("probe".to_owned()),
            domain_name: "127.0.0.1:3000".to_owned(),
            authorizer: Some(json!({ "user": "alice", "n": "1" })),
            api_key: Some(ApiKey {
                value: "key".to_owned(),
                id: "id".to_owned(),
            }),
            ..Client::default()
        }
    }

    fn ids(journal: &Journal, stage: &str) -> Vec<String> {
        let clients = journal.left_open(stage).unwrap().into_iter();
        let mut ids: Vec<String> = clients.map(|client| client.connection_id).collect();
        ids.sort();
        ids
    }

    #[test]
    fn the_next_gateway_finds_everything_that_disconnect_is_told() {
        let data = tempfile::tempdir().unwrap();
        let before = client("T0aBceHkDoECIQw=");
        Journal::open(data.path()).unwrap().add("prod", &before);
        let journal = Journal::open(data.path()).unwrap();
        let after = journal.left_open("prod").unwrap().remove(0);
        assert_eq!(format!("{after:?}"), format!("{before:?}"));
        journal.remove("T0aBceHkDoECIQw=");
        assert_eq!(ids(&journal, "prod"), [""; 0]);
        // A connection that has ended twice is no error.
        journal.remove("T0aBceHkDoECIQw=");
    }

    #[test]
    fn a_torn_file_is_removed_and_other_files_and_stages_are_left() {
        let data = tempfile::tempdir().unwrap();
        let journal = Journal::open(data.path()).unwrap();
        journal.add("prod", &client("T0aBceHkDoECIQw="));
        journal.add("test", &client("T1aBceHkDoECIQw="));
        let torn = data.path().join("connections/T2aBceHkDoECIQw=");
        fs::write(&torn, r#"{"client":{"conn"#).unwrap();
        let other = data.path().join("connections/README");
        fs::write(&other, "").unwrap();
        assert_eq!(ids(&journal, "prod"), ["T0aBceHkDoECIQw="]);
        assert_eq!(ids(&journal, "test"), ["T1aBceHkDoECIQw="]);
        assert!(!torn.exists() && other.exists());
    }
}
