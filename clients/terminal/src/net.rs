//! Opens connections, and moves their frames until they end.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, Uri};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::core::{Input, LinkId, Why};
use crate::token::{TokenSource, life};

/// The time that a closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that is open or is being opened. Dropping `frames` closes it.
#[derive(Debug)]
pub struct Connection {
    /// Takes the frames to send.
    pub frames: UnboundedSender<String>,
    /// The task, which ends when the connection is closed.
    pub task: JoinHandle<()>,
}

/// Opens a connection in a task of its own, which sends `events` everything that happens to the connection. Each of
/// `urls` but the first is tried only when the service refuses the names in the one before it.
pub fn connect(
    link: LinkId,
    urls: Vec<String>,
    tokens: Option<TokenSource>,
    events: UnboundedSender<Input>,
) -> Connection {
    let (frames, queue) = unbounded_channel();
    let task = tokio::spawn(async move {
        let (reason, why) = run(link, &urls, tokens, queue, &events).await;
        let _ = events.send(Input::Closed { link, reason, why });
    });
    Connection { frames, task }
}

/// Returns the reason for which the connection ended.
async fn run(
    link: LinkId,
    urls: &[String],
    tokens: Option<TokenSource>,
    mut queue: UnboundedReceiver<String>,
    events: &UnboundedSender<Input>,
) -> (String, Why) {
    let handshake = async {
        let mut outcome = Err(("there is no URL".to_owned(), Why::Hopeless));
        for url in urls {
            let (request, token_life) = request(url, tokens.as_ref()).await?;
            match connect_async(request).await {
                Ok((socket, _)) => return Ok((socket, token_life)),
                Err(error) => {
                    let names = matches!(&error, Error::Http(answer) if answer.status() == 400);
                    outcome = Err(refusal(url, error));
                    if !names {
                        break;
                    }
                }
            }
        }
        outcome
    };
    let opened = tokio::select! {
        opened = Box::pin(handshake) => opened,
        () = abandoned(&mut queue) => return ("closed".to_owned(), Why::Lost),
    };
    let (mut socket, token_life) = match opened {
        Ok(opened) => opened,
        Err(reason) => return reason,
    };
    if events.send(Input::Opened { link, token_life }).is_err() {
        return ("closed".to_owned(), Why::Lost);
    }
    let reason = loop {
        tokio::select! {
            frame = queue.recv() => match frame {
                Some(frame) => if let Err(error) = socket.send(Message::text(frame)).await {
                    break error.to_string();
                },
                None => break "closed".to_owned(),
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if events.send(Input::Received(link, text.as_str().to_owned())).is_err() {
                        break "closed".to_owned();
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    break frame.map_or_else(
                        || "closed by the service".to_owned(),
                        |frame| format!("closed by the service with {} {}", u16::from(frame.code), frame.reason.as_str()),
                    );
                }
                // The library answers pings by itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Err(error)) => break error.to_string(),
                None => break "closed by the service".to_owned(),
            },
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, socket.close(None)).await;
    (reason, Why::Lost)
}

/// Returns the request of a handshake, and how long its token is valid.
async fn request(
    url: &str,
    tokens: Option<&TokenSource>,
) -> Result<(Request<()>, Option<Duration>), (String, Why)> {
    let mut request = url
        .into_client_request()
        .map_err(|error| refusal(url, error))?;
    let Some(tokens) = tokens else {
        return Ok((request, None));
    };
    let unusable = |error: String| (error, Why::Refused);
    let token = tokens
        .token()
        .await
        .map_err(|error| unusable(format!("{error:#}")))?;
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|error| unusable(error.to_string()))?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok((request, life(&token)))
}

/// Waits until the connection is no longer wanted. The core sends no frame before the connection is open.
async fn abandoned(queue: &mut UnboundedReceiver<String>) {
    while queue.recv().await.is_some() {}
}

/// Returns the reason for which a connection did not open.
fn refusal(url: &str, error: Error) -> (String, Why) {
    let response = match error {
        Error::Http(response) => response,
        Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
            return (nobody_listens(url), Why::Hopeless);
        }
        error => return (format!("cannot reach the service: {error}"), Why::Lost),
    };
    let status = response.status().as_u16();
    match status {
        400 => (
            "the service refuses the room or the user (400): a name has 1 to 64 letters, digits \
             and -_.: in NFC, and a user must be the one of the token"
                .to_owned(),
            Why::Hopeless,
        ),
        401 => (
            "the service requires a valid token (401): see --token-file".to_owned(),
            Why::Refused,
        ),
        403 => (
            "the service refuses the connection (403): check the stage in the URL, and your token"
                .to_owned(),
            Why::Refused,
        ),
        404 => (
            "there is no service at this URL (404)".to_owned(),
            Why::Hopeless,
        ),
        // Too many requests, or a failure of the service.
        _ => (
            format!("the service cannot accept the connection now (status {status})"),
            Why::Lost,
        ),
    }
}

