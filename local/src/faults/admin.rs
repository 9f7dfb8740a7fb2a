//! The rules over HTTP, for a loopback port that is open only when it is asked for.
//!
//! | | |
//! |---|---|
//! | `GET /faults` | the seed, and each rule with how often it matched and was applied |
//! | `PUT /faults` | replaces all rules, and the seed if the document has one |
//! | `POST /faults` | adds rules |
//! | `DELETE /faults` | removes all |
//! | `DELETE /faults/{name}` | removes one |
//!
//! Each answers with what `GET` would say afterwards, or with `{"message": …}`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get};
use serde_json::{Value, json};

use super::{ChangeError, Document, Faults};

/// The routes of the rules.
pub(crate) fn admin_routes(faults: Arc<Faults>) -> Router {
    let rules = get(async |State(faults): State<Arc<Faults>>| describe(&faults))
        .put(put)
        .post(post)
        .delete(async |State(faults): State<Arc<Faults>>| {
            faults.replace(Document::default());
            describe(&faults)
        });
    Router::new()
        .route("/faults", rules)
        .route("/faults/{name}", delete(remove))
        .with_state(faults)
}

async fn put(State(faults): State<Arc<Faults>>, body: Bytes) -> Response {
    match Document::parse(&body) {
        Ok(document) => {
            faults.replace(document);
            describe(&faults)
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("{error:#}")),
    }
}

async fn post(State(faults): State<Arc<Faults>>, body: Bytes) -> Response {
    let added = Document::parse(&body).map(|document| faults.add(document));
    match added {
        Ok(Ok(())) => describe(&faults),
        Ok(Err(error @ ChangeError::Taken(_))) => refuse(StatusCode::CONFLICT, &error.to_string()),
        Ok(Err(error @ ChangeError::Seed)) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error) => refuse(StatusCode::BAD_REQUEST, &format!("{error:#}")),
    }
}

async fn remove(State(faults): State<Arc<Faults>>, Path(name): Path<String>) -> Response {
    if faults.remove(&name) {
        describe(&faults)
    } else {
        let message = format!("there is no rule \"{}\"", name.escape_debug());
        refuse(StatusCode::NOT_FOUND, &message)
    }
}

fn describe(faults: &Faults) -> Response {
    answer(StatusCode::OK, &faults.describe())
}

fn refuse(status: StatusCode, message: &str) -> Response {
    answer(status, &json!({ "message": message }))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let body = format!("{body:#}\n");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
