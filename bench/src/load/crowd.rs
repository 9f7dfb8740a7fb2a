//! The crowd of a busy room: clients that keep the duties of PROTOCOL.md. A missing message is repaired, and is not an
//! error. The clients take several messages in one frame, put messages in order by their numbers, ask for a gap after 100
//! to 300 ms, and send a message again that is not acknowledged.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use rand::RngExt as _;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{HANDSHAKES_AT_ONCE, MESSAGE_BYTES, Member, PATIENCE};

/// The wait before a gap is asked for, as the terminal client waits.
const FILL_WAIT_S: std::ops::RangeInclusive<f64> = 0.1..=0.3;

/// Limits the random wait before a frame is sent again, in seconds. The limit doubles with each try.
const BACKOFF_S: f64 = 0.5;

/// The wait for an answer: `--ack-timeout` of the terminal client.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The most messages of a `history`.
const FILL_PAGE: usize = 100;

/// API Gateway meters frames in units of this size.
const METERED_BYTES: usize = 32 * 1024;

/// The silence after which the clients ask for the last messages.
const SILENCE: Duration = Duration::from_secs(3);

/// The load of a busy room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Talk {
    /// Messages a second, of all members together, in turn.
    pub(crate) rate: f64,
    /// The time for which messages are sent.
    pub(crate) time: Duration,
    /// The time after the first message within which all members must have all messages. A message that a member does not
    /// have then is lost.
    pub(crate) patience: Duration,
}

/// The result of a talk.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Messages that were due.
    pub(crate) due: usize,
    /// Messages that were acknowledged.
    pub(crate) acked: usize,
    /// Messages of the log, multiplied by the members, the sender included.
    pub(crate) expected: u64,
    /// The part of `expected` that members do not have at the end.
    pub(crate) lost: u64,
    /// Messages that came in an answer to `history`.
    pub(crate) repaired: usize,
    /// Messages that a member got again.
    pub(crate) doubled: usize,
    /// Requests for `history`.
    pub(crate) asked: usize,
    /// Answers that said to try again, the gateway's own included, and requests without an answer.
    pub(crate) refused: usize,
    /// Frames in both directions as API Gateway meters them: each begun 32 KB.
    pub(crate) metered: usize,
    /// The time from the first message to the end.
    pub(crate) took: Duration,
    /// The times from the frame of the sender to the frame that brings the message to another member, in microseconds,
    /// sorted.
    pub(crate) delivery_us: Vec<u32>,
    /// The times from the frame of the sender to the ack, in microseconds, sorted.
    pub(crate) ack_us: Vec<u32>,
}

/// The shared state of the clients.
struct Board {
    room: String,
    members: usize,
    started: Instant,
    /// The time at which each message was first sent, in microseconds after `started`.
    sent_us: Vec<AtomicU64>,
    acked: AtomicUsize,
    /// The newest number of an ack.
    head: AtomicU64,
    /// Messages that members have, each counted once for each member.
    have: AtomicU64,
}

impl Board {
    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Tells the clients where the log ends, and when the talk is over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Talking,
    /// All messages are acknowledged. The log ends with this number.
    Ends(u64),
    Over,
}

