//! The open connections, and the queue of each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::event::Client;
use crate::clock::{Clock, Moment};

/// The most bytes that may wait for one client; a post beyond them is refused. AWS has such a buffer and does not
/// document its size.
const BUFFER_BYTES: usize = 1024 * 1024;

/// The reason why the gateway ends a connection: the code and the text that `$disconnect` and the client get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Cause {
    /// DeleteConnection was called.
    pub(crate) const DELETED: Cause = Cause {
        code: 1000,
        reason: "Connection Closed Normally",
    };
    /// The connection was idle for too long or has reached its age, or the gateway stops.
    pub(crate) const GOING_AWAY: Cause = Cause {
        code: 1001,
        reason: "Going away",
    };
    /// The client keeps sending more than the throttles allow.
    pub(crate) const TOO_MANY_REQUESTS: Cause = Cause {
        code: 1008,
        reason: "",
    };
    /// The client is gone without a close frame.
    pub(crate) const LOST: Cause = Cause {
        code: 1006,
        reason: "",
    };

    /// Returns the cause of a cut: with that close code, or without a close frame.
    pub(crate) fn cut(close: Option<u16>) -> Cause {
        match close {
            None => Cause::LOST,
            Some(1001) => Cause::GOING_AWAY,
            Some(code) => Cause { code, reason: "" },
        }
    }
}

/// The client's buffer is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BufferFull;

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// The time of its handshake, on the clock by which connections age.
    pub(crate) opened: Moment,
    /// Epoch milliseconds of the last message in either direction.
    last_active_ms: AtomicI64,
    /// The time of that message on the clock by which connections age, in microseconds.
    last_active: AtomicU64,
    /// The number of throttled messages in a row.
    refusals: AtomicU32,
    outgoing: mpsc::UnboundedSender<Utf8Bytes>,
    buffered: Arc<AtomicUsize>,
    close: watch::Sender<Option<Cause>>,
}

/// The socket's side of a connection.
pub(crate) struct Outbox {
    messages: mpsc::UnboundedReceiver<Utf8Bytes>,
    buffered: Arc<AtomicUsize>,
}

impl Outbox {
    /// Waits for the next message.
    pub(crate) async fn next(&mut self) -> Utf8Bytes {
        match self.messages.recv().await {
            Some(message) => message,
            // The connection is dropped, and nobody can send.
            None => std::future::pending().await,
        }
    }

    /// Returns the next message if one waits.
    pub(crate) fn next_now(&mut self) -> Option<Utf8Bytes> {
        self.messages.try_recv().ok()
    }

    /// Frees the buffer of messages that are written.
    pub(crate) fn sent(&self, bytes: usize) {
        self.buffered.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Connection {
    /// Makes a connection whose client began its handshake at `opened`.
    pub(crate) fn new(client: Client, opened: Moment) -> (Connection, Outbox) {
        let (outgoing, messages) = mpsc::unbounded_channel();
        let buffered = Arc::new(AtomicUsize::new(0));
        let connection = Connection {
            opened,
            last_active_ms: client.connected_at.into(),
            last_active: micros(opened).into(),
            client,
            refusals: AtomicU32::new(0),
            outgoing,
            buffered: Arc::clone(&buffered),
            close: watch::Sender::new(None),
        };
        (connection, Outbox { messages, buffered })
    }

    /// Queues a message. A closed connection drops it.
    ///
    /// # Errors
    /// [`BufferFull`] when the client does not read its messages.
    pub(crate) fn send(&self, message: Utf8Bytes) -> Result<(), BufferFull> {
        let bytes = message.len();
        let grown = |buffered| (buffered + bytes <= BUFFER_BYTES).then_some(buffered + bytes);
        self.buffered
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .map_err(|_| BufferFull)?;
        let _ = self.outgoing.send(message);
        Ok(())
    }

    /// Notes that a message has passed.
    pub(crate) fn touch(&self, clock: &Clock) {
        self.last_active_ms
            .store(clock.wall_ms(), Ordering::Relaxed);
        self.last_active
            .store(micros(clock.waiting.now()), Ordering::Relaxed);
    }

    /// Returns the time of the last message, on the clock by which connections age.
    pub(crate) fn last_active(&self) -> Moment {
        Duration::from_micros(self.last_active.load(Ordering::Relaxed))
    }

    pub(crate) fn last_active_ms(&self) -> i64 {
        self.last_active_ms.load(Ordering::Relaxed)
    }

    /// Notes a throttled message, and returns the number of them in a row.
    pub(crate) fn refused(&self) -> u32 {
        self.refusals.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes a message that was not throttled.
    pub(crate) fn admitted(&self) {
        self.refusals.store(0, Ordering::Relaxed);
    }

    /// Returns the number of bytes that wait for the client.
    pub(crate) fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    /// Asks the socket's task to close the connection.
    pub(crate) fn close(&self, cause: Cause) {
        self.close.send_replace(Some(cause));
    }

    /// Waits until [`Connection::close`] is called.
    pub(crate) async fn closed(&self) -> Cause {
        let mut close = self.close.subscribe();
        match close.wait_for(Option::is_some).await.map(|cause| *cause) {
            Ok(Some(cause)) => cause,
            // Unreachable while `self` holds the sender.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

fn micros(moment: Moment) -> u64 {
    u64::try_from(moment.as_micros()).unwrap_or(u64::MAX)
}

/// Every open connection, by its id. A connection exists once its `$connect` has succeeded.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    by_id: HashMap<String, Arc<Connection>>,
    stopping: bool,
}

impl Connections {
    /// Adds a connection. It is closed at once if the gateway is stopping.
    pub(crate) fn insert(&self, connection: Arc<Connection>) {
        let mut open = self.lock();
        if open.stopping {
            connection.close(Cause::GOING_AWAY);
        }
        let id = connection.client.connection_id.clone();
        open.by_id.insert(id, connection);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Connection>> {
        self.lock().by_id.get(id).cloned()
    }

    /// Returns all connections, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.lock().by_id.values().cloned().collect()
    }

    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Connection>> {
        self.lock().by_id.remove(id)
    }

    /// Closes every connection, and each one whose `$connect` still runs as soon as it opens.
    pub(crate) fn close_all(&self) {
        let mut open = self.lock();
        open.stopping = true;
        for connection in open.by_id.values() {
            connection.close(Cause::GOING_AWAY);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_read_fills_its_buffer() {
        let client = Client {
            connection_id: "T0aBceHkDoECIQw=".to_owned(),
            ..Client::default()
        };
        let (connection, mut outbox) = Connection::new(client, Moment::ZERO);
        let message = Utf8Bytes::from("x".repeat(128 * 1024));
        for _ in 0..8 {
            assert_eq!(connection.send(message.clone()), Ok(()));
        }
        assert_eq!(connection.send("x".into()), Err(BufferFull));
        let sent = outbox.next_now().unwrap();
        outbox.sent(sent.len());
        assert_eq!(connection.send(message), Ok(()));
    }
}
