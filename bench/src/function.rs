//! One process of a function, driven over the Runtime API as Lambda drives it.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;

use crate::service::{Places, Running};
use crate::standin::{FUNCTION_CORE, StandIn, stay_on};
use crate::system;

/// Only hit when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the process tells.
#[derive(Debug)]
enum Told {
    /// It asks for an event.
    Ready(Instant),
    /// It was handed one.
    Handed(Instant),
    Answer(Instant, Bytes),
    Failed(Bytes),
}

/// What the handlers of the Runtime API share.
struct Runtime {
    events: tokio::sync::Mutex<UnboundedReceiver<Value>>,
    told: UnboundedSender<Told>,
}

/// A process that has asked for its first event.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) running: Running,
    /// From its start to its first question for an event.
    pub(crate) init: Duration,
    events: UnboundedSender<Value>,
    told: UnboundedReceiver<Told>,
}

/// What an invocation took.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) wall: Duration,
    pub(crate) cpu_seconds: f64,
    pub(crate) answer: Value,
}

impl Function {
    /// Starts the function `name` with these variables on top of Lambda's own.
    ///
    /// # Errors
    /// When it ends or does not ask for an event.
    pub(crate) async fn start(
        places: &Places,
        stand_in: &StandIn,
        name: &str,
        environment: &BTreeMap<&str, String>,
    ) -> Result<Function> {
        let (told, tells) = mpsc::unbounded_channel();
        let (events, to_runtime) = mpsc::unbounded_channel();
        let state = Arc::new(Runtime {
            events: to_runtime.into(),
            told,
        });
        let port = stand_in.runtime.spawn(serve(state)).await??;
        let mut command = Command::new(places.program(name));
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{port}"))
            .env("_HANDLER", name)
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "bench")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            // As long as Lambda's: it is signed and sent with every call.
            .env("AWS_SESSION_TOKEN", "local".repeat(160))
            .env(
                "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI",
                &stand_in.management,
            )
            .env("AWS_ENDPOINT_URL_DYNAMODB", &stand_in.dynamodb)
            .env("SSL_CERT_FILE", &stand_in.roots)
            .envs(environment);
        let (started, running) = std::thread::scope(|scope| {
            let spawn = || {
                stay_on(FUNCTION_CORE)?;
                let started = Instant::now();
                anyhow::Ok((
                    started,
                    Running::start(places, &format!("function-{name}"), &mut command)?,
                ))
            };
            scope
                .spawn(spawn)
                .join()
                .map_err(|_| anyhow!("the thread that starts {name} has failed"))?
        })?;
        let mut function = Function {
            running,
            init: Duration::ZERO,
            events,
            told: tells,
        };
        function.init = function.ready().await.with_context(|| name.to_owned())? - started;
        Ok(function)
    }

    /// Hands it an event and waits for the answer and for its next question.
    ///
    /// # Errors
    /// When it fails or takes longer than a minute.
    pub(crate) async fn invoke(&mut self, event: Value) -> Result<Invocation> {
        let pid = self.running.pid();
        let cpu_before = system::cpu_seconds(pid)?;
        self.events.send(event)?;
        let mut handed = None;
        let (answered, answer) = loop {
            match self.next().await? {
                Told::Handed(at) => handed = Some(at),
                Told::Answer(at, answer) => break (at, answer),
                Told::Failed(error) => {
                    bail!("the function failed: {}", String::from_utf8_lossy(&error))
                }
                Told::Ready(_) => {
                    bail!("the function asked for an event and has not answered the last one")
                }
            }
        };
        self.ready().await?;
        let handed = handed.context("an answer without an event")?;
        Ok(Invocation {
            wall: answered - handed,
            cpu_seconds: system::cpu_seconds(pid)? - cpu_before,
            answer: serde_json::from_slice(&answer)?,
        })
    }

    async fn ready(&mut self) -> Result<Instant> {
        match self.next().await? {
            Told::Ready(at) => Ok(at),
            other => bail!("the function does not ask for an event but says {other:?}"),
        }
    }

    async fn next(&mut self) -> Result<Told> {
        let told = timeout(PATIENCE, self.told.recv()).await;
        let told = told.map_err(|_| {
            anyhow!("the function says nothing for {PATIENCE:?}; see .tools/bench/function-*.log")
        })?;
        told.context("the Runtime API has ended")
    }
}

async fn serve(state: Arc<Runtime>) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let routes = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route(
            "/2018-06-01/runtime/invocation/{id}/response",
            post(response),
        )
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(error))
        .with_state(state);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(port)
}

async fn next(State(runtime): State<Arc<Runtime>>) -> Response {
    let _ = runtime.told.send(Told::Ready(Instant::now()));
    let Some(event) = runtime.events.lock().await.recv().await else {
        return std::future::pending().await;
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let deadline = (now + Duration::from_secs(28)).as_millis().to_string();
    let headers = [
        (
            "lambda-runtime-aws-request-id",
            "5ada7d2f-fc48-4bc0-92cf-c5501224110d",
        ),
        ("lambda-runtime-deadline-ms", deadline.as_str()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:bench",
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
        ),
    ];
    let response = (headers, axum::Json(event)).into_response();
    let _ = runtime.told.send(Told::Handed(Instant::now()));
    response
}

async fn response(
    State(runtime): State<Arc<Runtime>>,
    Path(_): Path<String>,
    answer: Bytes,
) -> StatusCode {
    let _ = runtime.told.send(Told::Answer(Instant::now(), answer));
    StatusCode::ACCEPTED
}

async fn error(State(runtime): State<Arc<Runtime>>, error: Bytes) -> StatusCode {
    let _ = runtime.told.send(Told::Failed(error));
    StatusCode::ACCEPTED
}

/// What API Gateway tells a function of an event, as far as any reads it.
pub(crate) fn event(route: &str, connection_id: &str, body: Option<&str>) -> Value {
    let kind = match route {
        "$connect" => "CONNECT",
        "$disconnect" => "DISCONNECT",
        _ => "MESSAGE",
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or_default();
    let mut event = json!({
        "requestContext": {
            "routeKey": route,
            "eventType": kind,
            "extendedRequestId": "JrOQFprdYUl0-H4=",
            "requestTime": "21/Nov/2026:12:00:00 +0000",
            "messageDirection": "IN",
            "stage": "prod",
            "connectedAt": now_ms,
            "requestTimeEpoch": now_ms,
            "identity": {"sourceIp": "127.0.0.1"},
            "requestId": "JrOQFprdYUl0-H4=",
            "domainName": "api.execute-api.us-east-1.amazonaws.com",
            "connectionId": connection_id,
            "apiId": "api",
        },
        "isBase64Encoded": false,
    });
    match body {
        Some(body) => event["body"] = body.into(),
        None if route == "$connect" => {
            event["headers"] = json!({"Host": "api.execute-api.us-east-1.amazonaws.com"});
            event["multiValueHeaders"] =
                json!({"Host": ["api.execute-api.us-east-1.amazonaws.com"]});
            event["queryStringParameters"] = json!({"room": "cold", "user": "newcomer"});
            event["multiValueQueryStringParameters"] =
                json!({"room": ["cold"], "user": ["newcomer"]});
        }
        None => event["headers"] = json!({"Host": "", "x-api-key": ""}),
    }
    event
}
