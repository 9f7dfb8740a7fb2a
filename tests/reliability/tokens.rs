//! Clients whose tokens end and are revoked at random times while messages flow: the terminal client renews its connections,
//! and misses nothing. A connection that is not renewed gets nothing, and stores nothing, after its token.
//!
//! The functions read the real clock, as on AWS, so the tokens here live for seconds.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::run::Run;
use crate::seeds::{number, seeds};
use kit::proxy::{Call, Fault, Kind};
use kit::{IDENTITY, SECRET, eventually, now_s, token};
use tokio_tungstenite::tungstenite::Message;

/// The users; each has one client.
const CLIENTS: usize = 3;

/// The messages of each client, unless `ROOMCHAT_STEPS` names another number. They take longer than a token and its leeway.
const MESSAGES: u64 = 50;

/// The time after its token in which a connection may get messages: the leeway of the authorizer.
const LEEWAY_S: i64 = 30;

const ROOMS: [&str; 2] = ["green", "red"];

/// A terminal client in `--json` mode.
struct Terminal {
    user: String,
    process: Child,
    input: Option<ChildStdin>,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Terminal {
    /// Starts a client whose tokens live between 5 and 12 seconds, each another time.
    fn start(run: &Run, folder: &std::path::Path, user: &str) -> Terminal {
        let program = kit::terminal();
        let secret = folder.join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        let command = format!(
            "{} token --secret-file {} --user {user} --for $(shuf -i 5-12 -n 1)s",
            program.display(),
            secret.display()
        );
        let rooms = ROOMS.iter().flat_map(|room| ["--room", room]);
        let mut process = Command::new(program)
            .args([
                "--json",
                "--history",
                "0",
                "--ack-timeout",
                "2",
                "--token-command",
                &command,
            ])
            .args(rooms)
            .arg(run.gateway.url("/prod"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let heard = Arc::clone(&events);
        let output = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { break };
                let event: Value = serde_json::from_str(&line).unwrap();
                heard.lock().unwrap().push(event);
            }
        });
        Terminal {
            user: user.to_owned(),
            input: process.stdin.take(),
            process,
            events,
        }
    }

    fn of(&self, kind: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .cloned()
            .collect()
    }

    fn publish(&mut self, room: &str, id: &str) {
        let frame = json!({"action": "publish", "room": room, "id": id, "data": id});
        writeln!(self.input.as_mut().unwrap(), "{frame}").unwrap();
    }

    /// The numbers that it has shown of a room, in their order.
    fn shown(&self, room: &str) -> Vec<u64> {
        let messages = self.of("message");
        let here = messages.iter().filter(|message| message["room"] == room);
        here.map(|message| message["seq"].as_u64().unwrap())
            .collect()
    }

    /// Ends it, which it does once everything is answered.
    fn end(&mut self) {
        drop(self.input.take());
        let status = eventually("the end of a client", || self.process.try_wait().unwrap());
        assert!(status.success(), "{}: {status}", self.user);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection that is not renewed: it publishes and listens until `over`. Returns the end of its token, and the times at which
/// the messages that have reached it were stored, in milliseconds since 1970.
fn overstay(run: &Run, over: &AtomicBool) -> (i64, Vec<i64>) {
    let ends = now_s() + 3;
    let token = token("late", &Value::Null, 3);
    let mut late = run
        .gateway
        .connect(&format!("/prod?room={}&token={token}", ROOMS[0]));
    let wait = Some(Duration::from_millis(200));
    late.socket.get_mut().set_read_timeout(wait).unwrap();
    let mut heard = Vec::new();
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let frame =
            json!({"action": "publish", "room": ROOMS[0], "id": format!("late-{n}"), "data": n});
        late.send(&frame);
        // Until nothing comes for a while.
        while let Ok(Message::Text(text)) = late.socket.read() {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "message" {
                heard.push(frame["at"].as_i64().unwrap());
            }
        }
    }
    (ends, heard)
}

/// Refuses all tokens of a user that exist so far, and closes the user's connections.
fn revoke(run: &Run, user: &str) {
    let path = "/2015-03-31/functions/roomchat-prod-admin/invocations";
    let call = json!({"action": "revoke", "user": user}).to_string();
    let (status, _, answer) = run.gateway.http("POST", path, &call);
    // The weather may end the function; then the user is revoked or not.
    assert!(status == 200, "{status}: {answer}");
}

/// Kills processes and loses calls, posts included.
fn weather(seed: u64) -> impl FnMut(&Call) -> Fault + Send + 'static {
    let mut random = StdRng::seed_from_u64(seed);
    move |call| match (call.kind, random.random_range(0..100)) {
        (Kind::Post, 0..4) => Fault::LostRequest,
        (Kind::Post, 4..7) => Fault::LostReply,
        (Kind::Post, 7..9) => Fault::Answer(410, "GoneException"),
        (Kind::Post, 9..11) | (Kind::Append, 0..4) => Fault::KillBefore,
        (Kind::Append, 4..8) => Fault::KillAfter,
        (Kind::Append, 8..14) => Fault::LostReply,
        (Kind::WriteRow | Kind::ReadOwnRows, 0..3) => Fault::Answer(400, "ThrottlingException"),
        _ => Fault::None,
    }
}

