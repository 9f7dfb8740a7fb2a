//! Measures the service and compares it with other solutions. `scripts/bench.sh` builds everything and starts this
//! program.
//!
//! Each figure is compared with another one of the same run, and each run checks the work that it measures.

mod busy;
mod cold;
mod costs;
mod dynamodb;
mod fanout;
mod function;
mod load;
mod local;
mod memory;
mod peers;
mod plot;
mod quota;
mod report;
mod scale;
mod service;
mod stage;
mod standin;
mod system;
mod tables;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;

use local::Load;
use report::Report;
use service::{Places, Service, UNLIMITED};

/// The largest room of a peer: a larger one would take minutes.
const PEER_ROOM: usize = 1000;

/// The largest room in which several members publish in parallel to a peer: in a larger one serverless-offline closes
/// connections.
const PEER_BUSIEST: usize = 100;

/// Measures the service and compares it with other solutions
#[derive(Debug, Parser)]
#[command(name = "roomchat-bench")]
struct Options {
    /// Fewer and shorter measurements: two minutes at most
    #[arg(long)]
    quick: bool,
    /// The least that shows that every section works
    #[arg(long, hide = true)]
    smoke: bool,
    /// Only these sections, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "SECTIONS")]
    only: Vec<Section>,
    /// The file for the figures
    #[arg(long, value_name = "FILE", default_value = ".tools/bench/bench.json")]
    json: PathBuf,
    /// The file for the plot
    #[arg(long, value_name = "FILE", default_value = ".tools/bench/bench.svg")]
    svg: PathBuf,
    /// The folder of the functions' programs
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    functions: PathBuf,
    /// The local gateway
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/release/roomchat-local"
    )]
    gateway: PathBuf,
    #[command(subcommand)]
    part: Option<Part>,
}

/// A part of the measurements. Its name begins the ids of its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// The service on this machine: connections, round trip, deliveries, memory
    Service,
    /// A publish with 10 ms a post, beside a bare loop over the SDK's post
    FanOut,
    /// Cold start of every function, and sizes
    ColdStart,
    /// The cost of each action
    Costs,
    /// The load of `service` against serverless-offline, and against handlers as people write them first
    Peers,
    /// Memory settings of publish and what a million deliveries costs with each
    Memory,
    /// Rooms of up to 5,000 with many messages, under AWS's quota of requests; parallel writers of one log
    Busy,
}

/// The parts that this program starts as processes of its own.
#[derive(Debug, Subcommand)]
enum Part {
    /// A DynamoDB engine in memory, on a free port that it prints
    #[command(hide = true)]
    Engine {
        /// Stay off the core that functions run on
        #[arg(long)]
        aside: bool,
    },
    /// Prints docs/scale.md
    Scale {
        /// Prints docs/scale.svg instead
        #[arg(long)]
        plot: bool,
    },
    /// Puts a load on a deployed stage, after a question
    Stage(stage::Options),
}

/// The extent of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Smoke,
    Quick,
    Full,
}

/// The extent in numbers.
struct Scale {
    extent: Extent,
    load: Load,
    busy: busy::Load,
    /// Members of the rooms of the section `fan-out`.
    fan_outs: Vec<usize>,
    /// Counted publishes to each room, and with each memory setting. One more comes before and is not counted.
    rounds: usize,
    /// The number of starts of each function.
    starts: usize,
}