/// Lets the members join the room again, to get several messages in one frame, and publish.
///
/// # Errors
/// Fails if a frame is not in the protocol, the log holds a message twice, or a connection ends.
pub(crate) async fn crowd(members: Vec<Member>, room: &str, talk: Talk) -> Result<Heard> {
    let due = ((talk.rate * talk.time.as_secs_f64()) as usize).max(1);
    let count = members.len();
    let positions: Vec<(Member, u64)> = futures::stream::iter(members)
        .map(|member| join(member, room))
        .buffer_unordered(HANDSHAKES_AT_ONCE)
        .try_collect()
        .await?;
    let first = positions.first().context("a room without members")?.1;
    ensure!(
        positions.iter().all(|(_, here)| *here == first),
        "the members begin at different positions"
    );
    let board = Arc::new(Board {
        room: room.to_owned(),
        members: count,
        started: Instant::now(),
        sent_us: (0..due).map(|_| AtomicU64::new(0)).collect(),
        acked: AtomicUsize::new(0),
        head: AtomicU64::new(first),
        have: AtomicU64::new(0),
    });
    let (phase, is_phase) = watch::channel(Phase::Talking);
    let clients: Vec<_> = positions
        .into_iter()
        .enumerate()
        .map(|(number, (member, here))| {
            let turns = (number..due).step_by(count);
            let at = |turn: usize| board.started + Duration::from_secs_f64(turn as f64 / talk.rate);
            let client = Client {
                board: Arc::clone(&board),
                number,
                to_send: turns.map(|turn| (turn, at(turn))).collect(),
                publish: None,
                here,
                held: BTreeSet::new(),
                target: here,
                fill: None,
                heard: Heard::default(),
            };
            tokio::spawn(client.run(member, is_phase.clone()))
        })
        .collect();
    drop(is_phase);
    watch_over(&board, talk, first, &phase).await;
    let took = board.started.elapsed();
    let _ = phase.send(Phase::Over);

    let mut heard = Heard {
        due,
        took,
        acked: board.acked.load(Ordering::Relaxed),
        ..Heard::default()
    };
    let mut furthest = board.head.load(Ordering::Relaxed);
    for client in clients {
        let client = client.await??;
        furthest = furthest.max(client.target);
        heard.repaired += client.heard.repaired;
        heard.doubled += client.heard.doubled;
        heard.asked += client.heard.asked;
        heard.refused += client.heard.refused;
        heard.metered += client.heard.metered;
        heard.delivery_us.extend(client.heard.delivery_us);
        heard.ack_us.extend(client.heard.ack_us);
    }
    let stored = furthest - first;
    ensure!(
        heard.acked < due || stored == due as u64,
        "{due} messages were sent, and the log has {stored}"
    );
    heard.expected = stored * count as u64;
    heard.lost = heard
        .expected
        .saturating_sub(board.have.load(Ordering::Relaxed));
    heard.delivery_us.sort_unstable();
    heard.ack_us.sort_unstable();
    Ok(heard)
}

/// Waits until all members have all messages, or until `patience` is over. After a silence it lets the clients ask for the
/// last messages.
async fn watch_over(board: &Board, talk: Talk, first: u64, phase: &watch::Sender<Phase>) {
    let patience = board.started + talk.patience;
    let (mut had, mut since) = (0, Instant::now());
    while Instant::now() < patience && phase.receiver_count() == board.members {
        sleep(Duration::from_millis(20)).await;
        let (have, head) = (
            board.have.load(Ordering::Relaxed),
            board.head.load(Ordering::Relaxed),
        );
        if board.acked.load(Ordering::Relaxed) < board.sent_us.len() {
            continue;
        }
        if have >= (head - first) * board.members as u64 {
            return;
        }
        if have > had {
            (had, since) = (have, Instant::now());
        } else if since.elapsed() > SILENCE {
            phase.send_replace(Phase::Ends(head));
            since = Instant::now();
        }
    }
}

/// Joins the room with `batch`. Returns the member and the number of the room's last message.
async fn join(mut member: Member, room: &str) -> Result<(Member, u64)> {
    let frame = format!(r#"{{"action":"join","room":"{room}","id":"join","batch":true}}"#);
    let joined = async {
        member.sink.send(Message::text(frame)).await?;
        while let Some(message) = member.stream.next().await {
            let text = message?.into_text()?;
            let frame: Frame<'_> = serde_json::from_str(&text)?;
            if frame.kind == "joined" {
                return Ok(frame.head.unwrap_or(0));
            }
            ensure!(frame.kind != "error", "a join is refused: {text}");
        }
        bail!("a member's connection ended")
    };
    let head = timeout(PATIENCE, joined)
        .await
        .unwrap_or_else(|_| Err(anyhow!("no answer to a join within {PATIENCE:?}")))?;
    Ok((member, head))
}

/// A request that is sent again until it is answered.
struct Pending {
    /// The time of the next try.
    due: Instant,
    tries: u32,
    /// False until it is sent, and after an answer that said to try again.
    sent: bool,
}

impl Pending {
    fn at(due: Instant) -> Pending {
        Pending {
            due,
            tries: 0,
            sent: false,
        }
    }

    /// Counts a try. Returns true if the last one had no answer.
    fn sending(&mut self) -> bool {
        let unanswered = self.sent;
        self.tries += 1;
        self.sent = true;
        self.due = Instant::now() + ANSWER_WITHIN * self.tries.min(4);
        unanswered
    }

    /// Takes an answer that says to try again, after this wait at least.
    fn later(&mut self, at_least_ms: u64) {
        self.sent = false;
        let limit = (BACKOFF_S * 2_f64.powi(self.tries.min(6) as i32)).min(30.0);
        let wait = rand::rng().random_range(0.0..limit);
        self.due =
            Instant::now() + Duration::from_secs_f64(wait).max(Duration::from_millis(at_least_ms));
    }
}

struct Client {
    board: Arc<Board>,
    /// The place in the order of the senders.
    number: usize,
    /// The messages of this member and the time of each. The first one waits for its ack.
    to_send: VecDeque<(usize, Instant)>,
    /// The request for the first of them, and the position with which it was first sent.
    publish: Option<(Pending, u64)>,
    /// The client has all messages up to this number.
    here: u64,
    /// The messages behind a gap.
    held: BTreeSet<u64>,
    /// The highest number known to exist.
    target: u64,
    fill: Option<Pending>,
    heard: Heard,
}

/// The fields of the service's frames that a client reads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a> {
    /// Absent in the gateway's own frames.
    #[serde(rename = "type", default)]
    kind: &'a str,
    #[serde(default)]
    id: &'a str,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    data: &'a str,
    head: Option<u64>,
    #[serde(default)]
    messages: Vec<Entry<'a>>,
    #[serde(default)]
    temporary: bool,
    #[serde(default)]
    retry_after_ms: u64,
}

