//! The front before the engine: it refuses web pages, counts calls, and carries out the fault rules about tables.
//!
//! A call that no rule matches passes unchanged, in both directions, except that ARNs of tables become names.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use axum::http::{HeaderMap, Request, StatusCode, Version, header};
use axum::serve::Listener;
use dynoxide::Database;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::RwLock;
use tokio::time::Instant;

use super::call::{self, Call, Effect};
use super::counters::Counters;
use super::lag::Shadow;
use super::reply::{self, Reply};
use crate::faults::{Fault, Faults, Point, Site};
use crate::lambda::callers::{Caller, Callers};
use crate::lambda::outbound::Outbound;
use crate::{log, loopback};

/// 16 MB, DynamoDB's largest request.
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Front {
    engine: SocketAddr,
    database: Database,
    client: Client<HttpConnector, Full<Bytes>>,
    faults: Arc<Faults>,
    callers: Arc<Callers>,
    counters: Arc<Counters>,
    /// Present while a rule makes indexes lag.
    shadow: RwLock<Option<Shadow>>,
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the call was left without an answer")]
struct Unanswered;

impl Front {
    pub(super) fn new(
        engine: SocketAddr,
        database: Database,
        faults: Arc<Faults>,
        callers: Arc<Callers>,
        counters: Arc<Counters>,
    ) -> Front {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Front {
            engine,
            database,
            client: Client::builder(TokioExecutor::new()).build(connector),
            faults,
            callers,
            counters,
            shadow: RwLock::new(None),
        }
    }

    /// Serves until it is dropped. Open connections end with the runtime.
    pub(super) async fn serve(self: Arc<Front>, mut listener: TcpListener) -> Infallible {
        loop {
            let (stream, _) = Listener::accept(&mut listener).await;
            // Without it, the kernel delays small answers. A failure only costs time.
            let _ = stream.set_nodelay(true);
            let front = Arc::clone(&self);
            let service = service_fn(move |request| Arc::clone(&front).handle(request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    }

    /// Answers one call. The server drops this future when the caller leaves: a call that still waits never happens.
    async fn handle(self: Arc<Front>, request: Request<Incoming>) -> Result<Reply, Unanswered> {
        let (head, body) = request.into_parts();
        if loopback::is_foreign(&head.headers) {
            return Ok(reply::foreign());
        }
        let body = read(body).await?;
        let body = call::with_names(&body).map_or(body, Bytes::from);
        let call = Call::read(&head.headers, &body);
        let caller = self.callers.of(&head.headers);
        if !self.faults.is_active() {
            return self.pass(head, body, call, caller).await;
        }
        self.faulty(head, body, call, caller).await
    }

    /// Answers a call as the fault rules demand.
    async fn faulty(
        self: Arc<Front>,
        head: Parts,
        body: Bytes,
        call: Call,
        caller: Option<Arc<Caller>>,
    ) -> Result<Reply, Unanswered> {
        let tables: Vec<&str> = call.tables.iter().map(String::as_str).collect();
        let invocation = caller.as_ref().and_then(|caller| caller.invocation());
        let point = Point {
            operation: Some(&call.operation),
            tables: &tables,
            index: call.index.as_deref(),
            function: caller.as_ref().map(|caller| caller.function()),
            invocation: invocation.as_deref(),
            ..Point::at(Site::Table)
        };
        let outbound = match &caller {
            Some(caller) => {
                let site = Site::Call;
                let verdict = self.faults.decide(&Point { site, ..point });
                Some(Outbound::begin(verdict, caller).await)
            }
            None => None,
        };
        let mut verdict = self.faults.decide(&point);
        verdict.wait().await;
        let fault = verdict.fault;
        let has_effect = match fault {
            Some(Fault::Throttle) => {
                self.counters.throttled(&call);
                return Ok(reply::throttled(self.is_on_demand(&call)));
            }
            Some(Fault::Status { deliver, .. } | Fault::Hang { deliver }) => deliver,
            _ => true,
        };
        let truth = if has_effect {
            Some(Arc::clone(&self).pass(head, body, call, caller).await?)
        } else {
            None
        };
        drop(verdict);
        if let Some(outbound) = outbound {
            outbound.done().await;
        }
        match (fault, truth) {
            (Some(Fault::Status { status, .. }), _) => Ok(reply::failed(status)),
            (Some(Fault::Hang { .. }), _) | (_, None) => pending().await,
            (_, Some(answer)) => Ok(answer),
        }
    }

    fn is_on_demand(&self, call: &Call) -> bool {
        call.tables.iter().any(|table| {
            let metadata = self.database.get_table_metadata(table);
            matches!(metadata, Ok(Some(table)) if table.billing_mode.as_deref() == Some("PAY_PER_REQUEST"))
        })
    }

    /// Has the engine answer a call.
    async fn pass(
        self: Arc<Front>,
        head: Parts,
        body: Bytes,
        call: Call,
        caller: Option<Arc<Caller>>,
    ) -> Result<Reply, Unanswered> {
        // On a task of its own: a call that has begun is finished, even if the caller is killed meanwhile.
        let served = tokio::spawn(self.serve_call(head, body, call, caller));
        served.await.map_err(|_| Unanswered)
    }

    async fn serve_call(
        self: Arc<Front>,
        head: Parts,
        body: Bytes,
        call: Call,
        caller: Option<Arc<Caller>>,
    ) -> Reply {
        let answer = match self.follow_rules().await {
            Ok(()) => self.ask(&head, body, &call, caller.as_deref()).await,
            Err(error) => {
                let error = format!("{error:#}");
                log::line("dynamodb", &error);
                reply::internal(&error)
            }
        };
        if answer.status() == StatusCode::OK {
            self.counters.served(&call);
        }
        answer
    }

    /// Sends the call to the engine that must answer it: to the shadow if it reads an index that lags.
    async fn ask(&self, head: &Parts, body: Bytes, call: &Call, caller: Option<&Caller>) -> Reply {
        // Held to the end, so that the shadow is not copied in the middle of a write.
        let shadow = self.shadow.read().await;
        let Some(shadow) = shadow.as_ref() else {
            return self.send(self.engine, head, body).await;
        };
        match call.effect() {
            Effect::Read if shadow.answers(call) => {
                shadow.catch_up(Instant::now());
                self.send(shadow.address(), head, body).await
            }
            Effect::Write => {
                let _writing = shadow.writing().await;
                let answer = self.send(self.engine, head, body).await;
                if answer.status() == StatusCode::OK {
                    let lag = |table: &str| self.lag(call, table, caller);
                    shadow.note(&self.database, call, lag, Instant::now());
                }
                answer
            }
            Effect::Table => {
                let _writing = shadow.writing().await;
                let answer = self.send(self.engine, head, body.clone()).await;
                if answer.status() == StatusCode::OK {
                    // The creation or deletion of a table does not lag.
                    let _ = self.send(shadow.address(), head, body).await;
                    if call.operation == "DeleteTable" {
                        call.tables.iter().for_each(|table| shadow.forget(table));
                    }
                }
                answer
            }
            Effect::PartiQl => reply::invalid(
                "PartiQL statements are refused while a fault rule makes indexes lag: use the operations on items, or \
                 remove the rule",
            ),
            Effect::Read | Effect::Other => self.send(self.engine, head, body).await,
        }
    }

    /// Returns the lag of an item that the call has written: the time until the indexes of its table get it.
    fn lag(&self, call: &Call, table: &str, caller: Option<&Caller>) -> Duration {
        let invocation = caller.and_then(Caller::invocation);
        let point = Point {
            operation: Some(&call.operation),
            tables: &[table],
            function: caller.map(Caller::function),
            invocation: invocation.as_deref(),
            ..Point::at(Site::Table)
        };
        self.faults.lag(&point).unwrap_or_default()
    }

    /// Makes the shadow when a rule makes indexes lag, and drops it when no rule does.
    async fn follow_rules(&self) -> Result<()> {
        let lags = self.faults.lagging();
        if self.shadow.read().await.is_some() == lags {
            return Ok(());
        }
        let mut shadow = self.shadow.write().await;
        if !lags {
            *shadow = None;
        } else if shadow.is_none() {
            // Another call may have made it meanwhile.
            *shadow = Some(Shadow::of(&self.database).await?);
        }
        Ok(())
    }

    async fn send(&self, engine: SocketAddr, head: &Parts, body: Bytes) -> Reply {
        let Some(uri) = uri(engine, head) else {
            return reply::not_found();
        };
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers.clone();
        strip(request.headers_mut());
        let Ok(answer) = self.client.request(request).await else {
            return reply::internal("The database engine cannot be reached");
        };
        let (mut head, body) = answer.into_parts();
        head.version = Version::HTTP_11;
        strip(&mut head.headers);
        match body.collect().await {
            Ok(body) => Reply::from_parts(head, Full::from(body.to_bytes())),
            Err(_) => reply::internal("The database engine has ended in the middle of an answer"),
        }
    }
}

/// Reads the body, up to one byte more than DynamoDB accepts. The engine refuses a body of that size.
async fn read(mut body: Incoming) -> Result<Bytes, Unanswered> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unanswered)?.into_data() else {
            continue;
        };
        read.extend_from_slice(&data);
        if read.len() > MAX_REQUEST_BYTES {
            read.truncate(MAX_REQUEST_BYTES + 1);
            break;
        }
    }
    Ok(read.into())
}

/// Returns the URL of the same path at the engine.
fn uri(engine: SocketAddr, head: &Parts) -> Option<Uri> {
    let path = head.uri.path_and_query().map(PathAndQuery::as_str)?;
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(Authority::try_from(engine.to_string()).ok()?)
        .path_and_query(path)
        .build()
        .ok()
}

/// Removes the headers of one connection. hyper sets those of the other.
fn strip(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}
