//! A proxy between the functions and the services that they call, with faults on demand.
//!
//! The functions reach DynamoDB and `@connections` through two ports of this process. Every call is forwarded to the
//! real engine and the real gateway, unless the test's rules choose a fault for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::{Signal, kill};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::process::{Process, process_behind};
use crate::{PATIENCE, eventually};

/// The kinds of calls that functions make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A Query of an index of the connections table: the members of a room.
    ReadMembers,
    /// Any other read of the connections table: the rooms of a connection.
    ReadOwnRows,
    /// A write to the connections table.
    WriteRow,
    /// A delete from the connections table.
    DeleteRow,
    /// A read of the log.
    ReadLog,
    /// A write to the log.
    Append,
    /// A change of a row of the log, or of the lease of a busy room.
    Change,
    /// A post to a connection.
    Post,
    /// A GetConnection.
    Ask,
    /// A DeleteConnection.
    Close,
    /// A call that the proxy does not know.
    Other,
}

/// A call of a function.
#[derive(Debug)]
pub struct Call {
    /// The kind of the call.
    pub kind: Kind,
    /// DynamoDB's request; null for `@connections`.
    pub body: Value,
    peer: Arc<Peer>,
}

impl Call {
    /// The name of the function that calls. Empty when its process has ended.
    pub fn function(&self) -> &str {
        self.peer
            .process()
            .map_or("", |process| process.function.as_str())
    }

    /// The message that an [`Kind::Append`] would write.
    pub fn item(&self, attribute: &str) -> Option<&str> {
        let value = &self.body["Item"][attribute];
        value["S"].as_str().or_else(|| value["N"].as_str())
    }
}

/// A call that reached its service, and the response.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The kind of the call.
    pub kind: Kind,
    /// DynamoDB's operation; empty for `@connections`.
    pub operation: String,
    /// The SDK's invocation id. All tries of one call share it.
    pub invocation: String,
    /// The trace header; empty if there is none.
    pub trace: String,
    /// The HTTP status of the response.
    pub status: u16,
    /// DynamoDB's response; null for `@connections`.
    pub answer: Value,
}

/// The fault of a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// No fault: the call is forwarded and answered.
    None,
    /// The call is forwarded after a delay.
    Delay(Duration),
    /// The connection ends and the call is not forwarded.
    LostRequest,
    /// The call is forwarded, and the connection ends without a response.
    LostReply,
    /// The connection ends, and the call is forwarded after a delay: its sender gave up while it was on its way.
    LateRequest(Duration),
    /// The proxy responds itself, with a status and the type of an error.
    Answer(u16, &'static str),
    /// The function's process is killed, and the call is not forwarded.
    KillBefore,
    /// The call is forwarded, and the function's process is killed before the response.
    KillAfter,
    /// The function's process is killed, and the call is forwarded after a delay.
    KillThenDo(Duration),
    /// The call waits at the gate, then is forwarded.
    Hold(Gate),
    /// The call is forwarded, and its response waits at the gate.
    HoldReply(Gate),
    /// A Query that reads its entries at different moments.
    Tear(Tear),
}

/// A read that is not a snapshot, as no Query of DynamoDB is. It contains every entry that existed at its start, and any
/// part of those written while it runs.
#[derive(Debug, Clone)]
pub enum Tear {
    /// Takes this long, and sees each new entry with a chance of one half.
    Random(Duration),
    /// Ends when the gate opens, and sees all new entries except these numbers.
    Without(Gate, Vec<u64>),
}

/// Holds calls until the test opens it.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    waiting: Arc<AtomicUsize>,
    open: watch::Sender<bool>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Tells if a call has reached the gate.
    pub fn is_reached(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Blocks until a call has reached the gate.
    pub fn reached(&self) {
        eventually("a call at the gate", || self.is_reached().then_some(()));
    }

    /// Lets all calls pass, also later ones.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // No test waits longer than this.
        let _ = tokio::time::timeout(PATIENCE, self.open.subscribe().wait_for(|open| *open)).await;
    }
}

/// Chooses the fault of each call.
pub type Rules = Box<dyn FnMut(&Call) -> Fault + Send>;

