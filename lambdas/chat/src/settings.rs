//! The environment variables of the functions, read once at start.
//!
//! The SDK reads its own besides: credentials, `AWS_REGION`, `AWS_ENDPOINT_URL_DYNAMODB`,
//! `AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI`.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::identity::Auth;
use crate::protocol::{MAX_PATTERN_CHARS, MAX_PATTERNS, MAX_STARS};

/// The SDK's variable for the endpoint of `@connections`.
pub const MANAGEMENT_ENDPOINT: &str = "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI";

/// Looks up an environment variable. It is a parameter, so that tests do not change their own environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
pub fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The table of connections.
#[derive(Debug, Clone)]
pub struct ConnectionsTable {
    /// `CONNECTIONS_TABLE`, required.
    pub name: String,
    /// `MEMBERS_PAGE_SIZE`: rows per page of every Query. Without it a page is 1 MB, as DynamoDB limits it.
    pub page_size: Option<i32>,
}

impl ConnectionsTable {
    /// Reads the variables.
    ///
    /// # Errors
    ///
    /// Names the missing or invalid variable.
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Self> {
        let page_size = number(env, "MEMBERS_PAGE_SIZE")?;
        if page_size.is_some_and(|size: i32| size < 1) {
            bail!("MEMBERS_PAGE_SIZE must be 1 or more");
        }
        Ok(Self {
            name: required(
                env,
                "CONNECTIONS_TABLE",
                "the name of the table of connections",
            )?,
            page_size,
        })
    }
}

/// The table of messages, and how long it keeps them.
#[derive(Debug, Clone)]
pub struct MessagesTable {
    /// `MESSAGES_TABLE`, required.
    pub name: String,
    /// `HISTORY_DAYS`, required, 1 to 3,650; here in seconds.
    pub retention_s: i64,
    /// `LIMITS`: the rate limits; none for no limits.
    pub limits: Option<LogLimits>,
    /// `MESSAGES_PAGE_SIZE`: rows per page of a Query. Without it a page has the rows that are asked for, and at most
    /// 1 MB, as DynamoDB limits it.
    pub page_size: Option<i32>,
}

impl MessagesTable {
    /// Reads the variables.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Self> {
        let page_size = number(env, "MESSAGES_PAGE_SIZE")?;
        if page_size.is_some_and(|size: i32| size < 1) {
            bail!("MESSAGES_PAGE_SIZE must be 1 or more");
        }
        let name = required(env, "MESSAGES_TABLE", "the name of the table of messages")?;
        Ok(Self {
            name,
            retention_s: Retention::read(env)?.seconds,
            limits: RateLimits::read(env)?.and_then(|limits| limits.of_log()),
            page_size,
        })
    }
}

impl MessagesTable {
    /// The same table as the audit uses it: `AUDIT_DAYS`, 1 to 3,650, and no rate limits.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read_audit(env: Lookup<'_>) -> anyhow::Result<Self> {
        let days: i64 = number(env, "AUDIT_DAYS")?
            .context("AUDIT_DAYS is not set: it must hold how many days the audit is kept")?;
        if !(1..=3_650).contains(&days) {
            bail!("AUDIT_DAYS must be 1 to 3650, not {days}");
        }
        Ok(Self {
            retention_s: days * 24 * 3600,
            limits: None,
            ..Self::read(env)?
        })
    }
}

/// The highest limit that a log counts: the number of rows of a room that a process remembers.
pub const MAX_LOG_LIMIT: u32 = 200;

/// The rate limits that the log of a room counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogLimits {
    /// Messages of one user within the window, 1 to [`MAX_LOG_LIMIT`]; none for no limit.
    pub per_user: Option<u32>,
    /// Messages of the room within the window, 1 to [`MAX_LOG_LIMIT`]; none for no limit.
    pub per_room: Option<u32>,
    /// The length of the window, in milliseconds.
    pub window_ms: i64,
}

