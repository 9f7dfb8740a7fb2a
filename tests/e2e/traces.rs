//! From a frame to its trace and to its log lines, as docs/operations.md tells an operator.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};

use kit::proxy::{Exchange, Kind, Proxy};
use kit::{Gateway, blocks, eventually, root};

/// The root of a trace header.
fn trace_of(exchange: &Exchange) -> String {
    let root = exchange
        .trace
        .split(';')
        .find_map(|field| field.strip_prefix("Root="));
    root.unwrap_or_default().to_owned()
}

fn gateway(proxy: &Proxy, daemon: &UdpSocket, xray: &str) -> Gateway {
    let mut flags = proxy.flags(true);
    let daemon = format!("AWS_XRAY_DAEMON_ADDRESS={}", daemon.local_addr().unwrap());
    flags.extend([
        "--env".to_owned(),
        daemon,
        "--var".to_owned(),
        xray.to_owned(),
    ]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let gateway = Gateway::start_with(&root().join("terraform"), &flags);
    proxy.forward_to(&gateway.dynamodb, gateway.port);
    gateway
}

fn daemon() -> UdpSocket {
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    daemon
}

/// The subsegments that have arrived.
fn subsegments(daemon: &UdpSocket) -> Vec<Value> {
    let mut datagram = [0; 65_536];
    let mut all = Vec::new();
    while let Ok(bytes) = daemon.recv(&mut datagram) {
        let text = std::str::from_utf8(&datagram[..bytes]).unwrap();
        let (first, segment) = text.split_once('\n').unwrap();
        assert_eq!(first, r#"{"format":"json","version":1}"#);
        all.push(serde_json::from_str(segment).unwrap());
    }
    all
}

#[test]
fn one_trace_leads_from_a_publish_to_its_posts() {
    let (proxy, daemon) = (Proxy::start(0), daemon());
    let gateway = gateway(&proxy, &daemon, "xray=true");
    let mut alice = gateway.join("lobby", "alice");
    let mut members = [gateway.join("lobby", "bob"), gateway.join("lobby", "carol")];
    let mut traces = BTreeSet::new();
    for number in 1..=2 {
        subsegments(&daemon);
        proxy.exchanges();
        alice.publish(&json!(number));
        for member in &mut members {
            member.receive();
        }
        let exchanges = proxy.exchanges();
        let posts: Vec<String> = exchanges
            .iter()
            .filter(|one| one.kind == Kind::Post)
            .map(trace_of)
            .collect();
        assert_eq!(posts.len(), 2, "{exchanges:?}");
        // The reads and the write have it too.
        for exchange in &exchanges {
            assert_eq!(trace_of(exchange), posts[0], "{exchange:?}");
            assert!(exchange.trace.ends_with(";Sampled=1"), "{exchange:?}");
        }
        let mut all = Vec::new();
        let sent = eventually("the subsegment of the posts", || {
            all.extend(subsegments(&daemon));
            let of = |name: &str| all.iter().find(|segment| segment["name"] == name).cloned();
            of("posts").zip(of("frame"))
        });
        for segment in [&sent.0, &sent.1] {
            assert_eq!(segment["trace_id"], posts[0], "{segment}");
            assert_eq!(
                segment["annotations"]["request_id"],
                sent.0["annotations"]["request_id"]
            );
        }
        assert_eq!(sent.0["annotations"]["delivered"], 2, "{}", sent.0);
        traces.insert(posts[0].clone());
    }
    assert_eq!(traces.len(), 2, "each message has a trace of its own");
}

#[test]
fn without_xray_nothing_is_sent_to_a_daemon() {
    let (proxy, daemon) = (Proxy::start(0), daemon());
    let gateway = gateway(&proxy, &daemon, "xray=false");
    let mut alice = gateway.join("lobby", "alice");
    alice.publish(&json!(1));
    assert_eq!(subsegments(&daemon), Vec::<Value>::new());
}

/// The value of a field of Logs Insights, which writes a nested one with points.
fn field<'a>(line: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(line, |value, key| &value[key])
}

#[test]
fn the_request_id_of_an_error_leads_to_its_log_lines() {
    let gateway = Gateway::start(&[
        "--verbose",
        "--admin-port",
        "0",
        "--env",
        "AWS_LAMBDA_LOG_FORMAT=JSON",
    ]);
    let mut alice = gateway.join("lobby", "alice");
    alice.publish(&json!("fine"));
    let rule = json!({"on": "table", "function": "publish", "operation": "PutItem", "do": "status", "status": 500});
    gateway.admin("PUT", "/faults", &rule);
    let error = alice.ask(&json!({"action": "publish", "data": "hi"}));
    assert_eq!(error["name"], "internal", "{error}");
    let id = error["requestId"].as_str().unwrap();

    let (_, query) = blocks("docs/operations.md", "").into_iter().next().unwrap();
    let shown: Vec<&str> = query[0]
        .strip_prefix("fields ")
        .unwrap()
        .split(", ")
        .collect();
    let filter = query[1].strip_prefix("| filter ").unwrap();
    let (path, value) = filter.split_once(" = ").unwrap();
    assert!(value.starts_with('"') && value.ends_with('"'), "{value}");
    let found = eventually("the log line", || {
        let lines = gateway.output();
        let parsed = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(&line[line.find('{')?..]).ok());
        let found: Vec<Value> = parsed.filter(|line| *field(line, path) == id).collect();
        (!found.is_empty()).then_some(found)
    });
    // One request, and not the message before it.
    let [line] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(line["level"], "ERROR", "{line}");
    // Those with @ are of CloudWatch itself.
    for path in shown.iter().filter(|path| !path.starts_with('@')) {
        assert!(field(line, path).is_string(), "{path} in {line}");
    }
    assert!(
        field(line, "fields.cause")
            .as_str()
            .unwrap()
            .contains("writing to the log failed"),
        "{line}"
    );
}
