//! The services that are measured, as processes of their own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::time::sleep;

use crate::load::Address;

/// The longest wait. Only reached when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time that a service has to end by itself.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// The folders and programs of a run.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The folder of the functions' programs.
    pub(crate) functions: PathBuf,
    pub(crate) gateway: PathBuf,
    /// Logs and temporary files.
    pub(crate) scratch: PathBuf,
}

impl Places {
    /// The program of a function. The chat's functions share one, which finds its function in `_HANDLER`.
    pub(crate) fn program(&self, function: &str) -> PathBuf {
        self.functions.join(match function {
            "bare-posts" | "first-try" => function,
            _ => "roomchat-functions",
        })
    }
}

/// A process and its children. Dropping it ends them all.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Running {
    /// Starts `command` with its output in a file of the scratch folder.
    ///
    /// # Errors
    /// Fails if it cannot be started.
    pub(crate) fn start(places: &Places, name: &str, command: &mut Command) -> Result<Running> {
        let log = places.scratch.join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Running {
            child,
            name: name.to_owned(),
            log,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Calls `found` with the output, every millisecond, until it returns a value.
    ///
    /// # Errors
    /// Fails if the process ends first, or after a minute.
    pub(crate) async fn until<T>(&mut self, mut found: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let started = Instant::now();
        loop {
            let printed = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(value) = found(&printed) {
                return Ok(value);
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || started.elapsed() > PATIENCE {
                let last = printed.lines().last().unwrap_or_default().to_owned();
                let (name, log) = (&self.name, self.log.display());
                bail!(
                    "{name} does not start; its last line is \"{last}\", the others are in {log}"
                );
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Ok(pid) = i32::try_from(self.child.id()).map(Pid::from_raw) else {
            return;
        };
        // Twice: the second SIGTERM makes the gateway stop at once. It ends its functions all the same.
        for patience in [Duration::from_millis(100), STOP_GRACE] {
            let _ = kill(pid, Signal::SIGTERM);
            let asked = Instant::now();
            while asked.elapsed() < patience && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let _ = killpg(pid, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The Terraform variable that turns the rate limits off: a bench sends more than any person.
pub(crate) const UNLIMITED: &str = "limits={ per_user = 0, per_room = 0, frames_per_second = 0 }";

/// A WebSocket service that accepts connections.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) address: Address,
    pub(crate) running: Running,
    /// From the start of the process to the first accepted connection.
    pub(crate) start_up: Duration,
}

impl Service {
    /// Starts the gateway with a Terraform folder and further flags.
    ///
    /// # Errors
    /// Fails if the service does not accept a connection.
    pub(crate) async fn gateway(
        places: &Places,
        name: &str,
        terraform: &Path,
        functions: &Path,
        flags: &[String],
    ) -> Result<Service> {
        let port = free_port()?;
        let mut command = Command::new(&places.gateway);
        command
            .arg("--terraform")
            .arg(terraform)
            .arg("--functions")
            .arg(functions);
        command.args(["--port", &port.to_string()]).args(flags);
        Service::start(places, name, (port, "/prod"), &mut command).await
    }

    /// Starts a service that listens on a port and serves a path.
    ///
    /// # Errors
    /// Fails if the service does not accept a connection.
    pub(crate) async fn start(
        places: &Places,
        name: &str,
        (port, path): (u16, &str),
        command: &mut Command,
    ) -> Result<Service> {
        let started = Instant::now();
        let mut running = Running::start(places, name, command)?;
        running
            .until(|_| std::net::TcpStream::connect(("127.0.0.1", port)).ok())
            .await?;
        let address = Address::local(port, path);
        let member = address
            .join("first", "first")
            .await
            .with_context(|| name.to_owned())?;
        let start_up = started.elapsed();
        drop(member);
        Ok(Service {
            address,
            running,
            start_up,
        })
    }
}

/// Finds a free loopback port.
///
/// # Errors
/// Fails if no port is free.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok(listener.local_addr()?.port())
}

/// A DynamoDB engine in its own process: this program, started again.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) endpoint: String,
    _running: Running,
}

impl Engine {
    /// Starts an engine without tables. With `aside` it stays off the core on which functions are measured.
    ///
    /// # Errors
    /// Fails if the engine does not start.
    pub(crate) async fn start(places: &Places, name: &str, aside: bool) -> Result<Engine> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("engine");
        if aside {
            command.arg("--aside");
        }
        let mut running = Running::start(places, name, &mut command)?;
        let endpoint = running
            .until(|printed| printed.split_once('\n').map(|(line, _)| line.to_owned()))
            .await?;
        Ok(Engine {
            endpoint,
            _running: running,
        })
    }
}
