//! What happens when a fault rule says so: each act at each place it fits.
//!
//! Each client has a name, which is in its handshake's query, and each rule matches one name: so the cases share a
//! gateway and do not meet.

mod calls;
mod invocations;
mod outgoing;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use kit::{Client, Gateway, root};

/// A gateway of the repository's own deployment or of another folder's, with these rules from a file.
fn start(folder: &str, rules: &Value, flags: &[&str]) -> Gateway {
    let mut file = NamedTempFile::new().unwrap();
    let document = json!({"seed": 7, "rules": rules});
    file.write_all(document.to_string().as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let flags = [&["--faults", path], flags].concat();
    // The file is read before the gateway is ready.
    let gateway = Gateway::start_with(&root().join(folder), &flags);
    gateway.wait_for_line("Faults ");
    gateway
}

/// The probe's deployment with these rules, each for the clients of one name: `[[on, name, {do …}], …]`.
fn probe(rules: &Value) -> Gateway {
    let rules: Vec<Value> = rules
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let mut rule = row[2].clone();
            rule["on"] = row[0].clone();
            rule["query"] = json!({ "name": row[1] });
            rule
        })
        .collect();
    start(
        "local/tests/probe",
        &json!(rules),
        &["--var", "probe_timeout=20"],
    )
}

/// Where a client of that name connects, whose `$connect` prints `SAID <name>`.
fn path(name: &str) -> String {
    format!("/prod?name={name}&do=say&text={name}")
}

/// What the log says of the faults that were applied, without times and connections.
fn applied(gateway: &Gateway) -> Vec<String> {
    let faults = gateway.output().into_iter();
    faults
        .filter_map(|line| Some(line.split_once(" fault ")?.1.trim().to_owned()))
        .collect()
}

/// The log's line of the first fault of that act.
fn fault(gateway: &Gateway, act: &str) -> String {
    gateway.wait_for_line(&format!("do={act} "))
}

/// What functions have said so far, in the order of the log.
fn said(gateway: &Gateway) -> Vec<String> {
    let lines = gateway.output().into_iter();
    lines
        .filter_map(|line| Some(line.split_once("SAID ")?.1.to_owned()))
        .collect()
}

/// The connection's id, from an event it causes.
fn id_of(client: &mut Client) -> String {
    let event = client.ask(&json!({"action": "probe"}));
    event["requestContext"]["connectionId"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Has the function say something, which comes back as the answer.
fn say(client: &mut Client, text: &str) {
    client.send(&json!({"action": "probe", "do": "say", "text": text}));
}

/// The connection ends without a close frame.
fn is_cut(client: &mut Client) {
    let end = client.read();
    assert!(end.is_err(), "{end:?}");
}

/// Sends a request and returns its connection, on which no answer comes.
fn unanswered(gateway: &Gateway, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    fault(gateway, "hang");
    // Long enough for an answer that is on its way; one that is late is not missed for good, only here.
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let read = stream.read(&mut [0]);
    assert!(read.is_err(), "{read:?}");
    stream
}
