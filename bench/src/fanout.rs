//! Section `fan-out`: a publish with posts of 10 ms, compared with a loop that only posts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::function::{Function, Invocation, event};
use crate::report::Report;
use crate::service::{Engine, Places};
use crate::standin::StandIn;
use crate::tables::{self, CONCURRENCY};
use crate::{load, system};

/// The duration of a post, about as long as API Gateway takes.
pub(crate) const POST: Duration = Duration::from_millis(10);

/// The connection of the sender. The posts go to the other members.
pub(crate) const SENDER: &str = "thesenderhimself";

/// The services that a function talks to.
pub(crate) struct Bench {
    pub(crate) stand_in: StandIn,
    pub(crate) engine: Engine,
}

impl Bench {
    /// Starts an engine with the tables, and a stand-in in front of it.
    ///
    /// # Errors
    /// Fails if one of them does not start.
    pub(crate) async fn start(places: &Places) -> Result<Bench> {
        let engine = Engine::start(places, "engine", true).await?;
        tables::create(places, &engine.endpoint).await?;
        let stand_in = StandIn::start(&places.scratch, &engine.endpoint, POST).await?;
        Ok(Bench { stand_in, engine })
    }
}

/// A client's frame, with 64 bytes of data.
pub(crate) fn said(room: &str) -> String {
    let data = "x".repeat(load::MESSAGE_BYTES);
    json!({"action": "publish", "room": room, "data": data}).to_string()
}

/// The frame that members receive, for the loop that only posts.
fn posted(room: &str) -> String {
    let data = "x".repeat(load::MESSAGE_BYTES);
    json!({
        "type": "message", "room": room, "seq": 1, "epoch": "01KAKZ8Q3V6T2M4W9XN5R7CYHB", "n": 1, "from": "alice",
        "data": data, "received": 1_793_246_400, "at": 1_793_246_400_123_u64,
    })
    .to_string()
}

/// Publishes to a room, and checks that each member was posted to once.
///
/// # Errors
/// Fails if a post is missing or doubled.
pub(crate) async fn publish(
    bench: &Bench,
    function: &mut Function,
    room: &str,
    members: usize,
) -> Result<Invocation> {
    let invocation = function
        .invoke(event("publish", SENDER, Some(&said(room))))
        .await?;
    let ack: Value = invocation.answer["body"]
        .as_str()
        .and_then(|body| serde_json::from_str(body).ok())
        .unwrap_or_default();
    ensure!(
        ack["delivered"] == members,
        "publish answers {}",
        invocation.answer
    );
    bench.stand_in.check_posts(members)?;
    Ok(invocation)
}

/// # Errors
/// Fails if a post is missing or doubled, or if a function fails.
pub(crate) async fn run(
    report: &mut Report,
    places: &Places,
    sizes: &[usize],
    rounds: usize,
) -> Result<()> {
    let bench = Bench::start(places).await?;
    let environment = tables::environment();
    for &members in sizes {
        let room = format!("room-{members}");
        tables::fill(&bench.engine.endpoint, &room, SENDER, members).await?;
        let mut ours = Function::start(places, &bench.stand_in, "publish", &environment).await?;
        let mut bare = Function::start(places, &bench.stand_in, "bare-posts", &environment).await?;
        let loops = json!({"members": members, "concurrency": CONCURRENCY, "body": posted(&room)});
        let (mut our_rounds, mut bare_rounds) = (Vec::new(), Vec::new());
        // Alternating, so that a disturbance affects both. The first round opens the connections.
        for _ in 0..=rounds {
            our_rounds.push(
                publish(&bench, &mut ours, &room, members)
                    .await
                    .context(room.clone())?,
            );
            let posts = bare.invoke(loops.clone()).await?;
            ensure!(
                posts.answer["delivered"] == members,
                "the bare loop answers {}",
                posts.answer
            );
            bench
                .stand_in
                .check_posts(members)
                .context("the bare loop")?;
            bare_rounds.push(posts);
        }
        let (our_wall, our_cpu) = middle(&our_rounds[1..]);
        let (bare_wall, bare_cpu) = middle(&bare_rounds[1..]);
        let ideal = members.div_ceil(CONCURRENCY) as f64 * POST.as_secs_f64();
        let name = |what: &str| format!("fan-out/{what}-{members}/ours");
        let note = format!("ideal {} ms", crate::report::rounded(ideal * 1000.0));
        report.add(&name("wall"), our_wall * 1000.0, "ms", &note);
        report.add(
            &format!("fan-out/wall-{members}/bare"),
            bare_wall * 1000.0,
            "ms",
            "",
        );
        report.add(&name("wall-ratio"), our_wall / bare_wall, "of bare", "");
        report.add(&name("cpu-post"), our_cpu * 1e6 / members as f64, "us", "");
        report.add(
            &format!("fan-out/cpu-post-{members}/bare"),
            bare_cpu * 1e6 / members as f64,
            "us",
            "",
        );
        report.add(
            &name("cpu-ratio"),
            our_cpu / bare_cpu,
            "of bare",
            "reading members and storing the message included",
        );
        let first = our_rounds
            .first()
            .map_or(0.0, |first| first.wall.as_secs_f64());
        report.add(
            &name("first"),
            first * 1000.0,
            "ms",
            "the first of a process",
        );
        let peak = system::peak_bytes(ours.running.pid())?;
        report.add(
            &name("memory"),
            peak as f64 / 1e6,
            "MB",
            "most that was resident",
        );
    }
    Ok(())
}

/// The medians of elapsed time and processor time, in seconds.
pub(crate) fn middle(rounds: &[Invocation]) -> (f64, f64) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    (
        median(
            rounds
                .iter()
                .map(|round| round.wall.as_secs_f64())
                .collect(),
        ),
        median(rounds.iter().map(|round| round.cpu_seconds).collect()),
    )
}