/// The rate limits, as the Terraform variable `limits` holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    /// Messages of one user in a room within the window, 1 to 200; 0 for no limit.
    pub per_user: u32,
    /// Messages of a room within the window, 1 to 200; 0 for no limit.
    pub per_room: u32,
    /// The length of the window, 1 to 60 seconds.
    pub window_seconds: u32,
    /// Frames of one connection to one process in a second, other than messages; 0 for no limit.
    pub frames_per_second: u32,
    /// Frames that a connection may send at once before `frames_per_second` counts.
    pub burst: u32,
    /// Frames beyond `frames_per_second` in a minute after which a process closes the connection; 0 for never.
    pub close_after: u32,
}

impl RateLimits {
    /// Reads `LIMITS`, a JSON object; none where the variable is not set.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Option<Self>> {
        let Some(text) = env("LIMITS").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let limits: Self = serde_json::from_str(&text)
            .with_context(|| format!("LIMITS must be a JSON object of limits, not {text}"))?;
        for (name, value) in [("per_user", limits.per_user), ("per_room", limits.per_room)] {
            if value > MAX_LOG_LIMIT {
                bail!("{name} in LIMITS must be 0 to {MAX_LOG_LIMIT}, not {value}");
            }
        }
        if !(1..=60).contains(&limits.window_seconds) {
            bail!(
                "window_seconds in LIMITS must be 1 to 60, not {}",
                limits.window_seconds
            );
        }
        if limits.frames_per_second > 0 && limits.burst == 0 {
            bail!("burst in LIMITS must be 1 or more where frames_per_second is a limit");
        }
        Ok(Some(limits))
    }

    /// The limits that the log counts; none if both are off.
    pub fn of_log(self) -> Option<LogLimits> {
        let limit = |limit: u32| (limit > 0).then_some(limit);
        let (per_user, per_room) = (limit(self.per_user), limit(self.per_room));
        (per_user.or(per_room).is_some()).then(|| LogLimits {
            per_user,
            per_room,
            window_ms: i64::from(self.window_seconds) * 1000,
        })
    }
}

/// The time for which messages and marks are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// `HISTORY_DAYS`, required, 1 to 3,650; here in seconds.
    pub seconds: i64,
}

impl Retention {
    /// Reads the variable.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Self> {
        let days: i64 = number(env, "HISTORY_DAYS")?
            .context("HISTORY_DAYS is not set: it must hold how many days messages are kept")?;
        if !(1..=3_650).contains(&days) {
            bail!("HISTORY_DAYS must be 1 to 3650, not {days}");
        }
        Ok(Self {
            seconds: days * 24 * 3600,
        })
    }
}

/// The table of bans and revocations.
#[derive(Debug, Clone)]
pub struct UsersTable {
    /// `USERS_TABLE`, required where users are verified. Without it a verified user is not let in.
    pub name: Option<String>,
}

impl UsersTable {
    /// Reads `USERS_TABLE` and `AUTH_MODE`.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Self> {
        let name = match auth(env)? {
            Auth::Off => None,
            Auth::Required { .. } => Some(required(
                env,
                "USERS_TABLE",
                "the name of the table of users",
            )?),
        };
        Ok(Self { name })
    }
}

/// The limits for handshakes.
#[derive(Debug, Clone)]
pub struct Handshakes {
    /// `ALLOWED_ORIGINS`: the web pages whose browsers may connect, as `https://host`, comma-separated. Empty: all.
    pub allowed_origins: Vec<String>,
    /// `MAX_CONNECTIONS_PER_USER`: connections of one verified user at a time, 1 or more, by default 20.
    pub max_connections_per_user: usize,
}

impl Handshakes {
    /// Reads the variables.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Self> {
        let origins = env("ALLOWED_ORIGINS").unwrap_or_default();
        let max_connections_per_user = number(env, "MAX_CONNECTIONS_PER_USER")?.unwrap_or(20);
        if max_connections_per_user == 0 {
            bail!("MAX_CONNECTIONS_PER_USER must be 1 or more");
        }
        Ok(Self {
            allowed_origins: origins
                .split(',')
                .map(str::trim)
                .filter(|origin| !origin.is_empty())
                .map(str::to_owned)
                .collect(),
            max_connections_per_user,
        })
    }
}

