//! Section `busy`: large rooms with many messages, under AWS's quota of requests, with and without `paced`; and writers
//! that compete for the next number of one log.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::costs::Contract;
use crate::load::{Heard, Talk, contest, crowd, quantile_ms};
use crate::report::{Report, rounded};
use crate::scale::{MEMBER_BYTES, Second};
use crate::service::{Places, Service, UNLIMITED, free_port};
use crate::system;

/// The pause before a talk: the handshakes have used up a part of the quota.
const SETTLE: Duration = Duration::from_secs(1);

/// The most processes of a function. AWS starts one for each concurrent invocation.
const PROCESSES: &str = "100";

/// Processes of publish that are started before a talk.
const WARM: usize = 16;

/// The columns of the tables.
const AT_ONCE: &str = "at-once";
const PACED: &str = "paced";

/// The rows of the tables: the figure, its name and its unit.
const ROWS: [(&str, &str); 10] = [
    ("posts", "posts, % of those due at once"),
    ("lost", "lost after the clients' repair"),
    ("repairs", "repairs by history, % of deliveries"),
    ("throttled", "429 of posts, %"),
    ("delivery-p50", "delivery p50, ms"),
    ("delivery-p99", "delivery p99, ms"),
    ("ack-p99", "ack p99, ms"),
    ("usd-hour", "USD an hour, list price"),
    ("took", "until all have everything, s"),
    ("cores", "cores in use"),
];

/// The extent of the section.
pub(crate) struct Load {
    /// The members of each room, its messages a second, and true to measure it without `paced` too.
    pub(crate) rooms: Vec<(usize, f64, bool)>,
    /// The Terraform variable.
    pub(crate) paced: &'static str,
    /// The time for which messages are sent, and the time within which all members must have all messages.
    pub(crate) time: Duration,
    pub(crate) patience: Duration,
    /// Numbers of writers at a time, and the time for which each number writes.
    pub(crate) writers: Vec<usize>,
    pub(crate) writing: Duration,
}

/// Measures the rooms, and then the writers.
///
/// # Errors
/// Fails if a handshake fails, a frame is wrong, or the log holds a message twice.
pub(crate) async fn run(report: &mut Report, places: &Places, load: &Load) -> Result<()> {
    let contract = Contract::read(&places.root)?;
    let quota = ["--quota".to_owned(), "account".to_owned()];
    for &(members, rate, at_once) in &load.rooms {
        let talk = Talk {
            rate,
            time: load.time,
            patience: load.patience,
        };
        let ways = [(AT_ONCE, at_once), (PACED, true)];
        for (way, _) in ways.into_iter().filter(|(_, wanted)| *wanted) {
            let mut flags = quota.to_vec();
            if way == PACED {
                flags.extend(["--var".to_owned(), format!("paced={}", load.paced)]);
            }
            let (service, admin) = start(places, &format!("busy-{way}-{members}"), flags).await?;
            room(report, &service, &admin, members, way, talk, &contract)
                .await
                .with_context(|| format!("a room of {members}, {way}"))?;
        }
    }
    tables(report, load);

    let (service, admin) = start(places, "busy-writers", Vec::new()).await?;
    // The tables answer as slowly as on AWS: reads take 3 to 5 ms, puts 4 to 8 ms.
    let slow = |operation: &str, ms: [u64; 2]| json!({"on": "table", "do": "delay", "operation": operation, "ms": ms});
    let rules = json!([
        slow("GetItem", [3, 5]),
        slow("Query", [3, 5]),
        slow("PutItem", [4, 8]),
        slow("UpdateItem", [4, 8]),
    ]);
    http("PUT", &format!("{admin}/faults"), Some(rules)).await?;
    let names = ["writers", "acks a second", "p50, ms", "p99, ms", "refused"];
    let mut table = vec![
        markdown(names.map(str::to_owned)),
        "|---:|---:|---:|---:|---:|".to_owned(),
    ];
    // Starts the processes of publish.
    let most = load.writers.iter().copied().max().unwrap_or(1);
    contest(&service.address, "warm", most, Duration::ZERO).await?;
    for &writers in &load.writers {
        let contest = contest(
            &service.address,
            &format!("contest-{writers}"),
            writers,
            load.writing,
        )
        .await
        .with_context(|| format!("{writers} writers"))?;
        let rate = contest.ack_us.len() as f64 / contest.took.as_secs_f64();
        let [p50, p99] = [0.5, 0.99].map(|share| quantile_ms(&contest.ack_us, share));
        let note = "writers in a room of 2";
        report.add(&format!("busy/acks-{writers}/ours"), rate, "1/s", note);
        report.add(&format!("busy/acks-p99-{writers}/ours"), p99, "ms", note);
        table.push(markdown([
            writers.to_string(),
            rounded(rate),
            rounded(p50),
            rounded(p99),
            contest.refused.to_string(),
        ]));
    }
    let title =
        "Writers in a room of 2, tables as far away as on AWS: reads 3 to 5 ms, puts 4 to 8 ms";
    report.tables.push((title.to_owned(), table));
    Ok(())
}

