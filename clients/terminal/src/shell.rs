//! Runs the core with a clock, connections and a user.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};

use crate::core::{Core, Exit, Input, LinkId, Output};
use crate::event::Event;
use crate::net::{Connection, connect};
use crate::options::{Options, in_room};
use crate::ui::{Said, Ui};

/// The time for which a person who quits waits for answers.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);

/// The time for which a program waits for answers after the end of its input.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// The time that the last connections may take to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Chats until the user ends it.
///
/// # Errors
///
/// Fails if the service does not accept the client, if messages were not acknowledged at the end, or, for a program, if
/// any of its lines failed.
pub async fn run(options: &Options, ui: &Ui, mut said: UnboundedReceiver<Said>) -> Result<()> {
    let settings = options.settings();
    let addresses = options
        .addresses(&settings.user)
        .map_err(anyhow::Error::msg)?;
    let tokens = options.tokens();
    let mut core = Core::new(settings, rand::random());
    let mut connections: BTreeMap<LinkId, Connection> = BTreeMap::new();
    let (events, mut happened) = unbounded_channel();
    let mut terminate = signal(SignalKind::terminate())?;
    let started = Instant::now();
    let mut input = Input::Tick;
    let mut quitting = false;
    let mut interrupted = false;
    // The number of lines that failed.
    let mut failed = 0_usize;
    // The editor waits for its first prompt.
    let mut answered = true;
    let exit = loop {
        let mut exit = None;
        for output in core.handle(started.elapsed(), input) {
            match output {
                Output::Connect { link, room } => {
                    let urls = addresses.iter().map(|address| in_room(address, &room));
                    let urls = urls.collect();
                    let connection = connect(link, urls, tokens.clone(), events.clone());
                    connections.insert(link, connection);
                }
                Output::Send(link, frame) => {
                    if let Some(connection) = connections.get(&link) {
                        // A connection that has just ended reports that by itself.
                        let _ = connection.frames.send(frame);
                    }
                }
                Output::Close(link) => {
                    connections.remove(&link);
                }
                Output::Show(event) => {
                    failed += usize::from(is_failure(&event));
                    ui.show(&event, core.here())?;
                }
                Output::Exit(how) => exit = Some(how),
            }
        }
        if let Some(exit) = exit {
            break exit;
        }
        if std::mem::take(&mut answered) {
            ui.ready(core.here());
        }
        let deadline = core.deadline().map(|at| started + at);
        input = tokio::select! {
            Some(event) = happened.recv() => {
                if let Input::Closed { link, .. } = &event {
                    connections.remove(link);
                }
                event
            }
            Some(line) = said.recv() => {
                answered = !matches!(line, Said::Typing);
                match line {
                    Said::Typing => Input::Typing,
                    Said::Command(command) => Input::Command(command),
                    Said::Nothing => Input::Tick,
                    Said::Help => {
                        ui.help();
                        Input::Tick
                    }
                    Said::Mistake(mistake) => {
                        failed += 1;
                        let event = Event::Error {
                            id: mistake.id,
                            room: None,
                            name: "bad_request".to_owned(),
                            message: mistake.message,
                            retrying: false,
                        };
                        ui.show(&event, core.here())?;
                        Input::Tick
                    }
                    // A person who quits twice does not want to wait.
                    Said::Quit if quitting => Input::End(Duration::ZERO),
                    Said::Quit => {
                        quitting = true;
                        Input::End(QUIT_PATIENCE)
                    }
                    Said::End => Input::End(END_PATIENCE),
                }
            }
            () = sleep_until(deadline.unwrap_or(started)), if deadline.is_some() => Input::Tick,
            _ = terminate.recv() => {
                interrupted = true;
                Input::End(Duration::ZERO)
            }
            _ = tokio::signal::ctrl_c() => {
                interrupted = true;
                Input::End(Duration::ZERO)
            }
        };
    };
    close(connections).await;
    let program = !ui.is_interactive();
    match exit {
        Exit::Refused(reason) => bail!("{reason}"),
        Exit::Unanswered { messages, .. } if messages > 0 => bail!(
            "{messages} of your messages were not acknowledged in time and may or may not be stored: look into the \
             room before you send them again"
        ),
        Exit::Unanswered { questions, .. } if program && (!interrupted || questions > 0) => {
            bail!("not every answer came in time: run it again when the service can be reached")
        }
        Exit::Unanswered { .. } | Exit::Done if program && failed > 0 => {
            bail!("{failed} of the lines failed: see the errors above")
        }
        Exit::Unanswered { .. } | Exit::Done => Ok(()),
    }
}

/// Returns whether an event reports that a line of the user failed.
fn is_failure(event: &Event) -> bool {
    matches!(event, Event::Error { retrying: false, name, .. } if name != "unreadable")
}

async fn close(connections: BTreeMap<LinkId, Connection>) {
    let tasks: Vec<_> = connections
        .into_values()
        .map(|connection| connection.task)
        .collect();
    let _ = timeout(CLOSE_PATIENCE, async {
        for task in tasks {
            let _ = task.await;
        }
    })
    .await;
}
