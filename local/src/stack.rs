//! A whole deployment on this machine, from its declaration to its stop.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::deployment::{Api, Authorization, Deployment, Function, localized};
use crate::dynamodb::{self, DynamoDb, Store};
use crate::faults::{Document, Faults};
use crate::gateway::Posts;
use crate::gateway::connections::Connections;
use crate::gateway::journal::Journal;
use crate::gateway::listener::{Listener, Peer};
use crate::gateway::quotas::Quotas;
use crate::gateway::tls::Identity;
use crate::gateway::{self, Gateway};
use crate::lambda::callers::Callers;
use crate::lambda::{Pool, Program, Runtimes, Spec, package};
use crate::options::Options;
use crate::{admin, log};

/// The longest wait of a stop for `$disconnect` of the open connections and for running invocations.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The interval at which idle processes are ended.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest such interval, when the clock runs fast.
const SHORTEST_REAP_INTERVAL: Duration = Duration::from_millis(20);

/// The pools by function name.
type Pools = BTreeMap<String, Arc<Pool>>;

/// A deployment that can be started.
pub struct Prepared<'a> {
    options: &'a Options,
    deployment: Deployment,
    faults: Faults,
    programs: Vec<(Function, Program)>,
    identity: Identity,
    /// The environment that makes functions trust the gateway's certificate.
    trust: BTreeMap<String, String>,
    unpacked: TempDir,
}

/// Reads the declaration and everything that it names, and starts nothing.
///
/// # Errors
/// Fails if the Terraform folder, a fault rule or a function's program is missing or invalid.
pub fn prepare(options: &Options) -> Result<Prepared<'_>> {
    let mut deployment = Deployment::load(&options.terraform, options.wanted())?;
    let faults = faults(options)?;
    let unpacked = tempfile::tempdir().context("cannot make a folder for unpacked functions")?;
    let programs = programs(&mut deployment, &options.functions, unpacked.path())?;
    let identity = Identity::make().context("cannot make a certificate")?;
    let trust = identity.trust(unpacked.path())?;
    if let Some(file) = &options.ca_file {
        std::fs::write(file, &identity.authority_pem)
            .with_context(|| format!("--ca-file: cannot write {}", file.display()))?;
    }
    Ok(Prepared {
        options,
        deployment,
        faults,
        programs,
        identity,
        trust,
        unpacked,
    })
}

/// A running deployment. Its processes end with it.
pub struct Stack {
    gateway: Arc<Gateway>,
    pools: Pools,
    processes: usize,
    server: JoinHandle<std::io::Result<()>>,
    reaper: JoinHandle<()>,
    dynamodb: DynamoDb,
    addresses: Addresses,
    /// Locks the folder of `--data` while it lives.
    _store: Store,
    /// Dropped last: the processes run in it.
    _unpacked: TempDir,
}

