//! API Gateway (WebSocket), Lambda and DynamoDB on one machine, running what a Terraform folder declares.
//!
//! It knows nothing of chat: it serves the declared routes, runs the declared functions, in whatever language, as
//! child processes over the Lambda Runtime API, and keeps the declared tables. See ARCHITECTURE.md.

mod clock;
mod connections;
mod dynamodb;
mod event;
mod faults;
mod gateway;
mod ids;
mod integration;
mod lambda;
mod listener;
mod log;
mod management;
mod mock;
mod selection;
mod terraform;
mod tls;
mod websocket;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use clap::error::ErrorKind;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use connections::Connections;
use faults::{Document, Faults};
use gateway::Gateway;
use lambda::callers::Callers;
use lambda::{Pool, Runtimes, Spec, package};
use listener::{Listener, Peer};
use terraform::{Api, Deployment, Function};
use tls::Identity;

/// How long a stop waits for `$disconnect` of the open connections and for running invocations.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long the last lines may take to be printed.
const FLUSH_GRACE: Duration = Duration::from_secs(1);

/// How often processes are looked at that have nothing to do.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// API Gateway (WebSocket), Lambda and DynamoDB on this machine, as a Terraform folder declares them
#[derive(Debug, Parser)]
#[command(name = "roomchat-local", version)]
struct Options {
    /// The Terraform folder: routes, functions and tables are read from it
    #[arg(long, value_name = "DIR", default_value = "terraform")]
    terraform: PathBuf,
    /// A Terraform variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    var: Vec<(String, String)>,
    /// Where the functions' native binaries are; a function without one runs the `bootstrap` of its package
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    functions: PathBuf,
    /// An environment variable for every function, on top of what Terraform declares
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// The port of WebSocket clients and of @connections; 0 is any free one
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The port of DynamoDB; 0 is any free one
    #[arg(long, default_value_t = 0)]
    dynamodb_port: u16,
    /// Keep the tables in this folder; without it they are gone at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Processes of one function at most; invocations beyond them wait
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    processes: u16,
    /// End a function's process that has had nothing to do for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = seconds())]
    reap_after: u64,
    /// Close a connection on which no message has passed for so long; AWS: 600
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = seconds())]
    idle_timeout: u64,
    /// Close a connection of that age; AWS: 7200
    #[arg(long, value_name = "SECONDS", default_value_t = 7200, value_parser = seconds())]
    max_lifetime: u64,
    /// What shall go wrong: a JSON file of fault rules, see docs/local.md
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// What the fault rules draw from, instead of the file's own seed or a random one
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the certificate there that makes a client trust this gateway's wss:// and https://, which share the port
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Up to a year.
fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=31_536_000)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            return fail(&format!(
                "{} (--help lists the flags)",
                first.trim_start_matches("error: ")
            ));
        }
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        // The runtime is dropped before the process ends, and with it every child process.
        .and_then(|runtime| runtime.block_on(run(&options)));
    log::flush(FLUSH_GRACE);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// One sentence, exit code 2.
fn fail(sentence: &str) -> ExitCode {
    eprintln!("roomchat-local: {sentence}");
    ExitCode::from(2)
}

async fn run(options: &Options) -> Result<()> {
    // All that can be wrong is found before anything is started.
    let Deployment {
        region,
        api,
        functions,
        tables,
        kinder_than_aws,
        warnings,
    } = Deployment::load(&options.terraform, &options.var)?;
    let faults = Arc::new(faults(options)?);
    let unpacked = tempfile::tempdir().context("cannot make a folder for unpacked functions")?;
    let runtimes = Runtimes::new(unpacked.path());
    let packages = unpacked.path().join("functions");
    let programs = programs(&functions, &options.functions, &packages, runtimes)?;
    let identity = Identity::make().context("cannot make a certificate")?;
    let trust = identity.trust(unpacked.path())?;
    if let Some(file) = &options.ca_file {
        std::fs::write(file, &identity.authority_pem)
            .with_context(|| format!("--ca-file: cannot write {}", file.display()))?;
    }
    let listener = listen(options.port, "--port").await?;
    let dynamodb_listener = listen(options.dynamodb_port, "--dynamodb-port").await?;
    let store = dynamodb::open(options.data.as_deref())?;
    dynamodb::create_tables(&store.database, &tables)?;
    let mut ends = Ends::listen()?;
    warnings.iter().for_each(|warning| log::plain(warning));
    for route_key in kinder_than_aws {
        log::plain(&format!(
            "Unlike AWS, the route {route_key} is open to everybody here: authorizers and API keys are not checked."
        ));
    }

    let address = listener.local_addr()?;
    let callers = Arc::new(Callers::default());
    // Without a flag for rules, nothing stands between the functions and the engine.
    let table_faults = options
        .faults
        .is_some()
        .then(|| (Arc::clone(&faults), Arc::clone(&callers)));
    let dynamodb = dynamodb::serve(store.database.clone(), dynamodb_listener, table_faults).await?;
    let overrides = overrides(&api, address, &dynamodb.endpoint, &options.env);
    let processes = usize::from(options.processes);
    let pools: BTreeMap<String, Arc<Pool>> = programs
        .into_iter()
        .map(|(mut function, program)| {
            let name = function.function_name.clone();
            // Only what is not declared: somebody may trust another authority, too.
            for (name, file) in &trust {
                let declared = function.environment.entry(name.clone());
                declared.or_insert_with(|| file.clone());
            }
            let spec = Spec {
                function,
                program,
                region: region.clone(),
                overrides: overrides.clone(),
                callers: Arc::clone(&callers),
            };
            (name, Pool::new(spec, processes))
        })
        .collect();
    let gateway = Arc::new(Gateway {
        functions: pools.clone(),
        connections: Connections::default(),
        faults,
        callers,
        clock: clock::Clock::start(),
        port: address.port(),
        idle_timeout: Duration::from_secs(options.idle_timeout),
        max_lifetime: Duration::from_secs(options.max_lifetime),
        serving: watch::Sender::new(()),
        api,
    });
    let reaper = tokio::spawn(reap(pools.clone(), Duration::from_secs(options.reap_after)));
    if options.faults.is_some() || options.seed.is_some() {
        let (rules, seed) = (gateway.faults.len(), gateway.faults.seed());
        log::plain(&format!("Faults        {rules} rules, --seed {seed}"));
    }
    announce(
        &gateway.api,
        address,
        &dynamodb.endpoint,
        options.data.as_deref(),
    );

    let service =
        gateway::router(Arc::clone(&gateway)).into_make_service_with_connect_info::<Peer>();
    let listener = Listener::new(listener, identity.acceptor);
    // It goes on to the end, since a handshake that is dropped in the middle leaves its client without an answer.
    let mut server = tokio::spawn(axum::serve(listener, service).into_future());
    tokio::select! {
        served = &mut server => served?.context("the gateway's port")?,
        () = ends.one() => {}
    }
    log::plain("Stopping: closing the connections and ending the functions.");
    tokio::select! {
        () = stop(&gateway, &pools, processes) => {}
        () = ends.one() => log::plain("Stopping at once."),
    }
    server.abort();
    reaper.abort();
    dynamodb.stop().await;
    Ok(())
}

