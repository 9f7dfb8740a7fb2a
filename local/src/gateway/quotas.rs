//! AWS's quotas and throttles, off unless requested: most tests and benchmarks need the machine's own limits.
//!
//! They are token buckets on the gateway's clock, so that a test can refill them by moving the clock.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::clock::{Moment, Timeline};
use crate::deployment::{Api, Throttle};

/// An account's requests per second and their burst, over all its APIs and with callbacks.
const ACCOUNT: Throttle = Throttle {
    rate: 10_000.0,
    burst: 5_000.0,
};

/// An account's new connections per second. AWS documents no burst; here it is one second's worth.
const CONNECTIONS_PER_SECOND: f64 = 500.0;

/// An account's concurrent invocations, of all functions together.
const CONCURRENCY: usize = 1_000;

/// The quotas of `--quota all`.
const ALL: [Wanted; 4] = [
    Wanted::Account(ACCOUNT),
    Wanted::Connections(CONNECTIONS_PER_SECOND),
    Wanted::Routes,
    Wanted::Concurrency(CONCURRENCY),
];

/// The number of refused messages in a row after which a connection is closed with 1008. AWS closes it "when a client
/// sends too many", and does not document the number.
pub(crate) const REFUSALS_BEFORE_CLOSE: u32 = 100;

/// A quota of the flag `--quota`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wanted {
    All,
    Account(Throttle),
    Connections(f64),
    Routes,
    Concurrency(usize),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        let positive = |text: &str| match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
            _ => Err(format!("{text} is not a number above 0")),
        };
        match text.split_once('=').unwrap_or((text, "")) {
            ("all", "") => Ok(Wanted::All),
            ("account", "") => Ok(Wanted::Account(ACCOUNT)),
            ("account", value) => match value.split_once('/') {
                Some((rate, burst)) => Ok(Wanted::Account(Throttle {
                    rate: positive(rate)?,
                    burst: positive(burst)?,
                })),
                None => Err("it must be account=RATE/BURST, such as account=10000/5000".to_owned()),
            },
            ("connections", "") => Ok(Wanted::Connections(CONNECTIONS_PER_SECOND)),
            ("connections", value) => Ok(Wanted::Connections(positive(value)?)),
            ("routes", "") => Ok(Wanted::Routes),
            ("concurrency", "") => Ok(Wanted::Concurrency(CONCURRENCY)),
            ("concurrency", value) => match value.parse() {
                Ok(invocations) if invocations > 0 => Ok(Wanted::Concurrency(invocations)),
                _ => Err(format!("{value} is not a whole number above 0")),
            },
            _ => Err(
                "it must be all, account[=RATE/BURST], connections[=RATE], routes or concurrency[=N]"
                    .to_owned(),
            ),
        }
    }
}

/// The quotas that are enforced, and the number of refusals of each.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    account: Option<Bucket>,
    connections: Option<Bucket>,
    /// By route key.
    routes: BTreeMap<String, Bucket>,
    /// Concurrent invocations of all functions.
    pub(crate) concurrency: Option<usize>,
}

impl Quotas {
    /// Makes the requested quotas, with the throttles that the stage of `api` declares. A later flag wins.
    pub(crate) fn new(wanted: &[Wanted], api: &Api) -> Quotas {
        let mut quotas = Quotas::default();
        let each = wanted.iter().flat_map(|wanted| match wanted {
            Wanted::All => ALL.as_slice(),
            one => std::slice::from_ref(one),
        });
        for wanted in each {
            match *wanted {
                Wanted::Account(throttle) => quotas.account = Some(Bucket::new(throttle)),
                Wanted::Connections(rate) => quotas.connections = Some(Bucket::new(a_second(rate))),
                Wanted::Concurrency(invocations) => quotas.concurrency = Some(invocations),
                Wanted::Routes => {
                    let throttled = api.routes.iter().filter_map(|(route_key, route)| {
                        Some((route_key.clone(), Bucket::new(route.throttle?)))
                    });
                    quotas.routes = throttled.collect();
                }
                // `all` was replaced by the single quotas above.
                Wanted::All => {}
            }
        }
        quotas
    }

