//! A stand-in for the services of a function: `@connections` with a delay, and DynamoDB, both over TLS.
//!
//! It runs in its own thread, on another core than the function, so that its work does not count as the function's.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use roomchat_local::tls::Identity;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// The core of the functions, and the core of everything else.
pub(crate) const FUNCTION_CORE: usize = 0;
pub(crate) const OTHER_CORE: usize = 1;

/// The trusted root certificates of the system.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Keeps the calling thread and its children on one core. Has no effect on a machine with a single core.
pub(crate) fn stay_on(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    if core < std::thread::available_parallelism().map_or(1, usize::from) {
        sched_setaffinity(Pid::from_raw(0), &cores).context("cannot choose a processor core")?;
    }
    Ok(())
}

/// The number of posts to each connection.
type Posts = Mutex<HashMap<String, usize>>;

/// A running stand-in. Dropping it stops the stand-in.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) runtime: Handle,
    /// `https://…`, the stage included.
    pub(crate) management: String,
    /// `https://…`.
    pub(crate) dynamodb: String,
    /// The certificates that a function must trust: those of the system, and the stand-in's.
    pub(crate) roots: PathBuf,
    posts: Arc<Posts>,
    _stop: oneshot::Sender<()>,
}

impl StandIn {
    /// Starts a stand-in whose posts take `delay`. It forwards DynamoDB's calls to the engine at `engine`.
    ///
    /// # Errors
    /// Fails if a port cannot be bound or a certificate cannot be made.
    pub(crate) async fn start(scratch: &Path, engine: &str, delay: Duration) -> Result<StandIn> {
        let identity = Identity::make()?;
        let acceptor = identity.acceptor;
        let roots = scratch.join("roots.pem");
        let system = std::fs::read_to_string(SYSTEM_ROOTS).unwrap_or_default();
        std::fs::write(&roots, system + &identity.authority_pem)?;

        let posts = Arc::new(Posts::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, is_started) = oneshot::channel();
        let engine: SocketAddr = engine.trim_start_matches("http://").parse()?;
        let state = Arc::clone(&posts);
        std::thread::spawn(move || {
            let running = stay_on(OTHER_CORE).and_then(|()| {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                let ports = runtime.block_on(async {
                    let management = serve_posts(acceptor.clone(), state, delay).await?;
                    anyhow::Ok((management, serve_engine(acceptor, engine).await?))
                });
                anyhow::Ok((ports?, runtime))
            });
            match running {
                Ok((ports, runtime)) => {
                    let _ = started.send(Ok((ports, runtime.handle().clone())));
                    let _ = runtime.block_on(stopped);
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
        let ((management, dynamodb), runtime) = is_started.await??;
        Ok(StandIn {
            runtime,
            management: format!("https://127.0.0.1:{management}/prod"),
            dynamodb: format!("https://127.0.0.1:{dynamodb}"),
            roots,
            posts,
            _stop: stop,
        })
    }

    /// Checks that exactly `members` connections were posted to since the last check, each once.
    ///
    /// # Errors
    /// Fails if a post is missing or doubled.
    pub(crate) fn check_posts(&self, members: usize) -> Result<()> {
        let posts = std::mem::take(&mut *self.posts.lock().unwrap_or_else(PoisonError::into_inner));
        let doubled = posts.values().filter(|count| **count > 1).count();
        ensure!(
            posts.len() == members && doubled == 0,
            "{} of {members} members were posted to, {doubled} of them more than once",
            posts.len()
        );
        Ok(())
    }
}

async fn serve_posts(acceptor: TlsAcceptor, posts: Arc<Posts>, delay: Duration) -> Result<u16> {
    let accept = |State((posts, delay)): State<(Arc<Posts>, Duration)>,
                  axum::extract::Path(id): axum::extract::Path<String>| async move {
        sleep(delay).await;
        let mut posts = posts.lock().unwrap_or_else(PoisonError::into_inner);
        *posts.entry(id).or_default() += 1;
        StatusCode::OK
    };
    let service = Router::new()
        .route("/prod/@connections/{id}", post(accept))
        .with_state((posts, delay));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), service.clone());
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                // A client that does not trust the certificate reports it.
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                    .await;
            });
        }
    });
    Ok(port)
}

/// Serves TLS in front of the engine, which has none.
async fn serve_engine(acceptor: TlsAcceptor, engine: SocketAddr) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let Ok(mut engine) = TcpStream::connect(engine).await else {
                    return;
                };
                let _ = engine.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut engine).await;
            });
        }
    });
    Ok(port)
}
