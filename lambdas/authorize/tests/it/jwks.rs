//! The keys by URL: a real HTTP server that is slow, fails, lies and changes its keys. The authorizer's clock is moved;
//! the server's answers are real.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use authorizer::answer::Authorizer;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::issuer::{KEYS, Signer, claims, now_s, outcome_at, signed, with};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// An issuer's HTTP server.
struct Server {
    url: String,
    answer: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::new(AtomicUsize::new(0));
        let (current, count) = (Arc::clone(&answer), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (current, count) = (Arc::clone(&current), Arc::clone(&count));
                thread::spawn(move || serve(stream.unwrap(), &current, &count));
            }
        });
        Self {
            url,
            answer,
            requests,
        }
    }

    fn answers(&self, answer: String) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The number of requests since the last call.
    fn asked(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }

    fn authorizer(&self) -> Authorizer {
        with(&json!({ "jwks_url": self.url }), None)
    }
}

fn serve(mut stream: TcpStream, answer: &Mutex<String>, count: &AtomicUsize) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"GET /keys HTTP/1.1\r\n"));
    count.fetch_add(1, Ordering::SeqCst);
    let answer = answer.lock().unwrap().clone();
    if answer == "hang" {
        thread::sleep(Duration::from_secs(30));
        return;
    }
    let _ = stream.write_all(answer.as_bytes());
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

fn set(signers: &[&Signer]) -> String {
    let keys: Vec<&Value> = signers.iter().map(|signer| &signer.jwk).collect();
    json!({ "keys": keys }).to_string()
}

fn good(signers: &[&Signer]) -> String {
    response("200 OK", "", &set(signers))
}

fn kept_for(seconds: i64, signers: &[&Signer]) -> String {
    let headers = format!("Cache-Control: public, max-age={seconds}, must-revalidate\r\n");
    response("200 OK", &headers, &set(signers))
}

/// A token under a key, or under a made-up one.
fn token_of(signer: &Signer, kid: &str, algorithm: Algorithm) -> String {
    let name = format!("{algorithm:?}");
    signed(
        &json!({"alg": name, "kid": kid}),
        &claims(),
        &signer.key,
        algorithm,
    )
}

fn p256() -> String {
    token_of(&KEYS.p256, "p256", Algorithm::ES256)
}

fn ed() -> String {
    token_of(&KEYS.ed, "ed", Algorithm::EdDSA)
}

const UNKNOWN: &str = "no key of the token's kid";

#[tokio::test]
async fn keys_are_fetched_once_and_kept_for_as_long_as_the_issuer_says() {
    let start = now_s() * 1_000;
    for (answer, minutes) in [
        (good(&[&KEYS.p256]), 5),
        (kept_for(0, &[&KEYS.p256]), 5),
        (kept_for(3_600, &[&KEYS.p256]), 60),
        (kept_for(1_000_000, &[&KEYS.p256]), 24 * 60),
    ] {
        let server = Server::start(answer);
        let mut authorizer = server.authorizer();
        for minute in 0..minutes {
            let now = start + minute * MINUTE;
            assert_eq!(outcome_at(&mut authorizer, &p256(), now).await, "alice");
        }
        assert_eq!(server.asked(), 1, "{minutes}");
        let later = start + minutes * MINUTE;
        assert_eq!(outcome_at(&mut authorizer, &p256(), later).await, "alice");
        assert_eq!(server.asked(), 1, "{minutes}");
    }
}

