//! The library of the chat functions: the protocol, the tables, delivery.
//!
//! Each Lambda function hands API Gateway's event to one function of this crate and returns its reply:
//!
//! | route | function | task |
//! |---|---|---|
//! | `$connect` | [`connect()`] | checks the names, writes the row that makes a connection a member of its room |
//! | `$disconnect` | [`disconnect()`] | deletes every row of the connection |
//! | `publish`, `sendmessage` | [`publish()`] | stores a message, delivers it to the other members and acknowledges it |
//! | `join` | [`join()`] | makes the connection a member of another room, and returns the messages that it has missed there |
//! | `leave` | [`leave()`] | ends a membership |
//! | `history`, `heads` | [`history()`] | reads a page of a room's log, or where the logs of several rooms end |
//! | `members` | [`members()`] | lists the users in a room |
//! | `mark`, `marks`, `block`, `unblock` | [`personal()`] | how far a user has read, and from whom the user wants no messages |
//! | `signal` | [`signal()`] | passes a signal, such as typing, to the other members; nothing is stored or answered |
//! | `kick`, `ban`, `unban`, `mute`, `unmute` | [`moderate()`] | ends or limits the part of a user in a room |
//! | no route | [`admin()`] | answers the backend, which IAM has let in |
//! | no route | [`deliver()`] | delivers the messages of a busy room, a few at a time |
//! | `$default` | [`default()`] | answers everything else with an error frame that lists the actions |
//!
//! Layout, from the outside in:
//!
//! - [`lambda`]: the edge to Lambda and API Gateway: the event, the response, the loop. No other file knows them.
//! - `actions`: one file for each function above.
//! - [`log`]: the table `messages`: the log of each room, and how a message gets its number.
//! - [`mod@members`]: the table `connections`, and removing the rows of dead connections.
//! - [`delivery`]: posts a message to all members, bounded and before the deadline.
//! - [`paced`]: one publisher or pump at a time posts the messages of a busy room.
//! - [`identity`]: the user of a connection and its rights, from the authorizer's context in the event.
//! - [`protocol`]: the frames, the names of rooms and users, rights, the names of errors. No AWS type.
//! - [`aws`]: builds the SDK's clients. No other file builds one.
//! - [`invoke`]: invokes another Lambda function.
//! - [`settings`]: the environment variables, read once.
//! - `metrics`: what an invocation has done, as a line that CloudWatch makes metrics of.
//! - [`errors`]: errors of AWS's services.
//! - `recent`: a bounded memory of hints that a process keeps between invocations.
//! - [`ulid`]: unique names of epochs and writers.
//!
//! No future outlives an invocation: each one is awaited or dropped before a function returns, because Lambda freezes the
//! process at that moment.

pub mod aws;
pub mod delivery;
pub mod errors;
pub mod identity;
pub mod invoke;
pub mod lambda;
pub mod log;
pub mod members;
pub mod paced;
pub mod protocol;
pub mod settings;
pub mod ulid;

mod actions;
mod metrics;
mod recent;
mod trace;

pub use actions::{
    Admin, Answered, App, Call, Desk, FrameLimit, Moderation, Review, SignalLimit, Signals, admin,
    connect, default, deliver, disconnect, history, join, leave, members, moderate, personal,
    publish, signal,
};
