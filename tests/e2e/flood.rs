//! A user who floods over ten connections does not silence the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kit::{Client, Gateway, IDENTITY, eventually, token};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// The connections of the attacker.
const CONNECTIONS: u32 = 10;

/// The frames of the attacker in a second, over all connections: ten times the throttle of the route.
const FRAMES_PER_SECOND: u32 = 500;

/// The members who behave.
const HONEST: usize = 5;

/// Each process counts for itself. A slow machine starts many of them, so the limits of a deployment would be reached late.
const VARIABLES: [&str; 3] = [
    "limits={ frames_per_second = 1, burst = 3, close_after = 5 }",
    "throttle_rate=50",
    "throttle_burst=50",
];

/// The successes of an attacker, and its end.
#[derive(Default)]
struct Attack {
    closed: AtomicUsize,
    refused: AtomicUsize,
    over: AtomicBool,
}

impl Attack {
    /// Floods over one connection after the other until the attack is over.
    fn run(&self, gateway: &Gateway, token: &str) {
        while !self.over.load(Ordering::Relaxed) {
            match gateway.try_connect(&format!("/prod?room=lobby&token={token}")) {
                Ok(client) => self.flood(client),
                Err(403) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                // A slow machine fails, and the connection that was closed last counts for a moment more.
                Err(_) => {}
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn flood(&self, mut client: Client) {
        // A program that only writes must not wait for its answers.
        client.socket.get_mut().set_nonblocking(true).unwrap();
        let frame = json!({"action": "publish", "room": "lobby", "data": "x"}).to_string();
        while !self.over.load(Ordering::Relaxed) {
            while client.socket.read().is_ok() {}
            if client.socket.send(Message::text(frame.as_str())).is_err()
                && !client.socket.can_write()
            {
                self.closed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            thread::sleep(Duration::from_secs(1) * CONNECTIONS / FRAMES_PER_SECOND);
        }
    }
}

/// Ends the attack however the test ends.
struct End<'a>(&'a Attack);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// The next frame of this kind; other messages are skipped.
fn next(client: &mut Client, is_wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let frame = client.receive();
        if is_wanted(&frame) {
            return frame;
        }
        assert_eq!(frame["type"], "message", "{frame}");
    }
}

/// Publishes until it is acknowledged, as clients do.
fn say(client: &mut Client, data: &Value) -> Value {
    let frame = json!({"action": "publish", "room": "lobby", "id": data, "data": data, "after": 0});
    loop {
        client.send(&frame);
        let answer = next(client, |frame| frame["type"] != "message");
        if answer["type"] == "ack" {
            return answer;
        }
        let is_temporary = ["Too Many Requests", "Endpoint request timed out"]
            .iter()
            .any(|text| answer["message"] == *text);
        assert!(is_temporary, "{answer}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_user_who_floods_over_ten_connections_silences_nobody() {
    let flags: Vec<&str> = VARIABLES
        .iter()
        .flat_map(|value| ["--var", value])
        .chain(IDENTITY)
        .chain(["--quota", "account", "--quota", "routes"])
        .collect();
    let gateway = Gateway::start(&flags);
    let token = |user: &str| token(user, &Value::Null, 600);
    let mut honest: Vec<Client> = (0..HONEST)
        .map(|n| {
            let token = token(&format!("user{n}"));
            gateway.connect(&format!("/prod?room=lobby&token={token}"))
        })
        .collect();
    let attack = Attack::default();
    let mallory = token("mallory");
    thread::scope(|scope| {
        let _end = End(&attack);
        for _ in 0..CONNECTIONS {
            scope.spawn(|| attack.run(&gateway, &mallory));
        }
        eventually("every connection of the attacker is closed", || {
            let closed = attack.closed.load(Ordering::Relaxed);
            (closed >= CONNECTIONS as usize).then_some(())
        });
        eventually("the attacker is refused", || {
            let refused = attack.refused.load(Ordering::Relaxed);
            (refused >= CONNECTIONS as usize).then_some(())
        });
        // The attack goes on.
        for n in 0..HONEST {
            let data = json!(format!("from {n}"));
            let ack = say(&mut honest[n], &data);
            assert_eq!((&ack["id"], &ack["failed"]), (&data, &json!(0)), "{ack}");
            for other in (0..HONEST).filter(|other| *other != n) {
                let message = next(&mut honest[other], |frame| frame["id"] == data);
                assert_eq!(message["from"], format!("user{n}"));
            }
        }
    });
    let user = json!({"user": {"S": "mallory"}, "about": {"S": "ban#*flood"}});
    let row = json!({"TableName": "roomchat-prod-users", "Key": user});
    let row = gateway.dynamodb("GetItem", &row);
    assert_eq!(row["Item"]["kind"]["S"], "ban", "{row}");
}
