//! Many connections one after the other: the memory and the open files of the gateway do not grow with their number.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use kit::{Gateway, eventually, root};

/// The number of parallel clients.
const CLIENTS: usize = 6;

/// The allowed growth from the second third of the run to the last: a share, and some kilobytes for chance.
const GROWTH: f64 = 1.2;
const SLACK_KB: f64 = 8192.0;

/// The resident memory of the gateway's process, in kilobytes.
fn resident_kb(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(gateway.proc().join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

fn files(gateway: &Gateway) -> usize {
    fs::read_dir(gateway.proc().join("fd")).unwrap().count()
}

/// Connects a client, sends messages, and disconnects in one of many ways. Timeouts are short, so it may be cut off earlier.
fn live(gateway: &Gateway, n: usize) -> Option<()> {
    let mut client = gateway.try_connect(&format!("/prod?n={n}")).ok()?;
    let mut id = String::new();
    for _ in 0..n % 5 {
        let request = json!({"action": "probe", "x": "y".repeat(n % 20_000)});
        client.socket.send(request.to_string().into()).ok()?;
        let frame: Value = serde_json::from_str(client.read().ok()?.to_text().ok()?).ok()?;
        frame["requestContext"]["connectionId"]
            .as_str()?
            .clone_into(&mut id);
        gateway.management("POST", &id, "news");
        client.read().ok()?;
    }
    match n % 7 {
        0 | 1 => drop(client),
        // In the middle of a frame.
        2 => client.socket.send(r#"{"action":"probe"}"#.into()).ok()?,
        3 if !id.is_empty() => {
            gateway.management("DELETE", &id, "");
            while client.read().is_ok() {}
        }
        // Until the gateway closes the connection.
        4 => while client.read().is_ok() {},
        5 => {
            let _ = gateway.try_connect("/prod?do=status&status=403");
            gateway.abandon_handshake("/prod");
        }
        _ => {
            client.socket.close(None).ok()?;
            while client.read().is_ok() {}
        }
    }
    Some(())
}

#[test]
fn nothing_grows() {
    let seconds =
        std::env::var("ROOMCHAT_SOAK_SECONDS").map_or(6, |seconds| seconds.parse().unwrap());
    let length = Duration::from_secs(seconds);
    let flags = [
        "--admin-port",
        "0",
        "--time-scale",
        "1000",
        "--processes",
        "4",
    ];
    let gateway = Gateway::start_with(&root().join("local/tests/probe"), &flags);
    gateway.admin("GET", "/status", &Value::Null);
    let files_before = files(&gateway);

    let (begun, completed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let started = Instant::now();
    let mut samples = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while started.elapsed() < length {
                    let n = begun.fetch_add(1, Ordering::Relaxed);
                    if live(&gateway, n).is_some() {
                        completed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while started.elapsed() < length {
            samples.push(resident_kb(&gateway));
            std::thread::sleep(length / 100);
        }
    });
    let completed = completed.into_inner();
    assert!(
        completed * 2 > begun.into_inner(),
        "most lives are whole: {completed}"
    );

    eventually("nobody is left, and nothing runs", || {
        let status = gateway.admin("GET", "/status", &Value::Null);
        let pool = &status["functions"]["probe"];
        let left = ["running", "waiting", "idle"].map(|name| &pool[name]);
        (status["openConnections"] == 0 && left.iter().all(|count| **count == 0)).then_some(())
    });
    eventually("its files are closed", || {
        // Connections of the admin endpoint and of the engine may be among them.
        (files(&gateway) <= files_before + 2).then_some(())
    });
    assert!(gateway.children().is_empty());
    let mean = |samples: &[u64]| samples.iter().sum::<u64>() as f64 / samples.len() as f64;
    let third = samples.len() / 3;
    let (middle, end) = (
        mean(&samples[third..2 * third]),
        mean(&samples[2 * third..]),
    );
    println!("{completed} lives: {middle:.0} KB, then {end:.0} KB");
    assert!(
        end <= middle * GROWTH + SLACK_KB,
        "{middle} KB resident in the second third, {end} KB in the last, {completed} lives"
    );
}
