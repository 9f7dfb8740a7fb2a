//! Section `cold-start`: the time from the start of a process to its first answer, and the size of its package.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use zip::write::SimpleFileOptions;

use crate::Extent;
use crate::fanout::{Bench, SENDER, said};
use crate::function::{Function, event};
use crate::quota::Quota;
use crate::report::Report;
use crate::service::Places;
use crate::tables;

/// The smallest memory setting. It has the smallest share of a core.
const SMALLEST_MB: f64 = 128.0;

/// The time from which a process is limited to a share of a core.
#[derive(Debug, Clone, Copy)]
enum Held {
    Never,
    /// From its first event on: during Init, Lambda gives a full core.
    AfterInit(f64),
}

/// A function and an event for it.
fn functions() -> Vec<(&'static str, Value)> {
    let said = said("cold");
    let message = |action: &str, body: &str| event(action, SENDER, Some(body));
    vec![
        ("connect", event("$connect", "thenewconnection", None)),
        ("disconnect", event("$disconnect", "theoldconnection", None)),
        ("publish", message("publish", &said)),
        (
            "join",
            message("join", r#"{"action":"join","room":"cold"}"#),
        ),
        (
            "leave",
            event(
                "leave",
                "theoldconnection",
                Some(r#"{"action":"leave","room":"cold"}"#),
            ),
        ),
        (
            "history",
            message("history", r#"{"action":"history","room":"cold"}"#),
        ),
        (
            "members",
            message("members", r#"{"action":"members","room":"cold"}"#),
        ),
        ("default", message("$default", r#"{"action":"dance"}"#)),
    ]
}

/// # Errors
/// Fails if a function does not start or fails.
pub(crate) async fn run(
    report: &mut Report,
    places: &Places,
    times: usize,
    extent: Extent,
) -> Result<()> {
    let bench = Bench::start(places).await?;
    tables::fill(&bench.engine.endpoint, "cold", SENDER, 1).await?;
    let (binary, zipped) = sizes(&places.program("connect"))?;
    report.add("cold-start/binary/functions", binary as f64 / 1e6, "MB", "");
    report.add("cold-start/zip/functions", zipped as f64 / 1e6, "MB", "");
    for (name, event) in functions() {
        if extent == Extent::Smoke && name != "default" {
            let (_, answer) = start(places, &bench, name, &event, times, Held::Never).await?;
            report.add(&format!("cold-start/first-answer/{name}"), answer, "ms", "");
            continue;
        }
        let (init, answer) = start(places, &bench, name, &event, times, Held::Never).await?;
        report.add(
            &format!("cold-start/init/{name}"),
            init,
            "ms",
            "start to the first question for an event",
        );
        report.add(
            &format!("cold-start/first-answer/{name}"),
            answer,
            "ms",
            "start to the first answer, on a full core",
        );
        if extent != Extent::Full && name != "connect" {
            continue;
        }
        match start(
            places,
            &bench,
            name,
            &event,
            times,
            Held::AfterInit(SMALLEST_MB),
        )
        .await
        {
            Ok((_, answer)) => {
                let note = "start to the first answer, with 128 MB's share of a core after Init";
                report.add(
                    &format!("cold-start/first-answer-128/{name}"),
                    answer,
                    "ms",
                    note,
                );
            }
            Err(error) => eprintln!("  {name} at 128 MB is left out: {error:#}"),
        }
    }
    Ok(())
}

/// The medians in milliseconds, to the first request for an event and to the first answer.
async fn start(
    places: &Places,
    bench: &Bench,
    name: &'static str,
    event: &Value,
    times: usize,
    held: Held,
) -> Result<(f64, f64)> {
    let quota = match held {
        Held::Never => None,
        Held::AfterInit(memory_mb) => Some(Quota::of_memory(memory_mb)?),
    };
    let (mut inits, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let mut function =
            Function::start(places, &bench.stand_in, name, &tables::environment()).await?;
        if let Some(quota) = &quota {
            quota.hold(function.running.pid())?;
        }
        let invocation = function
            .invoke(event.clone())
            .await
            .with_context(|| name.to_owned())?;
        let status = &invocation.answer["statusCode"];
        ensure!(*status == 200, "{name} answers {}", invocation.answer);
        inits.push(function.init.as_secs_f64() * 1000.0);
        answers.push((function.init + invocation.wall).as_secs_f64() * 1000.0);
    }
    inits.sort_by(f64::total_cmp);
    answers.sort_by(f64::total_cmp);
    Ok((inits[times / 2], answers[times / 2]))
}

/// The size in bytes of a program, and of its zip as scripts/build.sh makes it.
fn sizes(binary: &Path) -> Result<(usize, usize)> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(
        "bootstrap",
        SimpleFileOptions::default().compression_level(Some(9)),
    )?;
    archive.write_all(&bytes)?;
    Ok((bytes.len(), archive.finish()?.into_inner().len()))
}
