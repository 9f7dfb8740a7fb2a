//! The side of the user: a line editor in a terminal, or lines of text or JSON on stdin and stdout.
//!
//! Reading blocks, so it has a thread of its own, and so has printing above the line under edit. One reader owns stdin
//! from the beginning to the end: what was read together with the end of a line belongs to the next line.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, ExternalPrinter, Helper};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::command::{Command, HELP, Line, Mistake, typed, written};
use crate::event::Event;

/// The time for which the end waits for the last lines to be printed.
const PRINT_PATIENCE: Duration = Duration::from_secs(1);

/// The bytes that some editors write at the beginning of a file of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An input of the user.
#[derive(Debug)]
pub enum Said {
    /// A command.
    Command(Command),
    /// A person is typing a message.
    Typing,
    /// An empty line.
    Nothing,
    /// A request for the list of commands.
    Help,
    /// A line that cannot be carried out.
    Mistake(Mistake),
    /// A person wants to quit.
    Quit,
    /// The input of a program or a file has ended.
    End,
}

/// The output to the user.
#[derive(Debug)]
pub struct Ui {
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Json,
    Text {
        lines: Option<mpsc::Sender<String>>,
        /// Gets a value when the last line is printed.
        printed: mpsc::Receiver<()>,
        editor: Option<Editor>,
    },
}

/// A line editor.
#[derive(Debug)]
struct Editor {
    /// Gets the next prompt. The editor waits for it, so that it names the room that a command has chosen.
    prompts: mpsc::Sender<String>,
    /// The mode that the terminal had before.
    mode: Termios,
}

impl Ui {
    /// Reads and writes lines of JSON.
    ///
    /// # Errors
    ///
    /// Fails if the system gives no thread.
    pub fn json() -> Result<(Self, UnboundedReceiver<Said>)> {
        let (said, receiver) = unbounded_channel();
        spawn("stdin", move || read(written, &said))?;
        Ok((Self { mode: Mode::Json }, receiver))
    }

    /// Reads and writes text: with a line editor where stdin is a terminal, plainly otherwise.
    ///
    /// # Errors
    ///
    /// Fails if the terminal cannot be used, or the system gives no thread.
    pub fn text() -> Result<(Self, UnboundedReceiver<Said>)> {
        let (said, receiver) = unbounded_channel();
        let (lines, to_print) = mpsc::channel();
        let (done, printed) = mpsc::channel();
        let editor = if io::stdin().is_terminal() && !is_dumb() {
            let unusable = "cannot use this terminal; try --json";
            // Each pasted line is a line, as if it were typed.
            let config = Config::builder().bracketed_paste(false).build();
            let mut editor = LineEditor::with_config(config).context(unusable)?;
            editor.set_helper(Some(Typist(said.clone())));
            let mode = tcgetattr(io::stdin()).context(unusable)?;
            let mut printer = editor.create_external_printer().ok();
            spawn("printer", move || {
                let above = |line| match &mut printer {
                    Some(printer) => printer.print(line).is_ok(),
                    None => false,
                };
                print(&to_print, above, &done);
            })?;
            let (prompts, next_prompt) = mpsc::channel();
            spawn("editor", move || edit(&mut editor, &next_prompt, &said))?;
            keep_typed(&mode).context(unusable)?;
            Some(Editor { prompts, mode })
        } else {
            spawn("printer", move || print(&to_print, |_| false, &done))?;
            spawn("stdin", move || read(typed, &said))?;
            None
        };
        let mode = Mode::Text {
            lines: Some(lines),
            printed,
            editor,
        };
        Ok((Self { mode }, receiver))
    }

    /// Returns whether a person sits at a terminal.
    pub fn is_interactive(&self) -> bool {
        matches!(
            &self.mode,
            Mode::Text {
                editor: Some(_),
                ..
            }
        )
    }

    /// Shows an event. `here` is the current room.
    ///
    /// # Errors
    ///
    /// Fails if stdout is closed.
    pub fn show(&self, event: &Event, here: &str) -> Result<()> {
        match &self.mode {
            Mode::Json => {
                let mut stdout = io::stdout().lock();
                writeln!(stdout, "{}", event.json())
                    .and_then(|()| stdout.flush())
                    .context("cannot write to stdout")
            }
            Mode::Text { .. } => {
                if let Some(text) = event.text(here) {
                    self.print(text);
                }
                Ok(())
            }
        }
    }

