//! Writers that compete for the next number of one room's log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{Address, MESSAGE_BYTES, Member, PATIENCE, Socket};

/// The wait after an answer that says to try again, if the answer names no wait.
const AGAIN_AFTER_MS: u64 = 100;

/// The result of a contest.
#[derive(Debug)]
pub(crate) struct Contest {
    pub(crate) took: Duration,
    /// Answers that said to try again.
    pub(crate) refused: usize,
    /// From the first sending of a message to its ack, in microseconds, sorted.
    pub(crate) ack_us: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    temporary: bool,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

/// One of the two connections.
struct Side {
    sink: AsyncMutex<SplitSink<Socket, Message>>,
    /// The newest number that this side has received. A message that is published now, and its copy, follow it.
    here: AtomicU64,
    asked: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

/// Lets `writers` publish for `time` in a room of two connections. Each writer publishes its next message after the ack of
/// the last one. The posts are as few as possible, so the end of the log is the limit.
///
/// # Errors
/// Fails if an answer is missing, if it is an error that is not temporary, or if a connection ends.
pub(crate) async fn contest(
    address: &Address,
    room: &str,
    writers: usize,
    time: Duration,
) -> Result<Contest> {
    let mut readers = JoinSet::new();
    let mut sides = Vec::new();
    for Member { sink, stream, .. } in address.join_many(room, 2).await? {
        let side = Arc::new(Side {
            sink: AsyncMutex::new(sink),
            here: AtomicU64::new(0),
            asked: Mutex::default(),
        });
        readers.spawn(read(stream, Arc::clone(&side)));
        sides.push(side);
    }
    let started = Instant::now();
    let mut writing = JoinSet::new();
    for writer in 0..writers {
        let (side, room) = (Arc::clone(&sides[writer % 2]), room.to_owned());
        writing.spawn(async move {
            let (mut ack_us, mut refused) = (Vec::new(), 0);
            while ack_us.is_empty() || started.elapsed() < time {
                let id = format!("{room}-{writer}-{}", ack_us.len());
                let (took, again) = side.publish(&room, &id).await?;
                ack_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
                refused += again;
            }
            anyhow::Ok((ack_us, refused))
        });
    }
    let mut contest = Contest {
        took: Duration::ZERO,
        refused: 0,
        ack_us: Vec::new(),
    };
    loop {
        tokio::select! {
            Some(ended) = readers.join_next() => ended??,
            written = writing.join_next() => match written {
                Some(written) => {
                    let (ack_us, refused) = written??;
                    contest.ack_us.extend(ack_us);
                    contest.refused += refused;
                }
                None => break,
            },
        }
    }
    contest.took = started.elapsed();
    contest.ack_us.sort_unstable();
    Ok(contest)
}

/// Hands each answer to the writer that waits for it.
async fn read(mut stream: SplitStream<Socket>, side: Arc<Side>) -> Result<()> {
    while let Some(message) = stream.next().await {
        let text = message
            .context("a writer lost its connection")?
            .into_text()?;
        let answer: Answer = serde_json::from_str(&text).with_context(|| text.to_string())?;
        side.here.fetch_max(answer.seq, Ordering::Relaxed);
        if answer.kind == "message" {
            continue;
        }
        let asked = side.waiting().remove(&answer.id);
        let asked = asked.with_context(|| format!("no writer waits for {text}"))?;
        ensure!(
            answer.kind == "ack" || answer.temporary,
            "a writer got an error that is not temporary: {text}"
        );
        let _ = asked.send(answer);
    }
    bail!("a writer's connection ended")
}

impl Side {
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a message until it is acknowledged. Returns the time and the number of answers that said to try again.
    async fn publish(&self, room: &str, id: &str) -> Result<(Duration, usize)> {
        let (started, after) = (Instant::now(), self.here.load(Ordering::Relaxed));
        let frame = format!(
            r#"{{"action":"publish","room":"{room}","id":"{id}","after":{after},"data":"{id:-<MESSAGE_BYTES$}"}}"#
        );
        let mut refused = 0;
        loop {
            let (asked, answer) = oneshot::channel();
            self.waiting().insert(id.to_owned(), asked);
            self.sink
                .lock()
                .await
                .send(Message::text(frame.as_str()))
                .await?;
            let answer = timeout(PATIENCE, answer).await;
            let answer = answer.map_err(|_| anyhow!("no answer to {id} within {PATIENCE:?}"))??;
            if answer.kind == "ack" {
                return Ok((started.elapsed(), refused));
            }
            sleep(Duration::from_millis(
                answer.retry_after_ms.unwrap_or(AGAIN_AFTER_MS),
            ))
            .await;
            refused += 1;
        }
    }
}
