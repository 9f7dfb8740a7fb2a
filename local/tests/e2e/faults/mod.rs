//! Each act of a fault rule at each place where it is allowed.
//!
//! Each client has a name, in the query of its handshake, and each rule matches one name. So all cases share one gateway
//! and do not affect each other.

mod calls;
mod invocations;
mod outgoing;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use kit::{Client, Gateway, root};

/// Starts a Terraform folder's deployment with these rules from a file.
pub(crate) fn start(folder: &str, rules: &Value, flags: &[&str]) -> Gateway {
    let mut file = NamedTempFile::new().unwrap();
    let document = json!({"seed": 7, "rules": rules});
    file.write_all(document.to_string().as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let flags = [&["--faults", path], flags].concat();
    // The gateway reads the file before it is ready.
    let gateway = Gateway::start_with(&root().join(folder), &flags);
    gateway.wait_for_line("Faults ");
    gateway
}

/// Starts the probe's deployment with these rules, each for the clients of one name: `[[on, name, {do …}], …]`.
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

/// The path for a client of that name. Its `$connect` prints `SAID <name>`.
fn path(name: &str) -> String {
    format!("/prod?name={name}&do=say&text={name}")
}

/// The lines of the log about applied faults, without times and connections.
fn applied(gateway: &Gateway) -> Vec<String> {
    let faults = gateway.output().into_iter();
    faults
        .filter_map(|line| Some(line.split_once(" fault ")?.1.trim().to_owned()))
        .collect()
}

/// The line of the log about the first fault with that act.
fn fault(gateway: &Gateway, act: &str) -> String {
    gateway.wait_for_line(&format!("do={act} "))
}

/// The texts that functions have printed so far, in the order of the log.
fn said(gateway: &Gateway) -> Vec<String> {
    let lines = gateway.output().into_iter();
    lines
        .filter_map(|line| Some(line.split_once("SAID ")?.1.to_owned()))
        .collect()
}

/// The id of a client's connection, from an event of it.
fn id_of(client: &mut Client) -> String {
    let event = client.ask(&json!({"action": "probe"}));
    event["requestContext"]["connectionId"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Makes the function print a text and answer with it.
fn say(client: &mut Client, text: &str) {
    client.send(&json!({"action": "probe", "do": "say", "text": text}));
}

/// Checks that the connection ends without a close frame.
fn is_cut(client: &mut Client) {
    let end = client.read();
    assert!(end.is_err(), "{end:?}");
}

/// Sends a request, checks that no answer comes, and returns its connection.
fn unanswered(gateway: &Gateway, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    fault(gateway, "hang");
    // Long enough for an answer that is on its way. A later one would be missed here.
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let read = stream.read(&mut [0]);
    assert!(read.is_err(), "{read:?}");
    stream
}
