//! Carries out the verdicts of fault rules on invocations. Without rules nothing here runs.

use serde_json::Value;

use super::connections::{Cause, Connection};
use super::event::Client;
use super::integration::{self, Failure, ProxyResponse};
use super::state::Gateway;
use crate::deployment::{Integration, Route};
use crate::faults::{Fault, FunctionName, Point, Site, Verdict};

/// The outcome of an invocation: one result, two if it was duplicated, none if it was lost.
pub(super) type Results = [Option<Result<ProxyResponse, Failure>>; 2];

/// Decides about an invocation of `route`.
pub(super) fn decide(
    gateway: &Gateway,
    site: Site,
    client: &Client,
    (route_key, route): (&str, &Route),
) -> Verdict {
    let function = match &route.integration {
        Integration::Lambda(name) => gateway.functions.get(name).map(|pool| FunctionName {
            key: pool.key(),
            name,
        }),
        Integration::Mock(_) => None,
    };
    gateway.faults.decide(&Point {
        route: Some(route_key),
        function,
        ..Point::at(site).of(&client.connection_id, &client.handshake)
    })
}

/// The verdict on a handshake.
pub(super) struct Handshake(pub(super) Verdict);

impl Handshake {
    /// Reports whether the client gets no answer.
    pub(super) fn hangs(&self) -> bool {
        matches!(self.0.fault, Some(Fault::Hang { .. }))
    }

    /// Reports whether `$disconnect` is invoked beside `$connect`, and the connection never opens.
    pub(super) fn is_early(&self) -> bool {
        self.0.fault == Some(Fault::Early)
    }

    /// Returns why the connection ends as soon as it is open.
    pub(super) fn cut(&self) -> Option<Cause> {
        match self.0.fault {
            Some(Fault::Cut { close, .. }) => Some(Cause::cut(close)),
            _ => None,
        }
    }

    /// Invokes `$connect`.
    pub(super) async fn connect(
        &mut self,
        gateway: &Gateway,
        route: &Route,
        event: &Value,
    ) -> Result<ProxyResponse, Failure> {
        self.0.wait().await;
        let [result, _] = invoke(gateway, route, event, self.0.fault).await;
        result.unwrap_or(Err(Failure::Broken))
    }
}

/// Invokes the route of a message.
pub(super) async fn message(
    gateway: &Gateway,
    connection: &Connection,
    mut verdict: Verdict,
    route: &Route,
    event: &Value,
) -> Results {
    verdict.wait().await;
    match verdict.fault {
        Some(Fault::Drop) => return [None, None],
        Some(Fault::Cut { close, deliver }) => {
            connection.close(Cause::cut(close));
            if !deliver {
                return [None, None];
            }
        }
        _ => {}
    }
    invoke(gateway, route, event, verdict.fault).await
}

/// Invokes `$disconnect`.
pub(super) async fn disconnect(
    gateway: &Gateway,
    mut verdict: Verdict,
    route: &Route,
    event: &Value,
) -> Results {
    verdict.wait().await;
    if verdict.fault == Some(Fault::Lose) {
        return [None, None];
    }
    invoke(gateway, route, event, verdict.fault).await
}

/// Calls the integration: once, twice, or not at all.
async fn invoke(gateway: &Gateway, route: &Route, event: &Value, fault: Option<Fault>) -> Results {
    let call = || integration::call(gateway, route, event);
    match fault {
        Some(Fault::Status { status, deliver }) => {
            if deliver {
                let _ = call().await;
            }
            [Some(Err(Failure::Injected(status))), None]
        }
        Some(Fault::Duplicate) => {
            let (first, second) = tokio::join!(call(), call());
            [Some(first), Some(second)]
        }
        _ => [Some(call().await), None],
    }
}