/// The limits of live rooms: those with signals and presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// `LIVE_MAX_MEMBERS`: the most connections of a live room, by default 100; 0 turns signals and presence off.
    pub max_members: usize,
}

impl Live {
    /// Reads the variable.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Self> {
        let max_members = number(env, "LIVE_MAX_MEMBERS")?.unwrap_or(100);
        if max_members > 1_000 {
            bail!("LIVE_MAX_MEMBERS must be 0 to 1000, not {max_members}");
        }
        Ok(Self { max_members })
    }
}

/// Busy rooms, as the Terraform variable `paced` holds them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Connections from which a room's messages are delivered together, 2 or more.
    pub from_members: usize,
    /// Posts a second in such a room, 1 or more.
    pub posts_per_second: u32,
    /// `DELIVER_FUNCTION`: the function that delivers while a room is busy.
    #[serde(skip)]
    pub function: String,
}

impl Pace {
    /// Reads `PACED`, and with it `DELIVER_FUNCTION`. Without the variable no room is paced.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Option<Self>> {
        let Some(text) = env("PACED").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let pace: Self = serde_json::from_str(&text)
            .with_context(|| format!("PACED is not the object of the variable paced: {text}"))?;
        if pace.from_members < 2 || pace.posts_per_second < 1 {
            bail!("PACED must have from_members of 2 or more and posts_per_second of 1 or more");
        }
        let function = "the name of the function that delivers in busy rooms";
        let function = required(env, "DELIVER_FUNCTION", function)?;
        Ok(Some(Self { function, ..pace }))
    }

    /// The time that so many posts take, in milliseconds.
    pub fn time_ms(&self, posts: usize) -> i64 {
        let posts = i64::try_from(posts).unwrap_or(i64::MAX);
        posts.saturating_mul(1_000) / i64::from(self.posts_per_second)
    }
}

/// The bounds of a delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// `FAN_OUT_CONCURRENCY`: posts in flight at most, 1 to 512, by default 128.
    ///
    /// One vCPU is busy with about 83 posts in flight at 10 ms each (0.12 ms of CPU a post), an HTTP/2 connection
    /// carries 128 streams, and Lambda gives a process 1,024 file descriptors: past 128 little is gained.
    pub concurrency: usize,
    /// `PRUNE_GRACE_SECONDS`: rows younger than this are not pruned, by default 30 s.
    ///
    /// API Gateway answers 410 for a connection whose `$connect` still runs, and lets that run for 29 s at most.
    pub prune_grace: Duration,
    /// The longest time for one try of one post.
    pub attempt_timeout: Duration,
    /// The longest time for one post with all its tries.
    pub post_timeout: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            concurrency: 128,
            prune_grace: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(2),
            post_timeout: Duration::from_secs(5),
        }
    }
}

impl Delivery {
    /// Reads the variables.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Self> {
        check_management_endpoint(env)?;
        let default = Self::default();
        let concurrency = number(env, "FAN_OUT_CONCURRENCY")?.unwrap_or(default.concurrency);
        if !(1..=512).contains(&concurrency) {
            bail!("FAN_OUT_CONCURRENCY must be 1 to 512, not {concurrency}");
        }
        Ok(Self {
            concurrency,
            prune_grace: number(env, "PRUNE_GRACE_SECONDS")?
                .map_or(default.prune_grace, Duration::from_secs),
            ..default
        })
    }
}

/// The function that reviews messages before they are stored, as the Terraform variable `review` names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewSettings {
    /// The function.
    pub function_arn: String,
    /// Patterns of the rooms that are reviewed.
    pub rooms: Vec<String>,
    /// The longest wait for a decision, 100 to 20,000 ms.
    pub timeout_ms: u64,
    /// The answer to a message without a decision.
    pub on_failure: OnFailure,
}

