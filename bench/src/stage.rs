//! Part `stage`: a load on a deployed stage, with an estimate of its cost and a ceiling that bounds it.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use tokio::time::sleep;

use crate::costs::Contract;
use crate::load::{Address, MESSAGE_BYTES, Member, quantile_ms, talk};
use crate::scale::{CONNECTION_MINUTES, MEMBER_BYTES, Publish};

/// The index of members may lag: the members wait for this time before the first message.
const SETTLE: Duration = Duration::from_secs(2);

/// Minutes that a connection lives besides the load: the handshakes, the pause and the end.
const EXTRA_MINUTES: f64 = 2.0;

/// The load and its bounds.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The address of the stage, such as `wss://….amazonaws.com/prod`
    #[arg(long)]
    url: String,
    /// Connections, all in one room with a name of its own
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    members: u32,
    /// Messages a second, of all members together. A user may send 2 a second by default, and a room gets 40
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// The time for which the members publish
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// The ceiling in US dollars: the load ends before its computed cost exceeds it
    #[arg(long, value_name = "USD", default_value_t = 1.0)]
    max_usd: f64,
    /// A file with tokens, one a line; the members take them in turn
    #[arg(long, value_name = "FILE", conflicts_with = "token_command")]
    token_file: Option<PathBuf>,
    /// A shell command that prints a token; run for each member, with its number in `ROOMCHAT_MEMBER`
    #[arg(long, value_name = "COMMAND")]
    token_command: Option<String>,
    /// Starts without a question
    #[arg(long)]
    yes: bool,
}

/// The load in numbers, and its price.
#[derive(Debug, PartialEq)]
struct Plan {
    /// Messages that were asked for.
    wanted: usize,
    /// Messages that the ceiling allows.
    messages: usize,
    /// Dollars of the connections.
    connections_usd: f64,
    /// Dollars of one message.
    message_usd: f64,
}

impl Plan {
    /// # Errors
    /// Fails if an option makes no sense, or the connections alone exceed the ceiling.
    fn of(options: &Options, contract: &Contract) -> Result<Plan> {
        ensure!(
            options.rate >= 0.1 && options.rate <= 10_000.0,
            "--rate must be 0.1 to 10000 messages a second"
        );
        ensure!(options.max_usd > 0.0, "--max-usd must be more than 0");
        let members = f64::from(options.members);
        let minutes = f64::from(options.seconds) / 60.0 + EXTRA_MINUTES;
        let connection =
            contract.usd("connect")? + contract.usd("disconnect")? + minutes * CONNECTION_MINUTES;
        let connections_usd = members * connection / 1e6;
        let message_usd = Publish::to(members, MEMBER_BYTES).usd(&contract.prices) / 1e6;
        let left = options.max_usd - connections_usd;
        ensure!(
            left >= message_usd,
            "the ceiling of {} USD is too low: the connections cost {connections_usd:.6} USD and a message {message_usd:.6}",
            options.max_usd
        );
        let wanted = ((options.rate * f64::from(options.seconds)) as usize).max(1);
        Ok(Plan {
            wanted,
            messages: wanted.min((left / message_usd) as usize),
            connections_usd,
            message_usd,
        })
    }

    fn usd(&self, messages: usize) -> f64 {
        self.connections_usd + messages as f64 * self.message_usd
    }
}

