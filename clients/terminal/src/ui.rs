//! The user's side: an edited line in a terminal, or lines of JSON.
//!
//! Reading blocks, so it has a thread of its own; so has printing above the line that is being edited.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::command::{Command, HELP, Line, typed, written};
use crate::event::Event;

/// How long the last lines may take to be printed.
const PRINT_PATIENCE: Duration = Duration::from_secs(1);

/// What the user said.
#[derive(Debug)]
pub enum Said {
    /// Do this.
    Command(Command),
    /// The line was no command, or asked for help; this answers it.
    Note(String),
    /// A person wants to go.
    Quit,
    /// A program, or a file, has no more to say.
    End,
}

/// Where events are shown.
#[derive(Debug)]
pub struct Ui {
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Json,
    Terminal {
        lines: Option<mpsc::Sender<String>>,
        /// Ends when the last line is printed.
        printed: mpsc::Receiver<()>,
        /// The next prompt: the editor waits for it, so that it names the room a command has chosen.
        prompts: mpsc::Sender<String>,
    },
}

impl Ui {
    /// Lines of JSON in both directions.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn json() -> Result<(Self, UnboundedReceiver<Said>)> {
        let (said, receiver) = unbounded_channel();
        spawn("stdin", move || {
            for line in io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                match written(&line) {
                    Ok(Line::Quit) => break,
                    line => answer(line, &said),
                }
            }
            let _ = said.send(Said::End);
        })?;
        Ok((Self { mode: Mode::Json }, receiver))
    }

    /// A line editor, with what happens printed above it.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be used.
    pub fn terminal() -> Result<(Self, UnboundedReceiver<Said>)> {
        let mut editor = DefaultEditor::new().context("cannot use this terminal; try --json")?;
        let printer = editor.create_external_printer().ok();
        let (lines, to_print) = mpsc::channel();
        let (done, printed) = mpsc::channel();
        spawn("printer", move || print(&to_print, printer, &done))?;
        let (prompts, next_prompt) = mpsc::channel();
        let (said, receiver) = unbounded_channel();
        spawn("editor", move || edit(&mut editor, &next_prompt, &said))?;
        let mode = Mode::Terminal {
            lines: Some(lines),
            printed,
            prompts,
        };
        Ok((Self { mode }, receiver))
    }

    /// Shows an event. `here` is the room the user looks at.
    ///
    /// # Errors
    ///
    /// When nobody reads it any more.
    pub fn show(&self, event: &Event, here: &str) -> Result<()> {
        match &self.mode {
            Mode::Json => {
                let mut stdout = io::stdout().lock();
                writeln!(stdout, "{}", event.json())
                    .and_then(|()| stdout.flush())
                    .context("cannot write to stdout")
            }
            Mode::Terminal { .. } => {
                event
                    .text(here)
                    .into_iter()
                    .for_each(|text| self.line(text));
                Ok(())
            }
        }
    }

    /// Answers a line that was no command.
    ///
    /// # Errors
    ///
    /// When nobody reads it any more.
    pub fn note(&self, text: String) -> Result<()> {
        match &self.mode {
            Mode::Json => self.show(
                &Event::Error {
                    id: None,
                    room: None,
                    name: "bad_request".to_owned(),
                    message: text,
                    retrying: false,
                },
                "",
            ),
            Mode::Terminal { .. } => {
                self.line(text);
                Ok(())
            }
        }
    }

    /// The user's last line is dealt with: the next may be typed.
    pub fn ready(&self, here: &str) {
        if let Mode::Terminal { prompts, .. } = &self.mode {
            // The editor may have ended; nothing is typed then.
            let _ = prompts.send(format!("{here}> "));
        }
    }

    /// Waits until everything is printed.
    pub fn finish(&mut self) {
        if let Mode::Terminal { lines, printed, .. } = &mut self.mode {
            *lines = None;
            let _ = printed.recv_timeout(PRINT_PATIENCE);
        }
    }

    fn line(&self, text: String) {
        if let Mode::Terminal {
            lines: Some(lines), ..
        } = &self.mode
        {
            let _ = lines.send(text);
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("cannot start the thread {name}"))?;
    Ok(())
}

/// Prints above the edited line; plainly where there is no terminal.
fn print(
    lines: &mpsc::Receiver<String>,
    mut printer: Option<impl ExternalPrinter>,
    done: &mpsc::Sender<()>,
) {
    for line in lines {
        let line = line + "\n";
        let above = printer
            .as_mut()
            .is_some_and(|printer| printer.print(line.clone()).is_ok());
        if !above {
            let mut stdout = io::stdout().lock();
            let _ = stdout
                .write_all(line.as_bytes())
                .and_then(|()| stdout.flush());
        }
    }
    let _ = done.send(());
}

fn edit(
    editor: &mut DefaultEditor,
    prompts: &mpsc::Receiver<String>,
    said: &UnboundedSender<Said>,
) {
    // A file ends because it is read, a person because there is no more to say.
    let person = io::stdin().is_terminal();
    for prompt in prompts {
        match editor.readline(&prompt) {
            Ok(line) => {
                let _ = editor.add_history_entry(line.as_str());
                answer(typed(&line), said);
            }
            Err(ReadlineError::Interrupted) => {
                let _ = said.send(Said::Quit);
            }
            Err(_) => {
                let _ = said.send(if person { Said::Quit } else { Said::End });
                // A person may press Ctrl-D again, not to wait any longer.
                if !person {
                    return;
                }
            }
        }
    }
}

fn answer(line: Result<Line, String>, said: &UnboundedSender<Said>) {
    let _ = said.send(match line {
        // The editor waits for its next prompt even so.
        Ok(Line::Nothing) => Said::Note(String::new()),
        Ok(Line::Help) => Said::Note(HELP.to_owned()),
        Ok(Line::Quit) => Said::Quit,
        Ok(Line::Do(command)) => Said::Command(command),
        Err(sentence) => Said::Note(sentence),
    });
}
