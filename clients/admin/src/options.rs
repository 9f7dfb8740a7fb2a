//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use roomchat::issue::duration;

/// The text after the list of commands.
const AFTER: &str = "\
ROOM is one room; publish, signal and heads take several, separated by commas.
SEQ is the number of a message, which `history` shows.
TEXT may be - : then it is read from stdin.

IAM decides who may call: the caller needs lambda:InvokeFunction on the function STACK-admin.
Credentials come from the environment, a profile, or the machine's role, as for the AWS CLI. Of a profile that
signs in by SSO, use the credentials by: credential_process = aws configure export-credentials --profile NAME

Exit codes: 0 done; 1 the service refused the call; 2 wrong arguments, no right, no credentials, no such function;
3 the service cannot be reached or failed: the same command may succeed later.

Examples:
  roomchat-admin --local publish lobby 'Maintenance at 6'
  roomchat-admin --stack roomchat-prod --region eu-west-1 ban lobby bob --for 1h --reason spam
  roomchat-admin history lobby -n 100 --json | jq -r .data";

/// Publishes, reads and moderates in a roomchat service, as its backend does
#[derive(Debug, Parser)]
#[command(
    name = "roomchat-admin",
    version,
    after_help = AFTER,
    max_term_width = 120,
    next_help_heading = "For every command"
)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) to: To,
    /// The name under which you act; it begins with system
    #[arg(
        long = "as",
        global = true,
        value_name = "NAME",
        default_value = "system:admin",
        value_parser = system
    )]
    pub(crate) name: String,
    /// Acts under the name of a user instead
    #[arg(long, global = true, value_name = "USER", conflicts_with = "name")]
    pub(crate) as_user: Option<String>,
    /// The id of the call: a call that is sent again with the same id is done once
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Prints JSON, one value a line: each message, member, ban, head and mark, or else the answer. Errors are JSON on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// Reads a name of the backend, which is not that of a user.
fn system(name: &str) -> Result<String, String> {
    if name.starts_with("system") {
        return Ok(name.to_owned());
    }
    Err("the name must begin with system; use --as-user to act under the name of a user".to_owned())
}

/// The service that is called.
#[derive(Debug, Args)]
pub(crate) struct To {
    /// The stack: Terraform's variables name and stage, with - between them
    #[arg(
        long,
        global = true,
        env = "ROOMCHAT_STACK",
        value_name = "NAME-STAGE",
        default_value = "roomchat-prod"
    )]
    pub(crate) stack: String,
    /// The region of the stack; else AWS_REGION or that of the profile
    #[arg(long, global = true)]
    pub(crate) region: Option<String>,
    /// The profile of ~/.aws/config; else AWS_PROFILE
    #[arg(long, global = true)]
    pub(crate) profile: Option<String>,
    /// Calls the service of scripts/local.sh on this machine, and needs no credentials; --local=URL for another port
    #[arg(
        long,
        global = true,
        value_name = "URL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "http://127.0.0.1:3000"
    )]
    pub(crate) local: Option<String>,
}

/// The content of a message.
#[derive(Debug, Args)]
pub(crate) struct Text {
    /// The text; - reads it from stdin
    #[arg(allow_hyphen_values = true)]
    pub(crate) text: String,
    /// The text is JSON, and is sent as it is
    #[arg(long)]
    pub(crate) data: bool,
}

/// A user in a room.
#[derive(Debug, Args)]
pub(crate) struct Whom {
    /// The room
    pub(crate) room: String,
    /// The user
    pub(crate) user: String,
    /// The reason, for the user and for the audit
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

/// A user in a room, for a time.
#[derive(Debug, Args)]
pub(crate) struct WhomFor {
    /// The room; '*' is every room
    pub(crate) room: String,
    /// The user
    pub(crate) user: String,
    /// The time: a number and s, m, h or d. Without it there is no end
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// The reason, for the user and for the audit
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

/// An action.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Publishes a message
    Publish {
        /// The room, or rooms
        rooms: String,
        #[command(flatten)]
        text: Text,
    },
    /// Sends a signal, which is not stored, to those who are in the room
    Signal {
        /// The room, or rooms
        rooms: String,
        /// The meaning, such as typing
        kind: String,
        /// The content, JSON
        data: Option<String>,
        /// The only user who gets it
        #[arg(long, value_name = "USER")]
        to: Option<String>,
    },
    /// Gives a message another text
    Edit {
        /// The room
        room: String,
        /// The number of the message
        seq: u64,
        #[command(flatten)]
        text: Text,
    },
    /// Takes the text of a message out; its number stays
    Delete {
        /// The room
        room: String,
        /// The number of the message
        seq: u64,
        /// The reason, for everybody
        #[arg(long)]
        reason: Option<String>,
    },
    /// Reacts to a message
    React {
        /// The room
        room: String,
        /// The number of the message
        seq: u64,
        /// The reaction, such as an emoji
        key: String,
        /// Takes the reaction back
        #[arg(long)]
        off: bool,
    },
    /// Shows the newest messages of a room, or those before or after a number
    History {
        /// The room
        room: String,
        /// The number of messages
        #[arg(short, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        number: u64,
        /// Messages before this number
        #[arg(long, value_name = "SEQ", conflicts_with = "after")]
        before: Option<u64>,
        /// Messages after this number
        #[arg(long, value_name = "SEQ")]
        after: Option<u64>,
    },
    /// Shows the newest messages of a room, and then each further one, until Ctrl-C
    Tail {
        /// The room
        room: String,
        /// The number of messages shown first
        #[arg(short, value_name = "N", default_value_t = 10)]
        number: u64,
        /// The time between two looks: a number and s, m, h or d
        #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
        every: Duration,
    },
    /// Lists the users in a room
    Members {
        /// The room
        room: String,
    },
    /// Shows where the logs of rooms end
    Heads {
        /// The room, or rooms
        rooms: String,
    },
    /// Shows how far a user has read
    Marks {
        /// The user
        user: String,
    },
    /// Removes a user from a room; the user may come back
    Kick(Whom),
    /// Keeps a user out of a room, or out of all
    Ban(WhomFor),
    /// Ends a ban
    Unban(Whom),
    /// Lets a user read in a room, or in all, and not write
    Mute(WhomFor),
    /// Ends a mute
    Unmute(Whom),
    /// Lists the bans, mutes and revocations that hold
    Bans {
        /// The room
        room: Option<String>,
    },
    /// Refuses every token that a user has got before now, and closes the user's connections
    Revoke {
        /// The user
        user: String,
        /// The reason, for the audit
        #[arg(long)]
        reason: Option<String>,
    },
    /// Closes the connections of a user, or one connection
    Disconnect {
        /// The user
        #[arg(required_unless_present = "connection")]
        user: Option<String>,
        /// One connection
        #[arg(long, value_name = "ID", conflicts_with = "user")]
        connection: Option<String>,
        /// The reason, for the audit
        #[arg(long)]
        reason: Option<String>,
    },
    /// Shows the newest actions of moderators and backends
    Audit {
        /// The number of actions
        #[arg(short, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        number: u64,
    },
    /// Begins a new epoch of a room, after its table was restored: all positions of clients are lost
    NewEpoch {
        /// The room
        room: String,
    },
    /// Deletes all messages and reactions of a user in a room, and how far the user has read there
    Erase(Whom),
}
