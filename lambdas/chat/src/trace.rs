//! Subsegments of an invocation for X-Ray, where the Terraform variable `xray` is on: one for the frame, with the request
//! id, and one for the posts of a message.
//!
//! The AWS SDK sends the trace header of the invocation with each call, and the services that are called, DynamoDB and
//! `@connections`, write no segments of their own. A subsegment is a datagram to the daemon in the execution environment:
//! it costs no call and no wait. A datagram that is lost is a gap in the trace.
//!
//! Source of the form: <https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html> and
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html>.

use std::net::UdpSocket;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::settings;

/// Tells the daemon of a part of this invocation that began at `started` and ends now. X-Ray finds a trace by an annotation.
///
/// Nothing is sent for an invocation that is not sampled.
pub(crate) fn ended(name: &str, started: SystemTime, request_id: &str, counts: &[(&str, usize)]) {
    let Some(header) = settings::process("_X_AMZN_TRACE_ID") else {
        return;
    };
    let id = rand::random::<u64>();
    let times = (seconds(started), seconds(SystemTime::now()));
    if let Some(document) = document(&header, id, name, times, request_id, counts)
        && let Some(daemon) = settings::process("AWS_XRAY_DAEMON_ADDRESS")
        && let Ok(socket) = UdpSocket::bind("0.0.0.0:0")
    {
        let _ = socket.send_to(document.as_bytes(), daemon);
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// The datagram; none if the invocation is not sampled.
fn document(
    header: &str,
    id: u64,
    name: &str,
    (start, end): (f64, f64),
    request_id: &str,
    counts: &[(&str, usize)],
) -> Option<String> {
    let field = |name: &str| {
        let fields = header.split(';').filter_map(|field| field.split_once('='));
        fields
            .filter(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
            .next()
    };
    if field("Sampled") != Some("1") {
        return None;
    }
    let mut annotations = Map::new();
    annotations.insert("request_id".to_owned(), request_id.into());
    for (count, value) in counts {
        annotations.insert((*count).to_owned(), Value::from(*value));
    }
    let segment = json!({
        "type": "subsegment",
        "trace_id": field("Root")?,
        "parent_id": field("Parent")?,
        "id": format!("{id:016x}"),
        "name": name,
        "start_time": start,
        "end_time": end,
        "annotations": annotations,
    });
    Some(format!("{{\"format\":\"json\",\"version\":1}}\n{segment}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> Option<String> {
        document(header, 255, "posts", (1.5, 2.0), "r", &[("delivered", 3)])
    }

    #[test]
    fn a_sampled_invocation_has_a_subsegment() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:0";
        let datagram = of(header).unwrap();
        let (first, second) = datagram.split_once('\n').unwrap();
        assert_eq!(first, r#"{"format":"json","version":1}"#);
        assert_eq!(
            serde_json::from_str::<Value>(second).unwrap(),
            json!({
                "type": "subsegment", "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
                "parent_id": "53995c3f42cd8ad8", "id": "00000000000000ff", "name": "posts",
                "start_time": 1.5, "end_time": 2.0, "annotations": {"request_id": "r", "delivered": 3},
            })
        );
    }

    #[test]
    fn any_other_invocation_has_none() {
        for header in [
            "",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
            "nonsense",
        ] {
            assert_eq!(of(header), None, "{header}");
        }
    }
}
