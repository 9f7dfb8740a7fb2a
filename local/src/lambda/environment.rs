//! An execution environment: a process of a function, and its Runtime API.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use nix::sys::signal::{Signal as Unix, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::callers::Registered;
use super::program::Build;
use super::runtime_api::{self, Invocation, RuntimeApi, Signal};
use super::{FunctionError, InvokeResult, Spec, TIMED_OUT, report};
use crate::account::ACCOUNT_ID;
use crate::clock::Moment;
use crate::{ids, log};

/// Lambda's limit for the Init phase of an on-demand function.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits a function to 1,024 file descriptors, since the gateway has raised its own limit. The shell becomes the program.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const AS_LIMITED_AS_ON_LAMBDA: &str = r#"ulimit -n 1024 2>/dev/null; exec "$0" "$@""#;

/// The exit codes of a shell that cannot become the program.
const NOT_STARTED: [i32; 2] = [126, 127];

/// A started process that has asked for its first event.
pub(super) struct Environment {
    process: Process,
    /// The build of the program that it runs.
    build: Option<Build>,
    runtime: RuntimeApi,
    /// The duration of Init, until the first invocation has reported it.
    init: Option<Duration>,
    peak_memory_mb: u64,
    /// On the clock by which idle processes age.
    pub(super) idle_since: Moment,
}

impl Environment {
    /// Starts a process and waits until it asks for its first event.
    ///
    /// # Errors
    /// The error that Lambda would report: the process exited, reported a failed Init, or took longer than `limit`.
    pub(super) async fn start(spec: &Spec, limit: Duration) -> Result<Environment, FunctionError> {
        let started = Instant::now();
        let start_error = |e: std::io::Error| {
            let program = spec.program.executable.display();
            FunctionError::new(
                "Runtime.InvalidEntrypoint",
                &format!("cannot start {program}: {e}"),
            )
        };
        let mut runtime = runtime_api::serve(&spec.function.function_name, &spec.function.handler)
            .await
            .map_err(start_error)?;
        let build = spec.program.build();
        let mut process =
            Process::spawn(spec, &runtime.address.to_string()).map_err(start_error)?;
        let failure = tokio::select! {
            signal = runtime.signals.recv() => match signal {
                Some(Signal::Ready) => None,
                Some(Signal::InitError(error)) => Some(error),
                None => Some(FunctionError::new("Runtime.Unknown", "the Runtime API ended")),
            },
            status = process.child.wait() => Some(match status {
                Ok(status) if status.code().is_some_and(|code| NOT_STARTED.contains(&code)) => {
                    start_error(std::io::Error::other("not a program for this machine"))
                }
                status => exit_error(status),
            }),
            () = spec.clock.working.sleep(limit) => {
                let message = format!("Init took longer than {:.2} seconds", limit.as_secs_f64());
                Some(FunctionError::new(TIMED_OUT, &message))
            }
        };
        match failure {
            Some(error) => Err(error),
            None => {
                let peak_memory_mb = process.peak_memory_mb();
                Ok(Environment {
                    process,
                    build,
                    runtime,
                    init: Some(started.elapsed()),
                    peak_memory_mb,
                    idle_since: spec.clock.waiting.now(),
                })
            }
        }
    }

    /// Starts a process. As on Lambda, a failed Init is repeated once within the invocation, with the function's timeout.
    pub(super) async fn start_or_retry(spec: &Spec) -> Result<Environment, FunctionError> {
        match Environment::start(spec, INIT_TIMEOUT).await {
            Ok(environment) => Ok(environment),
            Err(error) => {
                log::line(&spec.function.key, &report::failed_init(&error));
                Environment::start(spec, spec.function.timeout).await
            }
        }
    }

