//! The acts of rules. Each is declared once, in [`ACTS`].

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::fields::{Fields, milliseconds};
use super::site::Site;

/// The time an occurrence is held back for others, in milliseconds, if the rule names none.
const REORDER_MS: u64 = 1000;

/// The statuses that a rule can inject.
const STATUSES: [u16; 5] = [429, 500, 502, 503, 504];

/// The range from which a delay is drawn, in milliseconds; both ends belong to it.
pub(super) type Spread = RangeInclusive<u64>;

/// The effect of a rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    /// Holds the occurrence back for a while.
    Delay(Spread),
    /// Holds the occurrence back until the next `by` matches are through, or `at_most` has passed.
    Reorder { by: u64, at_most: Duration },
    /// Delays a write on its way to the table's indexes.
    Lag(Spread),
    /// Replaces the ordinary course.
    Do(Fault),
}

/// The effect of a rule in place of the ordinary course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The occurrence is lost. Its sender gets no answer, or the answer of a success.
    Drop,
    /// The occurrence happens twice.
    Duplicate,
    /// 410: the connection is closed without a close frame.
    Gone,
    /// 410, although the connection lives. `deliver`: the message reaches the client all the same.
    FalseGone { deliver: bool },
    /// A response with this status. `deliver`: the occurrence has its effect all the same.
    Status { status: u16, deliver: bool },
    /// No response, ever. `deliver`: the occurrence has its effect all the same.
    Hang { deliver: bool },
    /// The client's connection ends: with a close frame of that code, or with none. `deliver`: the message reaches its
    /// function all the same.
    Cut { close: Option<u16>, deliver: bool },
    /// `$disconnect` is not invoked.
    Lose,
    /// `$disconnect` is invoked at the same time as `$connect`, and the connection never opens.
    Early,
    /// The calling process is killed: before the call has had an effect, or after.
    Kill(When),
    /// DynamoDB has no capacity left.
    Throttle,
}

/// The moment at which a process is killed: before or after the effect of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// An act as it stands in a rule.
#[derive(Debug)]
pub(super) struct Declaration {
    /// The value of `"do"`.
    pub(super) name: &'static str,
    /// The sites at which the act is possible.
    sites: &'static [Site],
    /// The parameters, each with the sites at which it has a meaning.
    parameters: &'static [(&'static str, &'static [Site])],
    pub(super) read: fn(&Fields<'_>) -> Result<Act>,
}

use Site::{Call, Connect, Delete, Disconnect, Frame, Get, Message, Post, Table};

/// Every act.
const ACTS: [Declaration; 13] = [
    Declaration {
        name: "delay",
        sites: &Site::ALL,
        parameters: &[("ms", &Site::ALL)],
        read: |fields| Ok(Act::Delay(fields.spread()?)),
    },
    Declaration {
        name: "reorder",
        sites: &[Connect, Message, Disconnect, Frame, Post],
        parameters: &[("by", &Site::ALL), ("ms", &Site::ALL)],
        read: |fields| {
            Ok(Act::Reorder {
                by: fields.count("by")?.unwrap_or(1),
                at_most: Duration::from_millis(match fields.0.get("ms") {
                    None => REORDER_MS,
                    Some(ms) => milliseconds(ms)?,
                }),
            })
        },
    },
    Declaration {
        name: "drop",
        sites: &[Message, Frame, Post],
        parameters: &[],
        read: |_| Ok(Act::Do(Fault::Drop)),
    },
    Declaration {
        name: "duplicate",
        sites: &[Connect, Message, Disconnect, Frame, Post],
        parameters: &[],
        read: |_| Ok(Act::Do(Fault::Duplicate)),
    },
    Declaration {
        name: "gone",
        sites: &[Post, Get, Delete],
        parameters: &[("false", &Site::ALL), ("deliver", &[Post])],
        read: |fields| {
            let deliver = fields.flag("deliver")?;
            if fields.flag("false")? {
                return Ok(Act::Do(Fault::FalseGone { deliver }));
            }
            if deliver {
                bail!(
                    "\"deliver\" needs \"false\": true, because no message reaches a connection that is gone"
                );
            }
            Ok(Act::Do(Fault::Gone))
        },
    },
    Declaration {
        name: "throttle",
        sites: &[Table],
        parameters: &[],
        read: |_| Ok(Act::Do(Fault::Throttle)),
    },
    Declaration {
        name: "status",
        sites: &[Connect, Message, Post, Get, Delete, Table],
        // A GetConnection has no effect that could be kept.
        parameters: &[
            ("status", &Site::ALL),
            ("deliver", &[Connect, Message, Post, Delete, Table]),
        ],
        read: |fields| {
            let status = fields.0.get("status").and_then(Value::as_u64);
            let status = STATUSES
                .into_iter()
                .find(|known| status == Some(u64::from(*known)))
                .with_context(|| format!("\"status\" must be one of {STATUSES:?}"))?;
            let deliver = fields.flag("deliver")?;
            Ok(Act::Do(Fault::Status { status, deliver }))
        },
    },
    Declaration {
        name: "hang",
        sites: &[Connect, Post, Get, Delete, Table, Call],
        parameters: &[("deliver", &[Post, Delete, Table])],
        read: |fields| {
            let deliver = fields.flag("deliver")?;
            Ok(Act::Do(Fault::Hang { deliver }))
        },
    },
    Declaration {
        name: "cut",
        sites: &[Connect, Message, Frame],
        parameters: &[("close", &Site::ALL), ("deliver", &[Message])],
        read: |fields| {
            Ok(Act::Do(Fault::Cut {
                close: fields.close_code()?,
                deliver: fields.flag("deliver")?,
            }))
        },
    },
    Declaration {
        name: "early",
        sites: &[Connect],
        parameters: &[],
        read: |_| Ok(Act::Do(Fault::Early)),
    },
    Declaration {
        name: "lose",
        sites: &[Disconnect],
        parameters: &[],
        read: |_| Ok(Act::Do(Fault::Lose)),
    },
    Declaration {
        name: "lag",
        sites: &[Table],
        parameters: &[("ms", &Site::ALL)],
        read: |fields| Ok(Act::Lag(fields.spread()?)),
    },
    Declaration {
        name: "kill",
        sites: &[Call],
        parameters: &[("when", &Site::ALL)],
        read: |fields| {
            let when = fields
                .one_of("when", &["before", "after"])?
                .context("\"when\" is missing: expected \"before\" or \"after\"")?;
            let when = if when == 0 { When::Before } else { When::After };
            Ok(Act::Do(Fault::Kill(when)))
        },
    },
];

/// Returns the acts that are possible at a site.
pub(super) fn possible_at(site: Site) -> impl Iterator<Item = &'static Declaration> {
    ACTS.iter().filter(move |act| act.sites.contains(&site))
}

impl Declaration {
    /// Returns the parameters that the act takes at a site.
    pub(super) fn parameters(&self, site: Site) -> impl Iterator<Item = &'static str> {
        self.parameters
            .iter()
            .filter(move |(_, sites)| sites.contains(&site))
            .map(|(name, _)| *name)
    }
}