/// The consequence of a review that makes no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The message is refused, and may be sent again.
    Refuse,
    /// The message is stored.
    Allow,
}

impl ReviewSettings {
    /// Reads `REVIEW`, a JSON object; none where the variable is not set.
    ///
    /// # Errors
    ///
    /// See [`ConnectionsTable::read`].
    pub fn read(env: Lookup<'_>) -> anyhow::Result<Option<Self>> {
        let Some(text) = env("REVIEW").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let review: Self = serde_json::from_str(&text)
            .with_context(|| format!("REVIEW must be the settings of a review, not {text}"))?;
        if review.function_arn.is_empty() {
            bail!("function_arn in REVIEW must name a function");
        }
        let is_pattern = |pattern: &String| {
            (1..=MAX_PATTERN_CHARS).contains(&pattern.chars().count())
                && pattern.matches('*').count() <= MAX_STARS
        };
        let count = review.rooms.len();
        if !(1..=MAX_PATTERNS).contains(&count) || !review.rooms.iter().all(is_pattern) {
            bail!(
                "rooms in REVIEW must be 1 to {MAX_PATTERNS} patterns of 1 to {MAX_PATTERN_CHARS} characters with at most {MAX_STARS} stars"
            );
        }
        if !(100..=20_000).contains(&review.timeout_ms) {
            bail!(
                "timeout_ms in REVIEW must be 100 to 20000, not {}",
                review.timeout_ms
            );
        }
        Ok(Some(review))
    }
}

/// `AUTH_MODE`: `required` where an authorizer stands before `$connect`. Without the variable identity is off.
///
/// # Errors
///
/// See [`ConnectionsTable::read`]. Any other value is an error: identity must not be off because of a typing mistake.
pub fn auth(env: Lookup<'_>) -> anyhow::Result<Auth> {
    match env("AUTH_MODE").as_deref() {
        None | Some("") => Ok(Auth::Off),
        Some("required") => Ok(Auth::Required {
            direct_messages: direct_messages(env)?,
        }),
        Some(other) => bail!("AUTH_MODE must be \"required\" or not be set, not {other:?}"),
    }
}

/// `DIRECT_MESSAGES`: `off` where two users have no room of their own.
fn direct_messages(env: Lookup<'_>) -> anyhow::Result<bool> {
    match env("DIRECT_MESSAGES").as_deref() {
        None | Some("") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => bail!("DIRECT_MESSAGES must be \"off\" or not be set, not {other:?}"),
    }
}

/// `ACTIONS`: the actions a client may ask for, comma-separated, for the texts of error frames.
///
/// # Errors
///
/// See [`ConnectionsTable::read`].
pub fn actions(env: Lookup<'_>) -> anyhow::Result<Vec<String>> {
    let list = required(
        env,
        "ACTIONS",
        "the actions of the API, separated by commas",
    )?;
    let actions: Vec<String> = list
        .split(',')
        .map(str::trim)
        .filter(|action| !action.is_empty())
        .map(str::to_owned)
        .collect();
    if actions.is_empty() {
        bail!("ACTIONS names no action: it must hold the actions of the API, separated by commas");
    }
    Ok(actions)
}

/// Checks the endpoint: the SDK accepts any text and fails at the first post. `wss://` is the likely mistake.
fn check_management_endpoint(env: Lookup<'_>) -> anyhow::Result<()> {
    let endpoint = required(
        env,
        MANAGEMENT_ENDPOINT,
        "the URL of the API's @connections, https://{apiId}.execute-api.{region}.amazonaws.com/{stage}",
    )?;
    if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
        bail!("{MANAGEMENT_ENDPOINT} must begin with https://, not be {endpoint:?}");
    }
    Ok(())
}

fn required(env: Lookup<'_>, name: &str, what: &str) -> anyhow::Result<String> {
    env(name)
        .filter(|value| !value.is_empty())
        .with_context(|| format!("{name} is not set: it must hold {what}"))
}