/// A message within a frame.
#[derive(Debug, Deserialize)]
struct Entry<'a> {
    seq: u64,
    #[serde(default)]
    id: &'a str,
    #[serde(default)]
    data: &'a str,
}

impl Client {
    async fn run(mut self, member: Member, mut phase: watch::Receiver<Phase>) -> Result<Client> {
        let Member {
            mut sink,
            mut stream,
            ..
        } = member;
        loop {
            let next = [
                self.fill.as_ref().map(|fill| fill.due),
                self.to_send.front().map(|(_, at)| match &self.publish {
                    Some((publish, _)) => publish.due,
                    None => *at,
                }),
            ];
            let next = next.into_iter().flatten().min();
            tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(Message::Text(text))) => self.take(&text)?,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(message)) => bail!("a member got {message:?}"),
                    Some(Err(error)) => return Err(anyhow!(error).context("a member lost its connection")),
                    None => bail!("a member's connection ended"),
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    for frame in self.due() {
                        self.heard.metered += 1;
                        sink.send(Message::text(frame)).await?;
                    }
                }
                changed = phase.changed() => {
                    let now = *phase.borrow_and_update();
                    match now {
                        Phase::Ends(head) => self.reaches(head),
                        _ => return changed.map(|()| self).context("the talk has ended too early"),
                    }
                }
            }
        }
    }

    /// Returns the frames that are due now.
    fn due(&mut self) -> Vec<String> {
        let now = Instant::now();
        let room = &self.board.room;
        let mut frames = Vec::new();
        if let Some(&(number, at)) = self.to_send.front() {
            let (publish, after) = self.publish.get_or_insert((Pending::at(at), self.here));
            if publish.due <= now {
                if publish.tries == 0 {
                    self.board.sent_us[number].store(self.board.now_us(), Ordering::Relaxed);
                }
                self.heard.refused += usize::from(publish.sending());
                let data = format!("{number} ");
                frames.push(format!(
                    r#"{{"action":"publish","room":"{room}","id":"{room}-{number}","after":{after},"data":"{data:-<MESSAGE_BYTES$}"}}"#
                ));
            }
        }
        if let Some(fill) = &mut self.fill
            && fill.due <= now
        {
            self.heard.asked += 1;
            self.heard.refused += usize::from(fill.sending());
            let after = self.here;
            frames.push(format!(
                r#"{{"action":"history","room":"{room}","id":"fill","after":{after},"limit":{FILL_PAGE}}}"#
            ));
        }
        frames
    }

    /// Learns that the log goes at least up to `head`.
    fn reaches(&mut self, head: u64) {
        self.target = self.target.max(head);
        if self.here < self.target && self.fill.is_none() {
            let wait = rand::rng().random_range(FILL_WAIT_S);
            self.fill = Some(Pending::at(Instant::now() + Duration::from_secs_f64(wait)));
        }
    }

    fn take(&mut self, text: &str) -> Result<()> {
        let now_us = self.board.now_us();
        self.heard.metered += text.len().div_ceil(METERED_BYTES);
        let strange = || format!("a member got the frame {text}");
        let frame: Frame<'_> = serde_json::from_str(text).with_context(strange)?;
        match frame.kind {
            "message" => {
                let (seq, id, data) = (frame.seq, frame.id, frame.data);
                self.message(&Entry { seq, id, data }, now_us, false)
                    .with_context(strange)?;
                self.shown();
            }
            "messages" => {
                for message in &frame.messages {
                    self.message(message, now_us, false).with_context(strange)?;
                }
                self.shown();
            }
            "history" => {
                self.fill = None;
                for message in &frame.messages {
                    self.message(message, now_us, true).with_context(strange)?;
                }
                self.reaches(frame.head.unwrap_or(0));
                self.shown();
                // More messages follow a full page, and are asked for at once.
                if let Some(fill) = &mut self.fill
                    && frame.messages.len() == FILL_PAGE
                {
                    fill.due = Instant::now();
                }
            }
            "ack" => {
                let number = self.number_in(frame.id).with_context(strange)?;
                // A second ack: the frame was sent again.
                if self.to_send.front().map(|(first, _)| *first) != Some(number) {
                    return Ok(());
                }
                self.to_send.pop_front();
                self.publish = None;
                let sent_us = self.board.sent_us[number].load(Ordering::Relaxed);
                let took = now_us.saturating_sub(sent_us);
                self.heard
                    .ack_us
                    .push(u32::try_from(took).unwrap_or(u32::MAX));
                self.board.acked.fetch_add(1, Ordering::Relaxed);
                self.board.head.fetch_max(frame.seq, Ordering::Relaxed);
                // In a busy room the sender gets its own message too, perhaps before the ack.
                self.insert(frame.seq);
                self.shown();
            }
            "error" if frame.temporary => {
                self.heard.refused += 1;
                match (frame.id, &mut self.fill, &mut self.publish) {
                    ("fill", Some(fill), _) => fill.later(frame.retry_after_ms),
                    (_, _, Some((publish, _))) => publish.later(frame.retry_after_ms),
                    _ => {}
                }
            }
            // An error frame of the gateway names no frame of the client.
            "" => {
                self.heard.refused += 1;
                let publish = self.publish.as_mut().map(|(publish, _)| publish);
                for pending in publish.into_iter().chain(&mut self.fill) {
                    if pending.sent {
                        pending.later(0);
                    }
                }
            }
            _ => bail!(strange()),
        }
        Ok(())
    }

    /// Returns the number of the message with this id, if the message belongs to this talk.
    fn number_in(&self, id: &str) -> Option<usize> {
        super::number_in(&self.board.room, id)
    }

    fn message(&mut self, message: &Entry<'_>, now_us: u64, repair: bool) -> Result<()> {
        let number = self.number_in(message.id).context("an unknown id")?;
        let sent_us = self.board.sent_us.get(number).context("an unknown id")?;
        let sent_us = sent_us.load(Ordering::Relaxed);
        ensure!(
            message.data.len() == MESSAGE_BYTES,
            "data of another length"
        );
        let is_own = number % self.board.members == self.number;
        let is_new = self.insert(message.seq);
        if is_own {
            return Ok(());
        }
        if !is_new {
            self.heard.doubled += 1;
            return Ok(());
        }
        self.heard.repaired += usize::from(repair);
        let took = now_us.saturating_sub(sent_us);
        self.heard
            .delivery_us
            .push(u32::try_from(took).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Adds a message. Returns false if the client has it already.
    fn insert(&mut self, seq: u64) -> bool {
        self.target = self.target.max(seq);
        let is_new = seq > self.here && self.held.insert(seq);
        self.board
            .have
            .fetch_add(u64::from(is_new), Ordering::Relaxed);
        is_new
    }

    /// Moves `here` up to the next gap.
    fn shown(&mut self) {
        while self.held.remove(&(self.here + 1)) {
            self.here += 1;
        }
        match &self.fill {
            // Nothing is missing any more.
            Some(fill) if self.here >= self.target && !fill.sent => self.fill = None,
            None => self.reaches(self.target),
            _ => {}
        }
    }
}