impl Prepared<'_> {
    /// Opens the ports and the tables, and begins to serve.
    ///
    /// # Errors
    /// Fails if a port is in use, or the folder of the tables cannot be used.
    pub async fn start(self) -> Result<Stack> {
        let options = self.options;
        let Deployment {
            api,
            tables,
            kinder_than_aws,
            notices,
            ..
        } = self.deployment;
        let listener = listen(options.port, "--port").await?;
        let dynamodb_listener = listen(options.dynamodb_port, "--dynamodb-port").await?;
        let admin_listener = match options.admin_port {
            Some(port) => Some(listen(port, "--admin-port").await?),
            None => None,
        };
        let store = dynamodb::open(options.data.as_deref())?;
        dynamodb::create_tables(&store.database, &tables).with_context(|| match &options.data {
            Some(directory) => format!("--data {}", directory.display()),
            None => "cannot make the tables".to_owned(),
        })?;
        let (journal, former) = match &options.data {
            // Without a $disconnect route the journal has no use.
            Some(data) if api.routes.contains_key("$disconnect") => {
                let journal = Journal::open(data)?;
                let former = journal.left_open(&api.stage)?;
                (Some(journal), former)
            }
            _ => (None, Vec::new()),
        };
        let secret = match &options.secret {
            Some(secret) => secret.clone(),
            None => format!("{:032x}", rand::random::<u128>()),
        };
        notices.iter().for_each(|notice| log::plain(notice));
        warn_of_open_routes(&api, &kinder_than_aws, options.check_signatures);

        let address = listener.local_addr()?;
        let callers = Arc::new(Callers::default());
        let faults = Arc::new(self.faults);
        let dynamodb = dynamodb::serve(
            store.database.clone(),
            dynamodb_listener,
            Arc::clone(&faults),
            Arc::clone(&callers),
        )
        .await?;
        let clock = Arc::new(Clock::start(options.time_scale, options.timeout_scale));
        let quotas = Quotas::new(&options.quota, &api);
        let processes = usize::from(options.processes);
        let is_watched = options.admin_port.is_some() || options.faults.is_some();
        let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
        let spec = |function: Function, program: Program| Spec {
            region: api.region.clone(),
            secret: secret.clone(),
            overrides: {
                let needs_front = is_watched || !names_its_tables(&function, &options.env, &names);
                let tables = if needs_front {
                    &dynamodb.endpoint
                } else {
                    &dynamodb.direct
                };
                overrides(&api, address, tables, &options.env)
            },
            function,
            program,
            callers: Arc::clone(&callers),
            clock: Arc::clone(&clock),
            freeze: options.freeze,
        };
        let unreserved = quotas.concurrency.unwrap_or(usize::MAX);
        let unreserved = Arc::new(Semaphore::new(unreserved.min(Semaphore::MAX_PERMITS)));
        let pools: Pools = self
            .programs
            .into_iter()
            .map(|(mut function, program)| {
                let name = function.function_name.clone();
                for value in function.environment.values_mut() {
                    *value = localized(value, &address.to_string());
                }
                // A declared variable wins: somebody may trust another authority, too.
                for (name, file) in &self.trust {
                    let declared = function.environment.entry(name.clone());
                    declared.or_insert_with(|| file.clone());
                }
                (
                    name,
                    Pool::new(spec(function, program), processes, &unreserved),
                )
            })
            .collect();
        let gateway = Arc::new(Gateway {
            functions: pools.clone(),
            connections: Connections::default(),
            journal,
            faults,
            callers,
            clock: Arc::clone(&clock),
            quotas,
            posts: Posts::default(),
            tables,
            database: store.database.clone(),
            table_calls: Arc::clone(&dynamodb.counters),
            check_signatures: options.check_signatures,
            secret: secret.clone(),
            port: address.port(),
            idle_timeout: Duration::from_secs(options.idle_timeout),
            max_lifetime: Duration::from_secs(options.max_lifetime),
            serving: watch::Sender::new(()),
            api,
        });
        let mut addresses = Addresses {
            websocket: format!("ws://{address}/{}", gateway.api.stage),
            connections: format!("http://{address}/{}/@connections", gateway.api.stage),
            dynamodb: dynamodb.endpoint.clone(),
            data: options.data.clone(),
            admin: None,
            faults: None,
            secret: options.check_signatures.then_some(secret),
            hint: options.hint.clone(),
        };
        if let Some(listener) = admin_listener {
            addresses.admin = Some(format!("http://{}", listener.local_addr()?));
            let router = admin::router(Arc::clone(&gateway));
            tokio::spawn(axum::serve(listener, router).into_future());
        }
        if options.faults.is_some() || options.seed.is_some() {
            addresses.faults = Some((gateway.faults.len(), gateway.faults.seed()));
        }
        let service =
            gateway::router(Arc::clone(&gateway)).into_make_service_with_connect_info::<Peer>();
        let listener = Listener::new(listener, self.identity.acceptor);
        let reap_after = Duration::from_secs(options.reap_after);
        let server = tokio::spawn(axum::serve(listener, service).into_future());
        // Only now: the functions may call @connections.
        tokio::spawn(gateway::end_former(Arc::clone(&gateway), former));
        Ok(Stack {
            reaper: tokio::spawn(reap(pools.clone(), clock, reap_after)),
            server,
            gateway,
            pools,
            processes,
            dynamodb,
            addresses,
            _store: store,
            _unpacked: self.unpacked,
        })
    }
}

impl Stack {
    /// Returns the URL of WebSocket clients: `ws://HOST:PORT/STAGE`.
    #[must_use]
    pub fn websocket(&self) -> &str {
        &self.addresses.websocket
    }

    /// Returns the URL of DynamoDB.
    #[must_use]
    pub fn dynamodb(&self) -> &str {
        &self.addresses.dynamodb
    }

    /// Logs the addresses, and that the deployment is ready.
    pub fn announce(&self) {
        self.addresses.announce();
    }

    /// Serves until `end` is done.
    ///
    /// # Errors
    /// Fails if the gateway's port fails.
    pub async fn serve(&mut self, end: impl Future<Output = ()>) -> Result<()> {
        tokio::select! {
            served = &mut self.server => served?.context("the gateway's port failed"),
            () = end => Ok(()),
        }
    }

