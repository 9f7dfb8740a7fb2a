//! Where in the gateway something is about to happen, and all that a rule may ask of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::rule::Place;
use crate::gateway::event::{self, Client};
use crate::lambda::callers::Caller;

/// One occurrence at a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point<'a> {
    pub(crate) place: Place,
    pub(crate) route: Option<&'a str>,
    /// The connection's id.
    pub(crate) connection: Option<&'a str>,
    /// The connection's client, while the connection is open or in its handshake.
    pub(crate) client: Option<&'a Client>,
    /// The function that is invoked, or that calls.
    pub(crate) function: Option<FunctionName<'a>>,
    /// The process that calls.
    pub(crate) caller: Option<&'a Caller>,
    /// `PostToConnection`, `Query` and so on.
    pub(crate) operation: Option<&'a str>,
    /// The tables of a DynamoDB call: a batch or a transaction has several.
    pub(crate) tables: &'a [&'a str],
    pub(crate) index: Option<&'a str>,
}

/// What a function is called: in Terraform and on AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FunctionName<'a> {
    pub(crate) key: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> Point<'a> {
    /// A point of which nothing more is known.
    pub(crate) fn at(place: Place) -> Point<'a> {
        Point {
            place,
            route: None,
            connection: None,
            client: None,
            function: None,
            caller: None,
            operation: None,
            tables: &[],
            index: None,
        }
    }

    /// With the process that calls.
    pub(crate) fn called_by(self, caller: Option<&'a Caller>) -> Point<'a> {
        Point {
            caller,
            function: caller.map(Caller::function).or(self.function),
            ..self
        }
    }

    /// With a connection and what is known of its client.
    pub(crate) fn of(self, client: &'a Client) -> Point<'a> {
        Point {
            connection: Some(&client.connection_id),
            client: Some(client),
            ..self
        }
    }
}

/// What rules know of a connection beyond its event.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// The handshake's query, as it came.
    query: Box<str>,
    pub(super) tally: Tally,
}

impl Marks {
    pub(crate) fn new(query: Option<&str>) -> Marks {
        Marks {
            query: query.unwrap_or_default().into(),
            tally: Tally::default(),
        }
    }

    /// Whether the handshake had each of these parameters with that value, decoded.
    pub(super) fn has_all(&self, wanted: &BTreeMap<String, String>) -> bool {
        let query = event::parse_query(&self.query);
        wanted
            .iter()
            .all(|(name, value)| query.get(name).is_some_and(|values| values.contains(value)))
    }
}

/// How often rules that count per connection or per invocation have matched there: by the rule's serial number.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<u64, u64>>);

impl Tally {
    /// Counts one more and returns its number.
    pub(crate) fn next(&self, serial: u64) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n = counts.entry(serial).or_default();
        *n += 1;
        *n
    }
}
