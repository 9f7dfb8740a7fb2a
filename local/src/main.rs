//! The command line of the gateway.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use clap::error::ErrorKind;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use roomchat_local::Options;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The time for the last lines of the log.
const FLUSH_GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            // The first paragraph: clap names a missing argument in a line of its own.
            let text = error.to_string();
            let lines = text.lines().take_while(|line| !line.is_empty());
            let sentence = lines.map(str::trim).collect::<Vec<_>>().join(" ");
            return fail(&format!(
                "{} (--help lists the flags)",
                sentence.trim_start_matches("error: ")
            ));
        }
    };
    raise_file_limit();
    options.init_log();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        // The runtime is dropped before the process ends, and with it every child process.
        .and_then(|runtime| runtime.block_on(run(&options)));
    roomchat_local::flush_log(FLUSH_GRACE);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

async fn run(options: &Options) -> Result<()> {
    if let (true, Some(port)) = (options.status, options.admin_port) {
        print!("{}", roomchat_local::ask_status(port).await?);
        return Ok(());
    }
    let prepared = roomchat_local::prepare(options)?;
    let mut ends = Ends::listen()?;
    let mut stack = prepared.start().await?;
    stack.announce();
    stack.serve(ends.one()).await?;
    stack.stop(ends.one()).await;
    Ok(())
}

/// Prints an error of one sentence; exit code 2.
fn fail(sentence: &str) -> ExitCode {
    eprintln!("roomchat-local: {sentence}");
    ExitCode::from(2)
}

/// Raises the limit of open files: each connection takes one, and many systems give a program 1,024 unless it asks for
/// more.
fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Without a higher limit fewer clients fit, and the gateway still works.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The signals that end the gateway: Ctrl-C, `kill`, and its terminal being closed.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Ends {
    fn listen() -> std::io::Result<Ends> {
        Ok(Ends {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    async fn one(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
