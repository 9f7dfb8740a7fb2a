//! Section `memory`: the cost of a million deliveries with each memory setting of publish.

use anyhow::Result;

use crate::fanout::{Bench, SENDER, middle, publish};
use crate::function::Function;
use crate::quota::Quota;
use crate::report::{Report, rounded};
use crate::service::Places;
use crate::tables;

/// Up to one full core, as publish has one thread.
const SETTINGS_MB: [f64; 6] = [128.0, 256.0, 512.0, 1024.0, 1536.0, 1769.0];

/// Dollars in us-east-1 for x86: <https://aws.amazon.com/lambda/pricing/>
pub(crate) const GB_SECOND: f64 = 0.000_016_666_7;
const REQUEST: f64 = 0.000_000_2;

const MEMBERS: usize = 1000;

/// # Errors
/// Fails if publish fails, or does not post to every member.
pub(crate) async fn run(report: &mut Report, places: &Places, rounds: usize) -> Result<()> {
    let bench = Bench::start(places).await?;
    tables::fill(&bench.engine.endpoint, "room", SENDER, MEMBERS).await?;
    let mut table = vec![format!(
        "{:>8} {:>8} {:>12} {:>12} {:>14} {:>22}",
        "MB", "vCPU", "first ms", "warm ms", "GB-seconds", "$ a million deliveries"
    )];
    for memory_mb in SETTINGS_MB {
        let quota = match Quota::of_memory(memory_mb) {
            Ok(quota) => quota,
            Err(error) => {
                eprintln!("  section memory is left out: {error:#}");
                return Ok(());
            }
        };
        let mut function =
            Function::start(places, &bench.stand_in, "publish", &tables::environment()).await?;
        quota.hold(function.running.pid())?;
        let mut invocations = Vec::new();
        for _ in 0..=rounds {
            invocations.push(publish(&bench, &mut function, "room", MEMBERS).await?);
        }
        let first = invocations[0].wall.as_secs_f64();
        let (wall, _) = middle(&invocations[1..]);
        // Lambda bills each started millisecond.
        let billed = (wall * 1000.0).ceil() / 1000.0 * memory_mb / 1024.0;
        let cost = (billed * GB_SECOND + REQUEST) * 1e6 / MEMBERS as f64;
        let id = |what: &str| format!("memory/{what}-{memory_mb}/ours");
        report.add(&id("wall"), wall * 1000.0, "ms", "a room of 1,000, warm");
        report.add(&id("cost"), cost, "$", "of Lambda for a million deliveries");
        table.push(format!(
            "{memory_mb:>8} {:>8.3} {:>12} {:>12} {:>14} {:>22}",
            memory_mb / crate::quota::FULL_CORE_MB,
            rounded(first * 1000.0),
            rounded(wall * 1000.0),
            rounded(billed),
            rounded(cost)
        ));
    }
    report.tables.push((
        "Memory of publish: a room of 1,000, 10 ms a post".to_owned(),
        table,
    ));
    Ok(())
}