impl Scale {
    fn of(options: &Options) -> Scale {
        if options.smoke {
            let load = Load {
                talk: Duration::ZERO,
                rooms: vec![10, 20],
                busiest: 10,
                joining: 20,
                idle: vec![80],
            };
            let busy = busy::Load {
                rooms: vec![(20, 40.0, true)],
                paced: "{ from_members = 20, posts_per_second = 100 }",
                time: Duration::from_secs(1),
                patience: Duration::from_secs(30),
                writers: vec![1, 4],
                writing: Duration::ZERO,
            };
            Scale {
                extent: Extent::Smoke,
                load,
                busy,
                fan_outs: vec![10],
                rounds: 1,
                starts: 1,
            }
        } else if options.quick {
            let load = Load {
                talk: Duration::from_secs(1),
                rooms: vec![100, 1000],
                busiest: 1000,
                joining: 1000,
                idle: vec![1000],
            };
            let busy = busy::Load {
                rooms: vec![(1000, 50.0, true)],
                paced: "{}",
                time: Duration::from_secs(5),
                patience: Duration::from_secs(20),
                writers: vec![1, 8, 64],
                writing: Duration::from_secs(1),
            };
            Scale {
                extent: Extent::Quick,
                load,
                busy,
                fan_outs: vec![10, 1000],
                rounds: 3,
                starts: 5,
            }
        } else {
            let load = Load {
                talk: Duration::from_secs(5),
                rooms: vec![100, 1000, 5000],
                busiest: 1000,
                joining: 1000,
                idle: vec![1000, 10_000],
            };
            let busy = busy::Load {
                rooms: vec![(200, 50.0, false), (1000, 50.0, true), (5000, 10.0, false)],
                paced: "{}",
                time: Duration::from_secs(20),
                patience: Duration::from_secs(80),
                writers: vec![1, 2, 4, 8, 16, 32, 64],
                writing: Duration::from_secs(5),
            };
            Scale {
                extent: Extent::Full,
                load,
                busy,
                fan_outs: vec![10, 100, 1000, 10_000],
                rounds: 7,
                starts: 20,
            }
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    // Before the runtime starts its threads, which inherit the core.
    if matches!(options.part, Some(Part::Engine { aside: true }))
        && let Err(error) = standin::stay_on(standin::OTHER_CORE)
    {
        eprintln!("roomchat-bench: {error:#}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .context("cannot start the async runtime")
        .and_then(|runtime| runtime.block_on(run(&options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roomchat-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    let root = std::env::current_dir()?;
    match &options.part {
        Some(Part::Engine { .. }) => return engine().await,
        Some(Part::Scale { plot }) => {
            let contract = costs::Contract::read(&root)?;
            let text = match plot {
                true => scale::plot(&contract),
                false => scale::page(&contract)?,
            };
            print!("{text}");
            return Ok(());
        }
        Some(Part::Stage(options)) => {
            return stage::run(options, &costs::Contract::read(&root)?).await;
        }
        None => {}
    }
    let scratch = root.join(".tools/bench");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let places = Places {
        functions: root.join(&options.functions),
        gateway: root.join(&options.gateway),
        scratch,
        root,
    };
    let scale = Scale::of(options);
    let begun = chrono::Utc::now();
    let load_before = system::load();
    let load = &scale.load;
    let mut report = Report::default();
    let wanted = |section| options.only.is_empty() || options.only.contains(&section);

    if wanted(Section::Service) {
        let most = load
            .rooms
            .iter()
            .sum::<usize>()
            .max(load.idle.iter().copied().max().unwrap_or(0));
        system::allow_descriptors(most as u64 + 1000)?;
        let terraform = places.root.join("terraform");
        let unlimited = ["--var", UNLIMITED].map(str::to_owned);
        eprintln!("service: the service on this machine");
        let ours = Service::gateway(
            &places,
            "gateway",
            &terraform,
            &places.functions,
            &unlimited,
        )
        .await?;
        local::speed(&mut report, "service", "ours", &ours, load)
            .await
            .context("section service")?;
        drop(ours);
        let ours = Service::gateway(
            &places,
            "gateway-idle",
            &terraform,
            &places.functions,
            &unlimited,
        )
        .await?;
        local::idle_memory(&mut report, &ours, load)
            .await
            .context("section service, idle memory")?;
    }

    if wanted(Section::FanOut) {
        eprintln!("fan-out: fan-out with {:?} a post", fanout::POST);
        fanout::run(&mut report, &places, &scale.fan_outs, scale.rounds)
            .await
            .context("section fan-out")?;
    }
    if wanted(Section::ColdStart) {
        eprintln!("cold-start: cold start");
        cold::run(&mut report, &places, scale.starts, scale.extent)
            .await
            .context("section cold-start")?;
    }
    if wanted(Section::Costs) {
        costs::run(&mut report, &places).context("section costs")?;
    }
    if wanted(Section::Memory) {
        eprintln!("memory: memory settings of publish");
        memory::run(&mut report, &places, scale.rounds)
            .await
            .context("section memory")?;
    }
    if wanted(Section::Busy) {
        eprintln!("busy: busy rooms");
        system::allow_descriptors(10_000)?;
        busy::run(&mut report, &places, &scale.busy)
            .await
            .context("section busy")?;
    }
    if wanted(Section::Peers) {
        system::allow_descriptors(10_000)?;
        let rooms = load
            .rooms
            .iter()
            .copied()
            .filter(|size| *size <= PEER_ROOM)
            .collect();
        let load = Load {
            rooms,
            busiest: PEER_BUSIEST,
            ..load.clone()
        };
        for way in ["one-scan", "one-by-one"] {
            eprintln!("peers: our gateway, handlers as people write them first: {way}");
            let peer = peers::first_try(&places, way).await?;
            local::speed(&mut report, "peers", way, &peer, &load)
                .await
                .context(way)?;
        }
        let whose = "serverless-offline";
        eprintln!("peers: {whose}");
        let (peer, _engine) = peers::serverless_offline(&places).await?;
        local::speed(&mut report, "peers", whose, &peer, &load)
            .await
            .context(whose)?;
    }

    let about = json!({
        "date": begun.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "seconds": (chrono::Utc::now() - begun).num_seconds(),
        "commit": system::commit(),
        "quick": options.quick,
        "machine": system::machine(),
        "loadAverage": [load_before, system::load()],
    });
    let text = format!("{}\n{about:#}\n", report.table());
    // A closed pipe must not prevent the files below.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let json = serde_json::to_string_pretty(&report.json(&about))?;
    let plot = plot::svg(&report, &about);
    for (file, text) in [(&options.json, json + "\n"), (&options.svg, plot)] {
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Serves an engine until it is killed.
async fn engine() -> Result<()> {
    let database = dynoxide::Database::memory().context("cannot make a database in memory")?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    let served = dynoxide::server::serve_with_shutdown(listener, database, std::future::pending());
    served.await.map_err(anyhow::Error::msg)
}
