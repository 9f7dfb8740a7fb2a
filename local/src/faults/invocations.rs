//! Invocations on their way to a function.

use std::future::pending;

use serde_json::Value;

use super::frames::cause;
use super::{Fault, Faults, FunctionName, Place, Point, Verdict};
use crate::deployment::{Integration, Route};
use crate::gateway::Gateway;
use crate::gateway::connections::{Cause, Connection};
use crate::gateway::event::Client;
use crate::gateway::integration::{self, Answer, Failure};

/// What came of an invocation: an answer, two when it was duplicated, none when it was lost.
pub(crate) type Answers = [Option<Result<Answer, Failure>>; 2];

/// What the rules make of a handshake.
pub(crate) struct Handshake {
    verdict: Verdict,
}

impl Handshake {
    /// Never returns when the client is to have no answer; it may leave meanwhile.
    pub(crate) async fn hang(&self) {
        if let Some(Fault::Hang { .. }) = self.verdict.fault {
            pending().await
        }
    }

    /// Whether `$disconnect` comes early, and the connection never opens.
    pub(crate) fn is_early(&self) -> bool {
        self.verdict.fault == Some(Fault::Early)
    }

    /// How the connection ends as soon as it is open.
    pub(crate) fn cut(&self) -> Option<Cause> {
        match self.verdict.fault {
            Some(Fault::Cut { close, .. }) => Some(cause(close)),
            _ => None,
        }
    }

    /// Invokes `$connect`.
    pub(crate) async fn connect(
        &mut self,
        gateway: &Gateway,
        route: &Route,
        event: &Value,
    ) -> Result<Answer, Failure> {
        self.verdict.wait().await;
        let [answer, _] = invoke(gateway, route, event, self.verdict.fault).await;
        answer.unwrap_or(Err(Failure::Broken))
    }
}

impl Faults {
    /// Decides about a handshake whose `$connect` is about to be invoked.
    pub(crate) fn handshake(&self, gateway: &Gateway, client: &Client) -> Handshake {
        let verdict = match gateway.api.routes.get("$connect") {
            Some(route) => self.decide(&at(gateway, Place::Connect, client, "$connect", route)),
            None => Verdict::default(),
        };
        Handshake { verdict }
    }

    /// Decides about a message that has just arrived, in the order of arrival: from here on each is on its own.
    pub(crate) fn message(&self, gateway: &Gateway, client: &Client, body: &str) -> Verdict {
        if !self.is_active() {
            return Verdict::default();
        }
        match gateway.api.route(body) {
            Some((key, route)) => self.decide(&at(gateway, Place::Message, client, key, route)),
            // Nothing is invoked.
            None => Verdict::default(),
        }
    }

    /// Invokes `$disconnect`.
    pub(crate) async fn disconnect(
        &self,
        gateway: &Gateway,
        client: &Client,
        route: &Route,
        event: &Value,
    ) -> Answers {
        let mut verdict = self.decide(&at(
            gateway,
            Place::Disconnect,
            client,
            "$disconnect",
            route,
        ));
        verdict.wait().await;
        if verdict.fault == Some(Fault::Lose) {
            return [None, None];
        }
        invoke(gateway, route, event, verdict.fault).await
    }
}

/// Takes a message to its function.
pub(crate) async fn message(
    gateway: &Gateway,
    connection: &Connection,
    mut verdict: Verdict,
    route: &Route,
    event: &Value,
) -> Answers {
    verdict.wait().await;
    match verdict.fault {
        Some(Fault::Drop) => return [None, None],
        Some(Fault::Cut { close, deliver }) => {
            connection.close(cause(close));
            if !deliver {
                return [None, None];
            }
        }
        _ => {}
    }
    invoke(gateway, route, event, verdict.fault).await
}

fn at<'a>(
    gateway: &'a Gateway,
    place: Place,
    client: &'a Client,
    route_key: &'a str,
    route: &'a Route,
) -> Point<'a> {
    let function = match &route.integration {
        Integration::Lambda(name) => gateway.functions.get(name).map(|pool| FunctionName {
            key: pool.key(),
            name,
        }),
        Integration::Mock(_) => None,
    };
    Point {
        route: Some(route_key),
        function,
        ..Point::at(place).of(client)
    }
}

/// Runs the integration: once, twice, or not at all.
async fn invoke(gateway: &Gateway, route: &Route, event: &Value, fault: Option<Fault>) -> Answers {
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