/// Starts a gateway with an admin endpoint and without rate limits.
async fn start(places: &Places, name: &str, more: Vec<String>) -> Result<(Service, String)> {
    let port = free_port()?;
    let mut flags: Vec<String> = ["--var", UNLIMITED, "--processes", PROCESSES, "--admin-port"]
        .map(str::to_owned)
        .to_vec();
    flags.push(port.to_string());
    flags.extend(more);
    let terraform = places.root.join("terraform");
    let service = Service::gateway(places, name, &terraform, &places.functions, &flags).await?;
    Ok((service, format!("http://127.0.0.1:{port}")))
}

/// The counts of the gateway.
#[derive(Debug, Clone, Copy)]
struct Counts {
    posts: f64,
    throttled: f64,
    invocations: f64,
    cpu_seconds: f64,
}

impl Counts {
    async fn read(service: &Service, admin: &str) -> Result<Counts> {
        let status = http("GET", &format!("{admin}/status"), None).await?;
        let number = |value: &Value| value.as_f64().context("the status has no such count");
        let functions = status["functions"].as_object();
        let invocations = functions
            .into_iter()
            .flat_map(|functions| functions.values())
            .filter_map(|function| function["invocations"].as_f64());
        // This program is the client, so it counts too. A process of a function that has just ended does not count.
        let cpu_seconds = system::tree(service.running.pid())
            .into_iter()
            .chain([std::process::id()])
            .filter_map(|pid| system::cpu_seconds(pid).ok());
        Ok(Counts {
            posts: number(&status["posts"]["answered"])?,
            throttled: number(&status["posts"]["throttled"])?,
            invocations: invocations.sum(),
            cpu_seconds: cpu_seconds.sum(),
        })
    }
}

