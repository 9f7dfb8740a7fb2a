//! The line Lambda logs for each invocation.

use std::time::Duration;

use super::{FunctionError, TIMED_OUT};

/// `REPORT RequestId: …`, tab-separated as on AWS. Init Duration is there after a cold start only.
pub(super) fn line(
    request_id: &str,
    duration: Duration,
    memory_size_mb: u64,
    memory_used_mb: u64,
    init: Option<Duration>,
    error: Option<&FunctionError>,
) -> String {
    // Init is billed too, and every started millisecond counts.
    let billed = (duration + init.unwrap_or_default()).as_secs_f64() * 1000.0;
    let mut line = format!(
        "REPORT RequestId: {request_id}\tDuration: {:.2} ms\tBilled Duration: {:.0} ms\t\
         Memory Size: {memory_size_mb} MB\tMax Memory Used: {memory_used_mb} MB\t",
        duration.as_secs_f64() * 1000.0,
        billed.ceil(),
    );
    if let Some(init) = init {
        line.push_str(&format!(
            "Init Duration: {:.2} ms\t",
            init.as_secs_f64() * 1000.0
        ));
    }
    if let Some(error) = error {
        match error.error_type.as_str() {
            TIMED_OUT => line.push_str("Status: timeout"),
            error_type => line.push_str(&format!("Status: error\tError Type: {error_type}")),
        }
    }
    line
}

/// The line of an Init that failed; one that succeeds is part of its first invocation's report.
pub(super) fn failed_init(error: &FunctionError) -> String {
    let FunctionError {
        error_type,
        message,
    } = error;
    format!("INIT_REPORT Status: error\tError Type: {error_type}\tError: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_shape_of_lambdas() {
        let ms = Duration::from_micros;
        assert_eq!(
            line("id", ms(12_340), 128, 24, Some(ms(45_670)), None),
            "REPORT RequestId: id\tDuration: 12.34 ms\tBilled Duration: 59 ms\tMemory Size: 128 MB\tMax Memory Used: 24 MB\tInit Duration: 45.67 ms\t"
        );
        assert_eq!(
            line(
                "id",
                ms(3_000_000),
                128,
                24,
                None,
                Some(&FunctionError::new(TIMED_OUT, ""))
            ),
            "REPORT RequestId: id\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 24 MB\tStatus: timeout"
        );
        assert_eq!(
            line(
                "id",
                ms(1_000),
                128,
                24,
                None,
                Some(&FunctionError::new("Runtime.ExitError", ""))
            ),
            "REPORT RequestId: id\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 24 MB\tStatus: error\tError Type: Runtime.ExitError"
        );
    }
}
