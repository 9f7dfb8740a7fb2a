//! The state that all requests share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dynoxide::Database;
use tokio::sync::watch;

use super::connections::Connections;
use super::journal::Journal;
use super::management::Posts;
use super::quotas::Quotas;
use super::signature::Scope;
use crate::clock::Clock;
use crate::deployment::{Api, Table};
use crate::dynamodb::Counters;
use crate::faults::Faults;
use crate::lambda::Pool;
use crate::lambda::callers::Callers;

/// The state of a running gateway.
pub(crate) struct Gateway {
    pub(crate) api: Api,
    /// By function name.
    pub(crate) functions: BTreeMap<String, Arc<Pool>>,
    pub(crate) connections: Connections,
    /// The list of open connections on disk, for the next gateway; present if the tables are kept.
    pub(crate) journal: Option<Journal>,
    pub(crate) faults: Arc<Faults>,
    /// The processes of functions, by their access keys.
    pub(crate) callers: Arc<Callers>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) quotas: Quotas,
    pub(crate) posts: Posts,
    pub(crate) tables: Vec<Table>,
    pub(crate) database: Database,
    pub(crate) table_calls: Arc<Counters>,
    /// If set, calls of @connections, calls of functions and handshakes under AWS_IAM must be signed.
    pub(crate) check_signatures: bool,
    /// The secret of every access key.
    pub(crate) secret: String,
    pub(crate) port: u16,
    /// A connection is closed after this time without a message.
    pub(crate) idle_timeout: Duration,
    /// A connection is closed at this age.
    pub(crate) max_lifetime: Duration,
    /// Each served connection holds a receiver, from before its `$connect` until after its `$disconnect`: a stop waits
    /// until all are dropped.
    pub(crate) serving: watch::Sender<()>,
}

impl Gateway {
    /// Returns what a signature for a service must name.
    pub(super) fn scope<'a>(&'a self, service: &'a str) -> Scope<'a> {
        Scope {
            service,
            region: &self.api.region,
            secret: &self.secret,
        }
    }
}
