//! The admin endpoint: the status, the clock and the fault rules. It exists only with `--admin-port`.
//!
//! It is for programs and people on this machine: requests of web pages are refused.

mod faults;
mod status;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::json;

use crate::gateway::Gateway;
use crate::{log, loopback};
use status::Status;

/// Makes the service.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    let faults = faults::routes(Arc::clone(&gateway.faults));
    Router::new()
        .route("/", get(page))
        .route("/status", get(status))
        .route("/status.txt", get(status_text))
        .route("/clock", post(clock))
        .with_state(gateway)
        .merge(faults)
        .layer(middleware::from_fn(only_this_machine))
}

async fn only_this_machine(request: Request, next: Next) -> Response {
    if loopback::is_foreign(request.headers()) {
        return refuse(
            StatusCode::FORBIDDEN,
            "The admin endpoint is for programs on this machine: call it as 127.0.0.1, and not from a web page.",
        );
    }
    next.run(request).await
}

/// Makes an error response.
pub(crate) fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

async fn status(State(gateway): State<Arc<Gateway>>) -> Response {
    match look(gateway).await {
        Some(status) => Json(status).into_response(),
        None => cannot_look(),
    }
}

async fn status_text(State(gateway): State<Arc<Gateway>>) -> Response {
    match look(gateway).await {
        Some(status) => status.text().into_response(),
        None => cannot_look(),
    }
}

/// Shows the status to a browser, which reloads it once a second.
async fn page(State(gateway): State<Arc<Gateway>>) -> Response {
    let Some(status) = look(gateway).await else {
        return cannot_look();
    };
    let text = status
        .text()
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=1>\
         <title>roomchat-local</title><pre>{text}</pre></html>"
    ))
    .into_response()
}

/// Reads the status on a thread of its own, since it reads tables.
async fn look(gateway: Arc<Gateway>) -> Option<Status> {
    tokio::task::spawn_blocking(move || Status::now(&gateway))
        .await
        .ok()
}

fn cannot_look() -> Response {
    refuse(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The status could not be read.",
    )
}

/// A change of the clock. A missing field changes nothing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Move {
    /// Seconds by which all times jump forward.
    advance: Option<f64>,
    time_scale: Option<f64>,
    timeout_scale: Option<f64>,
}

/// The largest jump: a hundred years, in seconds.
const LONGEST_ADVANCE: f64 = 3.2e9;

async fn clock(State(gateway): State<Arc<Gateway>>, body: Bytes) -> Response {
    let wanted: Move = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let clock = &gateway.clock;
    for (name, scale) in [
        ("timeScale", wanted.time_scale),
        ("timeoutScale", wanted.timeout_scale),
    ] {
        if scale.is_some_and(|scale| !is_scale(scale)) {
            let message = format!("{name} must be a number from 0.000001 to 1000000");
            return refuse(StatusCode::BAD_REQUEST, &message);
        }
    }
    if wanted
        .advance
        .is_some_and(|seconds| !(0.0..=LONGEST_ADVANCE).contains(&seconds))
    {
        return refuse(
            StatusCode::BAD_REQUEST,
            "advance must be a number of seconds, 0 or more: time cannot run backwards",
        );
    }
    if let Some(scale) = wanted.time_scale {
        clock.waiting.set_speed(scale);
    }
    if let Some(scale) = wanted.timeout_scale {
        clock.working.set_speed(scale);
    }
    if let Some(seconds) = wanted.advance {
        clock.advance(Duration::from_secs_f64(seconds));
    }
    let (time_scale, timeout_scale) = (clock.waiting.speed(), clock.working.speed());
    let fields = json!({ "advance": wanted.advance, "timeScale": time_scale, "timeoutScale": timeout_scale });
    log::event("clock", fields.clone());
    Json(fields).into_response()
}

/// Reports whether time can run at that speed.
pub(crate) fn is_scale(scale: f64) -> bool {
    (1e-6..=1e6).contains(&scale)
}

/// Asks the gateway with that admin port for its status.
///
/// # Errors
/// Fails if no gateway answers there.
pub async fn ask_status(port: u16) -> Result<String> {
    let url = format!("http://127.0.0.1:{port}/status.txt").parse()?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.get(url).await.with_context(|| {
        format!("no gateway answers on admin port {port}: start one with --admin-port {port}")
    })?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}