/// A running proxy: one port for DynamoDB, one for `@connections`.
pub struct Proxy {
    shared: Arc<Shared>,
    dynamodb: SocketAddr,
    management: SocketAddr,
    // Dropping it ends every connection.
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    rules: Mutex<Rules>,
    /// DynamoDB and the gateway, once they run.
    upstreams: OnceLock<(String, String)>,
    client: Client<HttpConnector, Full<Bytes>>,
    random: Mutex<StdRng>,
    /// The exchanges, once a test has asked for them.
    exchanges: Mutex<Option<Vec<Exchange>>>,
    kills: AtomicUsize,
    faults: AtomicUsize,
    /// Set by an operation that the proxy does not know: the test would miss its faults.
    puzzled: AtomicBool,
}

/// The other end of a connection to the proxy.
#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    port: u16,
    process: OnceLock<Option<Process>>,
}

impl Peer {
    fn process(&self) -> Option<&Process> {
        self.process
            .get_or_init(|| process_behind(self.address.port(), self.port))
            .as_ref()
    }
}

/// Ends the connection without a response.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

impl Proxy {
    /// Listens on free ports. Nothing is forwarded before [`Proxy::forward_to`].
    pub fn start(seed: u64) -> Proxy {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            rules: Mutex::new(Box::new(|_| Fault::None)),
            upstreams: OnceLock::new(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            exchanges: Mutex::default(),
            kills: AtomicUsize::default(),
            faults: AtomicUsize::default(),
            puzzled: AtomicBool::default(),
        });
        let dynamodb = runtime.block_on(listen(&shared));
        let management = runtime.block_on(listen(&shared));
        Proxy {
            shared,
            dynamodb,
            management,
            _runtime: runtime,
        }
    }

    /// The gateway's flags that direct its functions to the proxy, with their posts or without.
    pub fn flags(&self, with_posts: bool) -> Vec<String> {
        let dynamodb = format!("AWS_ENDPOINT_URL_DYNAMODB=http://{}", self.dynamodb);
        let posts = format!(
            "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI=http://{}/prod",
            self.management
        );
        [Some(dynamodb), with_posts.then_some(posts)]
            .into_iter()
            .flatten()
            .flat_map(|variable| ["--env".to_owned(), variable])
            .collect()
    }

    /// Sets the addresses of the tables and of the gateway, once they run.
    pub fn forward_to(&self, dynamodb: &str, gateway_port: u16) {
        let gateway = format!("http://127.0.0.1:{gateway_port}");
        self.shared
            .upstreams
            .set((dynamodb.trim_end_matches('/').to_owned(), gateway))
            .unwrap();
    }

    /// Replaces the rules by one: `fault` at the `n`-th call that is `meant`, counted from 1.
    pub fn rule_at(&self, n: usize, fault: Fault, meant: impl Fn(&Call) -> bool + Send + 'static) {
        let mut calls = 0;
        self.rules(move |call| {
            let is_meant = meant(call);
            calls += usize::from(is_meant);
            if is_meant && calls == n {
                fault.clone()
            } else {
                Fault::None
            }
        });
    }

    /// Replaces the rules.
    pub fn rules(&self, rules: impl FnMut(&Call) -> Fault + Send + 'static) {
        *self.shared.rules.lock().unwrap() = Box::new(rules);
    }

    /// Removes all rules: every call works.
    pub fn heal(&self) {
        self.rules(|_| Fault::None);
    }

    /// Returns the exchanges since the last call of this method. The first call starts the recording, in which DynamoDB
    /// reports the consumed capacity of each call.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let kept = self.shared.exchanges.lock().unwrap().replace(Vec::new());
        kept.unwrap_or_default()
    }

    /// The number of killed processes.
    pub fn kills(&self) -> usize {
        self.shared.kills.load(Ordering::SeqCst)
    }

    /// The number of calls with a fault.
    pub fn faults(&self) -> usize {
        self.shared.faults.load(Ordering::SeqCst)
    }

    /// Tells if the functions used an operation that the proxy does not know.
    pub fn is_puzzled(&self) -> bool {
        self.shared.puzzled.load(Ordering::SeqCst)
    }
}

