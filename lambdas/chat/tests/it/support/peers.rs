//! The clients of API Gateway, as its management API shows them: they are connected unless a test says otherwise.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// One answer of the management API.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Ok,
    /// A status with the error type API Gateway sends along in a header.
    Error(u16, &'static str),
    /// A status alone.
    Bare(u16),
    /// No answer for longer than any test runs.
    Hang,
}

impl Answer {
    pub(crate) const GONE: Answer = Answer::Error(410, "GoneException");
    pub(crate) const THROTTLED: Answer = Answer::Error(429, "LimitExceededException");
}

#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Known>,
    arrived: Notify,
}

#[derive(Default)]
struct Known {
    /// Answers to posts, per connection; the last one stays.
    posts: HashMap<String, VecDeque<Answer>>,
    gets: HashMap<String, Answer>,
    /// The posts, in order of arrival, whatever the answer was.
    posted: Vec<(String, String)>,
    asked: Vec<String>,
    /// Answers to DeleteConnection.
    deletes: HashMap<String, Answer>,
    closed: Vec<String>,
    /// GetConnection takes this long.
    ask_delay: Duration,
    in_flight: usize,
    /// Posts in flight when each one arrived, itself included.
    in_flight_at_arrival: Vec<usize>,
    /// Posts are held until so many have been in flight at once.
    hold_until: usize,
    delay: Duration,
}

impl Peers {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prod", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let routes = Router::new()
            .route("/prod/@connections/{id}", get(ask).post(post).delete(close))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, shared }
    }

    /// Posts to `id` are answered like this, one after another; the last answer stays.
    pub(crate) fn on_post(&self, id: &str, answers: &[Answer]) {
        self.known(|known| {
            known
                .posts
                .insert(id.to_owned(), answers.iter().copied().collect())
        });
    }

    /// GetConnection of `id` is answered like this.
    pub(crate) fn on_get(&self, id: &str, answer: Answer) {
        self.known(|known| known.gets.insert(id.to_owned(), answer));
    }

    /// DeleteConnection of `id` is answered like this.
    pub(crate) fn on_delete(&self, id: &str, answer: Answer) {
        self.known(|known| known.deletes.insert(id.to_owned(), answer));
    }

    /// GetConnection takes this long.
    pub(crate) fn ask_delay(&self, delay: Duration) {
        self.known(|known| known.ask_delay = delay);
    }

    /// `id` is gone for good.
    pub(crate) fn gone(&self, id: &str) {
        self.on_post(id, &[Answer::GONE]);
        self.on_get(id, Answer::GONE);
        self.on_delete(id, Answer::GONE);
    }

    /// Every post takes this long.
    pub(crate) fn delay(&self, delay: Duration) {
        self.known(|known| known.delay = delay);
    }

    /// Answers no post before `count` have been in flight at once.
    pub(crate) fn hold_until(&self, count: usize) {
        self.known(|known| known.hold_until = count);
    }

    /// The receivers of posts, one entry per try, sorted.
    pub(crate) fn tried(&self) -> Vec<String> {
        let mut ids = self.known(|known| {
            known
                .posted
                .iter()
                .map(|(id, _)| id.clone())
                .collect::<Vec<_>>()
        });
        ids.sort();
        ids
    }

    /// The same, in order of arrival.
    pub(crate) fn order(&self) -> Vec<String> {
        self.known(|known| known.posted.iter().map(|(id, _)| id.clone()).collect())
    }

    /// The texts posted to `id`.
    pub(crate) fn texts(&self, id: &str) -> Vec<String> {
        self.known(|known| {
            known
                .posted
                .iter()
                .filter(|(to, _)| to == id)
                .map(|(_, text)| text.clone())
                .collect()
        })
    }

    /// The frames posted to `id`.
    pub(crate) fn frames(&self, id: &str) -> Vec<Value> {
        self.texts(id)
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    /// The connections that GetConnection asked for, sorted.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self.known(|known| known.asked.clone());
        asked.sort();
        asked
    }

    /// Whom DeleteConnection was asked to close, sorted.
    pub(crate) fn closed(&self) -> Vec<String> {
        let mut closed = self.known(|known| known.closed.clone());
        closed.sort();
        closed
    }

    /// Posts in flight when each one arrived, itself included.
    pub(crate) fn in_flight_at_arrival(&self) -> Vec<usize> {
        self.known(|known| known.in_flight_at_arrival.clone())
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.shared.state.lock().unwrap())
    }
}

/// Counts a post for as long as the caller waits for it.
struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().in_flight -= 1;
    }
}

async fn post(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    let (answer, delay) = {
        let mut known = shared.state.lock().unwrap();
        known
            .posted
            .push((id.clone(), String::from_utf8(body.to_vec()).unwrap()));
        known.in_flight += 1;
        let in_flight = known.in_flight;
        known.in_flight_at_arrival.push(in_flight);
        let answer = match known.posts.get_mut(&id) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
            Some(answers) => answers[0],
            None => Answer::Ok,
        };
        (answer, known.delay)
    };
    let _in_flight = InFlight(Arc::clone(&shared));
    shared.arrived.notify_waiters();
    loop {
        let arrived = shared.arrived.notified();
        {
            let known = shared.state.lock().unwrap();
            if known
                .in_flight_at_arrival
                .iter()
                .any(|&most| most >= known.hold_until)
            {
                break;
            }
        }
        arrived.await;
    }
    tokio::time::sleep(delay).await;
    respond(answer).await
}

async fn ask(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let (answer, delay) = {
        let mut known = shared.state.lock().unwrap();
        known.asked.push(id.clone());
        let answer = known.gets.get(&id).copied().unwrap_or(Answer::Ok);
        (answer, known.ask_delay)
    };
    tokio::time::sleep(delay).await;
    match answer {
        Answer::Ok => r#"{"identity":{"sourceIp":"203.0.113.9"},"connectedAt":"2024-02-09T09:30:07.396Z","lastActiveAt":"2024-02-09T09:30:09.102Z"}"#.into_response(),
        answer => respond(answer).await,
    }
}

async fn close(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let answer = {
        let mut known = shared.state.lock().unwrap();
        known.closed.push(id.clone());
        known.deletes.get(&id).copied().unwrap_or(Answer::Ok)
    };
    match answer {
        Answer::Ok => StatusCode::NO_CONTENT.into_response(),
        answer => respond(answer).await,
    }
}

async fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Ok => StatusCode::OK.into_response(),
        Answer::Error(status, kind) => {
            let headers = HeaderMap::from_iter([(
                "x-amzn-errortype".parse().unwrap(),
                kind.parse().unwrap(),
            )]);
            (StatusCode::from_u16(status).unwrap(), headers).into_response()
        }
        Answer::Bare(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Hang => std::future::pending().await,
    }
}
