//! The program `roomchat-admin`: every action of the function `admin`, for people and for scripts.

mod call;
mod options;
mod show;

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use roomchat::text::line;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use call::{Call, Caller, Failure, Kind};
use options::{Action, Options, Text, Whom, WhomFor};

/// The largest page of a log that the service gives.
const PAGE: u64 = 100;

/// The largest page of members that the service gives.
const MEMBERS: u64 = 1000;

/// The room of the audit.
const AUDIT: &str = "@audit";

/// The reason why the program ends early.
enum End {
    Failed(Failure),
    /// Nobody reads stdout any more, or it cannot be written.
    Closed(io::Error),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

fn main() -> ExitCode {
    // A mistake in the arguments ends here, with exit code 2.
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(Session::run(&options)),
        Err(error) => Err(Failure::setup("internal", format!("Cannot start: {error}.")).into()),
    };
    let failure = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        // `roomchat-admin history lobby | head -1` has what it wanted.
        Err(End::Closed(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Err(End::Closed(error)) => {
            Failure::setup("internal", format!("Cannot write to stdout: {error}."))
        }
        Err(End::Failed(failure)) => failure,
    };
    let told = if options.json {
        writeln!(io::stderr(), "{}", error_json(&failure))
    } else {
        writeln!(io::stderr(), "roomchat-admin: {}", line(&failure.message))
    };
    // Without stderr, the exit code alone tells.
    drop(told);
    ExitCode::from(failure.kind as u8)
}

fn error_json(failure: &Failure) -> String {
    let own = || {
        let temporary = failure.kind == Kind::Temporary;
        json!({"type": "error", "name": failure.name, "message": failure.message, "temporary": temporary})
            .to_string()
    };
    failure.frame.clone().unwrap_or_else(own)
}

/// A page of a log.
#[derive(Deserialize)]
struct Page {
    epoch: Option<String>,
    first: u64,
    head: u64,
    messages: Vec<Box<RawValue>>,
    more: bool,
}

/// A run of the program.
struct Session<'a> {
    caller: Caller,
    options: &'a Options,
    id: String,
}

impl<'a> Session<'a> {
    async fn run(options: &'a Options) -> Result<(), End> {
        let id = options.id.clone();
        let session = Self {
            caller: Caller::new(&options.to).await?,
            options,
            id: id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        };
        session.act().await
    }

    async fn act(&self) -> Result<(), End> {
        match &self.options.action {
            Action::Publish { rooms, text } => {
                self.change("publish", &[("data", content(text)?), in_rooms(rooms)])
                    .await
            }
            Action::Signal {
                rooms,
                kind,
                data,
                to,
            } => {
                let mut fields = vec![("kind", raw(kind)), in_rooms(rooms)];
                if let Some(data) = data {
                    fields.push(("data", as_json(data)?));
                }
                fields.extend(to.as_ref().map(|to| ("to", raw(to))));
                self.change("signal", &fields).await
            }
            Action::Edit { room, seq, text } => {
                let fields = [
                    ("room", raw(room)),
                    ("target", raw(seq)),
                    ("data", content(text)?),
                ];
                self.change("edit", &fields).await
            }
            Action::Delete { room, seq, reason } => {
                let fields = [
                    ("room", raw(room)),
                    ("target", raw(seq)),
                    ("reason", raw(reason)),
                ];
                self.change("delete", &fields).await
            }
            Action::React {
                room,
                seq,
                key,
                off,
            } => {
                let (key, on) = (("key", raw(key)), ("on", raw(&!off)));
                self.change(
                    "react",
                    &[("room", raw(room)), ("target", raw(seq)), key, on],
                )
                .await
            }
            Action::History {
                room,
                number,
                before,
                after,
            } => self.history(room, *number, *before, *after).await,
            Action::Audit { number } => self.history(AUDIT, *number, None, None).await,
            Action::Tail {
                room,
                number,
                every,
            } => self.tail(room, *number, *every).await,
            Action::Members { room } => self.members(room).await,
            Action::Heads { rooms } => {
                let rooms: Vec<&str> = split(rooms).collect();
                self.by_room("heads", "heads", &[("rooms", raw(&rooms))])
                    .await
            }
            Action::Marks { user } => self.by_room("marks", "marks", &[("user", raw(user))]).await,
            Action::Kick(whom) => self.about("kick", whom).await,
            Action::Unban(whom) => self.about("unban", whom).await,
            Action::Unmute(whom) => self.about("unmute", whom).await,
            Action::Ban(whom) => self.about_for("ban", whom).await,
            Action::Mute(whom) => self.about_for("mute", whom).await,
            Action::Bans { room } => {
                let answer = self.call("bans", &[("room", raw(room))]).await?;
                #[derive(Deserialize)]
                struct Bans {
                    bans: Vec<Box<RawValue>>,
                }
                let bans: Bans = self.read(&answer)?;
                self.list("bans", &bans.bans)
            }
            Action::Revoke { user, reason } => {
                self.change("revoke", &[("user", raw(user)), ("reason", raw(reason))])
                    .await
            }
            Action::Disconnect {
                user,
                connection,
                reason,
            } => {
                let fields = [
                    ("user", raw(user)),
                    ("connectionId", raw(connection)),
                    ("reason", raw(reason)),
                ];
                self.change("disconnect", &fields).await
            }
            Action::NewEpoch { room } => self.change("new_epoch", &[("room", raw(room))]).await,
            Action::Erase(whom) => self.erase(whom).await,
        }
    }

