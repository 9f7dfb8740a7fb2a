//! Lambda's API for invocations, and a function behind it that answers as a test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

/// One answer of the API.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The response of the function.
    Text(String),
    /// The function has failed.
    Failed,
    /// The API refuses, with this status and type of error.
    Refused(u16, &'static str),
    /// The connection ends without an answer.
    Cut,
    /// No answer for longer than any test runs.
    Hang,
}

/// An invocation.
#[derive(Debug, Clone)]
pub(crate) struct Invoked {
    pub(crate) function: String,
    pub(crate) headers: HeaderMap,
    pub(crate) event: Value,
}

#[derive(Clone)]
pub(crate) struct Functions {
    pub(crate) url: String,
    state: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// The last answer stays.
    answers: VecDeque<Answer>,
    invoked: Vec<Invoked>,
}

impl Functions {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(Known::default()));
        let path = "/2015-03-31/functions/{name}/invocations";
        let routes = Router::new()
            .route(path, post(invoke))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, state }
    }

    /// Invocations are answered like this, one after another; the last answer stays.
    pub(crate) fn answer(&self, answers: &[Answer]) {
        self.state.lock().unwrap().answers = answers.iter().cloned().collect();
    }

    /// Invocations are answered with this JSON.
    pub(crate) fn decide(&self, decision: &Value) {
        self.answer(&[Answer::Text(decision.to_string())]);
    }

    /// The invocations since the last call of this function.
    pub(crate) fn take(&self) -> Vec<Invoked> {
        std::mem::take(&mut self.state.lock().unwrap().invoked)
    }
}

async fn invoke(
    State(state): State<Arc<Mutex<Known>>>,
    Path(function): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let answer = {
        let mut known = state.lock().unwrap();
        known.invoked.push(Invoked {
            function,
            headers,
            event: serde_json::from_str(&body).unwrap(),
        });
        match known.answers.len() {
            0 => Answer::Refused(404, "ResourceNotFoundException"),
            1 => known.answers[0].clone(),
            _ => known.answers.pop_front().unwrap(),
        }
    };
    match answer {
        Answer::Text(text) => text.into_response(),
        Answer::Failed => (
            [("x-amz-function-error", "Unhandled")],
            r#"{"errorType":"Error","errorMessage":"secret"}"#,
        )
            .into_response(),
        Answer::Refused(status, error) => (
            StatusCode::from_u16(status).unwrap(),
            [("x-amzn-errortype", error)],
            "{}",
        )
            .into_response(),
        Answer::Cut => {
            let broken =
                futures::stream::once(async { Err::<String, _>(std::io::Error::other("cut")) });
            Response::new(axum::body::Body::from_stream(broken))
        }
        Answer::Hang => std::future::pending().await,
    }
}
