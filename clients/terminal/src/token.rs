//! Gets the token for each handshake: from a file or from a command.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use jsonwebtoken::dangerous::insecure_decode_claims;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

/// The longest token that the service accepts, in bytes.
const MAX_TOKEN: usize = 4096;

/// The time that a token command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// The source of tokens. It is asked again for each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file that holds the token.
    File(PathBuf),
    /// A shell command that prints the token.
    Command(String),
}

impl TokenSource {
    /// Returns a token.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or the command fails, or when the result cannot be a token. The error never
    /// holds the result itself.
    pub async fn token(&self) -> Result<String> {
        let (text, source) = match self {
            Self::File(path) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("cannot read the token file {}", path.display()))?;
                (text, format!("the token file {}", path.display()))
            }
            Self::Command(command) => (output(command).await?, "the token command".to_owned()),
        };
        let token = text.trim();
        ensure!(!token.is_empty(), "{source} gives no token");
        ensure!(
            token.len() <= MAX_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic()),
            "{source} gives something else than one token of at most {MAX_TOKEN} bytes"
        );
        Ok(token.to_owned())
    }
}

/// Runs a shell command and returns what it prints.
async fn output(command: &str) -> Result<String> {
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(finished) = timeout(COMMAND_TIMEOUT, child).await else {
        bail!(
            "the token command did not end within {} seconds",
            COMMAND_TIMEOUT.as_secs()
        );
    };
    let finished = finished.context("cannot start a shell for the token command")?;
    if !finished.status.success() {
        let words = String::from_utf8_lossy(&finished.stderr);
        let last = words.lines().last().unwrap_or("it prints no reason");
        bail!("the token command failed ({}): {last}", finished.status);
    }
    String::from_utf8(finished.stdout)
        .context("the token command printed something other than text")
}

#[derive(Deserialize)]
struct Times {
    exp: f64,
    iat: Option<f64>,
}

/// Returns how long a token is valid from now on, or `None` for a token that does not say. The signature is not
/// checked: that is up to the service.
pub fn life(token: &str) -> Option<Duration> {
    life_at(token, SystemTime::now().duration_since(UNIX_EPOCH).ok()?)
}

fn life_at(token: &str, now: Duration) -> Option<Duration> {
    let Times { exp, iat } = insecure_decode_claims(token).ok()?;
    // The clock of this machine may be behind that of the issuer: then the whole life of the token is a better bound.
    let whole = exp - iat.unwrap_or(f64::MIN);
    let left = (exp - now.as_secs_f64()).min(whole);
    Duration::try_from_secs_f64(left.max(0.0)).ok()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    fn signed(claims: &Value) -> String {
        encode(&Header::default(), claims, &EncodingKey::from_secret(b"x")).unwrap()
    }

    fn token(source: &TokenSource) -> Result<String> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build()?;
        runtime.block_on(source.token())
    }

    #[test]
    fn a_file_is_read_again_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = TokenSource::File(file.path().to_owned());
        for text in ["a.b.c\n", " d.e.f \r\n"] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(token(&source).unwrap(), text.trim());
        }
        for text in ["", "\n", "a.b.c\nd.e.f", &"x".repeat(4097), "ä"] {
            fs::write(file.path(), text).unwrap();
            let error = token(&source).unwrap_err().to_string();
            assert!(
                !error.contains("d.e.f") && !error.contains("xxx"),
                "{error}"
            );
        }
        let missing = TokenSource::File("/no/such/file".into());
        let error = format!("{:#}", token(&missing).unwrap_err());
        assert!(
            error.starts_with("cannot read the token file /no/such/file: "),
            "{error}"
        );
    }

    #[test]
    fn a_command_prints_the_token() {
        let run = |command: &str| token(&TokenSource::Command(command.to_owned()));
        assert_eq!(run("printf a.; echo b.c").unwrap(), "a.b.c");
        let error = run("echo secret; echo no login >&2; exit 3").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the token command failed (exit status: 3): no login"
        );
    }

    #[test]
    fn the_life_of_a_token_is_bounded_by_its_claims() {
        let left = |claims: &Value| {
            let life = life_at(&signed(claims), Duration::from_secs(5000));
            life.map(|life| life.as_secs())
        };
        assert_eq!(left(&json!({"exp": 5100})), Some(100));
        assert_eq!(left(&json!({"exp": 5100, "iat": 4900})), Some(100));
        // The clock of the issuer is an hour ahead.
        assert_eq!(left(&json!({"exp": 8700, "iat": 8600})), Some(100));
        assert_eq!(left(&json!({"exp": 4995})), Some(0));
        assert_eq!(left(&json!({"sub": "a"})), None);
        assert_eq!(life("opaque"), None);
    }
}