    /// Reports whether its process still runs.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.child.try_wait(), Ok(None))
    }

    /// Reports whether its program has been replaced. As after a deploy to Lambda, the next invocation runs the new one.
    pub(super) fn is_outdated(&self, spec: &Spec) -> bool {
        let build = spec.program.build();
        build.is_some() && build != self.build
    }

    /// Hands the event to the process, and its result to `caller` as soon as there is one. Returns the environment once
    /// the process asks for the next event, or nothing if the process has ended.
    pub(super) async fn invoke(
        mut self,
        spec: &Spec,
        request_id: &str,
        event: Bytes,
        caller: impl FnOnce(InvokeResult),
    ) -> Option<Environment> {
        let function = &spec.function;
        self.process.registered.caller.begins(request_id);
        let started = Instant::now();
        let clock = &spec.clock.working;
        let deadline = clock.now() + function.timeout;
        // The function reads the system's clock, so its deadline is in real time.
        let real_timeout = clock.real(function.timeout).as_millis();
        let timeout_ms = i64::try_from(real_timeout).unwrap_or(i64::MAX);
        let (answer, mut answered) = oneshot::channel();
        let invocation = Invocation {
            request_id: request_id.to_owned(),
            event,
            deadline_ms: spec.clock.wall_ms().saturating_add(timeout_ms),
            function_arn: format!(
                "arn:aws:lambda:{}:{ACCOUNT_ID}:function:{}",
                spec.region, function.function_name
            ),
            trace_id: ids::trace(function.traced),
            result: answer,
        };
        self.process.thaw(spec.freeze);
        // If the process has just died, the wait below notices.
        let _ = self.runtime.invocations.send(invocation).await;

        let mut status = report::Status::Ended;
        let outcome = tokio::select! {
            biased;
            result = &mut answered => result.unwrap_or_else(|_| {
                Err(FunctionError::new("Runtime.NoResponse", "the function asked for its next event without answering"))
            }),
            exit = self.process.child.wait() => {
                status = report::Status::Exited;
                Err(exit_error(exit))
            }
            () = clock.sleep_until(deadline) => {
                status = report::Status::TimedOut;
                Err(timed_out(function.timeout))
            }
        };
        let error = outcome.as_ref().err().cloned();
        caller(outcome.map_err(super::InvokeError::Function));
        // A process that has ended has no status; the last value stays.
        self.peak_memory_mb = self.peak_memory_mb.max(self.process.peak_memory_mb());

        // The environment is busy until it asks for the next event, and all of that time counts for the function.
        let alive = match status {
            report::Status::Exited | report::Status::TimedOut => false,
            report::Status::Ended => tokio::select! {
                signal = self.runtime.signals.recv() => matches!(signal, Some(Signal::Ready)),
                _ = self.process.child.wait() => false,
                () = clock.sleep_until(deadline) => false,
            },
        };
        self.process.registered.caller.ends();
        self.process
            .printed
            .iter()
            .for_each(|printed| printed.notify_one());
        let duration = started.elapsed();
        log::line(
            &function.key,
            &report::line(
                request_id,
                duration,
                function.memory_mb,
                self.peak_memory_mb,
                self.init.take(),
                (status, error.as_ref()),
            ),
        );
        if let Some(error) = &error {
            log::line(
                &function.key,
                &format!("RequestId: {request_id} Error: {error}"),
            );
        }
        self.idle_since = spec.clock.waiting.now();
        self.process.freeze(spec.freeze);
        alive.then_some(self)
    }
}

fn timed_out(limit: Duration) -> FunctionError {
    FunctionError::new(
        TIMED_OUT,
        &format!("Task timed out after {:.2} seconds", limit.as_secs_f64()),
    )
}

fn exit_error(status: std::io::Result<ExitStatus>) -> FunctionError {
    let how = status.map_or_else(|e| e.to_string(), |status| status.to_string());
    FunctionError::new("Runtime.ExitError", &format!("Runtime exited: {how}"))
}

/// A child process with its own children. They are killed when this is dropped, as on Lambda.
struct Process {
    child: Child,
    group: Option<Pid>,
    /// The access key of the process, by which its calls are recognised.
    registered: Registered,
    /// Notified to print the output after the last line break.
    printed: [Arc<Notify>; 2],
}

impl Process {
    fn spawn(spec: &Spec, runtime_api: &str) -> std::io::Result<Process> {
        let function = &spec.function;
        let registered = spec
            .callers
            .register(&function.key, &function.function_name);
        let caller = &registered.caller;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", AS_LIMITED_AS_ON_LAMBDA])
            .arg(&spec.program.executable)
            .args(&spec.program.arguments)
            .current_dir(&spec.program.directory)
            .env_clear()
            .envs(spec.environment(runtime_api, caller.access_key_id()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: Ctrl-C must only reach the gateway, and a bootstrap's children must end with the bootstrap.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let printed = [
            forward(&spec.function.key, child.stdout.take()),
            forward(&spec.function.key, child.stderr.take()),
        ];
        caller.started(group);
        Ok(Process {
            child,
            group,
            registered,
            printed,
        })
    }

    /// Stops the process and its children, with `--freeze`. Lambda, too, interrupts work that goes on after the result.
    fn freeze(&self, wanted: bool) {
        if wanted {
            self.signal(Unix::SIGSTOP);
        }
    }

    /// Continues the process and its children.
    fn thaw(&self, frozen: bool) {
        if frozen {
            self.signal(Unix::SIGCONT);
        }
    }

    fn signal(&self, signal: Unix) {
        if let Some(group) = self.group {
            // The group is empty if the process has ended.
            let _ = killpg(group, signal);
        }
    }

    /// Returns the peak of resident memory in MB; 0 if the system does not report it.
    fn peak_memory_mb(&self) -> u64 {
        let status = self
            .child
            .id()
            .and_then(|id| std::fs::read_to_string(format!("/proc/{id}/status")).ok());
        let kilobytes = status.as_deref().and_then(|status| {
            status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        });
        u64::div_ceil(kilobytes.unwrap_or(0), 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Unix::SIGKILL);
    }
}

/// The beginning of a line in CloudWatch's embedded metric format, as the chat's functions write it.
const METRICS: &[u8] = br#"{"_aws":"#;

/// Copies the output of the function to the gateway's log, line by line. A notification prints an unfinished line.
fn forward(key: &str, stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Arc<Notify> {
    let flush = Arc::new(Notify::new());
    let Some(stream) = stream else { return flush };
    let (key, flushed) = (key.to_owned(), Arc::clone(&flush));
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            // A read that is given up leaves in `line` what it has read.
            let is_at_end = tokio::select! {
                biased;
                read = stream.read_until(b'\n', &mut line) => !matches!(read, Ok(bytes) if bytes > 0),
                () = flushed.notified() => false,
            };
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            // Metrics are for CloudWatch, and a line for each message would hide the others.
            if !line.is_empty() && (log::settings().verbose || !text.starts_with(METRICS)) {
                log::line(&key, &String::from_utf8_lossy(text));
            }
            line.clear();
            if is_at_end {
                return;
            }
        }
    });
    flush
}
