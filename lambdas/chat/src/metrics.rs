//! Metrics of an invocation, as a line on standard output in CloudWatch's embedded metric format: CloudWatch makes the
//! metrics of the line, and the function makes no call for it.
//!
//! The dimension is the stack alone. A metric of a user or a room would be a new metric, with a price, for each of them.
//! docs/operations.md says what each metric tells.
//!
//! Source of the format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::protocol::{ErrorName, Failure};
use crate::settings;

/// The namespace of all metrics.
const NAMESPACE: &str = "Roomchat";

macro_rules! metrics {
    ($($(#[$comment:meta])* $name:ident $unit:ident)*) => {
        /// A metric. Its name is that of the variant.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Metric { $($(#[$comment])* $name),* }

        impl Metric {
            fn name_and_unit(self) -> (&'static str, &'static str) {
                match self { $(Self::$name => (stringify!($name), stringify!($unit))),* }
            }
        }
    };
}

metrics! {
    /// Messages that were stored.
    Published Count
    /// Messages that were stored already.
    Duplicates Count
    /// Posts of messages that reached their member.
    Delivered Count
    /// Members that did not get a message and may still be connected.
    Failed Count
    /// Members that were found to be gone.
    Gone Count
    /// Members that a post called gone and that are connected.
    FalselyGone Count
    /// Rows of members that are gone, deleted.
    PrunedRows Count
    /// Messages whose members were not all tried.
    Partial Count
    /// Messages for which the index of members did not hold the sender's own row yet, or no more.
    IndexBehind Count
    /// Time from the event to the ack, in a room of at most 10 other members.
    FanOutTo10 Milliseconds
    /// The same for 11 to 100.
    FanOutTo100 Milliseconds
    /// The same for 101 to 1,000.
    FanOutTo1000 Milliseconds
    /// The same for more.
    FanOutAbove1000 Milliseconds
    /// Deliveries of several messages at once in busy rooms.
    Batches Count
    /// Messages of these deliveries.
    Batched Count
    /// Age of the oldest message of such a delivery, when it begins.
    OldestUndelivered Milliseconds
    /// Leases of busy rooms that were taken over from a holder that has died.
    Takeovers Count
    /// Joins without a position.
    JoinsFresh Count
    /// Joins that got all they had missed, or the beginning of it.
    JoinsRecovered Count
    /// Those of them that had missed nothing.
    JoinsLossless Count
    /// Joins that were told that messages are lost to them.
    JoinsLost Count
    /// Handshakes that were accepted.
    Connected Count
    /// `internal` and `unavailable` errors: failures of the service.
    Internal Count
    /// `slow_down` errors: limits and throttled tables.
    SlowDown Count
    /// Messages and edits about which the review function made no decision.
    ReviewFailed Count
    /// `forbidden`, `token_expired` and `banned` errors.
    Forbidden Count
    /// All other errors: mistakes of clients.
    Refused Count
}

/// The stack's name, and the function's. None where Terraform wants no metrics.
static SCOPE: LazyLock<Option<(String, String)>> = LazyLock::new(|| {
    let stack = settings::process("METRICS_STACK").filter(|name| !name.is_empty())?;
    Some((stack, settings::process("_HANDLER").unwrap_or_default()))
});

/// Writes the values of one invocation. Values of 0 are left out, and a line without values too.
pub(crate) fn emit(request_id: &str, now_ms: i64, values: &[(Metric, usize)]) {
    if let Some((stack, function)) = SCOPE.as_ref()
        && let Some(line) = line(stack, function, request_id, now_ms, values)
    {
        println!("{line}");
    }
}

/// Counts an error that a client is told.
pub(crate) fn refused(request_id: &str, now_ms: i64, failure: &Failure) {
    let metric = match failure.name {
        ErrorName::Internal | ErrorName::Unavailable => Metric::Internal,
        ErrorName::SlowDown => Metric::SlowDown,
        ErrorName::Forbidden | ErrorName::TokenExpired | ErrorName::Banned => Metric::Forbidden,
        _ => Metric::Refused,
    };
    emit(request_id, now_ms, &[(metric, 1)]);
}

/// The metric of the time of a fan-out to that many members.
pub(crate) fn fan_out(members: usize) -> Metric {
    match members {
        0..=10 => Metric::FanOutTo10,
        11..=100 => Metric::FanOutTo100,
        101..=1000 => Metric::FanOutTo1000,
        _ => Metric::FanOutAbove1000,
    }
}

fn line(
    stack: &str,
    function: &str,
    request_id: &str,
    now_ms: i64,
    values: &[(Metric, usize)],
) -> Option<String> {
    let (mut metrics, mut root) = (Vec::new(), Map::new());
    for (metric, value) in values.iter().filter(|(_, value)| *value > 0) {
        let (name, unit) = metric.name_and_unit();
        metrics.push(json!({"Name": name, "Unit": unit}));
        root.insert(name.to_owned(), Value::from(*value));
    }
    if metrics.is_empty() {
        return None;
    }
    root.insert("Stack".to_owned(), stack.into());
    // Not a dimension: each one would be a metric of its own.
    root.insert("function".to_owned(), function.into());
    root.insert("request_id".to_owned(), request_id.into());
    let directive = json!({"Namespace": NAMESPACE, "Dimensions": [["Stack"]], "Metrics": metrics});
    let about = json!({"Timestamp": now_ms, "CloudWatchMetrics": [directive]});
    // First, so that a reader knows the line by its beginning.
    let rest = Value::Object(root).to_string();
    Some(format!("{{\"_aws\":{about},{}", rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_in_the_embedded_metric_format() {
        let values = [
            (Metric::Published, 1),
            (Metric::Failed, 0),
            (Metric::FanOutTo10, 12),
        ];
        let line = line("talk-dev", "publish", "r-1", 1_707_471_007_396, &values).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&line).unwrap(),
            json!({
                "_aws": {"Timestamp": 1_707_471_007_396_i64, "CloudWatchMetrics": [{
                    "Namespace": "Roomchat",
                    "Dimensions": [["Stack"]],
                    "Metrics": [{"Name": "Published", "Unit": "Count"}, {"Name": "FanOutTo10", "Unit": "Milliseconds"}],
                }]},
                "Stack": "talk-dev", "function": "publish", "request_id": "r-1", "Published": 1, "FanOutTo10": 12,
            })
        );
        // The local gateway knows the line by its beginning.
        assert!(
            line.starts_with(r#"{"_aws":"#) && !line.contains('\n'),
            "{line}"
        );
    }

    #[test]
    fn nothing_is_written_for_nothing() {
        assert_eq!(line("s", "publish", "r", 0, &[(Metric::Failed, 0)]), None);
    }

    #[test]
    fn fan_outs_are_told_apart_by_the_size_of_the_room() {
        let of = |members| fan_out(members);
        assert_eq!((of(0), of(10)), (Metric::FanOutTo10, Metric::FanOutTo10));
        assert_eq!(
            (of(11), of(100)),
            (Metric::FanOutTo100, Metric::FanOutTo100)
        );
        assert_eq!(
            (of(101), of(1000)),
            (Metric::FanOutTo1000, Metric::FanOutTo1000)
        );
        assert_eq!(of(1001), Metric::FanOutAbove1000);
    }
}
