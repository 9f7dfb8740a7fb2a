//! A stage's throttles.

use anyhow::Result;

use crate::terraform::Instance;

/// The parameters of a token bucket: requests per second, and the most at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Throttle {
    pub(crate) rate: f64,
    pub(crate) burst: f64,
}

/// Returns the throttle that a stage declares for a route: in its `route_settings`, or else in its
/// `default_route_settings`.
///
/// A block without limits means 0 and 0 on AWS, which then refuses every message.
pub(super) fn of_route(stage: &Instance, route_key: &str) -> Result<Option<Throttle>> {
    let mut settings = stage.blocks("default_route_settings")?.into_iter().next();
    for block in stage.blocks("route_settings")? {
        if block.string("route_key")? == route_key {
            settings = Some(block);
        }
    }
    settings
        .map(|block| {
            Ok(Throttle {
                rate: block
                    .optional_f64("throttling_rate_limit")?
                    .unwrap_or_default(),
                burst: block
                    .optional_f64("throttling_burst_limit")?
                    .unwrap_or_default(),
            })
        })
        .transpose()
}
