//! A connection: a task that opens it and moves frames until it ends.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::core::{Input, LinkId};

/// How long a closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that is open, or about to be. Dropping `frames` closes it.
#[derive(Debug)]
pub struct Connection {
    /// Frames to be sent.
    pub frames: UnboundedSender<String>,
    /// Ends when the connection is closed.
    pub task: JoinHandle<()>,
}

/// Opens a connection and tells `events` all that happens to it.
pub fn connect(link: LinkId, url: String, events: UnboundedSender<Input>) -> Connection {
    let (frames, queue) = unbounded_channel();
    let task = tokio::spawn(async move {
        let (reason, refused) = run(link, &url, queue, &events).await;
        let _ = events.send(Input::Closed {
            link,
            reason,
            refused,
        });
    });
    Connection { frames, task }
}

/// Why the connection ended, and whether it was refused for good.
async fn run(
    link: LinkId,
    url: &str,
    mut queue: UnboundedReceiver<String>,
    events: &UnboundedSender<Input>,
) -> (String, bool) {
    let opened = tokio::select! {
        opened = Box::pin(connect_async(url)) => opened,
        () = abandoned(&mut queue) => return ("closed".to_owned(), false),
    };
    let mut socket = match opened {
        Ok((socket, _)) => socket,
        Err(error) => return refusal(error),
    };
    if events.send(Input::Opened(link)).is_err() {
        return ("closed".to_owned(), false);
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
                // Tungstenite answers pings by itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Err(error)) => break error.to_string(),
                None => break "closed by the service".to_owned(),
            },
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, socket.close(None)).await;
    (reason, false)
}

/// Waits until nobody wants the connection any more. Nothing is sent before it is open.
async fn abandoned(queue: &mut UnboundedReceiver<String>) {
    while queue.recv().await.is_some() {}
}

fn refusal(error: Error) -> (String, bool) {
    let Error::Http(response) = error else {
        return (format!("cannot reach the service: {error}"), false);
    };
    let status = response.status().as_u16();
    let reason = match status {
        400 => {
            "the service refuses the room or the user (400): names are 1 to 64 letters, digits and -_.: in NFC"
        }
        401 => "the service wants to know who you are (401): ask whoever runs it how to sign in",
        403 => "the service refuses the connection (403): check the URL's stage and your rights",
        404 => "there is no such service (404): check the URL",
        _ => "the service cannot take the connection now",
    };
    // A refusal for good; too many requests and a failing service are not.
    let refused = matches!(status, 400 | 401 | 403 | 404);
    let reason = if refused {
        reason.to_owned()
    } else {
        format!("{reason} (status {status})")
    };
    (reason, refused)
}
