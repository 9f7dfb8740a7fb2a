//! What the gateway prints: one line for each thing that happened, on standard output.
//!
//! A thread of its own writes: a terminal that has stopped (Ctrl-S, a pipe nobody reads) must not stop the service.

use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that wait for the terminal; more are dropped and counted.
const WAITING_LINES: usize = 10_000;

enum Entry {
    Line(String),
    /// Everything before it has been written.
    Flush(SyncSender<()>),
}

static WRITER: LazyLock<SyncSender<Entry>> = LazyLock::new(|| {
    let (sender, entries) = sync_channel(WAITING_LINES);
    thread::spawn(move || {
        for entry in entries {
            // A reader that has gone away is no reason to end.
            let _ = match entry {
                Entry::Line(line) => writeln!(std::io::stdout(), "{line}"),
                Entry::Flush(done) => done.send(()).map_err(std::io::Error::other),
            };
            let dropped = DROPPED.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let _ = writeln!(std::io::stdout(), "… {dropped} lines were not printed");
            }
        }
    });
    sender
});

static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Prints a line with the time and where it comes from.
pub(crate) fn line(source: &str, text: &str) {
    let now = chrono::Utc::now().format("%H:%M:%S%.3f");
    plain(&format!("{now} {source:<10} {}", text.trim_end()));
}

/// Prints a line as it is.
pub(crate) fn plain(text: &str) {
    if WRITER.try_send(Entry::Line(text.to_owned())).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until everything is printed, but no longer than `limit`.
pub(crate) fn flush(limit: Duration) {
    let (done, written) = sync_channel(1);
    if WRITER.try_send(Entry::Flush(done)).is_ok() {
        let _ = written.recv_timeout(limit);
    }
}