/// The ids of the rooms' log: each message once, at its number.
fn stored(run: &Run, room: &str) -> BTreeMap<u64, String> {
    let said = run
        .log(room)
        .into_iter()
        .filter(|row| row["id"]["S"].is_string());
    said.map(|row| {
        let seq = row["seq"]["N"].as_str().unwrap().parse().unwrap();
        (seq, row["id"]["S"].as_str().unwrap().to_owned())
    })
    .collect()
}

#[test]
fn tokens_that_end_while_messages_flow_cost_no_message() {
    for seed in seeds(&[1]) {
        let limits = "limits={ per_user = 0, per_room = 0, frames_per_second = 0 }";
        let flags = [&IDENTITY[..], &["--var", limits]].concat();
        let run = Run::start(seed, &flags);
        let folder = tempfile::tempdir().unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let mut clients: Vec<Terminal> = (0..CLIENTS)
            .map(|n| Terminal::start(&run, folder.path(), &format!("user{n}")))
            .collect();
        for client in &clients {
            eventually("a client in its rooms", || {
                (client.of("joined").len() >= ROOMS.len()).then_some(())
            });
        }
        run.proxy.rules(weather(seed));
        let each = number("ROOMCHAT_STEPS").unwrap_or(MESSAGES);
        let over = AtomicBool::new(false);
        let (ends, heard) = thread::scope(|scope| {
            let late = scope.spawn(|| overstay(&run, &over));
            for n in 0..each {
                for (index, client) in clients.iter_mut().enumerate() {
                    let room = ROOMS[random.random_range(0..ROOMS.len())];
                    client.publish(room, &format!("m{index}-{n}"));
                }
                // A connection is lost, whichever it is of those that are renewed.
                if n % 8 == 7 {
                    let mut rows = run.gateway.rows();
                    rows.retain(|row| row["user"]["S"] != "late");
                    let row = &rows[random.random_range(0..rows.len())];
                    run.gateway.management(
                        "DELETE",
                        row["connectionId"]["S"].as_str().unwrap(),
                        "",
                    );
                }
                if n % 16 == 15 {
                    revoke(&run, &format!("user{}", random.random_range(0..CLIENTS)));
                }
                thread::sleep(Duration::from_millis(random.random_range(400..1_200)));
            }
            over.store(true, Ordering::Relaxed);
            late.join().unwrap()
        });
        run.proxy.heal();
        for client in &clients {
            // As long as it takes, while there is progress.
            let acks = || client.of("ack").len();
            while acks() < each as usize {
                let before = acks();
                let what = format!("ack {before} of {each} for {}", client.user);
                eventually(&what, || (acks() > before).then_some(()));
            }
        }
        let mut all = 0;
        for room in ROOMS {
            let log = stored(&run, room);
            // Without a hole, from 1 on.
            let numbers: Vec<u64> = log.keys().copied().collect();
            assert_eq!(
                numbers,
                (1..=numbers.len() as u64).collect::<Vec<_>>(),
                "seed {seed}: {room}"
            );
            all += log.values().filter(|id| !id.starts_with("late-")).count();
            for client in &clients {
                let head = numbers.len() as u64;
                let what = format!("seed {seed}: {} at {head} of {room}", client.user);
                eventually(&what, || {
                    (client.shown(room).last() == Some(&head)).then_some(())
                });
                // Each once, in order, from the first message on: it was there before all of them.
                assert_eq!(
                    client.shown(room),
                    numbers,
                    "seed {seed}: {} in {room}",
                    client.user
                );
            }
            let mut ids: Vec<&String> = log.values().collect();
            ids.sort();
            ids.dedup();
            assert_eq!(
                ids.len(),
                numbers.len(),
                "seed {seed}: {room} holds a message twice"
            );
        }
        assert_eq!(
            all as u64,
            each * CLIENTS as u64,
            "seed {seed}: every message is stored once"
        );
        // By the clock of the functions, which read the members after they noted the time.
        let last = heard.iter().max().copied().unwrap_or_default();
        assert!(!heard.is_empty(), "seed {seed}: it has heard nothing");
        assert!(
            last < (ends + LEEWAY_S) * 1000,
            "seed {seed}: {last} after {ends}"
        );
        let log = run.log(ROOMS[0]);
        let times = |of_late: bool| {
            let rows = log
                .iter()
                .filter(move |row| (row["user"]["S"] == "late") == of_late);
            rows.map(|row| row["at"]["N"].as_str().unwrap().parse::<i64>().unwrap())
        };
        let stored = times(true)
            .max()
            .expect("a message of the connection that is not renewed");
        assert!(stored < ends * 1000, "seed {seed}: {stored} after {ends}");
        assert!(
            times(false).any(|at| at > (ends + LEEWAY_S) * 1000),
            "seed {seed}: nothing was said after the leeway"
        );
        let mut renewed = 0;
        for client in &mut clients {
            assert_eq!(client.of("lost"), Vec::<Value>::new(), "seed {seed}");
            let errors = client.of("error");
            assert!(
                errors.iter().all(|error| error["retrying"] == true),
                "seed {seed}: {errors:?}"
            );
            let connected = client.of("connected");
            renewed += connected
                .iter()
                .filter(|event| event["renewed"] == true)
                .count();
            client.end();
        }
        // It was about that.
        assert!(renewed >= CLIENTS, "seed {seed}: {renewed} renewals");
        assert!(run.proxy.kills() > 0, "seed {seed}");
    }
}
