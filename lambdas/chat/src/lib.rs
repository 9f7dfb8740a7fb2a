//! What the chat functions share: the protocol, the tables, delivery.
//!
//! One Lambda function per route hands API Gateway's event to one function of this crate and returns its reply:
//!
//! | route | function | what it does |
//! |---|---|---|
//! | `$connect` | [`connect()`] | checks the names, writes the row that makes a connection a member of its room |
//! | `$disconnect` | [`disconnect()`] | deletes every row of the connection |
//! | `publish`, `sendmessage` | [`publish()`] | stores a message, delivers it to the other members and acknowledges it |
//! | `join` | [`join()`] | makes the connection a member of a further room, and says what it has missed there |
//! | `leave` | [`leave()`] | ends that |
//! | `history` | [`history()`] | reads a page of a room's log |
//! | `members` | [`members()`] | lists the users in a room |
//! | `$default` | [`default()`] | answers everything else with an error frame that says what is possible |
//!
//! Layout:
//!
//! - [`protocol`]: the frames of the wire and the names of its errors. No AWS type.
//! - [`names`]: what a room or a user may be called.
//! - [`event`]: API Gateway's event and response. The only file that knows them.
//! - `action`: what the actions of a client have in common.
//! - [`connections`]: the table `connections` and its index `room-index`.
//! - [`log`]: the table `messages`: the log of each room, and how a message gets its number.
//! - [`table`]: what goes wrong with a table.
//! - [`ulid`]: the names of epochs and of writers.
//! - [`gateway`]: posting to a connection, asking whether it lives.
//! - [`fanout`]: one message to all members, bounded and inside the deadline.
//! - [`prune`]: confirming that a connection is gone, and forgetting it.
//! - `recent`: what a process remembers between invocations.
//! - [`settings`]: the environment variables, read once.
//! - [`aws`]: the SDK's clients. The only file that builds them.
//! - [`run`]: the edge to the Lambda runtime: start-up errors, logs, the deadline.
//!
//! Nothing here outlives an invocation: every future is awaited or dropped before a function returns, because Lambda
//! freezes the process at that moment.

pub mod aws;
pub mod connections;
pub mod event;
pub mod fanout;
pub mod gateway;
pub mod log;
pub mod names;
pub mod protocol;
pub mod prune;
pub mod run;
pub mod settings;
pub mod table;
pub mod ulid;

mod action;
mod connect;
mod default;
mod disconnect;
mod history;
mod join;
mod leave;
mod members;
mod publish;
mod recent;

pub use connect::connect;
pub use default::default;
pub use disconnect::disconnect;
pub use history::history;
pub use join::join;
pub use leave::leave;
pub use members::members;
pub use publish::{App, publish};
