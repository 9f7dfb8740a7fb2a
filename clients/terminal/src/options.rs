//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rand::RngExt as _;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::core::Settings;
use crate::issue::TokenOptions;
use crate::token::TokenSource;

/// The characters that are encoded in a query.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Chats in the rooms of a roomchat service. Messages are shown in order, each once, and a loss is reported
#[derive(Debug, Parser)]
#[command(name = "roomchat", version, args_conflicts_with_subcommands = true)]
pub struct Options {
    /// The other use of the program
    #[command(subcommand)]
    pub other: Option<Other>,
    /// The URL of the service with its stage: ws://… or wss://…
    #[arg(env = "CHAT_URL", default_value = "ws://127.0.0.1:3000/prod")]
    pub url: String,
    /// A room to join; may be given several times
    #[arg(long = "room", value_name = "ROOM", default_value = "lobby")]
    pub rooms: Vec<String>,
    /// Your name; without it you are a guest, or the user of your token
    #[arg(long)]
    pub user: Option<String>,
    /// A file with a token (a JWT) for the service, read again at each connection
    #[arg(long, value_name = "FILE", conflicts_with = "token_command")]
    pub token_file: Option<PathBuf>,
    /// A shell command that prints a token for the service, run again at each connection
    #[arg(long, value_name = "COMMAND")]
    pub token_command: Option<String>,
    /// The number of messages shown on entering a room
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=100))]
    pub history: u16,
    /// Shows who comes and goes and who is typing, and shows others the same of you
    #[arg(long)]
    pub presence: bool,
    /// Reads commands and writes events as lines of JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// The interval of pings, which also look for lost messages; API Gateway closes a connection after 10 silent minutes
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=540))]
    pub heartbeat: u64,
    /// The age at which a connection is replaced at the latest; API Gateway closes it after 2 hours
    #[arg(long, value_name = "SECONDS", default_value_t = 6900, value_parser = clap::value_parser!(u64).range(1..=7140))]
    pub max_life: u64,
    /// The time after which a frame without an answer is sent again
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub ack_timeout: u64,
}

/// A use of the program other than to chat.
#[derive(Debug, Subcommand)]
pub enum Other {
    /// Prints a token for a user, signed with your own secret or key
    Token(TokenOptions),
}

impl Options {
    /// Returns the source of tokens, if the user has named one.
    pub fn tokens(&self) -> Option<TokenSource> {
        let command = self.token_command.clone().map(TokenSource::Command);
        command.or_else(|| self.token_file.clone().map(TokenSource::File))
    }

    /// Returns the URL to connect to, without a room, and the URLs to try after it where the service refuses its names.
    ///
    /// A token names the user, so `--user` is added only where it is given. A guest is added by the name `guest`, which
    /// a service that verifies its users refuses: it gives its guests names of its own.
    ///
    /// # Errors
    ///
    /// Fails if the URL is not one of a WebSocket.
    pub fn addresses(&self, guest: &str) -> Result<Vec<String>, String> {
        let wrong = || {
            format!(
                "{} is not a WebSocket URL; such a URL looks like wss://HOST/STAGE.",
                self.url
            )
        };
        let uri: Uri = self.url.parse().map_err(|_| wrong())?;
        if !matches!(uri.scheme_str(), Some("ws" | "wss")) || uri.host().is_none() {
            return Err(wrong());
        }
        let separator = if uri.query().is_some() { '&' } else { '?' };
        // A query must follow a path, so a URL without a path gets one.
        let slash = if uri.path() == "/" && !self.url.ends_with('/') && uri.query().is_none() {
            "/"
        } else {
            ""
        };
        let base = format!("{}{slash}{separator}", self.url);
        let named = |user: &str| format!("{base}user={}&", utf8_percent_encode(user, ENCODED));
        Ok(match &self.user {
            Some(user) => vec![named(user)],
            None if self.tokens().is_some() => vec![base],
            None => vec![named(guest), base],
        })
    }

    /// Returns the settings of the core.
    pub fn settings(&self) -> Settings {
        Settings {
            user: self.user.clone().unwrap_or_else(guest),
            rooms: self.rooms.clone(),
            history: self.history,
            heartbeat: Duration::from_secs(self.heartbeat),
            max_life: Duration::from_secs(self.max_life),
            ack_timeout: Duration::from_secs(self.ack_timeout),
            has_tokens: self.tokens().is_some(),
            // A program marks nothing as read by reading it.
            marks: self.tokens().is_some() && !self.json,
            presence: self.presence,
        }
    }
}

/// Adds a room to an address that `Options::addresses` returned.
pub fn in_room(address: &str, room: &str) -> String {
    format!("{address}room={}", utf8_percent_encode(room, ENCODED))
}

/// Returns a random name for a guest. The service would give a name too, but another one to each connection, and it
/// takes messages with the same id for copies only if they have the same sender.
fn guest() -> String {
    // Without 0, 1, i, l and o, which are easily misread.
    const ALPHABET: &[u8] = b"23456789abcdefghjkmnpqrstuvwxyz";
    let mut rng = rand::rng();
    let tail = (0..6).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    "guest-".chars().chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Result<String, String> {
        let addresses = parse(&[url, "--user", "ünal"]).addresses("guest-x")?;
        assert_eq!(addresses.len(), 1);
        Ok(addresses[0].clone())
    }

    fn parse(arguments: &[&str]) -> Options {
        Options::try_parse_from([&["roomchat"], arguments].concat()).unwrap()
    }

    #[test]
    fn a_token_names_the_user() {
        let url = "ws://h/prod";
        let token = parse(&[url, "--token-file", "f"]);
        assert_eq!(token.addresses("guest-x").unwrap(), ["ws://h/prod?"]);
        assert_eq!(token.tokens(), Some(TokenSource::File("f".into())));
        assert!(token.settings().has_tokens);
        let both = parse(&[url, "--token-command", "c", "--user", "a"]);
        assert_eq!(both.addresses("a").unwrap(), ["ws://h/prod?user=a&"]);
        let guest = parse(&[url]).addresses("guest-x").unwrap();
        assert_eq!(guest, ["ws://h/prod?user=guest-x&", "ws://h/prod?"]);
        assert_eq!(both.tokens(), Some(TokenSource::Command("c".to_owned())));
        let two = ["roomchat", "--token-file", "f", "--token-command", "c"];
        assert!(Options::try_parse_from(two).is_err());
        let issue = parse(&["token", "--secret-file", "s", "--user", "a"]);
        assert!(matches!(issue.other, Some(Other::Token(_))));
    }

    #[test]
    fn rooms_are_added_to_any_url() {
        let user = "user=%C3%BCnal";
        for (url, expected) in [
            ("ws://h:1/prod", "ws://h:1/prod?"),
            ("wss://h/prod?token=a", "wss://h/prod?token=a&"),
            ("wss://h", "wss://h/?"),
            ("wss://h/", "wss://h/?"),
        ] {
            assert_eq!(address(url), Ok(format!("{expected}{user}&")));
        }
        assert_eq!(in_room("x?", "a:b"), "x?room=a%3Ab");
    }

    #[test]
    fn other_urls_are_refused() {
        for url in ["http://h/prod", "h", "ws://", "/prod", "ws:h"] {
            assert!(address(url).is_err(), "{url}");
        }
    }

    #[test]
    fn guests_have_names_of_their_own() {
        assert_ne!(guest(), guest());
        assert_eq!(guest().len(), 12);
    }
}
