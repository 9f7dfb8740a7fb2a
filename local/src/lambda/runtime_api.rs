//! The Lambda Runtime API, one server for each execution environment.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::FunctionError;

/// Lambda's limit for a synchronous response: 6 MiB and 100 bytes.
const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024 + 100;

/// Receives the result of an invocation.
type ResultSender = oneshot::Sender<Result<Bytes, FunctionError>>;

/// An event on its way to the runtime.
pub struct Invocation {
    /// The id in the header `lambda-runtime-aws-request-id`.
    pub request_id: String,
    /// The event, in JSON.
    pub event: Bytes,
    /// Epoch milliseconds.
    pub deadline_ms: i64,
    /// The header `lambda-runtime-invoked-function-arn`.
    pub function_arn: String,
    /// The header `lambda-runtime-trace-id`.
    pub trace_id: String,
    /// Receives the runtime's result. It is dropped if the runtime asks for the next event without one.
    pub result: ResultSender,
}

/// A signal of the runtime, beside its results.
#[derive(Debug)]
pub enum Signal {
    /// The runtime asks for the next event: Init, or the previous invocation, is over.
    Ready,
    /// Init failed.
    InitError(FunctionError),
}

/// The server's side of the channels to its environment.
struct Runtime {
    invocations: tokio::sync::Mutex<mpsc::Receiver<Invocation>>,
    signals: mpsc::UnboundedSender<Signal>,
    /// The invocation that the process works on, until its result.
    current: Mutex<Option<(String, ResultSender)>>,
    /// Set while the runtime waits for the next event. Runtimes with a client timeout ask again.
    waiting: AtomicBool,
    registration: serde_json::Value,
}

/// A running server and the environment's side of its channels.
pub struct RuntimeApi {
    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub address: SocketAddr,
    /// Hands events to the runtime, one at a time.
    pub invocations: mpsc::Sender<Invocation>,
    /// Receives the runtime's signals.
    pub signals: mpsc::UnboundedReceiver<Signal>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves the Runtime API to one process, on a free loopback port.
///
/// Each environment has its own port, as on AWS: clients of some languages accept only `host:port`.
///
/// # Errors
/// Fails if no port can be bound.
pub async fn serve(function_name: &str, handler: &str) -> std::io::Result<RuntimeApi> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let (invocations, to_runtime) = mpsc::channel(1);
    let (from_runtime, signals) = mpsc::unbounded_channel();
    let runtime = Arc::new(Runtime {
        invocations: to_runtime.into(),
        signals: from_runtime,
        current: Mutex::new(None),
        waiting: AtomicBool::new(false),
        registration: json!({"functionName": function_name, "functionVersion": "$LATEST", "handler": handler}),
    });
    let routes = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route(
            "/2018-06-01/runtime/invocation/{id}/response",
            post(response),
        )
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .route("/2020-01-01/extension/register", post(register_extension))
        .route(
            "/2020-01-01/extension/event/next",
            get(pending::<StatusCode>),
        )
        .layer(DefaultBodyLimit::disable())
        .with_state(runtime);
    let server = tokio::spawn(async move {
        // It ends when the environment aborts it.
        let _ = axum::serve(listener, routes).await;
    });
    Ok(RuntimeApi {
        address,
        invocations,
        signals,
        server,
    })
}

impl Runtime {
    /// Takes the pending sender if it belongs to `request_id`.
    fn take_result(&self, request_id: &str) -> Option<ResultSender> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, answer) = current.take_if(|(id, _)| id == request_id)?;
        Some(answer)
    }
}

async fn next(State(runtime): State<Arc<Runtime>>, body: Body) -> Response {
    // The server notices that a runtime has left only when nothing is left to read. Until then it would get events.
    if axum::body::to_bytes(body, MAX_RESPONSE_BYTES)
        .await
        .is_err()
    {
        return refused(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "The request ends before its body does",
        );
    }
    // A runtime that asks for the next event without a result has dropped the invocation. The caller gets an error at once.
    runtime
        .current
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if !runtime.waiting.swap(true, Ordering::Relaxed) {
        let _ = runtime.signals.send(Signal::Ready);
    }
    let Some(invocation) = runtime.invocations.lock().await.recv().await else {
        // The environment is ending. A runtime would take any answer for an event.
        return pending().await;
    };
    runtime.waiting.store(false, Ordering::Relaxed);
    let headers = [
        (
            "lambda-runtime-aws-request-id",
            invocation.request_id.clone(),
        ),
        (
            "lambda-runtime-deadline-ms",
            invocation.deadline_ms.to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            invocation.function_arn,
        ),
        ("lambda-runtime-trace-id", invocation.trace_id),
        ("content-type", "application/json".to_owned()),
    ];
    let mut response = Response::new(Body::from(invocation.event));
    for (name, value) in headers {
        if let Ok(value) = value.try_into() {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    *runtime
        .current
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some((invocation.request_id, invocation.result));
    response
}

async fn response(
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    let body = axum::body::to_bytes(body, MAX_RESPONSE_BYTES).await;
    let Some(answer) = runtime.take_result(&id) else {
        return invalid_request_id();
    };
    match body {
        Ok(body) => {
            let _ = answer.send(Ok(body));
            accepted()
        }
        Err(_) => {
            let message = format!("the response is larger than {MAX_RESPONSE_BYTES} bytes");
            let _ = answer.send(Err(FunctionError::new(
                "Function.ResponseSizeTooLarge",
                &message,
            )));
            refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                "Exceeded maximum allowed payload size",
            )
        }
    }
}

async fn error(
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let Some(answer) = runtime.take_result(&id) else {
        return invalid_request_id();
    };
    let _ = answer.send(Err(reported_error(&body)));
    accepted()
}

async fn init_error(State(runtime): State<Arc<Runtime>>, body: Bytes) -> Response {
    let _ = runtime
        .signals
        .send(Signal::InitError(reported_error(&body)));
    accepted()
}

/// Answers the registration of the Extensions API: some runtimes register themselves, to be told of the shutdown.
async fn register_extension(State(runtime): State<Arc<Runtime>>) -> impl IntoResponse {
    let id = uuid::Uuid::new_v4().to_string();
    (
        [("lambda-extension-identifier", id)],
        axum::Json(runtime.registration.clone()),
    )
}

/// Reads the `errorType` and `errorMessage` of a runtime's report, which may be any bytes.
fn reported_error(body: &Bytes) -> FunctionError {
    let report: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| report.get(name).and_then(serde_json::Value::as_str);
    FunctionError {
        document: report.is_object().then(|| body.clone()),
        ..FunctionError::new(
            text("errorType").unwrap_or("Unknown"),
            text("errorMessage").unwrap_or_default(),
        )
    }
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, axum::Json(json!({"status": "OK"}))).into_response()
}

fn invalid_request_id() -> Response {
    refused(
        StatusCode::BAD_REQUEST,
        "InvalidRequestID",
        "Invalid request ID",
    )
}

fn refused(status: StatusCode, error_type: &str, message: &str) -> Response {
    let body = json!({"errorMessage": message, "errorType": error_type}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