    /// Shows the list of commands.
    pub fn help(&self) {
        self.print(HELP.to_owned());
    }

    fn print(&self, text: String) {
        if let Mode::Text {
            lines: Some(lines), ..
        } = &self.mode
        {
            let _ = lines.send(text);
        }
    }

    /// Lets the user type the next line, now that the last one is dealt with.
    pub fn ready(&self, here: &str) {
        if let Mode::Text {
            editor: Some(editor),
            ..
        } = &self.mode
        {
            // The editor may have ended. Nothing can be typed then.
            let _ = editor.prompts.send(format!("{here}> "));
        }
    }

    /// Waits until everything is printed, and gives the terminal its former mode back.
    pub fn finish(&mut self) {
        if let Mode::Text {
            lines,
            printed,
            editor,
        } = &mut self.mode
        {
            *lines = None;
            let _ = printed.recv_timeout(PRINT_PATIENCE);
            if let Some(editor) = editor {
                let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &editor.mode);
            }
        }
    }
}

/// Returns whether the terminal cannot place its cursor, so that no line can be edited in it.
fn is_dumb() -> bool {
    // The list that the line editor goes by.
    std::env::var("TERM").is_ok_and(|term| matches!(&*term, "dumb" | "cons25" | "emacs"))
}

/// Keeps what is typed while no line is under edit for the next line, unchanged and without an echo.
fn keep_typed(mode: &Termios) -> nix::Result<()> {
    let mut between = mode.clone();
    between.input_flags &= !(InputFlags::ICRNL | InputFlags::IXON);
    between.local_flags &=
        !(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN | LocalFlags::ISIG);
    tcsetattr(io::stdin(), SetArg::TCSADRAIN, &between)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("cannot start the thread {name}"))?;
    Ok(())
}

/// Prints above the line under edit, or plainly where there is no editor.
fn print(
    lines: &mpsc::Receiver<String>,
    mut above: impl FnMut(String) -> bool,
    done: &mpsc::Sender<()>,
) {
    for line in lines {
        let line = line + "\n";
        if !above(line.clone()) {
            let mut stdout = io::stdout().lock();
            let _ = stdout
                .write_all(line.as_bytes())
                .and_then(|()| stdout.flush());
        }
    }
    let _ = done.send(());
}

/// Reads lines of a file or a program until its end.
fn read(meaning: fn(&[u8]) -> Result<Line, Mistake>, said: &UnboundedSender<Said>) {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    let mut first = true;
    loop {
        line.clear();
        match stdin.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                let _ = said.send(Said::Mistake(format!("Cannot read stdin: {error}.").into()));
                break;
            }
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let text = match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(text) if first => text,
            _ => text,
        };
        first = false;
        match meaning(text) {
            Ok(Line::Quit) => break,
            line => answer(line, said),
        }
    }
    let _ = said.send(Said::End);
}

type LineEditor = rustyline::Editor<Typist, DefaultHistory>;

/// Notices that a person types: the editor asks for a hint at each change of the line.
struct Typist(UnboundedSender<Said>);

impl Hinter for Typist {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        // A command is not a message, and neither is a line that is empty again.
        if !line.trim().is_empty() && !line.starts_with('/') {
            let _ = self.0.send(Said::Typing);
        }
        None
    }
}

impl Completer for Typist {
    type Candidate = String;
}

impl Highlighter for Typist {}

impl Validator for Typist {}

impl Helper for Typist {}

/// Reads lines that a person edits.
fn edit(editor: &mut LineEditor, prompts: &mpsc::Receiver<String>, said: &UnboundedSender<Said>) {
    for prompt in prompts {
        match editor.readline(&prompt) {
            Ok(line) => {
                let _ = editor.add_history_entry(line.as_str());
                answer(typed(line.as_bytes()), said);
            }
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                let sentence =
                    "The terminal sent a byte that is not UTF-8; the line was discarded.";
                answer(Err(sentence.to_owned().into()), said);
            }
            Err(_) => {
                let _ = said.send(Said::Quit);
            }
        }
    }
}

fn answer(line: Result<Line, Mistake>, said: &UnboundedSender<Said>) {
    let _ = said.send(match line {
        Ok(Line::Empty) => Said::Nothing,
        Ok(Line::Help) => Said::Help,
        Ok(Line::Quit) => Said::Quit,
        Ok(Line::Command(command)) => Said::Command(command),
        Err(mistake) => Said::Mistake(mistake),
    });
}