    /// Closes every connection, lets each `$disconnect` and all other invocations finish, and ends the processes. If
    /// `at_once` is ready before that, ends the invocations.
    pub async fn stop(self, at_once: impl Future<Output = ()>) {
        log::plain("Stopping: closing the connections and ending the functions.");
        tokio::select! {
            () = drain(&self.gateway, &self.pools, self.processes) => {}
            () = at_once => log::plain("Stopping at once."),
        }
        // Only now: a handshake that is dropped in the middle leaves its client without an answer.
        self.server.abort();
        self.reaper.abort();
        self.dynamodb.stop().await;
    }
}

async fn drain(gateway: &Gateway, pools: &Pools, processes: usize) {
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

fn warn_of_open_routes(api: &Api, kinder_than_aws: &[String], check_signatures: bool) {
    for route_key in kinder_than_aws {
        log::plain(&format!(
            "Unlike AWS, the route {route_key} is open to everybody here: API keys are only checked on $connect."
        ));
    }
    if matches!(api.access.authorization, Authorization::Iam) && !check_signatures {
        log::plain(
            "Unlike AWS, the route $connect is open to everybody here: signatures are only checked with --check-signatures.",
        );
    }
}

/// Reads the rules of `--faults`.
fn faults(options: &Options) -> Result<Faults> {
    let mut document = match &options.faults {
        Some(file) => Document::load(file)?,
        None => Document::default(),
    };
    document.seed = options.seed.or(document.seed);
    Ok(Faults::new(document, rand::random()))
}

/// The functions and their programs. A function that has none is a notice, unless the served API needs it.
fn programs(
    deployment: &mut Deployment,
    binaries: &Path,
    unpacked: &Path,
) -> Result<Vec<(Function, Program)>> {
    let mut runtimes = Runtimes::new(unpacked);
    let packages = unpacked.join("functions");
    let mut programs = Vec::new();
    for function in deployment.functions.values() {
        match package::find(function, binaries, &packages, &mut runtimes) {
            Ok(program) => programs.push((function.clone(), program)),
            Err(error) if function.is_served => return Err(error),
            Err(error) => {
                let notice =
                    format!("{error:#}. No route invokes the function, so it is left out.");
                deployment.notices.push(notice);
            }
        }
    }
    Ok(programs)
}

async fn listen(port: u16, flag: &str) -> Result<TcpListener> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {port} is in use: stop the program that listens there, or choose another port with {flag}"
            )
        }
        Err(error) => {
            Err(anyhow!(error)).with_context(|| format!("cannot listen on port {port} ({flag})"))
        }
    }
}

/// Reports whether the variables of the function name a declared table, and none of them holds the ARN of a table. Such a
/// function has no reason to build an ARN itself, and only the front understands ARNs.
fn names_its_tables(function: &Function, env: &[(String, String)], tables: &[String]) -> bool {
    let mut variables = function.environment.clone();
    variables.extend(env.iter().cloned());
    let has_arn = |value: &String| value.contains("arn:aws:dynamodb:");
    !variables.values().any(has_arn) && variables.values().any(|value| tables.contains(value))
}

/// Returns the variables of functions that differ on this machine from AWS.
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
        (
            "AWS_ENDPOINT_URL_LAMBDA".to_owned(),
            format!("http://{address}"),
        ),
    ]);
    // The settings of this machine's user do not apply to a function, which has no home.
    for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        overrides.insert(name.to_owned(), "/dev/null".to_owned());
    }
    // A person reads the log; the declared JSON is for CloudWatch.
    overrides.insert("AWS_LAMBDA_LOG_FORMAT".to_owned(), "Text".to_owned());
    overrides.extend(env.iter().cloned());
    overrides
}

/// The addresses of a running deployment.
struct Addresses {
    websocket: String,
    connections: String,
    dynamodb: String,
    data: Option<PathBuf>,
    admin: Option<String>,
    /// The number of rules, and their seed.
    faults: Option<(usize, u64)>,
    /// The secret of every access key, where signatures are checked.
    secret: Option<String>,
    /// The next step for the user.
    hint: Option<String>,
}

impl Addresses {
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
                "secret": self.secret,
            });
            return log::event("ready", fields);
        }
        let kept = match &self.data {
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
        if let Some(secret) = &self.secret {
            log::plain(&format!("Secret        {secret} (of any access key)"));
        }
        if let Some(hint) = &self.hint {
            hint.lines().for_each(log::plain);
        }
        log::plain("Ready. Ctrl-C stops.");
    }
}

async fn reap(pools: Pools, clock: Arc<Clock>, idle_for: Duration) {
    loop {
        clock.waiting.sleep(REAP_INTERVAL).await;
        sleep(SHORTEST_REAP_INTERVAL).await;
        for pool in pools.values() {
            pool.reap(idle_for);
        }
    }
}
