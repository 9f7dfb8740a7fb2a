//! API Gateway (WebSocket), Lambda and DynamoDB on one machine, running what a Terraform folder declares.
//!
//! It knows nothing of chat: it serves the declared routes, runs the declared functions, in whatever language, as
//! child processes over the Lambda Runtime API, and keeps the declared tables. See ARCHITECTURE.md.

mod account;
mod admin;
mod clock;
mod deployment;
mod dynamodb;
mod faults;
mod gateway;
mod ids;
mod lambda;
mod log;
mod options;
mod query;
mod template;
mod terraform;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser as _;
use clap::error::ErrorKind;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use clock::Clock;
use deployment::{Api, Authorization, Deployment, Function};
use faults::{Document, Faults};
use gateway::Gateway;
use gateway::connections::Connections;
use gateway::listener::{Listener, Peer};
use gateway::quotas::Quotas;
use gateway::tls::Identity;
use lambda::callers::Callers;
use lambda::{Pool, Runtimes, Spec, package};
use options::Options;

/// How long a stop waits for `$disconnect` of the open connections and for running invocations.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long the last lines may take to be printed.
const FLUSH_GRACE: Duration = Duration::from_secs(1);

/// How often processes are looked at that have nothing to do, and how often at most when time runs fast.
const REAP_INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_REAP_INTERVAL: Duration = Duration::from_millis(20);

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
    if let (true, Some(port)) = (options.status, options.admin_port) {
        return match admin::ask(port) {
            Ok(status) => {
                print!("{status}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&format!("{error:#}")),
        };
    }
    raise_file_limit();
    log::init(options.log, options.verbose, options.show_bodies);
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

/// A connection takes a file descriptor, and many systems give a program 1,024 of them unless it asks for more.
fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Without it fewer clients fit, which is no reason not to start.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

async fn run(options: &Options) -> Result<()> {
    // All that can be wrong is found before anything is started.
    let Deployment {
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
    let admin_listener = match options.admin_port {
        Some(port) => Some(listen(port, "--admin-port").await?),
        None => None,
    };
    let store = dynamodb::open(options.data.as_deref())?;
    dynamodb::create_tables(&store.database, &tables)?;
    let mut ends = Ends::listen()?;
    warnings.iter().for_each(|warning| log::plain(warning));
    for route_key in kinder_than_aws {
        log::plain(&format!(
            "Unlike AWS, the route {route_key} is open to everybody here: API keys are only checked on $connect."
        ));
    }
    if matches!(api.access.authorization, Authorization::Iam) && !options.check_signatures {
        log::plain(
            "Unlike AWS, the route $connect is open to everybody here: signatures are only checked with --check-signatures.",
        );
    }

    let address = listener.local_addr()?;
    let callers = Arc::new(Callers::default());
    // Without a flag for rules, nothing stands between the functions and the engine.
    let table_faults = (options.faults.is_some() || options.admin_port.is_some())
        .then(|| (Arc::clone(&faults), Arc::clone(&callers)));
    let dynamodb = dynamodb::serve(store.database.clone(), dynamodb_listener, table_faults).await?;
    let overrides = overrides(&api, address, &dynamodb.endpoint, &options.env);
    let processes = usize::from(options.processes);
    let clock = Arc::new(Clock::start(options.time_scale, options.timeout_scale));
    let quotas = Quotas::new(&options.quota, &api);
    let unreserved = quotas.concurrency.unwrap_or(usize::MAX);
    let unreserved = Arc::new(Semaphore::new(unreserved.min(Semaphore::MAX_PERMITS)));
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
                region: api.region.clone(),
                overrides: overrides.clone(),
                callers: Arc::clone(&callers),
                clock: Arc::clone(&clock),
                freeze: options.freeze,
            };
            (name, Pool::new(spec, processes, &unreserved))
        })
        .collect();
    let gateway = Arc::new(Gateway {
        functions: pools.clone(),
        connections: Connections::default(),
        faults,
        callers,
        clock: Arc::clone(&clock),
        quotas,
        tables,
        database: store.database.clone(),
        table_calls: dynamodb.counters.clone(),
        check_signatures: options.check_signatures,
        port: address.port(),
        idle_timeout: Duration::from_secs(options.idle_timeout),
        max_lifetime: Duration::from_secs(options.max_lifetime),
        serving: watch::Sender::new(()),
        api,
    });
    let reap_after = Duration::from_secs(options.reap_after);
    let reaper = tokio::spawn(reap(pools.clone(), clock, reap_after));
    let mut addresses = Addresses {
        websocket: format!("ws://{address}/{}", gateway.api.stage),
        connections: format!("http://{address}/{}/@connections", gateway.api.stage),
        dynamodb: dynamodb.endpoint.clone(),
        data: options.data.as_deref(),
        admin: None,
        faults: None,
    };
    if let Some(listener) = admin_listener {
        addresses.admin = Some(format!("http://{}", listener.local_addr()?));
        let faults = admin::faults::admin_routes(Arc::clone(&gateway.faults));
        let admin = admin::router(Arc::clone(&gateway), faults);
        tokio::spawn(axum::serve(listener, admin).into_future());
    }
    if options.faults.is_some() || options.seed.is_some() {
        addresses.faults = Some((gateway.faults.len(), gateway.faults.seed()));
    }
    addresses.announce();

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
) -> Result<Vec<(Function, lambda::Program)>> {
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
    // What is set up for this machine's user says nothing of a function, which has no home.
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        overrides.insert(name.to_owned(), "/dev/null".to_owned());
    }
    // Somebody reads along here; the JSON that is declared is for CloudWatch.
    overrides.insert("AWS_LAMBDA_LOG_FORMAT".to_owned(), "Text".to_owned());
    overrides.extend(env.iter().cloned());
    overrides
}

/// Where everything is.
struct Addresses<'a> {
    websocket: String,
    connections: String,
    dynamodb: String,
    data: Option<&'a Path>,
    admin: Option<String>,
    /// How many rules there are, and what they draw from.
    faults: Option<(usize, u64)>,
}

impl Addresses<'_> {
    fn announce(&self) {
        if log::is_json() {
            let fields = json!({
                "websocket": self.websocket,
                "connections": self.connections,
                "dynamodb": self.dynamodb,
                "data": self.data,
                "admin": self.admin,
                "rules": self.faults.map(|(rules, _)| rules),
                "seed": self.faults.map(|(_, seed)| seed),
            });
            return log::event("ready", fields);
        }
        let kept = match self.data {
            None => "in memory".to_owned(),
            Some(directory) => format!("kept in {}", directory.display()),
        };
        log::plain(&format!("WebSocket     {}", self.websocket));
        log::plain(&format!("@connections  {}", self.connections));
        log::plain(&format!("DynamoDB      {} ({kept})", self.dynamodb));
        if let Some(admin) = &self.admin {
            log::plain(&format!("Admin         {admin}"));
        }
        if let Some((rules, seed)) = self.faults {
            log::plain(&format!("Faults        {rules} rules, --seed {seed}"));
        }
        log::plain("Ready. Ctrl-C stops.");
    }
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

async fn reap(pools: BTreeMap<String, Arc<Pool>>, clock: Arc<Clock>, idle_for: Duration) {
    loop {
        clock.waiting.sleep(REAP_INTERVAL).await;
        sleep(SHORTEST_REAP_INTERVAL).await;
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
