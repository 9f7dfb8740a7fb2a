//! Lambda on one machine: functions as child processes, driven over the Runtime API.
//!
//! A process works on one invocation at a time. If all are busy, another is started, up to a limit. Idle processes are
//! ended.

mod asynchronous;
pub(crate) mod callers;
mod environment;
pub(crate) mod outbound;
pub(crate) mod package;
mod program;
mod report;
pub mod runtime_api;
mod runtimes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::deployment::Function;
use crate::log;
use callers::Callers;
use environment::Environment;
pub(crate) use program::Program;
pub(crate) use runtimes::Runtimes;

/// Lambda's error type for a timeout.
const TIMED_OUT: &str = "Sandbox.Timedout";

/// The time that an invocation waits for a process that has answered and is about to ask for the next event. On AWS the
/// answer takes longer than that, so a client that waits for its answer reaches the same process again.
const ABOUT_TO_FINISH: Duration = Duration::from_millis(1);

/// The failure of a function, as its runtime or Lambda reports it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct FunctionError {
    /// `Runtime.ExitError`, `Sandbox.Timedout`, or a type that the function chose.
    pub error_type: String,
    /// The text of the error.
    pub message: String,
    /// The document that the runtime reported, which Lambda hands to the caller as it is. None if Lambda itself found the
    /// error.
    pub(crate) document: Option<Bytes>,
}

impl FunctionError {
    fn new(error_type: &str, message: &str) -> FunctionError {
        FunctionError {
            error_type: error_type.to_owned(),
            message: message.to_owned(),
            document: None,
        }
    }

    /// Returns the payload that the caller of a synchronous invocation gets.
    pub(crate) fn payload(&self, request_id: &str) -> Bytes {
        match &self.document {
            Some(document) => document.clone(),
            None => json!({
                "errorType": self.error_type,
                "errorMessage": format!("RequestId: {request_id} Error: {}", self.message),
            })
            .to_string()
            .into(),
        }
    }
}

/// The reason why an invocation has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvokeError {
    /// Lambda refused the invocation: too many are running.
    #[error("Lambda throttled the invocation")]
    Throttled,
    /// The function failed.
    #[error(transparent)]
    Function(FunctionError),
}

/// The result of an invocation.
pub(crate) type InvokeResult = Result<Bytes, InvokeError>;

/// Everything that starts a process of a function.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) function: Function,
    pub(crate) program: Program,
    pub(crate) region: String,
    /// The secret of the process's credentials, and its session token.
    pub(crate) secret: String,
    /// The variables that replace declared ones on this machine: endpoints, and those of `--env`.
    pub(crate) overrides: BTreeMap<String, String>,
    /// Registers its processes by their access keys.
    pub(crate) callers: Arc<Callers>,
    pub(crate) clock: Arc<Clock>,
    /// If set, a process is stopped between invocations, as on Lambda.
    pub(crate) freeze: bool,
}

impl Spec {
    /// Returns the environment variables of a process. It inherits only `PATH`.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>
    fn environment(&self, runtime_api: &str, access_key_id: &str) -> BTreeMap<String, String> {
        let name = &self.function.function_name;
        let directory = self.program.directory.display().to_string();
        let own = [
            ("_HANDLER", self.function.handler.clone()),
            ("AWS_ACCESS_KEY_ID", access_key_id.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.clone()),
            ("AWS_SESSION_TOKEN", self.secret.clone()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_DEFAULT_REGION", self.region.clone()),
            ("AWS_LAMBDA_FUNCTION_NAME", name.clone()),
            (
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                self.function.memory_mb.to_string(),
            ),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "local".to_owned()),
            ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_owned()),
            ("LAMBDA_TASK_ROOT", directory.clone()),
            ("LAMBDA_RUNTIME_DIR", directory),
            ("LANG", "en_US.UTF-8".to_owned()),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("TZ", ":UTC".to_owned()),
        ];
        let mut environment = self.function.environment.clone();
        environment.extend(self.overrides.clone());
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        environment.extend(self.program.environment.clone());
        environment
    }
}

/// Makes the id of an invocation. The attempts of an asynchronous invocation share one.
pub(crate) fn new_request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A function and its processes.
pub(crate) struct Pool {
    spec: Spec,
    idle: Mutex<Vec<Environment>>,
    /// Permits for processes of the function on this machine; further invocations wait.
    processes: Semaphore,
    /// Permits for concurrent invocations on Lambda; further ones are throttled.
    concurrency: Arc<Semaphore>,
    /// The number of processes that have answered and not yet asked for the next event.
    finishing: AtomicUsize,
    /// Notified when a finishing process asks for the next event.
    finished: Notify,
    counts: Counts,
}

/// The counters of a pool.
#[derive(Debug, Default)]
struct Counts {
    running: AtomicUsize,
    waiting: AtomicUsize,
    retrying: AtomicUsize,
    invocations: AtomicU64,
    cold_starts: AtomicU64,
    errors: AtomicU64,
    throttled: AtomicU64,
}

/// A function's pool in the status page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolStatus {
    pub(crate) running: usize,
    /// Invocations that wait for a process.
    pub(crate) waiting: usize,
    /// Asynchronous events that wait for their next attempt.
    pub(crate) retrying: usize,
    /// Processes without work.
    pub(crate) idle: usize,
    pub(crate) invocations: u64,
    pub(crate) cold_starts: u64,
    pub(crate) errors: u64,
    pub(crate) throttled: u64,
}

