//! The line that Lambda logs for each invocation.

use std::time::Duration;

use super::FunctionError;

/// The end of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// The process gave a result or an error, whatever the error's type is.
    Ended,
    /// The process exited.
    Exited,
    /// The function's timeout passed.
    TimedOut,
}

/// Makes the line `REPORT RequestId: …`, tab-separated as on AWS. It has an Init Duration after a cold start only.
pub(super) fn line(
    request_id: &str,
    duration: Duration,
    memory_size_mb: u64,
    memory_used_mb: u64,
    init: Option<Duration>,
    (status, error): (Status, Option<&FunctionError>),
) -> String {
    // Init is billed too, and a started millisecond counts as a whole one.
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
    match (status, error) {
        (Status::TimedOut, _) => line.push_str("Status: timeout"),
        (_, Some(error)) => {
            line.push_str(&format!("Status: error\tError Type: {}", error.error_type));
        }
        (_, None) => {}
    }
    line
}

/// Makes the line of a failed Init. An Init that succeeds is part of the report of the first invocation.
pub(super) fn failed_init(error: &FunctionError) -> String {
    let FunctionError {
        error_type,
        message,
        ..
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
            line(
                "id",
                ms(12_340),
                128,
                24,
                Some(ms(45_670)),
                (Status::Ended, None)
            ),
            "REPORT RequestId: id\tDuration: 12.34 ms\tBilled Duration: 59 ms\tMemory Size: 128 MB\tMax Memory Used: 24 MB\tInit Duration: 45.67 ms\t"
        );
        assert_eq!(
            line(
                "id",
                ms(3_000_000),
                128,
                24,
                None,
                (
                    Status::TimedOut,
                    Some(&FunctionError::new("Sandbox.Timedout", ""))
                )
            ),
            "REPORT RequestId: id\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 24 MB\tStatus: timeout"
        );
        // A function may give its own error any type.
        let reported = FunctionError::new("Sandbox.Timedout", "");
        assert!(
            line(
                "id",
                ms(1_000),
                128,
                24,
                None,
                (Status::Ended, Some(&reported))
            )
            .ends_with("\tStatus: error\tError Type: Sandbox.Timedout")
        );
        assert_eq!(
            line(
                "id",
                ms(1_000),
                128,
                24,
                None,
                (
                    Status::Exited,
                    Some(&FunctionError::new("Runtime.ExitError", ""))
                )
            ),
            "REPORT RequestId: id\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 24 MB\tStatus: error\tError Type: Runtime.ExitError"
        );
    }
}