    /// Calls an action. Fields that are `null` are left out.
    async fn call(
        &self,
        action: &str,
        fields: &[(&'static str, Box<RawValue>)],
    ) -> Result<Box<RawValue>, Failure> {
        let mut call = Call::from([("action", raw(action)), ("id", raw(&self.id))]);
        if let Some(user) = &self.options.as_user {
            call.insert("as", raw(user));
            call.insert("impersonate", raw(&true));
        } else {
            call.insert("as", raw(&self.options.name));
        }
        let given = fields
            .iter()
            .filter(|(name, value)| *name == "data" || value.get() != "null");
        call.extend(given.cloned());
        self.caller.call(&call).await.map_err(|mut failure| {
            let repeats = ["publish", "edit", "delete", "react"].contains(&action);
            if failure.kind == Kind::Temporary && repeats && self.options.id.is_none() {
                // It may be stored: a further call with another id would store it twice.
                failure.message = format!(
                    "{} Send it again with --id {}, since it may be stored.",
                    failure.message, self.id
                );
            }
            failure
        })
    }

    /// Calls an action that changes something, and prints the answer, or that of each room.
    async fn change(
        &self,
        action: &str,
        fields: &[(&'static str, Box<RawValue>)],
    ) -> Result<(), End> {
        #[derive(Deserialize)]
        struct Answers {
            answers: Vec<Box<RawValue>>,
        }
        #[derive(Deserialize)]
        struct Answer {
            r#type: String,
            #[serde(default)]
            name: String,
            #[serde(default)]
            temporary: bool,
        }
        let answer = self.call(action, fields).await?;
        let Ok(Answers { answers }) = serde_json::from_str(answer.get()) else {
            return self.print(&answer, show::answer);
        };
        let mut failed = None;
        for answer in &answers {
            let read: Answer = self.read(answer)?;
            if read.r#type == "error" {
                let kind = if read.temporary {
                    Kind::Temporary
                } else {
                    Kind::Refused
                };
                failed.get_or_insert((kind, read.name));
            }
            self.print(answer, show::answer)?;
        }
        failed.map_or(Ok(()), |(kind, name)| {
            Err(End::Failed(Failure {
                kind,
                name,
                message: format!(
                    "Not every room was reached; the id of the call is {}.",
                    self.id
                ),
                frame: None,
            }))
        })
    }

    async fn about(&self, action: &str, whom: &Whom) -> Result<(), End> {
        self.change(action, &user_in_room(whom)).await
    }

    async fn about_for(&self, action: &str, whom: &WhomFor) -> Result<(), End> {
        let fields = [
            ("room", raw(&whom.room)),
            ("user", raw(&whom.user)),
            ("reason", raw(&whom.reason)),
            ("forSeconds", raw(&whom.time.map(|time| time.as_secs()))),
        ];
        self.change(action, &fields).await
    }

    /// Deletes all messages of a user in a room, in as many calls as that takes.
    async fn erase(&self, whom: &Whom) -> Result<(), End> {
        #[derive(Deserialize)]
        struct Erased {
            #[serde(default)]
            more: bool,
            after: Option<u64>,
        }
        let mut fields = user_in_room(whom).to_vec();
        loop {
            let answer = self.call("erase", &fields).await?;
            self.print(&answer, show::answer)?;
            let erased: Erased = self.read(&answer)?;
            if !erased.more {
                return Ok(());
            }
            fields.retain(|(name, _)| *name != "after");
            fields.push(("after", raw(&erased.after)));
        }
    }

    async fn page(
        &self,
        room: &str,
        limit: u64,
        before: Option<u64>,
        after: Option<u64>,
    ) -> Result<Page, Failure> {
        let fields = [
            ("room", raw(room)),
            ("limit", raw(&limit.min(PAGE))),
            ("before", raw(&before)),
            ("after", raw(&after)),
        ];
        let answer = self.call("history", &fields).await?;
        self.read(&answer)
    }

    async fn history(
        &self,
        room: &str,
        number: u64,
        before: Option<u64>,
        after: Option<u64>,
    ) -> Result<(), End> {
        let mut left = number;
        if let Some(mut after) = after {
            while left > 0 {
                let page = self.page(room, left, None, Some(after)).await?;
                self.entries(&page.messages)?;
                left = left.saturating_sub(page.messages.len() as u64);
                match page.messages.last() {
                    Some(last) if page.more => after = self.seq(last)?,
                    _ => break,
                }
            }
            return Ok(());
        }
        for page in self.newest(room, number, before).await?.iter().rev() {
            self.entries(&page.messages)?;
        }
        Ok(())
    }

    /// Reads the newest messages, in pages from the newest to the oldest.
    async fn newest(
        &self,
        room: &str,
        number: u64,
        mut before: Option<u64>,
    ) -> Result<Vec<Page>, Failure> {
        let mut pages: Vec<Page> = Vec::new();
        let mut left = number;
        loop {
            let page = self.page(room, left.max(1), before, None).await?;
            left = left.saturating_sub(page.messages.len() as u64);
            let oldest = page.messages.first().filter(|_| page.more && left > 0);
            before = oldest.map(|oldest| self.seq(oldest)).transpose()?;
            pages.push(page);
            if before.is_none() {
                return Ok(pages);
            }
        }
    }

    /// Prints the newest messages, and then each further one.
    async fn tail(&self, room: &str, number: u64, every: Duration) -> Result<(), End> {
        let pages = self.newest(room, number, None).await?;
        if number > 0 {
            for page in pages.iter().rev() {
                self.entries(&page.messages)?;
            }
        }
        let (mut epoch, mut seen) = pages
            .first()
            .map_or((None, 0), |page| (page.epoch.clone(), page.head));
        loop {
            let page = match self.page(room, PAGE, None, Some(seen)).await {
                // A tail outlives an outage.
                Err(failure) if failure.kind == Kind::Temporary => {
                    self.note(&format!("{} Trying again.", failure.message));
                    tokio::time::sleep(every.max(Duration::from_secs(1))).await;
                    continue;
                }
                page => page?,
            };
            if epoch.is_some() && page.epoch != epoch {
                self.note("A new epoch has begun: messages may be missing here.");
                // Its numbers may begin below those of the one before.
                (epoch, seen) = (page.epoch, page.first.saturating_sub(1));
                continue;
            }
            epoch = page.epoch;
            if page.first > seen + 1 {
                self.note(&format!("Messages up to #{} are trimmed.", page.first - 1));
            }
            self.entries(&page.messages)?;
            match page.messages.last() {
                Some(last) => seen = self.seq(last)?,
                None => seen = seen.max(page.first.saturating_sub(1)),
            }
            if !page.more {
                tokio::time::sleep(every).await;
            }
        }
    }

    async fn members(&self, room: &str) -> Result<(), End> {
        #[derive(Deserialize)]
        struct Members {
            members: Vec<Box<RawValue>>,
            more: bool,
        }
        #[derive(Deserialize)]
        struct Member {
            user: String,
        }
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let fields = [
                ("room", raw(room)),
                ("limit", raw(&MEMBERS)),
                ("state", raw(&true)),
                ("after", raw(&after)),
            ];
            let answer = self.call("members", &fields).await?;
            let page: Members = self.read(&answer)?;
            all.extend(page.members);
            let Some(last) = all.last().filter(|_| page.more) else {
                break;
            };
            after = Some(self.read::<Member>(last)?.user);
        }
        self.list("members", &all)
    }

    /// Prints an answer that is a map by rooms, a room a line.
    async fn by_room(
        &self,
        action: &str,
        list: &str,
        fields: &[(&'static str, Box<RawValue>)],
    ) -> Result<(), End> {
        let answer = self.call(action, fields).await?;
        let mut answer: BTreeMap<String, Box<RawValue>> = self.read(&answer)?;
        let rooms = answer.remove(list).unwrap_or_default();
        let rooms: BTreeMap<String, Option<BTreeMap<String, Box<RawValue>>>> = self.read(&rooms)?;
        let rows: Vec<Box<RawValue>> = rooms
            .into_iter()
            .map(|(room, fields)| {
                let mut fields = fields.unwrap_or_default();
                fields.insert("room".to_owned(), raw(&room));
                raw(&fields)
            })
            .collect();
        self.list(list, &rows)
    }

    fn seq(&self, entry: &RawValue) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        struct Numbered {
            seq: u64,
        }
        Ok(self.read::<Numbered>(entry)?.seq)
    }

    fn read<T: for<'b> Deserialize<'b>>(&self, raw: &RawValue) -> Result<T, Failure> {
        serde_json::from_str(raw.get()).map_err(|error| {
            let stack = &self.options.to.stack;
            let message = format!(
                "The answer of {stack}-admin has another form than this program knows: {error}."
            );
            Failure::setup("unreadable", message)
        })
    }

    /// Tells something beside the result.
    fn note(&self, sentence: &str) {
        // Without stderr, nobody wants to know.
        let _ = writeln!(io::stderr(), "roomchat-admin: {}", line(sentence));
    }

    fn print(&self, raw: &RawValue, text: fn(&RawValue) -> String) -> Result<(), End> {
        let text = if self.options.json {
            // `data` is as its sender wrote it, and may hold line breaks between its values.
            raw.get().replace(['\n', '\r'], " ")
        } else {
            text(raw)
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    fn entries(&self, entries: &[Box<RawValue>]) -> Result<(), End> {
        entries
            .iter()
            .try_for_each(|entry| self.print(entry, show::entry))
    }

    fn list(&self, list: &str, rows: &[Box<RawValue>]) -> Result<(), End> {
        if self.options.json {
            return rows.iter().try_for_each(|row| self.print(row, show::entry));
        }
        let (head, row) = show::columns(list);
        let rows: Vec<Vec<String>> = rows.iter().map(|raw| row(raw)).collect();
        let mut stdout = io::stdout().lock();
        for line in show::table(head, &rows) {
            writeln!(stdout, "{line}")?;
        }
        Ok(stdout.flush()?)
    }
}

fn raw<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    // Strings, numbers and JSON that was read before: serialization cannot fail.
    to_raw_value(value).unwrap_or_default()
}

fn split(rooms: &str) -> impl Iterator<Item = &str> {
    rooms.split(',').map(str::trim)
}

/// Returns the field for one room, or for several.
fn in_rooms(rooms: &str) -> (&'static str, Box<RawValue>) {
    let names: Vec<&str> = split(rooms).collect();
    match names.as_slice() {
        [room] => ("room", raw(room)),
        rooms => ("rooms", raw(rooms)),
    }
}

fn user_in_room(whom: &Whom) -> [(&'static str, Box<RawValue>); 3] {
    [
        ("room", raw(&whom.room)),
        ("user", raw(&whom.user)),
        ("reason", raw(&whom.reason)),
    ]
}

fn as_json(text: &str) -> Result<Box<RawValue>, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::setup("bad_request", format!("The content is not JSON: {error}."))
    })
}

/// Returns the content of a message.
fn content(text: &Text) -> Result<Box<RawValue>, Failure> {
    let mut said = text.text.clone();
    if said == "-" {
        said.clear();
        io::stdin().read_to_string(&mut said).map_err(|error| {
            Failure::setup(
                "bad_request",
                format!("Cannot read stdin as UTF-8: {error}."),
            )
        })?;
        let end = said.trim_end_matches(['\r', '\n']).len();
        said.truncate(end);
        if said.is_empty() {
            return Err(Failure::setup(
                "bad_request",
                "stdin is empty: nothing is sent.",
            ));
        }
    }
    if text.data {
        as_json(&said)
    } else {
        Ok(raw(&said))
    }
}
