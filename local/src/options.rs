//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::deployment::Wanted;
use crate::gateway::quotas;
use crate::{admin, log};

/// API Gateway (WebSocket), Lambda and DynamoDB on this machine, as a Terraform folder declares them
#[derive(Debug, Parser)]
#[command(name = "roomchat-local", version)]
pub struct Options {
    /// The Terraform folder: routes, functions and tables are read from it
    #[arg(long, value_name = "DIR", default_value = "terraform")]
    pub(crate) terraform: PathBuf,
    /// The WebSocket API to serve, by its name, where the folder declares more than one
    #[arg(long, value_name = "NAME")]
    pub(crate) api: Option<String>,
    /// The stage to serve, by its name, where the API has more than one
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Option<String>,
    /// A Terraform variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) var: Vec<(String, String)>,
    /// The folder of the functions' binaries: NAME runs in the place of the package NAME.zip
    #[arg(long, value_name = "DIR", default_value = "target/debug")]
    pub(crate) functions: PathBuf,
    /// An environment variable for every function, on top of what Terraform declares
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// The port of WebSocket clients and of @connections; 0 is any free one
    #[arg(long, default_value_t = 3000)]
    pub(crate) port: u16,
    /// The port of DynamoDB; 0 is any free one
    #[arg(long, default_value_t = 0)]
    pub(crate) dynamodb_port: u16,
    /// Keep the tables in this folder; without it they are lost at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The most processes of one function; further invocations wait
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) processes: u16,
    /// End a function's process that has been idle for this time
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = seconds())]
    pub(crate) reap_after: u64,
    /// Close a connection after this time without a message; AWS: 600
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = seconds())]
    pub(crate) idle_timeout: u64,
    /// Close a connection at this age; AWS: 7200
    #[arg(long, value_name = "SECONDS", default_value_t = 7200, value_parser = seconds())]
    pub(crate) max_lifetime: u64,
    /// Inject faults: a JSON file of fault rules, see docs/local.md
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
    /// The seed of the fault rules, instead of the file's seed or a random one
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Write the certificate that makes a client trust this gateway's wss:// and https://, which share the port
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Refuse calls of @connections, and handshakes under AWS_IAM, that are not signed with the --secret
    #[arg(long)]
    pub(crate) check_signatures: bool,
    /// The secret of every access key; without it a random one, which --check-signatures prints
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    /// Let connections and idle processes age this many times as fast
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = scale)]
    pub(crate) time_scale: f64,
    /// Let the timeouts of Init, functions and integrations, and the throttles, run this many times as fast
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = scale)]
    pub(crate) timeout_scale: f64,
    /// Stop a function's process between invocations, as Lambda does
    #[arg(long)]
    pub(crate) freeze: bool,
    /// Enforce a quota of AWS: account[=RATE/BURST], connections[=RATE], routes, concurrency[=N], or all
    #[arg(long, value_name = "QUOTA")]
    pub(crate) quota: Vec<quotas::Wanted>,
    /// The port of the admin endpoint, off unless given; 0 is any free one
    #[arg(long, value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Print the status of the gateway with that --admin-port, and exit
    #[arg(long, requires = "admin_port")]
    pub status: bool,
    /// Print this text when ready: the next step for the user
    #[arg(long, value_name = "TEXT")]
    pub(crate) hint: Option<String>,
    /// The form of the log
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(crate) log: log::Format,
    /// Log the functions' events, their REPORT lines and every call of @connections too, without bodies and secrets
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Like --verbose, with bodies and secrets
    #[arg(long)]
    pub(crate) show_bodies: bool,
}

impl Options {
    /// Sets the form of the log as the options say.
    pub fn init_log(&self) {
        log::init(self.log, self.verbose, self.show_bodies);
    }

    /// The options that concern the Terraform folder.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            vars: &self.var,
            env: &self.env,
            api: self.api.as_deref(),
            stage: self.stage.as_deref(),
        }
    }
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if admin::is_scale(scale) => Ok(scale),
        _ => Err("must be a number from 0.000001 to 1000000".to_owned()),
    }
}

/// Up to a year.
fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=31_536_000)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".to_owned()),
    }
}
