//! The program: options, a user's side, and the shell between it and the service.

use std::io;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use clap::error::ErrorKind;
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};
use roomchat::options::Options;
use roomchat::shell;
use roomchat::ui::Ui;

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
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            return fail(&format!(
                "{} (--help lists the flags)",
                first.trim_start_matches("error: ")
            ));
        }
    };
    // A line may be under edit when the end comes from elsewhere: the terminal gets back the mode it has now.
    let terminal = tcgetattr(io::stdin()).ok();
    let outcome = chat(&options);
    if let Some(mode) = terminal {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &mode);
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// One sentence, exit code 2.
fn fail(sentence: &str) -> ExitCode {
    eprintln!("roomchat: {sentence}");
    ExitCode::from(2)
}

fn chat(options: &Options) -> Result<()> {
    // Named, because another crate of the same build may bring a second provider: rustls would not choose then.
    // An error says that one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let (mut ui, said) = if options.json {
        Ui::json()?
    } else {
        Ui::terminal()?
    };
    let outcome = runtime.block_on(shell::run(options, &ui, said));
    ui.finish();
    outcome
}
