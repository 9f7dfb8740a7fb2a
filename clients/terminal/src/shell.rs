//! Runs the core: gives it the time, connections and a user.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};

use crate::core::{Core, Exit, Input, LinkId, Output};
use crate::net::{Connection, connect};
use crate::options::{Options, in_room};
use crate::ui::{Said, Ui};

/// How long a person who quits waits for what is not acknowledged.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);

/// How long a program does.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// How long the last connections may take to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Chats until the user ends it.
///
/// # Errors
///
/// One sentence: why it could not begin, or what was not acknowledged at the end.
pub async fn run(options: &Options, ui: &Ui, mut said: UnboundedReceiver<Said>) -> Result<()> {
    let settings = options.settings();
    let address = options
        .address(&settings.user)
        .map_err(anyhow::Error::msg)?;
    let mut core = Core::new(settings, rand::random());
    let mut connections: BTreeMap<LinkId, Connection> = BTreeMap::new();
    let (events, mut happened) = unbounded_channel();
    let mut terminate = signal(SignalKind::terminate())?;
    let started = Instant::now();
    let mut input = Input::Tick;
    let mut quitting = false;
    // The editor may show its first prompt.
    let mut answered = true;
    let exit = loop {
        let mut exit = None;
        for output in core.handle(started.elapsed(), input) {
            match output {
                Output::Connect { link, room } => {
                    let url = in_room(&address, &room);
                    connections.insert(link, connect(link, url, events.clone()));
                }
                Output::Send(link, frame) => {
                    if let Some(connection) = connections.get(&link) {
                        // One that has just ended says so itself.
                        let _ = connection.frames.send(frame);
                    }
                }
                Output::Close(link) => {
                    connections.remove(&link);
                }
                Output::Show(event) => ui.show(&event, core.here())?,
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
                answered = true;
                match line {
                    Said::Command(command) => Input::Command(command),
                    Said::Note(text) => {
                        if !text.is_empty() {
                            ui.note(text)?;
                        }
                        Input::Tick
                    }
                    // Somebody who quits twice means it.
                    Said::Quit if quitting => break Exit::Unsent(0),
                    Said::Quit => {
                        quitting = true;
                        Input::End(QUIT_PATIENCE)
                    }
                    Said::End => Input::End(END_PATIENCE),
                }
            }
            () = sleep_until(deadline.unwrap_or(started)), if deadline.is_some() => Input::Tick,
            _ = terminate.recv() => break Exit::Done,
            _ = tokio::signal::ctrl_c() => break Exit::Done,
        };
    };
    close(connections).await;
    match exit {
        Exit::Refused(reason) => bail!("{reason}"),
        Exit::Unsent(messages) if messages > 0 => {
            bail!(
                "{messages} of your messages were not acknowledged in time: look into the room before you send them again"
            )
        }
        Exit::Unsent(_) if options.json => {
            bail!("not every answer came in time: run it again when the service is reachable")
        }
        Exit::Unsent(_) | Exit::Done => Ok(()),
    }
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