fn nobody_listens(url: &str) -> String {
    let uri: Uri = url.parse().unwrap_or_default();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = uri.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    if host == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
        format!(
            "nothing listens on {authority}: start scripts/local.sh in another terminal, or give the URL of a service"
        )
    } else {
        format!("nothing listens on {authority}: check the URL")
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_hdr_async;
    use tokio_tungstenite::tungstenite::http::Response;

    use super::*;

    /// Listens, and answers each handshake with the status that `answer` returns for its query and its token.
    async fn service(
        answer: fn(&str, Option<&str>) -> u16,
    ) -> (String, UnboundedReceiver<(String, Option<String>)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/prod?", listener.local_addr().unwrap());
        let (seen, handshakes) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let seen = seen.clone();
                #[expect(clippy::result_large_err, reason = "the library's own signature")]
                let judge = move |request: &Request<()>, response: Response<()>| {
                    let query = request.uri().query().unwrap_or_default().to_owned();
                    let token = request.headers().get(AUTHORIZATION);
                    let token = token.map(|token| token.to_str().unwrap().to_owned());
                    let status = answer(&query, token.as_deref());
                    seen.send((query, token)).unwrap();
                    let refused = || Response::builder().status(status).body(None).unwrap();
                    if status == 101 {
                        Ok(response)
                    } else {
                        Err(refused())
                    }
                };
                tokio::spawn(async move {
                    if let Ok(mut socket) = accept_hdr_async(stream, judge).await {
                        while socket.next().await.is_some() {}
                    }
                });
            }
        });
        (url, handshakes)
    }

    #[tokio::test]
    async fn a_guest_gets_its_name_from_a_service_that_verifies_its_users() {
        let (url, mut seen) =
            service(|query, _| if query.contains("user=") { 400 } else { 101 }).await;
        let urls = vec![format!("{url}user=guest-x&room=a"), format!("{url}room=a")];
        let (events, mut happened) = unbounded_channel();
        let connection = connect(1, urls.clone(), None, events.clone());
        let opened = happened.recv().await.unwrap();
        assert!(
            matches!(
                opened,
                Input::Opened {
                    link: 1,
                    token_life: None
                }
            ),
            "{opened:?}"
        );
        assert_eq!(seen.recv().await.unwrap().0, "user=guest-x&room=a");
        assert_eq!(seen.recv().await.unwrap().0, "room=a");
        drop(connection);

        // A user who was named is not replaced by a guest.
        let _connection = connect(2, urls[..1].to_vec(), None, events);
        loop {
            if let Input::Closed { link: 2, why, .. } = happened.recv().await.unwrap() {
                assert_eq!(why, Why::Hopeless);
                break;
            }
        }
    }

    #[tokio::test]
    async fn each_handshake_carries_the_token_that_the_file_holds_then() {
        let (url, mut seen) = service(|_, token| {
            if token == Some("Bearer a.b.c") {
                101
            } else {
                401
            }
        })
        .await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let tokens = TokenSource::File(file.path().to_owned());
        let (events, mut happened) = unbounded_channel();
        let mut whys = Vec::new();
        for token in ["", "x.y.z", "a.b.c"] {
            std::fs::write(file.path(), token).unwrap();
            let _connection = connect(1, vec![url.clone()], Some(tokens.clone()), events.clone());
            whys.push(match happened.recv().await.unwrap() {
                Input::Closed { why, .. } => Some(why),
                _ => None,
            });
        }
        assert_eq!(whys, [Some(Why::Refused), Some(Why::Refused), None]);
        assert_eq!(
            seen.recv().await.unwrap().1.as_deref(),
            Some("Bearer x.y.z")
        );
        assert_eq!(
            seen.recv().await.unwrap().1.as_deref(),
            Some("Bearer a.b.c")
        );
    }

    #[test]
    fn who_starts_no_service_is_told_how() {
        for (url, told) in [
            ("ws://127.0.0.1:3000/prod?user=a", true),
            ("ws://localhost:3000/prod", true),
            ("ws://[::1]:3000/prod", true),
            ("wss://example.org/prod", false),
        ] {
            let refused = Error::Io(ErrorKind::ConnectionRefused.into());
            let (reason, why) = refusal(url, refused);
            assert_eq!(why, Why::Hopeless);
            assert_eq!(reason.contains("scripts/local.sh"), told, "{reason}");
        }
        let unknown = Error::Io(ErrorKind::HostUnreachable.into());
        assert_eq!(refusal("ws://h/", unknown).1, Why::Lost);
    }
}
