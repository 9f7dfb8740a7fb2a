//! The load client, the same for every service. It counts each frame of each member. A missing or unexpected frame makes
//! the run fail instead of giving a figure. A message that comes twice is counted: a post without an answer is sent again,
//! and PROTOCOL.md tells clients to drop the duplicate.

mod contest;
mod crowd;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub(crate) use contest::contest;
pub(crate) use crowd::{Heard, Talk, crowd};

/// The length of a message's data, in bytes.
pub(crate) const MESSAGE_BYTES: usize = 64;

/// The longest wait. Only reached when something hangs, or in the tests.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

/// The time in which unexpected frames may arrive after a round.
const SETTLE: Duration = Duration::from_millis(200);

/// The most messages of one round.
const MAX_MESSAGES: usize = 100_000;

/// The number of parallel handshakes.
pub(crate) const HANDSHAKES_AT_ONCE: usize = 16;

/// The address of a service: its URL without a query. All measured services accept a `publish` as in PROTOCOL.md, and
/// answer as it describes.
#[derive(Debug, Clone)]
pub(crate) struct Address(String);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A member of a room.
pub(crate) struct Member {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    /// The rounds that this member has been in.
    rounds: Vec<String>,
}

impl Address {
    /// A service on this machine.
    pub(crate) fn local(port: u16, path: &str) -> Address {
        Address(format!("ws://127.0.0.1:{port}{path}"))
    }

    /// A service anywhere.
    ///
    /// # Errors
    /// Fails if the URL does not begin with `wss://` or `ws://`, or has a query.
    pub(crate) fn of(url: &str) -> Result<Address> {
        ensure!(
            (url.starts_with("wss://") || url.starts_with("ws://")) && !url.contains(['?', '#']),
            "--url must begin with wss:// and have no query: {url}"
        );
        Ok(Address(url.to_owned()))
    }

    /// Connects and joins a room.
    ///
    /// # Errors
    /// Fails if the handshake is refused or takes longer than a minute.
    pub(crate) async fn join(&self, room: &str, user: &str) -> Result<Member> {
        self.join_as(room, user, None).await
    }

    /// A token names the user.
    async fn join_as(&self, room: &str, user: &str, token: Option<&str>) -> Result<Member> {
        let mut request = match token {
            Some(_) => format!("{}?room={room}", self.0),
            None => format!("{}?room={room}&user={user}", self.0),
        }
        .into_client_request()?;
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse()?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        // The default buffers are 128 KB in each direction: ten thousand members would need 2.5 GB.
        let config = WebSocketConfig::default()
            .read_buffer_size(4 * 1024)
            .write_buffer_size(4 * 1024);
        let opening = async {
            let without_delay = true;
            let opened =
                tokio_tungstenite::connect_async_with_config(request, Some(config), without_delay);
            anyhow::Ok(opened.await?.0)
        };
        let socket = timeout(PATIENCE, opening)
            .await
            .unwrap_or_else(|_| Err(anyhow!("no answer within {PATIENCE:?}")))
            .with_context(|| format!("the handshake of {user}"))?;
        let (sink, stream) = socket.split();
        Ok(Member {
            sink,
            stream,
            rounds: Vec::new(),
        })
    }

    /// Joins `count` members to a room, [`HANDSHAKES_AT_ONCE`] at a time.
    ///
    /// # Errors
    /// Fails if one of the handshakes fails.
    pub(crate) async fn join_many(&self, room: &str, count: usize) -> Result<Vec<Member>> {
        self.join_with(room, count, &[]).await
    }

    /// The same, each member with the next of `tokens`.
    pub(crate) async fn join_with(
        &self,
        room: &str,
        count: usize,
        tokens: &[String],
    ) -> Result<Vec<Member>> {
        futures::stream::iter(0..count)
            .map(|number| async move {
                let token = tokens.iter().cycle().nth(number).map(String::as_str);
                self.join_as(room, &format!("user-{number}"), token).await
            })
            .buffer_unordered(HANDSHAKES_AT_ONCE)
            .try_collect()
            .await
    }
}

/// The result of a round.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) messages: usize,
    pub(crate) deliveries: usize,
    /// The messages that a member got again, of this round or an earlier one.
    pub(crate) doubled: usize,
    /// From the sending of the first message to the last delivery.
    pub(crate) took: Duration,
    /// From the sending of a message to its arrival at another member, in microseconds, sorted.
    pub(crate) delivery_us: Vec<u32>,
    /// From the sending of a message to its ack, in microseconds, sorted.
    pub(crate) ack_us: Vec<u32>,
}

impl Round {
    /// Received messages per second.
    pub(crate) fn deliveries_per_second(&self) -> f64 {
        self.deliveries as f64 / self.took.as_secs_f64()
    }
}

