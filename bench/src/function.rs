//! One process of a function, driven over the Runtime API as Lambda drives it.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use roomchat_local::runtime_api::{self, RuntimeApi, Signal};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

use crate::service::{Places, Running};
use crate::standin::{FUNCTION_CORE, StandIn, stay_on};
use crate::system;

/// The longest wait for a function. Only reached when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time that an event leaves the function, as in Terraform.
const TIMEOUT: Duration = Duration::from_secs(28);

/// A process that has asked for its first event.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) running: Running,
    /// From the start of the process to its first request for an event.
    pub(crate) init: Duration,
    api: Arc<Mutex<Api>>,
    /// The stand-in's runtime. The times are taken there: another thread would have to wake up first.
    runtime: Handle,
}

/// The gateway's Runtime API.
struct Api(RuntimeApi);

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Api({})", self.0.address)
    }
}

/// The cost of an invocation, and its answer.
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
    /// Fails if the process ends or does not ask for an event.
    pub(crate) async fn start(
        places: &Places,
        stand_in: &StandIn,
        name: &'static str,
        environment: &BTreeMap<&str, String>,
    ) -> Result<Function> {
        let runtime = stand_in.runtime.clone();
        let serve = async move { runtime_api::serve(name, name).await };
        let api = runtime.spawn(serve).await??;
        let mut command = Command::new(places.program(name));
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
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
        let api = Arc::new(Mutex::new(Api(api)));
        let asked = {
            let api = Arc::clone(&api);
            runtime.spawn(async move { ready(&mut api.lock().await.0).await })
        };
        let asked = asked.await?.with_context(|| name.to_owned())?;
        Ok(Function {
            running,
            init: asked - started,
            api,
            runtime,
        })
    }

    /// Hands the function an event, and waits for the answer and for the request for the next event.
    ///
    /// # Errors
    /// Fails if the function fails or takes longer than a minute.
    pub(crate) async fn invoke(&mut self, event: Value) -> Result<Invocation> {
        let pid = self.running.pid();
        let cpu_before = system::cpu_seconds(pid)?;
        let api = Arc::clone(&self.api);
        let invocation = self.runtime.spawn(async move {
            let api = &mut api.lock().await.0;
            let (result, answer) = oneshot::channel();
            let deadline = SystemTime::now().duration_since(UNIX_EPOCH)? + TIMEOUT;
            let invocation = runtime_api::Invocation {
                request_id: "5ada7d2f-fc48-4bc0-92cf-c5501224110d".to_owned(),
                event: event.to_string().into(),
                deadline_ms: i64::try_from(deadline.as_millis())?,
                function_arn: "arn:aws:lambda:us-east-1:000000000000:function:bench".to_owned(),
                trace_id: "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".to_owned(),
                result,
            };
            let handed = Instant::now();
            api.invocations
                .send(invocation)
                .await
                .map_err(|_| anyhow!("the Runtime API has ended"))?;
            let answer = timeout(PATIENCE, answer).await.map_err(|_| silent())?;
            let answer =
                answer.context("the function asked for the next event without an answer")?;
            let wall = handed.elapsed();
            let answer = answer.context("the function failed")?;
            ready(api).await?;
            anyhow::Ok((wall, answer))
        });
        let (wall, answer) = invocation.await??;
        Ok(Invocation {
            wall,
            cpu_seconds: system::cpu_seconds(pid)? - cpu_before,
            answer: serde_json::from_slice(&answer)?,
        })
    }
}

/// Waits until the function asks for an event, and returns when.
async fn ready(api: &mut RuntimeApi) -> Result<Instant> {
    let signal = timeout(PATIENCE, api.signals.recv()).await;
    match signal.map_err(|_| silent())? {
        Some(Signal::Ready) => Ok(Instant::now()),
        Some(Signal::InitError(error)) => Err(anyhow!(error).context("Init failed")),
        None => bail!("the Runtime API has ended"),
    }
}

fn silent() -> anyhow::Error {
    anyhow!("the function says nothing for {PATIENCE:?}; see .tools/bench/function-*.log")
}

/// Makes an event of API Gateway, with the fields that the functions read.
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
