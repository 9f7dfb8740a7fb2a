//! What a rule is: where it looks, what it matches, which occurrences it takes, and what it does to them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::point::Point;

/// Where things go wrong. The place is also the direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The `$connect` invocation of a handshake.
    Connect,
    /// A client's message on its way to its function.
    Message,
    /// The `$disconnect` invocation.
    Disconnect,
    /// A message on its way to a client.
    Frame,
    /// PostToConnection.
    Post,
    /// GetConnection.
    Get,
    /// DeleteConnection.
    Delete,
    /// A DynamoDB call.
    Table,
    /// Any call that a function's process makes to `@connections` or to DynamoDB.
    Call,
}

impl Place {
    pub(crate) const ALL: [Place; 9] = [
        Place::Connect,
        Place::Message,
        Place::Disconnect,
        Place::Frame,
        Place::Post,
        Place::Get,
        Place::Delete,
        Place::Table,
        Place::Call,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Place::Connect => "connect",
            Place::Message => "message",
            Place::Disconnect => "disconnect",
            Place::Frame => "frame",
            Place::Post => "post",
            Place::Get => "get",
            Place::Delete => "delete",
            Place::Table => "table",
            Place::Call => "call",
        }
    }
}

/// What occurrences are counted by, when not all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Per {
    /// Each open connection counts on its own.
    Connection,
    /// Each invocation of the function that calls counts on its own.
    Invocation,
}

/// All that a point must have for the rule to match; nothing set matches everything at the place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Matcher {
    pub(super) route: Option<String>,
    pub(super) connection: Option<String>,
    /// Parameters of the connection's handshake.
    pub(super) query: BTreeMap<String, String>,
    /// A function's name or its Terraform key.
    pub(super) function: Option<String>,
    pub(super) table: Option<String>,
    pub(super) index: Option<String>,
    pub(super) operation: Option<String>,
}

impl Matcher {
    pub(super) fn matches(&self, point: &Point<'_>) -> bool {
        let is = |wanted: &Option<String>, seen: Option<&str>| match wanted {
            None => true,
            Some(wanted) => seen == Some(wanted),
        };
        is(&self.route, point.route)
            && is(&self.connection, point.connection)
            && is(&self.operation, point.operation)
            && is(&self.index, point.index)
            && self
                .table
                .as_ref()
                .is_none_or(|table| point.tables.contains(&table.as_str()))
            && self.function.as_ref().is_none_or(|function| {
                point
                    .function
                    .is_some_and(|name| name.key == function || name.name == function)
            })
            && (self.query.is_empty()
                || point
                    .client
                    .is_some_and(|client| client.marks.has_all(&self.query)))
    }
}

/// Which of the occurrences that match are taken. All that is set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Which {
    /// The n-th, from 1.
    pub(super) nth: Option<u64>,
    /// Each n-th.
    pub(super) every: Option<u64>,
    /// The first n.
    pub(super) first: Option<u64>,
    /// 0 to 1.
    pub(super) probability: Option<f64>,
    /// At most so many in all.
    pub(super) times: Option<u64>,
    pub(super) per: Option<Per>,
}

impl Which {
    /// Whether the n-th is taken, as far as counting says.
    pub(super) fn takes(&self, n: u64, applied: u64) -> bool {
        self.nth.is_none_or(|nth| n == nth)
            && self.every.is_none_or(|every| n.is_multiple_of(every))
            && self.first.is_none_or(|first| n <= first)
            && self.times.is_none_or(|times| applied < times)
    }
}

/// Milliseconds from which a delay is drawn; both ends belong to it.
pub(crate) type Spread = RangeInclusive<u64>;

/// What a rule does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    /// Holds the occurrence back for a while.
    Delay(Spread),
    /// Holds it back until the next `by` that match are through, or `at_most` has passed.
    Reorder { by: u64, at_most: Duration },
    /// A write reaches the table's indexes that much later.
    Lag(Spread),
    /// All else.
    Do(Fault),
}

/// What goes wrong at a point, once it is time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is lost; whoever sent it is told nothing, or that all is well.
    Drop,
    /// It happens twice.
    Duplicate,
    /// 410: the connection is closed without a close frame.
    Gone,
    /// 410, although the connection lives. `deliver`: the message reaches the client all the same.
    FalseGone { deliver: bool },
    /// An answer with this status. `deliver`: it has its effect all the same.
    Status { status: u16, deliver: bool },
    /// There is never an answer. `deliver`: it has its effect all the same.
    Hang { deliver: bool },
    /// The client's connection ends: with a close frame of that code, or with none. `deliver`: the message reaches its
    /// function all the same.
    Cut { close: Option<u16>, deliver: bool },
    /// `$disconnect` is not invoked.
    Lose,
    /// `$disconnect` is invoked at the same time as `$connect`, and the connection never opens.
    Early,
    /// The process that calls is killed: before the call has had an effect, or after.
    Kill(When),
    /// DynamoDB has no capacity left.
    Throttle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(super) name: String,
    pub(super) on: Place,
    pub(super) matcher: Matcher,
    pub(super) which: Which,
    pub(super) act: Act,
    /// As it was written, with its name.
    pub(super) source: serde_json::Value,
}

impl Rule {
    /// What its author called the act.
    pub(super) fn does(&self) -> &'static str {
        match self.act {
            Act::Delay(_) => "delay",
            Act::Reorder { .. } => "reorder",
            Act::Lag(_) => "lag",
            Act::Do(Fault::Drop) => "drop",
            Act::Do(Fault::Duplicate) => "duplicate",
            Act::Do(Fault::Gone | Fault::FalseGone { .. }) => "gone",
            Act::Do(Fault::Status { .. }) => "status",
            Act::Do(Fault::Hang { .. }) => "hang",
            Act::Do(Fault::Cut { .. }) => "cut",
            Act::Do(Fault::Lose) => "lose",
            Act::Do(Fault::Early) => "early",
            Act::Do(Fault::Kill(_)) => "kill",
            Act::Do(Fault::Throttle) => "throttle",
        }
    }
}