/// Raises a number by one while it lives.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn new(count: &'a AtomicUsize) -> Held<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        Held(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// Makes a pool. A function without reserved concurrency shares `unreserved`.
    pub(crate) fn new(spec: Spec, processes: usize, unreserved: &Arc<Semaphore>) -> Arc<Pool> {
        let reserved = spec
            .function
            .reserved_concurrency
            .and_then(|n| usize::try_from(n).ok());
        let concurrency = match reserved {
            Some(n) => Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS))),
            None => Arc::clone(unreserved),
        };
        Arc::new(Pool {
            spec,
            idle: Mutex::default(),
            processes: Semaphore::new(processes),
            concurrency,
            finishing: AtomicUsize::new(0),
            finished: Notify::new(),
            counts: Counts::default(),
        })
    }

    /// Returns the function's key in Terraform.
    pub(crate) fn key(&self) -> &str {
        &self.spec.function.key
    }

    /// Returns the state of the pool.
    pub(crate) fn status(&self) -> PoolStatus {
        let counts = &self.counts;
        PoolStatus {
            running: counts.running.load(Ordering::Relaxed),
            waiting: counts.waiting.load(Ordering::Relaxed),
            retrying: counts.retrying.load(Ordering::Relaxed),
            idle: self.idle().len(),
            invocations: counts.invocations.load(Ordering::Relaxed),
            cold_starts: counts.cold_starts.load(Ordering::Relaxed),
            errors: counts.errors.load(Ordering::Relaxed),
            throttled: counts.throttled.load(Ordering::Relaxed),
        }
    }

    /// Invokes the function and waits for its result. As on Lambda, the invocation continues if the caller stops waiting.
    ///
    /// # Errors
    /// [`InvokeError::Throttled`] at the concurrency limit, [`InvokeError::Function`] when the function fails.
    pub(crate) async fn invoke(self: &Arc<Self>, event: Bytes) -> InvokeResult {
        self.invoke_as(&new_request_id(), event).await
    }

    /// As [`Pool::invoke`], with the id of the request.
    pub(crate) async fn invoke_as(
        self: &Arc<Self>,
        request_id: &str,
        event: Bytes,
    ) -> InvokeResult {
        self.counts.invocations.fetch_add(1, Ordering::Relaxed);
        let Ok(concurrency) = Arc::clone(&self.concurrency).try_acquire_owned() else {
            self.counts.throttled.fetch_add(1, Ordering::Relaxed);
            return Err(InvokeError::Throttled);
        };
        let (caller, answer) = oneshot::channel();
        let pool = Arc::clone(self);
        let request_id = request_id.to_owned();
        tokio::spawn(async move {
            pool.run(&request_id, event, caller).await;
            drop(concurrency);
        });
        let answer = answer.await.unwrap_or_else(|_| {
            Err(InvokeError::Function(FunctionError::new(
                "Runtime.Unknown",
                "the gateway is stopping",
            )))
        });
        if answer.is_err() {
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn run(&self, request_id: &str, event: Bytes, caller: oneshot::Sender<InvokeResult>) {
        let waiting = Held::new(&self.counts.waiting);
        let Ok(_process) = self.processes.acquire().await else {
            return;
        };
        drop(waiting);
        let _running = Held::new(&self.counts.running);
        let environment = match self.take_idle().await {
            Some(environment) => Ok(environment),
            None => {
                self.counts.cold_starts.fetch_add(1, Ordering::Relaxed);
                Environment::start_or_retry(&self.spec).await
            }
        };
        match environment {
            Ok(environment) => {
                let mut finishing = None;
                let answer = |answer| {
                    finishing = Some(Held::new(&self.finishing));
                    // The caller may have left.
                    let _ = caller.send(answer);
                };
                if let Some(environment) = environment
                    .invoke(&self.spec, request_id, event, answer)
                    .await
                {
                    self.idle().push(environment);
                }
                drop(finishing);
                self.finished.notify_waiters();
            }
            Err(error) => {
                log::line(&self.spec.function.key, &report::failed_init(&error));
                let _ = caller.send(Err(InvokeError::Function(error)));
            }
        }
    }

    /// Takes the process that was busy last, so that the others can be reaped.
    async fn take_idle(&self) -> Option<Environment> {
        let finished = self.finished.notified();
        if self.finishing.load(Ordering::Relaxed) > 0 {
            let _ = timeout(ABOUT_TO_FINISH, finished).await;
        }
        let mut idle = self.idle();
        while let Some(mut environment) = idle.pop() {
            if environment.is_alive() && !environment.is_outdated(&self.spec) {
                return Some(environment);
            }
        }
        None
    }

    /// Ends processes that have been idle for that time.
    pub(crate) fn reap(&self, idle_for: Duration) {
        let now = self.spec.clock.waiting.now();
        self.idle().retain_mut(|environment| {
            now.saturating_sub(environment.idle_since) < idle_for && environment.is_alive()
        });
    }

    /// Waits until no invocation runs or waits, then ends every process and refuses new invocations.
    pub(crate) async fn drain(&self, processes: usize) {
        let all = u32::try_from(processes).unwrap_or(u32::MAX);
        let _all = self.processes.acquire_many(all).await;
        self.processes.close();
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Environment>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("function", &self.spec.function.key)
            .finish_non_exhaustive()
    }
}
