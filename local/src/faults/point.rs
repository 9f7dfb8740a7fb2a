//! Occurrences at which a rule can act, and the properties that a rule can ask for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::site::Site;
use crate::query;

/// One occurrence at a site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point<'a> {
    pub(crate) site: Site,
    pub(crate) route: Option<&'a str>,
    /// The connection's id.
    pub(crate) connection: Option<&'a str>,
    /// The handshake of the connection, while the connection is open or in its handshake.
    pub(crate) handshake: Option<&'a Handshake>,
    /// The function that is invoked, or that calls.
    pub(crate) function: Option<FunctionName<'a>>,
    /// The invocation that the calling process works on.
    pub(crate) invocation: Option<&'a Invocation>,
    /// `PostToConnection`, `Query` and so on.
    pub(crate) operation: Option<&'a str>,
    /// The tables of a DynamoDB call: a batch or a transaction has several.
    pub(crate) tables: &'a [&'a str],
    pub(crate) index: Option<&'a str>,
}

/// The names of a function: in Terraform and on AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FunctionName<'a> {
    pub(crate) key: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> Point<'a> {
    /// Makes a point with no properties.
    pub(crate) fn at(site: Site) -> Point<'a> {
        Point {
            site,
            route: None,
            connection: None,
            handshake: None,
            function: None,
            invocation: None,
            operation: None,
            tables: &[],
            index: None,
        }
    }

    /// Adds a connection and its handshake.
    pub(crate) fn of(self, connection_id: &'a str, handshake: &'a Handshake) -> Point<'a> {
        Point {
            connection: Some(connection_id),
            handshake: Some(handshake),
            ..self
        }
    }
}

/// The handshake of a connection, as rules see it.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    /// The query, as it came.
    query: Box<str>,
    pub(super) tally: Tally,
}

impl Handshake {
    pub(crate) fn new(query: Option<&str>) -> Handshake {
        Handshake {
            query: query.unwrap_or_default().into(),
            tally: Tally::default(),
        }
    }

    /// Returns the first value of a parameter.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        query::parse(&self.query).remove(name)?.into_iter().next()
    }

    /// Reports whether the query has each of these parameters with that value, decoded.
    pub(super) fn has_all(&self, wanted: &BTreeMap<String, String>) -> bool {
        let query = query::parse(&self.query);
        wanted
            .iter()
            .all(|(name, value)| query.get(name).is_some_and(|values| values.contains(value)))
    }
}

/// An invocation of a function, as rules see it.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) request_id: String,
    pub(super) tally: Tally,
}

impl Invocation {
    pub(crate) fn new(request_id: &str) -> Invocation {
        Invocation {
            request_id: request_id.to_owned(),
            tally: Tally::default(),
        }
    }
}

/// Counts the matches of each rule, by the rule's serial number.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<u64, u64>>);

impl Tally {
    /// Counts one more match and returns its number, from 1.
    pub(super) fn next(&self, serial: u64) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n = counts.entry(serial).or_default();
        *n += 1;
        *n
    }
}
