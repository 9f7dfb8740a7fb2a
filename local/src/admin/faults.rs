//! The fault rules over HTTP, on the admin port.
//!
//! | | |
//! |---|---|
//! | `GET /faults` | the seed, and each rule with how often it matched and was applied |
//! | `PUT /faults` | replaces all rules, and the seed if the document has one |
//! | `POST /faults` | adds rules |
//! | `DELETE /faults` | removes all |
//! | `DELETE /faults/{name}` | removes one |
//!
//! Each answers as a `GET` afterwards would, or with `{"message": …}`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get};
use serde_json::{Value, json};

use crate::faults::{ChangeError, Document, Faults};

/// Makes the routes of the rules.
pub(super) fn routes(faults: Arc<Faults>) -> Router {
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
        let message = format!("no rule has the name \"{}\"", name.escape_debug());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Point, Site};

    /// A request to a server of these routes: the status and the body.
    async fn ask(
        address: std::net::SocketAddr,
        method: &str,
        path: &str,
        body: &str,
    ) -> (u16, Value) {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .body(body.to_owned())
            .unwrap();
        let ask = move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .allow_non_standard_methods(true)
                .build()
                .into();
            let mut response = agent.run(request).unwrap();
            let status = response.status().as_u16();
            (status, response.body_mut().read_json().unwrap())
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    #[tokio::test]
    async fn rules_are_seen_replaced_added_and_removed() {
        let faults = Arc::new(Faults::new(Document::default(), 7));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = routes(Arc::clone(&faults));
        tokio::spawn(async { axum::serve(listener, router).await });

        let none = json!({"seed": 7, "rules": []});
        assert_eq!(
            ask(address, "GET", "/faults", "").await,
            (200, none.clone())
        );
        let lossy = json!({"name": "lossy", "on": "post", "do": "drop", "nth": 2});
        let document = json!({"seed": 8, "rules": [lossy]}).to_string();
        let (status, seen) = ask(address, "PUT", "/faults", &document).await;
        let with = |counts: [u64; 2]| json!({"seed": 8, "rules": [{"name": "lossy", "matched": counts[0], "applied": counts[1], "rule": lossy}]});
        assert_eq!((status, seen), (200, with([0, 0])));
        for _ in 0..3 {
            let _ = faults.decide(&Point::at(Site::Post));
        }
        assert_eq!(
            ask(address, "GET", "/faults", "").await,
            (200, with([3, 1]))
        );

        // A refused request changes nothing.
        for (method, path, body, status, message) in [
            ("PUT", "/faults", "{", 400, "not valid JSON"),
            (
                "POST",
                "/faults",
                r#"[{"on": "get"}]"#,
                400,
                "rule 1: \"do\" is missing",
            ),
            (
                "POST",
                "/faults",
                &lossy.to_string(),
                409,
                "there is already a rule \"lossy\"",
            ),
            (
                "POST",
                "/faults",
                r#"{"seed": 1, "rules": []}"#,
                400,
                "a seed can only be given",
            ),
            (
                "DELETE",
                "/faults/other",
                "",
                404,
                "no rule has the name \"other\"",
            ),
        ] {
            let (seen, answer) = ask(address, method, path, body).await;
            let text = answer["message"].as_str().unwrap();
            assert!(
                seen == status && text.starts_with(message),
                "{body}: {seen} {text}"
            );
        }
        assert_eq!(
            ask(address, "GET", "/faults", "").await,
            (200, with([3, 1]))
        );

        let (status, seen) =
            ask(address, "POST", "/faults", r#"{"on": "get", "do": "gone"}"#).await;
        assert_eq!((status, &seen["rules"][1]["name"]), (200, &json!("rule-1")));
        let (status, seen) = ask(address, "DELETE", "/faults/rule-1", "").await;
        assert_eq!((status, seen), (200, with([3, 1])));
        let (status, seen) = ask(address, "DELETE", "/faults", "").await;
        assert_eq!((status, seen), (200, json!({"seed": 8, "rules": []})));
    }
}