async fn listen(shared: &Arc<Shared>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let peer = Arc::new(Peer {
                address: peer,
                port: address.port(),
                process: OnceLock::new(),
            });
            let shared = Arc::clone(&shared);
            let service = service_fn(move |request| {
                let (shared, peer) = (Arc::clone(&shared), Arc::clone(&peer));
                async move {
                    // On its own task: a call that has begun is finished, even if the caller is killed meanwhile.
                    tokio::spawn(handle(shared, peer, request))
                        .await
                        .unwrap_or(Err(Dropped))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

async fn handle(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    let call = Call {
        kind: Kind::Other,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        peer,
    };
    let call = Call {
        kind: kind(&head, &call.body),
        ..call
    };
    if call.kind == Kind::Other {
        eprintln!("the proxy does not know {head:?}");
        shared.puzzled.store(true, Ordering::SeqCst);
    }
    let fault = (shared.rules.lock().unwrap())(&call);
    if !matches!(fault, Fault::None | Fault::Delay(_)) {
        shared.faults.fetch_add(1, Ordering::SeqCst);
    }
    match fault {
        Fault::None => {}
        Fault::Delay(time) => sleep(time).await,
        Fault::Hold(gate) => gate.pass().await,
        Fault::LostRequest => return Err(Dropped),
        Fault::LostReply => {
            let _ = forward(&shared, &head, &call, body).await;
            return Err(Dropped);
        }
        Fault::LateRequest(time) => {
            later(shared, time, head, call, body);
            return Err(Dropped);
        }
        Fault::Answer(status, error) => return Ok(answer(call.kind, status, error)),
        Fault::KillBefore => {
            shared.kill(&call);
            return Err(Dropped);
        }
        Fault::KillAfter => {
            let _ = forward(&shared, &head, &call, body).await;
            shared.kill(&call);
            return Err(Dropped);
        }
        Fault::KillThenDo(time) => {
            shared.kill(&call);
            later(shared, time, head, call, body);
            return Err(Dropped);
        }
        Fault::HoldReply(gate) => {
            let answer = forward(&shared, &head, &call, body).await;
            gate.pass().await;
            return answer;
        }
        Fault::Tear(tear) => {
            let before = forward(&shared, &head, &call, body.clone()).await?;
            match &tear {
                Tear::Random(time) => sleep(*time).await,
                Tear::Without(gate, _) => gate.pass().await,
            }
            let after = forward(&shared, &head, &call, body).await?;
            return Ok(shared.torn(&call, before, after, &tear).await);
        }
    }
    forward(&shared, &head, &call, body).await
}

fn later(shared: Arc<Shared>, time: Duration, head: Parts, call: Call, body: Bytes) {
    tokio::spawn(async move {
        sleep(time).await;
        let _ = forward(&shared, &head, &call, body).await;
    });
}

/// The kind of a call, by DynamoDB's request or by the method.
fn kind(head: &Parts, body: &Value) -> Kind {
    let Some(operation) = operation(head) else {
        return match head.method {
            Method::POST => Kind::Post,
            Method::GET => Kind::Ask,
            Method::DELETE => Kind::Close,
            _ => Kind::Other,
        };
    };
    let table = body["TableName"].as_str().unwrap_or_default();
    let is_log = table.ends_with("-messages");
    match operation {
        "Query" if !is_log && body["IndexName"].is_string() => Kind::ReadMembers,
        "Query" | "GetItem" if is_log => Kind::ReadLog,
        "Query" | "GetItem" => Kind::ReadOwnRows,
        "PutItem" if is_log => Kind::Append,
        // The first row after an expired one.
        "TransactWriteItems" => Kind::Append,
        "UpdateItem" if is_log => Kind::Change,
        "PutItem" | "UpdateItem" if !is_log => Kind::WriteRow,
        "DeleteItem" if !is_log => Kind::DeleteRow,
        _ => Kind::Other,
    }
}

fn operation(head: &Parts) -> Option<&str> {
    head.headers
        .get("x-amz-target")?
        .to_str()
        .ok()?
        .rsplit('.')
        .next()
}

/// An error in the service's own form.
fn answer(kind: Kind, status: u16, error: &str) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status);
    let response = match kind {
        Kind::Post | Kind::Ask | Kind::Close => response
            .header("x-amzn-errortype", error)
            .body(Full::default()),
        _ => {
            let body = json!({
                "__type": format!("com.amazonaws.dynamodb.v20120810#{error}"),
                "message": "injected",
            });
            response
                .header("content-type", "application/x-amz-json-1.0")
                .body(Full::from(body.to_string()))
        }
    };
    response.unwrap()
}

async fn forward(
    shared: &Shared,
    head: &Parts,
    call: &Call,
    body: Bytes,
) -> Result<Response<Full<Bytes>>, Dropped> {
    if shared.exchanges.lock().unwrap().is_some() {
        shared.send_and_keep(head, call, body).await
    } else {
        shared.send(head, body).await
    }
}

impl Shared {
    async fn send(&self, head: &Parts, body: Bytes) -> Result<Response<Full<Bytes>>, Dropped> {
        let upstreams = self.upstreams.get().ok_or(Dropped)?;
        let upstream = match operation(head) {
            Some(_) => &upstreams.0,
            None => &upstreams.1,
        };
        let mut request = Request::builder()
            .method(head.method.clone())
            .uri(format!("{upstream}{}", head.uri))
            .body(Full::from(body))
            .unwrap();
        *request.headers_mut() = head.headers.clone();
        request.headers_mut().remove("host");
        request.headers_mut().remove("content-length");
        let response = self.client.request(request).await.map_err(|error| {
            // At the end of a test the gateway may stop while its functions still make calls.
            eprintln!("the proxy cannot reach {upstream}: {error}");
            Dropped
        })?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
        Ok(Response::from_parts(head, Full::from(body)))
    }

    async fn send_and_keep(
        &self,
        head: &Parts,
        call: &Call,
        body: Bytes,
    ) -> Result<Response<Full<Bytes>>, Dropped> {
        let operation = operation(head).unwrap_or_default();
        let mut body = body;
        if !operation.is_empty() {
            let mut request = call.body.clone();
            request["ReturnConsumedCapacity"] = json!("TOTAL");
            if !request["ConditionExpression"].is_null() {
                // A write whose condition fails consumes the capacity of the existing row, which only this setting returns.
                request["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
            }
            body = request.to_string().into();
        }
        let response = self.send(head, body).await?;
        let header = |name: &str| {
            let value = head.headers.get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let exchange = Exchange {
            kind: call.kind,
            operation: operation.to_owned(),
            invocation: header("amz-sdk-invocation-id"),
            trace: header("x-amzn-trace-id"),
            status: response.status().as_u16(),
            answer: json_of(response.clone()).await,
        };
        if let Some(exchanges) = self.exchanges.lock().unwrap().as_mut() {
            exchanges.push(exchange);
        }
        Ok(response)
    }

    /// Kills the calling process with SIGKILL.
    fn kill(&self, call: &Call) {
        // The process may have ended, or been killed at another of its calls.
        if let Some(process) = call.peer.process()
            && kill(process.pid, Signal::SIGKILL).is_ok()
        {
            self.kills.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn torn(
        &self,
        call: &Call,
        before: Response<Full<Bytes>>,
        after: Response<Full<Bytes>>,
        tear: &Tear,
    ) -> Response<Full<Bytes>> {
        if before.status() != StatusCode::OK || after.status() != StatusCode::OK {
            return after;
        }
        let (before, mut after) = (json_of(before).await, json_of(after).await);
        let limit = call.body["Limit"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        // A page with filtered rows, or limited by its bytes, is returned whole: tearing it would need more code than it proves.
        let is_plain = |page: &Value| {
            page["Count"] == page["ScannedCount"]
                && (limit.is_some() || page["LastEvaluatedKey"].is_null())
        };
        if is_plain(&before) && is_plain(&after) && after["Items"].is_array() {
            let seqs = |page: &Value| -> Vec<u64> {
                page["Items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(seq_of)
                    .collect()
            };
            let old = seqs(&before);
            let mut items: Vec<Value> = before["Items"].as_array().unwrap().clone();
            for item in after["Items"].as_array().unwrap() {
                let seq = seq_of(item);
                let is_seen = match tear {
                    Tear::Random(_) => self.random.lock().unwrap().random_bool(0.5),
                    Tear::Without(_, hidden) => !hidden.contains(&seq),
                };
                if !old.contains(&seq) && is_seen {
                    items.push(item.clone());
                }
            }
            items.sort_by_key(seq_of);
            if call.body["ScanIndexForward"] == false {
                items.reverse();
            }
            items.truncate(limit.unwrap_or(usize::MAX));
            after = json!({"Count": items.len(), "ScannedCount": items.len(), "Items": items});
            if Some(items.len()) == limit
                && let Some(last) = items.last()
            {
                // The room may be missing in the projection. It is the only text value of the condition.
                let values = call.body["ExpressionAttributeValues"].as_object();
                let room = values
                    .into_iter()
                    .flat_map(|values| values.values())
                    .find(|value| value["S"].is_string());
                after["LastEvaluatedKey"] = json!({"room": room, "seq": last["seq"]});
            }
        }
        Response::new(Full::from(after.to_string()))
    }
}

fn seq_of(item: &Value) -> u64 {
    item["seq"]["N"].as_str().unwrap().parse().unwrap()
}

async fn json_of(response: Response<Full<Bytes>>) -> Value {
    let body: Result<_, Infallible> = response.into_body().collect().await;
    match body {
        Ok(body) => serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
        Err(never) => match never {},
    }
}