#[tokio::test]
async fn a_key_that_has_just_changed_is_fetched_at_once() {
    let start = now_s() * 1_000;
    let server = Server::start(kept_for(86_400, &[&KEYS.p256]));
    let mut authorizer = server.authorizer();
    assert_eq!(outcome_at(&mut authorizer, &p256(), start).await, "alice");
    server.answers(kept_for(86_400, &[&KEYS.ed]));
    assert_eq!(
        outcome_at(&mut authorizer, &ed(), start + 1_000).await,
        "alice"
    );
    // A key that the issuer has withdrawn is not accepted any more.
    assert_eq!(
        outcome_at(&mut authorizer, &p256(), start + 2_000).await,
        UNKNOWN
    );
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_flood_of_made_up_keys_is_not_passed_on() {
    let start = now_s() * 1_000;
    let server = Server::start(kept_for(86_400, &[&KEYS.p256]));
    let mut authorizer = server.authorizer();
    assert_eq!(outcome_at(&mut authorizer, &p256(), start).await, "alice");
    assert_eq!(server.asked(), 1);
    // Ten minutes, 10,000 tokens, each of another key.
    let header = |n: i64| json!({"alg": "ES256", "kid": format!("made-up-{n}")});
    let rest = p256().split_once('.').unwrap().1.to_owned();
    for n in 0..10_000 {
        let forged = format!("{}.{rest}", crate::issuer::part(&header(n)));
        assert_eq!(
            outcome_at(&mut authorizer, &forged, start + n * 60).await,
            UNKNOWN
        );
    }
    assert_eq!(server.asked(), 10);
    // Nobody else is disturbed, and without a kid nothing is fetched.
    assert_eq!(
        outcome_at(&mut authorizer, &p256(), start + 10 * MINUTE).await,
        "alice"
    );
    let no_kid = format!("{}.{rest}", crate::issuer::part(&json!({"alg": "ES256"})));
    assert_eq!(
        outcome_at(&mut authorizer, &no_kid, start + 60 * MINUTE).await,
        "the signature does not match"
    );
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_not_noticed_for_a_day() {
    let start = now_s() * 1_000;
    let server = Server::start(kept_for(3_600, &[&KEYS.p256]));
    let mut authorizer = server.authorizer();
    assert_eq!(outcome_at(&mut authorizer, &p256(), start).await, "alice");
    assert_eq!(server.asked(), 1);
    server.answers(response("500 Internal Server Error", "", "{}"));
    let stale = start + 60 * MINUTE;
    for second in 0..120 {
        assert_eq!(
            outcome_at(&mut authorizer, &p256(), stale + second * 1_000).await,
            "alice"
        );
    }
    assert_eq!(server.asked(), 2);
    assert_eq!(
        outcome_at(&mut authorizer, &p256(), stale + DAY - 1).await,
        "alice"
    );
    assert_eq!(
        outcome_at(&mut authorizer, &p256(), stale + DAY).await,
        "500"
    );
    // It is back.
    server.answers(good(&[&KEYS.p256]));
    assert_eq!(
        outcome_at(&mut authorizer, &p256(), stale + DAY + MINUTE).await,
        "alice"
    );
}

#[tokio::test]
async fn without_keys_a_handshake_fails_and_the_issuer_is_asked_every_five_seconds() {
    let start = now_s() * 1_000;
    for bad in [
        response("500 Internal Server Error", "", &set(&[&KEYS.p256])),
        response("404 Not Found", "", ""),
        // Not followed: a redirect could lead out of TLS.
        response(
            "302 Found",
            "location: https://issuer.example/keys\r\n",
            &set(&[&KEYS.p256]),
        ),
        response("200 OK", "", "<html>"),
        response("200 OK", "", r#"{"keys":[]}"#),
        response(
            "200 OK",
            "",
            &format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(300_000)),
        ),
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":".to_owned(),
        "SSH-2.0-OpenSSH_9.6\r\n".to_owned(),
    ] {
        let server = Server::start(bad.clone());
        let mut authorizer = server.authorizer();
        for second in 0..10 {
            assert_eq!(
                outcome_at(&mut authorizer, &p256(), start + second * 1_000).await,
                "500",
                "{bad:.60}"
            );
        }
        // hyper tries a request again whose connection breaks before an answer.
        assert_eq!(server.asked(), 2, "{bad:.60}");
        server.answers(good(&[&KEYS.p256]));
        assert_eq!(
            outcome_at(&mut authorizer, &p256(), start + 10_000).await,
            "alice"
        );
    }
    // A text that is not a token costs no request.
    let server = Server::start(good(&[&KEYS.p256]));
    let mut authorizer = server.authorizer();
    assert_eq!(
        outcome_at(&mut authorizer, "x", start).await,
        "the token cannot be read"
    );
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn an_issuer_that_hangs_is_given_up() {
    let start = now_s() * 1_000;
    let server = Server::start(kept_for(0, &[&KEYS.p256]));
    let mut authorizer = server.authorizer();
    assert_eq!(outcome_at(&mut authorizer, &p256(), start).await, "alice");
    server.answers("hang".to_owned());
    // Waits for the real time-out once, then serves what it has.
    assert_eq!(
        outcome_at(&mut authorizer, &p256(), start + 6 * MINUTE).await,
        "alice"
    );
    assert_eq!(
        outcome_at(&mut authorizer, &p256(), start + 6 * MINUTE + 1_000).await,
        "alice"
    );
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_stop_the_fetching() {
    let start = now_s() * 1_000;
    let server = Server::start(response("500 Internal Server Error", "", ""));
    let mut authorizer = server.authorizer();
    assert_eq!(outcome_at(&mut authorizer, &p256(), start).await, "500");
    server.answers(good(&[&KEYS.p256]));
    assert_eq!(
        outcome_at(&mut authorizer, &p256(), start - DAY).await,
        "alice"
    );
}