/// The rules to begin with.
fn faults(options: &Options) -> Result<Faults> {
    let mut document = match &options.faults {
        Some(file) => Document::load(file)?,
        None => Document::default(),
    };
    document.seed = options.seed.or(document.seed);
    Ok(Faults::new(document, rand::random()))
}

fn programs(
    functions: &BTreeMap<String, Function>,
    binaries: &Path,
    unpacked: &Path,
    mut runtimes: Runtimes,
) -> Result<Vec<(Function, package::Program)>> {
    functions
        .values()
        .map(|function| {
            let program = package::find(function, binaries, unpacked, &mut runtimes)?;
            Ok((function.clone(), program))
        })
        .collect()
}

async fn listen(port: u16, flag: &str) -> Result<TcpListener> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("port {port} is in use: stop what listens there, or choose another with {flag}")
        }
        Err(error) => {
            Err(anyhow!(error)).with_context(|| format!("cannot listen on port {port} ({flag})"))
        }
    }
}

/// What functions are told of this machine, over what Terraform would tell them of AWS.
fn overrides(
    api: &Api,
    address: SocketAddr,
    dynamodb: &str,
    env: &[(String, String)],
) -> BTreeMap<String, String> {
    let mut overrides = BTreeMap::from([
        ("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), dynamodb.to_owned()),
        (
            "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI".to_owned(),
            format!("http://{address}/{}", api.stage),
        ),
    ]);
    // Somebody reads along here; the JSON that is declared is for CloudWatch.
    overrides.insert("AWS_LAMBDA_LOG_FORMAT".to_owned(), "Text".to_owned());
    overrides.extend(env.iter().cloned());
    overrides
}

fn announce(api: &Api, address: SocketAddr, dynamodb: &str, data: Option<&Path>) {
    let kept = data.map_or_else(
        || "in memory".to_owned(),
        |directory| format!("kept in {}", directory.display()),
    );
    log::plain(&format!("WebSocket     ws://{address}/{}", api.stage));
    log::plain(&format!(
        "@connections  http://{address}/{}/@connections",
        api.stage
    ));
    log::plain(&format!("DynamoDB      {dynamodb} ({kept})"));
    log::plain("Ready. Ctrl-C stops.");
}

/// What ends the gateway: Ctrl-C, `kill`, and its terminal being closed.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Ends {
    fn listen() -> std::io::Result<Ends> {
        Ok(Ends {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn one(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

async fn reap(pools: BTreeMap<String, Arc<Pool>>, idle_for: Duration) {
    let mut interval = interval(REAP_INTERVAL);
    loop {
        interval.tick().await;
        for pool in pools.values() {
            pool.reap(idle_for);
        }
    }
}

/// Closes every connection, lets each `$disconnect` and whatever else runs finish, and ends the processes.
async fn stop(gateway: &Gateway, pools: &BTreeMap<String, Arc<Pool>>, processes: usize) {
    gateway.connections.close_all();
    let finished = timeout(STOP_GRACE, async {
        gateway.serving.closed().await;
        for pool in pools.values() {
            pool.drain(processes).await;
        }
    });
    if finished.await.is_err() {
        log::plain("Some invocations did not finish in time and are ended.");
    }
}