fn number<T: FromStr>(env: Lookup<'_>, name: &str) -> anyhow::Result<Option<T>> {
    let Some(value) = env(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => bail!("{name} must be a whole number, not {value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        }
    }

    fn message<T: std::fmt::Debug>(result: anyhow::Result<T>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    const ENDPOINT: (&str, &str) = (
        MANAGEMENT_ENDPOINT,
        "https://a.execute-api.eu-west-1.amazonaws.com/prod",
    );

    #[test]
    fn a_missing_or_wrong_variable_is_named() {
        for nothing in [env(&[]), env(&[("CONNECTIONS_TABLE", "")])] {
            assert_eq!(
                message(ConnectionsTable::read(&nothing)),
                "CONNECTIONS_TABLE is not set: it must hold the name of the table of connections"
            );
        }
        for size in ["0", "-1", "ten"] {
            let pairs = [("CONNECTIONS_TABLE", "t"), ("MEMBERS_PAGE_SIZE", size)];
            assert!(
                message(ConnectionsTable::read(&env(&pairs)))
                    .starts_with("MEMBERS_PAGE_SIZE must be")
            );
        }
        let messages = ("MESSAGES_TABLE", "m");
        for (pairs, start) in [
            (vec![], "MESSAGES_TABLE is not set"),
            (vec![messages], "HISTORY_DAYS is not set"),
            (
                vec![messages, ("HISTORY_DAYS", "0")],
                "HISTORY_DAYS must be 1 to 3650, not 0",
            ),
            (
                vec![messages, ("HISTORY_DAYS", "a week")],
                "HISTORY_DAYS must be a whole number",
            ),
            (
                vec![messages, ("MESSAGES_PAGE_SIZE", "0")],
                "MESSAGES_PAGE_SIZE must be",
            ),
        ] {
            let text = message(MessagesTable::read(&env(&pairs)));
            assert!(text.starts_with(start), "{text}");
        }
        assert!(message(Delivery::read(&env(&[]))).starts_with(MANAGEMENT_ENDPOINT));
        let wss = [(MANAGEMENT_ENDPOINT, "wss://a/prod")];
        assert!(message(Delivery::read(&env(&wss))).contains("must begin with https://"));
        let words = [ENDPOINT, ("FAN_OUT_CONCURRENCY", "many")];
        assert_eq!(
            message(Delivery::read(&env(&words))),
            r#"FAN_OUT_CONCURRENCY must be a whole number, not "many""#
        );
        for list in [env(&[]), env(&[("ACTIONS", " , ")])] {
            assert!(message(actions(&list)).starts_with("ACTIONS "));
        }
    }

    #[test]
    fn identity_is_not_off_by_mistake() {
        let auth_of = |value: &'static str| auth(&move |_: &str| Some(value.to_owned()));
        assert_eq!(auth(&env(&[])).unwrap(), Auth::Off);
        assert_eq!(auth_of("").unwrap(), Auth::Off);
        let required = |direct_messages| Auth::Required { direct_messages };
        let with = |value| [("AUTH_MODE", "required"), ("DIRECT_MESSAGES", value)];
        assert_eq!(auth(&env(&with(""))).unwrap(), required(true));
        assert_eq!(auth(&env(&with("off"))).unwrap(), required(false));
        assert!(message(auth(&env(&with("no")))).starts_with("DIRECT_MESSAGES must be"));
        for wrong in ["Required", "on", "true", "off"] {
            assert!(
                message(auth_of(wrong)).starts_with("AUTH_MODE must be"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn who_is_let_in_is_read() {
        let read = |pairs: &[(&str, &str)]| Handshakes::read(&env(pairs)).unwrap();
        let default = read(&[]);
        assert_eq!(
            (
                default.allowed_origins.len(),
                default.max_connections_per_user
            ),
            (0, 20)
        );
        let set = read(&[
            ("ALLOWED_ORIGINS", "https://a.example, http://b:80,"),
            ("MAX_CONNECTIONS_PER_USER", "3"),
        ]);
        assert_eq!(set.allowed_origins, ["https://a.example", "http://b:80"]);
        assert_eq!(set.max_connections_per_user, 3);
        for wrong in ["0", "-1", "many"] {
            let pairs = [("MAX_CONNECTIONS_PER_USER", wrong)];
            let text = message(Handshakes::read(&env(&pairs)));
            assert!(
                text.starts_with("MAX_CONNECTIONS_PER_USER must be"),
                "{text}"
            );
        }
        // Needed where users are verified.
        assert_eq!(UsersTable::read(&env(&[])).unwrap().name, None);
        let required = [("AUTH_MODE", "required")];
        let text = message(UsersTable::read(&env(&required)));
        assert!(text.starts_with("USERS_TABLE is not set"), "{text}");
    }

    #[test]
    fn which_rooms_are_live_is_read() {
        let read = |value: &str| Live::read(&env(&[("LIVE_MAX_MEMBERS", value)]));
        let most = |value: &str| read(value).unwrap().max_members;
        assert_eq!(["", "0", "1", "1000"].map(most), [100, 0, 1, 1_000]);
        for wrong in ["1001", "-1", "many"] {
            let text = message(read(wrong));
            assert!(text.starts_with("LIVE_MAX_MEMBERS must be"), "{text}");
        }
    }

    #[test]
    fn busy_rooms_are_off_unless_they_are_set() {
        assert_eq!(Pace::read(&env(&[])).unwrap(), None);
        let paced = |text| [("PACED", text), ("DELIVER_FUNCTION", "talk-deliver")];
        let pace = Pace::read(&env(&paced(
            r#"{"from_members":200,"posts_per_second":5000}"#,
        )));
        let pace = pace.unwrap().unwrap();
        assert_eq!(
            (pace.from_members, pace.function.as_str()),
            (200, "talk-deliver")
        );
        assert_eq!([0, 1, 1_000].map(|posts| pace.time_ms(posts)), [0, 0, 200]);
        for wrong in [
            "200",
            r#"{"from_members":1,"posts_per_second":5000}"#,
            r#"{"from_members":2,"posts_per_second":0}"#,
            r#"{"from_members":2,"posts_per_second":1,"more":1}"#,
        ] {
            let text = message(Pace::read(&env(&paced(wrong))));
            assert!(text.starts_with("PACED "), "{text}");
        }
        let alone = [("PACED", r#"{"from_members":2,"posts_per_second":1}"#)];
        let text = message(Pace::read(&env(&alone)));
        assert!(text.starts_with("DELIVER_FUNCTION is not set"), "{text}");
    }

    #[test]
    fn defaults_and_bounds() {
        let week = [("MESSAGES_TABLE", "m"), ("HISTORY_DAYS", "7")];
        let history = MessagesTable::read(&env(&week)).unwrap();
        assert_eq!((history.retention_s, history.page_size), (604_800, None));
        let read = |value: &str| {
            Delivery::read(&env(&[ENDPOINT, ("FAN_OUT_CONCURRENCY", value)]))
                .unwrap()
                .concurrency
        };
        assert_eq!(
            [read(""), read("1"), read("7"), read("512")],
            [128, 1, 7, 512]
        );
        for value in ["0", "513"] {
            let text = message(Delivery::read(&env(&[
                ENDPOINT,
                ("FAN_OUT_CONCURRENCY", value),
            ])));
            assert_eq!(
                text,
                format!("FAN_OUT_CONCURRENCY must be 1 to 512, not {value}")
            );
        }
        let grace = |value: &str| {
            Delivery::read(&env(&[ENDPOINT, ("PRUNE_GRACE_SECONDS", value)]))
                .unwrap()
                .prune_grace
        };
        assert_eq!(
            [grace(""), grace("0")],
            [Duration::from_secs(30), Duration::ZERO]
        );
        assert_eq!(
            actions(&env(&[("ACTIONS", "publish, ping,")])).unwrap(),
            ["publish", "ping"]
        );
    }
}
