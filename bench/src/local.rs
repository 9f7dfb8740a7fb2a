//! Sections `service` and `peers`: whole services on this machine, ours and others, under the same load.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use crate::load::{Member, Round, quantile_ms, talk};
use crate::report::Report;
use crate::service::Service;
use crate::system;

/// The load of a run.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// The time for which members publish in a room.
    pub(crate) talk: Duration,
    /// Members of the measured rooms, in ascending order.
    pub(crate) rooms: Vec<usize>,
    /// The largest room in which several members publish in parallel.
    pub(crate) busiest: usize,
    /// Members that join one room, for the rate of connections.
    pub(crate) joining: usize,
    /// Numbers of idle connections, in ascending order.
    pub(crate) idle: Vec<usize>,
}

/// Writers of a busy room.
const WRITERS: usize = 8;

/// The pause before memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures connections per second, round trip, and deliveries per second. The ids of the figures begin with `section` and
/// end with `whose`.
///
/// # Errors
/// Fails if a handshake fails, or a delivery is missing or wrong.
pub(crate) async fn speed(
    report: &mut Report,
    section: &str,
    whose: &str,
    service: &Service,
    load: &Load,
) -> Result<()> {
    let address = &service.address;
    report.add(
        &format!("{section}/start-up/{whose}"),
        service.start_up.as_secs_f64() * 1000.0,
        "ms",
        "to the first accepted connection",
    );

    let pair = address.join_many("pair", 2).await?;
    let (pair, _) = warm(pair, "warm", 1).await?;
    let (_pair, round) = talk(pair, "pair", 1, load.talk, usize::MAX, Duration::ZERO).await?;
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let id = format!("{section}/round-trip-{name}/{whose}");
        let note = format!("{} messages, to the other of two members", round.messages);
        report.add(&id, quantile_ms(&round.delivery_us, share), "ms", &note);
        let id = format!("{section}/ack-{name}/{whose}");
        report.add(&id, quantile_ms(&round.ack_us, share), "ms", "to the ack");
    }

    let started = Instant::now();
    let crowd = address.join_many("crowd", load.joining).await?;
    let rate = load.joining as f64 / started.elapsed().as_secs_f64();
    let note = format!("{} into one room", load.joining);
    report.add(
        &format!("{section}/connections/{whose}"),
        rate,
        "1/s",
        &note,
    );
    sleep(SETTLE).await;
    let bytes = system::tree_bytes(service.running.pid())?;
    let id = format!("{section}/memory-{}/{whose}", load.joining);
    report.add(&id, megabytes(bytes), "MB", "all its processes");

    let mut crowd = Some(crowd);
    let mut others = Vec::new();
    for &size in &load.rooms {
        let members = if size == load.joining {
            crowd.take().unwrap_or_default()
        } else {
            address.join_many(&format!("room-{size}"), size).await?
        };
        let (members, _) = warm(members, "warm", 1).await?;
        let (mut members, alone) =
            talk(members, "alone", 1, load.talk, usize::MAX, Duration::ZERO).await?;
        let id = format!("{section}/deliveries-{size}/{whose}");
        report.add(
            &id,
            alone.deliveries_per_second(),
            "1/s",
            &note_of(&alone, "one message at a time"),
        );
        if size <= load.busiest {
            (members, _) = warm(members, "warm-busy", WRITERS).await?;
            let busy;
            (members, busy) = talk(
                members,
                "busy",
                WRITERS,
                load.talk,
                usize::MAX,
                Duration::ZERO,
            )
            .await?;
            let id = format!("{section}/deliveries-{size}-busy/{whose}");
            let what = format!("{WRITERS} messages at a time");
            report.add(
                &id,
                busy.deliveries_per_second(),
                "1/s",
                &note_of(&busy, &what),
            );
        }
        others.push(members);
    }
    Ok(())
}

/// Measures the memory of the gateway's process per idle connection.
///
/// # Errors
/// Fails if a handshake fails.
pub(crate) async fn idle_memory(report: &mut Report, service: &Service, load: &Load) -> Result<()> {
    let pid = service.running.pid();
    // So that the functions have started and one-time allocations are made.
    let _first = service.address.join_many("first", 64).await?;
    sleep(SETTLE).await;
    let before = system::resident_bytes(pid)?;
    let mut members: Vec<Member> = Vec::new();
    for &count in &load.idle {
        let (room, more) = (format!("idle-{count}"), count - members.len());
        members.extend(service.address.join_many(&room, more).await?);
        sleep(SETTLE).await;
        let grown = system::resident_bytes(pid)?.saturating_sub(before);
        let per_connection = grown as f64 / 1000.0 / count as f64;
        let note = format!(
            "{} MB in all, tables included",
            crate::report::rounded(megabytes(before + grown))
        );
        report.add(
            &format!("service/idle-memory-{count}/ours"),
            per_connection,
            "KB",
            &note,
        );
    }
    Ok(())
}

/// Publishes a few messages that are not counted: the processes start. Each round in a room has another name, because a
/// repeated id would be a duplicate.
async fn warm(members: Vec<Member>, round: &str, writers: usize) -> Result<(Vec<Member>, Round)> {
    talk(
        members,
        round,
        writers,
        Duration::ZERO,
        usize::MAX,
        Duration::ZERO,
    )
    .await
    .context("warming up")
}

fn note_of(round: &Round, what: &str) -> String {
    let p99 = crate::report::rounded(quantile_ms(&round.delivery_us, 0.99));
    let mut note = format!("{what}, {} messages, p99 {p99} ms", round.messages);
    if round.doubled > 0 {
        // A post without an answer was sent again.
        note.push_str(&format!(", {} frames came again", round.doubled));
    }
    note
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