/// Measures one room in one way.
async fn room(
    report: &mut Report,
    service: &Service,
    admin: &str,
    members: usize,
    way: &str,
    talk: Talk,
    contract: &Contract,
) -> Result<()> {
    let name = format!("busy-{members}");
    // Starts some processes of publish. If all of them started during the talk, they would use the cores for seconds.
    contest(&service.address, "warm", WARM, Duration::ZERO).await?;
    let crowd_of = service.address.join_many(&name, members).await?;
    sleep(SETTLE).await;
    let before = Counts::read(service, admin).await?;
    let heard = crowd(crowd_of, &name, talk).await?;
    let after = Counts::read(service, admin).await?;

    let Heard {
        due,
        acked,
        repaired,
        doubled,
        asked,
        refused,
        lost,
        expected,
        metered,
        took,
        ..
    } = heard;
    let posts_due = (due * (members - 1)) as f64;
    let posts = after.posts - before.posts;
    let throttled = after.throttled - before.throttled;
    let seconds = took.as_secs_f64();
    // The counted requests, divided by the time for which messages were due. The units of the tables and the duration of
    // the functions are those of the model.
    let spoken = talk.time.as_secs_f64();
    let (size, rate) = (members as f64, talk.rate);
    let model = match way {
        PACED => Second::paced(size, MEMBER_BYTES, rate),
        _ => Second::at_once(size, MEMBER_BYTES, rate),
    };
    let invocations = after.invocations - before.invocations;
    let by_model = model.usd_hour(&contract.prices);
    let counted = model.counted(metered as f64 / spoken, invocations / spoken);
    // Without pacing a room cannot deliver all messages in this time. The price is that of all messages that are due.
    let (usd_hour, usd_note) = match way {
        PACED => (
            counted.usd_hour(&contract.prices),
            format!("the model says {}", rounded(by_model)),
        ),
        _ => (by_model, "by the model, for all that is due".to_owned()),
    };
    let mut add = |what: &str, value: f64, unit: &'static str, note: String| {
        report.add(&format!("busy/{what}-{members}/{way}"), value, unit, &note);
    };
    let share = |part: f64, of: f64| 100.0 * part / of.max(1.0);
    add(
        "posts",
        share(posts, posts_due),
        "%",
        format!("{posts} of {posts_due} that are due at once, counted by the gateway"),
    );
    add(
        "lost",
        lost as f64,
        "",
        format!(
            "of {expected}; {acked} of {due} messages acknowledged, {refused} requests refused"
        ),
    );
    let deliveries = heard.delivery_us.len();
    add(
        "repairs",
        share(repaired as f64, deliveries as f64),
        "%",
        format!("{repaired} of {deliveries}, by {asked} requests; {doubled} came again"),
    );
    add(
        "throttled",
        share(throttled, posts),
        "%",
        format!("{throttled} posts"),
    );
    for (what, samples, part) in [
        ("delivery-p50", &heard.delivery_us, 0.5),
        ("delivery-p99", &heard.delivery_us, 0.99),
        ("ack-p99", &heard.ack_us, 0.99),
    ] {
        add(what, quantile_ms(samples, part), "ms", String::new());
    }
    add("usd-hour", usd_hour, "$", usd_note);
    add("took", seconds, "s", "until all have everything".to_owned());
    add(
        "cores",
        (after.cpu_seconds - before.cpu_seconds) / seconds,
        "",
        "of client, gateway and functions".to_owned(),
    );
    ensure!(acked > 0, "nothing was acknowledged");
    Ok(())
}

/// Renders a row of a table in Markdown, as docs/performance.md has it.
fn markdown(cells: impl IntoIterator<Item = String>) -> String {
    let cells = cells.into_iter().map(|cell| cell + " |");
    cells.fold("|".to_owned(), |row, cell| row + " " + &cell)
}

/// Adds one table for all rooms, with a column for each way, and the verdicts.
fn tables(report: &mut Report, load: &Load) {
    let columns: Vec<(usize, f64, &str)> = load
        .rooms
        .iter()
        .flat_map(|&(members, rate, at_once)| {
            let ways = [(members, rate, AT_ONCE), (members, rate, PACED)];
            ways.into_iter().skip(usize::from(!at_once))
        })
        .collect();
    let names = columns
        .iter()
        .map(|(members, rate, way)| format!("{members}, {rate} a second, {way}"));
    let mut table = vec![
        markdown([String::new()].into_iter().chain(names)),
        "|---|".to_owned() + &"---:|".repeat(columns.len()),
    ];
    for (what, name) in ROWS {
        let cells = columns.iter().map(|(members, _, way)| {
            let id = format!("busy/{what}-{members}/{way}");
            let mut cell = report.value(&id).map_or_else(String::new, rounded);
            if let Some((bound, met)) = report.verdict(&id) {
                let sign = if met { '✓' } else { '✗' };
                cell.push_str(&format!(" (wanted {bound} {sign})"));
            }
            cell
        });
        table.push(markdown([name.to_owned()].into_iter().chain(cells)));
    }
    let title = format!(
        "Busy rooms for {:?}, 10,000 requests a second and a burst of 5,000 as on AWS",
        load.time
    );
    report.tables.push((title, table));
}

/// Calls the admin endpoint of the gateway.
async fn http(method: &'static str, url: &str, body: Option<Value>) -> Result<Value> {
    let url = url.to_owned();
    let text = spawn_blocking(move || -> Result<String> {
        let mut answer = match (method, body) {
            ("PUT", Some(body)) => ureq::put(&url).send(body.to_string()),
            _ => ureq::get(&url).call(),
        }
        .with_context(|| format!("{method} {url}"))?;
        Ok(answer.body_mut().read_to_string()?)
    })
    .await??;
    serde_json::from_str(&text).with_context(|| text.clone())
}