/// Shows the estimate, asks, and runs the load.
///
/// # Errors
/// Fails if nobody agrees, a handshake is refused, or a frame is missing or wrong.
pub(crate) async fn run(options: &Options, contract: &Contract) -> Result<()> {
    let plan = Plan::of(options, contract)?;
    let deliveries = plan.wanted * (options.members as usize - 1);
    println!(
        "{}\n{} members in one room, {} messages of {MESSAGE_BYTES} bytes, {deliveries} deliveries.\n\
         Estimate: {:.4} USD, prices of us-east-1, logs and free tiers left out. Ceiling: {} USD (--max-usd).",
        options.url,
        options.members,
        plan.wanted,
        plan.usd(plan.wanted),
        options.max_usd
    );
    if plan.messages < plan.wanted {
        println!(
            "The load ends at the ceiling, after {} messages.",
            plan.messages
        );
    }
    if !options.yes {
        print!("Start? Type yes: ");
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        ensure!(answer.trim() == "yes", "nothing was started");
    }

    // Without it, the TLS library has no default. Fails only if there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let address = Address::of(&options.url)?;
    let tokens = tokens(options)?;
    // A repeated id would be a duplicate.
    let room = format!("bench-{:x}", chrono::Utc::now().timestamp_micros());
    let members: Vec<Member> = address
        .join_with(&room, options.members as usize, &tokens)
        .await
        .context(
            "a user has 20 connections at most by default: give more tokens, or fewer --members",
        )?;
    sleep(SETTLE).await;
    let every = Duration::from_secs_f64(1.0 / options.rate);
    let writers = members.len().min(plan.messages);
    let (_members, round) = talk(members, &room, writers, Duration::MAX, plan.messages, every)
        .await
        .context("the error slow_down means that --rate exceeds the limits of the stage")?;
    println!(
        "{} messages, {} deliveries, {} of them twice.\n\
         To a member: p50 {:.1} ms, p99 {:.1} ms. To the ack: p50 {:.1} ms, p99 {:.1} ms.\n\
         Cost: {:.4} USD by the same computation.",
        round.messages,
        round.deliveries,
        round.doubled,
        quantile_ms(&round.delivery_us, 0.5),
        quantile_ms(&round.delivery_us, 0.99),
        quantile_ms(&round.ack_us, 0.5),
        quantile_ms(&round.ack_us, 0.99),
        plan.usd(round.messages)
    );
    if round.messages < plan.wanted {
        println!("It has ended at the ceiling.");
    }
    Ok(())
}

/// The tokens of the members; none without identity.
fn tokens(options: &Options) -> Result<Vec<String>> {
    let texts: Vec<String> = match (&options.token_file, &options.token_command) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the token file {}", file.display()))?;
            text.lines().map(str::to_owned).collect()
        }
        (None, Some(command)) => (0..options.members)
            .map(|member| printed_by(command, member))
            .collect::<Result<_>>()?,
        (None, None) => return Ok(Vec::new()),
    };
    let tokens: Vec<String> = texts
        .iter()
        .map(|text| text.trim().to_owned())
        .filter(|token| !token.is_empty())
        .collect();
    ensure!(!tokens.is_empty(), "the token file has no token");
    ensure!(
        tokens
            .iter()
            .all(|token| token.bytes().all(|byte| byte.is_ascii_graphic())),
        "a token has other characters than a token has"
    );
    Ok(tokens)
}

fn printed_by(command: &str, member: u32) -> Result<String> {
    let output = Command::new("sh")
        .args(["-c", command])
        .env("ROOMCHAT_MEMBER", member.to_string())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start a shell for the token command")?;
    if !output.status.success() || output.stdout.trim_ascii().is_empty() {
        bail!("the token command gives no token ({})", output.status);
    }
    String::from_utf8(output.stdout).context("the token command prints something other than text")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn plan(arguments: &[&str]) -> Result<Plan> {
        let line = Line::try_parse_from([&["stage", "--url", "ws://h/prod"], arguments].concat());
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap();
        Plan::of(&line?.options, &Contract::read(root)?)
    }

    #[test]
    fn the_ceiling_bounds_the_messages() {
        let all = plan(&["--members", "50", "--rate", "10", "--seconds", "60"]).unwrap();
        assert_eq!((all.wanted, all.messages), (600, 600));
        // 50 handshakes, ends and three minutes each; 600 messages of 51 frames.
        let expected = 50.0 * (1.45 + 1.575 + 3.0 * 0.25) / 1e6 + 600.0 * 52.7 / 1e6;
        assert!((all.usd(600) - expected).abs() < 2e-4, "{}", all.usd(600));
        let cut = plan(&["--members", "50", "--rate", "10", "--max-usd", "0.01"]).unwrap();
        assert!(cut.messages < cut.wanted && cut.usd(cut.messages) <= 0.01);
        assert!(cut.usd(cut.messages + 1) > 0.01);
    }

    #[test]
    fn nonsense_is_refused() {
        for (arguments, error) in [
            (&["--max-usd", "0.0000001"][..], "too low"),
            (&["--max-usd", "0"], "--max-usd must be"),
            (&["--rate", "0"], "--rate must be"),
            (&["--members", "1"], "--members"),
        ] {
            let refused = format!("{:#}", plan(arguments).unwrap_err());
            assert!(refused.contains(error), "{refused}");
        }
    }
}