    /// Reports whether a client may begin a handshake now.
    pub(crate) fn admit_connection(&self, time: &Timeline) -> bool {
        take(self.connections.as_ref(), time) && self.admit_request("$connect", time)
    }

    /// Reports whether a message may take that route now.
    pub(crate) fn admit_request(&self, route_key: &str, time: &Timeline) -> bool {
        take(self.routes.get(route_key), time) && take(self.account.as_ref(), time)
    }

    /// Reports whether a function may call `@connections` now.
    pub(crate) fn admit_callback(&self, time: &Timeline) -> bool {
        take(self.account.as_ref(), time)
    }

    /// Returns each quota and its number of refusals, for the status page.
    pub(crate) fn status(&self) -> BTreeMap<String, Status> {
        let named = [
            ("account", &self.account),
            ("connections", &self.connections),
        ];
        let named = named
            .into_iter()
            .filter_map(|(name, bucket)| Some((name.to_owned(), bucket.as_ref()?)));
        let routes = self
            .routes
            .iter()
            .map(|(route_key, bucket)| (format!("route {route_key}"), bucket));
        named
            .chain(routes)
            .map(|(name, bucket)| (name, bucket.status()))
            .collect()
    }
}

fn a_second(rate: f64) -> Throttle {
    Throttle { rate, burst: rate }
}

/// A throttle in the status page.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    rate: f64,
    burst: f64,
    refused: u64,
}

#[derive(Debug)]
struct Bucket {
    throttle: Throttle,
    level: Mutex<Level>,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    at: Moment,
}

/// Takes a token. A quota that is not enforced admits everything.
fn take(bucket: Option<&Bucket>, time: &Timeline) -> bool {
    bucket.is_none_or(|bucket| bucket.take(time.now()))
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/s, burst {}: {} refused",
            self.rate, self.burst, self.refused
        )
    }
}

impl Bucket {
    fn new(throttle: Throttle) -> Bucket {
        Bucket {
            throttle,
            level: Mutex::new(Level {
                tokens: throttle.burst,
                at: Moment::ZERO,
            }),
            refused: AtomicU64::new(0),
        }
    }

    fn take(&self, now: Moment) -> bool {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.saturating_sub(level.at).as_secs_f64() * self.throttle.rate;
        level.tokens = (level.tokens + gained).min(self.throttle.burst);
        level.at = level.at.max(now);
        let admitted = level.tokens >= 1.0;
        if admitted {
            level.tokens -= 1.0;
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn status(&self) -> Status {
        Status {
            rate: self.throttle.rate,
            burst: self.throttle.burst,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_holds_its_burst_and_fills_at_its_rate() {
        let bucket = Bucket::new(Throttle {
            rate: 2.0,
            burst: 3.0,
        });
        let at = Duration::from_millis;
        let taken: Vec<bool> = (0..4).map(|_| bucket.take(at(0))).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert!(!bucket.take(at(499)));
        assert!(bucket.take(at(501)));
        assert!(!bucket.take(at(502)));
        // A long pause fills it to the brim and no further.
        let taken: Vec<bool> = (0..4).map(|_| bucket.take(at(3_600_000))).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert_eq!(bucket.status().refused, 4);
    }

    #[test]
    fn a_quota_is_a_name_and_perhaps_a_value() {
        let throttle = |rate, burst| Throttle { rate, burst };
        for (text, expected) in [
            ("all", Wanted::All),
            ("account", Wanted::Account(ACCOUNT)),
            ("account=5/10", Wanted::Account(throttle(5.0, 10.0))),
            ("connections", Wanted::Connections(500.0)),
            ("connections=0.5", Wanted::Connections(0.5)),
            ("routes", Wanted::Routes),
            ("concurrency=3", Wanted::Concurrency(3)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "none",
            "all=1",
            "account=5",
            "account=0/1",
            "connections=NaN",
            "connections=-1",
            "connections=inf",
            "concurrency=0",
            "concurrency=1.5",
            "routes=1",
        ] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }
}