/// The value below which `share` of the sorted samples lie, in milliseconds.
pub(crate) fn quantile_ms(sorted_us: &[u32], share: f64) -> f64 {
    let last = sorted_us.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    sorted_us
        .get(index)
        .map_or(0.0, |us| f64::from(*us) / 1000.0)
}

/// The shared state of a round's tasks.
struct Board {
    /// The prefix of this round's ids, to recognise late messages of another round.
    round: String,
    members: usize,
    started: Instant,
    /// The time at which each message was sent, in microseconds after `started`.
    sent_us: Vec<AtomicU64>,
    /// The number of received frames of each message: one for each member, the ack included.
    frames: Vec<AtomicUsize>,
    next: AtomicUsize,
    last_us: AtomicU64,
    /// The number of all received frames, to notice when none arrive any more.
    all_frames: AtomicUsize,
}

impl Board {
    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The first `writers` members publish, for `for_time` and at least once. Each sends its next message when every member
/// has the last, and all together send one `every` so long at most.
///
/// # Errors
/// Fails if a frame is missing after a minute without frames, or is not in the protocol, if an ack comes twice, or if a
/// connection ends.
pub(crate) async fn talk(
    members: Vec<Member>,
    round: &str,
    writers: usize,
    for_time: Duration,
    at_most: usize,
    every: Duration,
) -> Result<(Vec<Member>, Round)> {
    let at_most = at_most.min(MAX_MESSAGES);
    let board = Arc::new(Board {
        round: round.to_owned(),
        members: members.len(),
        started: Instant::now(),
        sent_us: (0..at_most).map(|_| AtomicU64::new(0)).collect(),
        frames: (0..at_most).map(|_| AtomicUsize::new(0)).collect(),
        next: AtomicUsize::new(0),
        last_us: AtomicU64::new(0),
        all_frames: AtomicUsize::new(0),
    });
    let complete: Arc<Vec<Notify>> = Arc::new((0..at_most).map(|_| Notify::new()).collect());
    let (over, is_over) = watch::channel(false);
    let (complaint, mut complaints) = mpsc::unbounded_channel();

    let mut sinks = Vec::with_capacity(members.len());
    let mut readers = Vec::with_capacity(members.len());
    for Member {
        sink,
        stream,
        rounds,
    } in members
    {
        sinks.push(sink);
        let (board, complete) = (Arc::clone(&board), Arc::clone(&complete));
        let (is_over, complaint) = (is_over.clone(), complaint.clone());
        readers.push(tokio::spawn(async move {
            let mut reader = Reader::new(stream, rounds, board, complete);
            if let Err(error) = reader.read(is_over).await {
                let _ = complaint.send(error);
            }
            reader
        }));
    }
    let mut talking = Vec::new();
    for mut sink in sinks.drain(..writers) {
        let (board, complete) = (Arc::clone(&board), Arc::clone(&complete));
        talking.push(tokio::spawn(async move {
            while board.started.elapsed() < for_time || board.next.load(Ordering::Relaxed) < writers
            {
                let number = board.next.fetch_add(1, Ordering::Relaxed);
                let Some(sent_us) = board.sent_us.get(number) else {
                    break;
                };
                let frame = frame(&board.round, number);
                let due = every.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
                let early = due.saturating_sub(board.started.elapsed());
                // A timer of zero ends at the next millisecond, and the service would be idle until then.
                if !early.is_zero() {
                    sleep(early).await;
                }
                sent_us.store(board.now_us(), Ordering::Relaxed);
                sink.send(Message::text(frame)).await?;
                complete[number].notified().await;
            }
            anyhow::Ok(sink)
        }));
    }
    let finished = async {
        let mut back = Vec::new();
        for writer in talking {
            back.push(writer.await??);
        }
        anyhow::Ok(back)
    };
    let mut back = tokio::select! {
        back = finished => back?,
        Some(error) = complaints.recv() => return Err(error),
        error = silence(&board) => return Err(error),
    };
    sleep(SETTLE).await;
    let _ = over.send(true);
    back.append(&mut sinks);

    let mut members = Vec::new();
    let mut result = Round {
        messages: board.next.load(Ordering::Relaxed).min(at_most),
        deliveries: 0,
        doubled: 0,
        took: Duration::from_micros(board.last_us.load(Ordering::Relaxed)),
        delivery_us: Vec::new(),
        ack_us: Vec::new(),
    };
    for (reader, sink) in readers.into_iter().zip(back) {
        let mut reader = reader.await?;
        result.doubled += reader.doubled;
        reader.rounds.push(round.to_owned());
        result.delivery_us.extend(&reader.delivery_us);
        result.ack_us.extend(&reader.ack_us);
        members.push(Member {
            sink,
            stream: reader.stream,
            rounds: reader.rounds,
        });
    }
    // An unexpected frame arrived during the pause.
    if let Ok(error) = complaints.try_recv() {
        return Err(error);
    }
    result.deliveries = result.delivery_us.len();
    let expected = result.messages * (board.members - 1);
    ensure!(
        result.deliveries == expected && result.ack_us.len() == result.messages,
        "{} of {expected} deliveries and {} of {} acks came",
        result.deliveries,
        result.ack_us.len(),
        result.messages
    );
    result.delivery_us.sort_unstable();
    result.ack_us.sort_unstable();
    Ok((members, result))
}

/// Waits until no frame has arrived for a long time.
async fn silence(board: &Board) -> anyhow::Error {
    let mut seen = 0;
    loop {
        sleep(PATIENCE).await;
        let frames = board.all_frames.load(Ordering::Relaxed);
        if frames == seen {
            let messages = board.next.load(Ordering::Relaxed);
            return anyhow!(
                "{frames} of {} frames came, and then none for {PATIENCE:?}",
                messages * board.members
            );
        }
        seen = frames;
    }
}

/// The frame of a writer.
fn frame(round: &str, number: usize) -> String {
    let data = format!("{round} {number} ");
    format!(r#"{{"action":"publish","id":"{round}-{number}","data":"{data:-<MESSAGE_BYTES$}"}}"#)
}

/// The number of the message in `round`; none if its id belongs to another round.
fn number_in(round: &str, id: &str) -> Option<usize> {
    id.strip_prefix(round)?.strip_prefix('-')?.parse().ok()
}

/// The counted fields of a server's frame.
#[derive(Debug, Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    id: &'a str,
    #[serde(default)]
    data: &'a str,
    delivered: Option<usize>,
}

struct Reader {
    stream: SplitStream<Socket>,
    /// The earlier rounds of this member.
    rounds: Vec<String>,
    board: Arc<Board>,
    complete: Arc<Vec<Notify>>,
    /// By the number of the message.
    seen: Vec<bool>,
    doubled: usize,
    delivery_us: Vec<u32>,
    ack_us: Vec<u32>,
}

impl Reader {
    fn new(
        stream: SplitStream<Socket>,
        rounds: Vec<String>,
        board: Arc<Board>,
        complete: Arc<Vec<Notify>>,
    ) -> Reader {
        Reader {
            stream,
            rounds,
            board,
            complete,
            seen: Vec::new(),
            doubled: 0,
            delivery_us: Vec::new(),
            ack_us: Vec::new(),
        }
    }

