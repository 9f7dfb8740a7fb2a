//! The program `roomchat`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use clap::error::ErrorKind;
use roomchat::options::{Options, Other};
use roomchat::ui::Ui;
use roomchat::{issue, shell};

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
            // The first line ends with a colon where the next ones list arguments.
            let mistake = text.lines().take_while(|line| !line.trim().is_empty());
            let mistake: Vec<&str> = mistake.map(str::trim).collect();
            let mistake = mistake.join(" ");
            return fail(&format!(
                "{} (--help lists the options)",
                mistake.trim_start_matches("error: ")
            ));
        }
    };
    let outcome = match &options.other {
        Some(Other::Token(token)) => issue::run(token).map(|text| println!("{text}")),
        None => chat(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Prints one sentence, and returns exit code 2.
fn fail(sentence: &str) -> ExitCode {
    eprintln!("roomchat: {sentence}");
    ExitCode::from(2)
}

fn chat(options: &Options) -> Result<()> {
    // rustls chooses no provider by itself where a crate of the same build brings a second one. An error only means that
    // a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let (mut ui, said) = if options.json {
        Ui::json()?
    } else {
        Ui::text()?
    };
    let outcome = runtime.block_on(shell::run(options, &ui, said));
    ui.finish();
    outcome
}
