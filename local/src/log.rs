//! What the gateway prints: one line for each thing that happened, on standard output.

use std::io::Write as _;

/// Prints a line with the time and where it comes from. A reader that has gone away does not stop the gateway.
pub(crate) fn line(source: &str, text: &str) {
    let now = chrono::Utc::now().format("%H:%M:%S%.3f");
    plain(&format!("{now} {source:<10} {}", text.trim_end()));
}

/// Prints a line as it is.
pub(crate) fn plain(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