    async fn read(&mut self, mut is_over: watch::Receiver<bool>) -> Result<()> {
        loop {
            let message = tokio::select! {
                message = self.stream.next() => message,
                _ = is_over.wait_for(|over| *over) => return Ok(()),
            };
            match message {
                Some(Ok(Message::Text(text))) => self.count(&text)?,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => bail!("a member got {message:?}"),
                Some(Err(error)) => {
                    return Err(anyhow!(error).context("a member lost its connection"));
                }
                None => bail!("a member's connection ended"),
            }
        }
    }

    fn count(&mut self, text: &str) -> Result<()> {
        let now_us = self.board.now_us();
        let strange = || format!("a member got the frame {text}");
        let frame: Frame<'_> = serde_json::from_str(text).with_context(strange)?;
        let is_message = frame.kind == "message";
        let earlier = self.rounds.iter();
        if is_message
            && earlier
                .filter_map(|round| number_in(round, frame.id))
                .count()
                > 0
        {
            self.doubled += 1;
            return Ok(());
        }
        let number = number_in(&self.board.round, frame.id).with_context(strange)?;
        if self.seen.len() <= number {
            self.seen.resize(number + 1, false);
        }
        if self.seen[number] {
            ensure!(is_message, "an ack came twice: {text}");
            self.doubled += 1;
            return Ok(());
        }
        self.seen[number] = true;
        let sent_us = self
            .board
            .sent_us
            .get(number)
            .with_context(strange)?
            .load(Ordering::Relaxed);
        let took_us = u32::try_from(now_us.saturating_sub(sent_us)).unwrap_or(u32::MAX);
        match frame.kind {
            "ack" => {
                let others = self.board.members - 1;
                ensure!(
                    frame.delivered == Some(others),
                    "not all of {others} got it: {text}"
                );
                self.ack_us.push(took_us);
            }
            "message" => {
                ensure!(
                    frame.data.len() == MESSAGE_BYTES,
                    "not what was said: {text}"
                );
                self.delivery_us.push(took_us);
                self.board.last_us.fetch_max(now_us, Ordering::Relaxed);
            }
            _ => bail!(strange()),
        }
        self.board.all_frames.fetch_add(1, Ordering::Relaxed);
        let frames = self.board.frames[number].fetch_add(1, Ordering::Relaxed) + 1;
        if frames == self.board.members {
            self.complete[number].notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
