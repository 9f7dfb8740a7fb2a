//! The review of a message before it is stored: a function of the deployer's allows it, replaces its data, or denies it.
//!
//! The function is asked after the rights, the limits and the search for an earlier copy, and before the first write. So
//! a retry of a stored message is not reviewed again, and a denied message leaves nothing behind.

use std::time::Duration;

use anyhow::anyhow;
use aws_config::SdkConfig;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::aws;
use crate::invoke::{Invocation, Invoker};
use crate::lambda::Request;
use crate::log::Draft;
use crate::metrics::{self, Metric};
use crate::protocol::{
    ErrorName, Failure, MAX_REASON_CHARS, check_data, is_readable, matches, render,
};
use crate::settings::{Lookup, OnFailure, ReviewSettings};

/// The deployer's function.
#[derive(Debug, Clone)]
pub struct Review {
    invoker: Invoker,
    settings: ReviewSettings,
}

/// The event of the function. docs/moderation.md describes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: u8,
    room: &'a str,
    user: &'a str,
    name: Option<&'a str>,
    id: Option<&'a str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<u64>,
    data: &'a RawValue,
    source_ip: Option<&'a str>,
    at: i64,
}

/// The response of the function.
#[derive(Debug, Deserialize)]
struct Decision {
    decision: String,
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    reason: Option<String>,
}

/// Reads a field that is present. `null` is data like any other.
fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Deserialize::deserialize(field).map(Some)
}

impl Review {
    /// The function that `env` names, if it names one.
    ///
    /// # Errors
    ///
    /// Names the invalid variable.
    pub fn read(env: Lookup<'_>, config: &SdkConfig) -> anyhow::Result<Option<Self>> {
        let settings = ReviewSettings::read(env)?;
        let of = |settings| Ok(Self::new(aws::invoker(config)?, settings));
        settings.map(of).transpose()
    }

    /// The function of `settings`, invoked through `invoker`.
    pub fn new(invoker: Invoker, settings: ReviewSettings) -> Self {
        Self { invoker, settings }
    }

    /// True for a message or an edit in a room that is reviewed.
    pub(super) fn concerns(&self, draft: &Draft<'_>) -> bool {
        let has_data = draft.kind.is_none_or(|kind| kind.has_data());
        let mut patterns = self.settings.rooms.iter();
        has_data && patterns.any(|pattern| matches(pattern, draft.room))
    }

    /// Asks the function about a message. Returns other data for it, if the function replaces them and `fits` accepts
    /// them.
    ///
    /// # Errors
    ///
    /// `rejected`; `unavailable` if the function makes no decision, and the settings refuse such messages.
    pub(super) async fn ask(
        &self,
        request: &Request,
        draft: &Draft<'_>,
        data: &RawValue,
        until: Instant,
        fits: impl Fn(&RawValue) -> Result<(), Failure>,
    ) -> Result<Option<Box<RawValue>>, Failure> {
        let identity = request.caller.identity();
        let event = render(&Event {
            version: 1,
            room: draft.room,
            user: draft.user,
            name: identity.and_then(|identity| identity.name.as_deref()),
            id: draft.id,
            kind: draft.kind.map_or("message", |kind| kind.as_str()),
            target: draft.kind.and_then(|kind| kind.target()),
            data,
            source_ip: request.source_ip.as_deref(),
            at: draft.at,
        });
        let left = until.saturating_duration_since(Instant::now());
        let within = left.min(Duration::from_millis(self.settings.timeout_ms));
        let function = &self.settings.function_arn;
        let answer = self
            .invoker
            .invoke(function, &event, Invocation::RequestResponse, within);
        let cause = match answer.await.map(|text| decide(&text, fits)) {
            Ok(Ok(Verdict::Allow)) => return Ok(None),
            Ok(Ok(Verdict::Replace(data))) => return Ok(Some(data)),
            Ok(Ok(Verdict::Deny(reason))) => {
                return Err(Failure {
                    reason,
                    ..Failure::new(ErrorName::Rejected, "the message is refused by a review")
                });
            }
            Ok(Err(cause)) => cause,
            Err(error) => error.to_string(),
        };
        metrics::emit(
            &request.request_id,
            request.now_ms,
            &[(Metric::ReviewFailed, 1)],
        );
        if self.settings.on_failure == OnFailure::Refuse {
            let message = "the review of messages failed; nothing was stored, try again";
            return Err(Failure {
                cause: Some(anyhow!("the review failed: {cause}")),
                ..Failure::new(ErrorName::Unavailable, message)
            });
        }
        tracing::warn!(
            connection_id = request.connection_id,
            request_id = request.request_id,
            room = draft.room,
            cause,
            "the review failed; the message is stored without it"
        );
        Ok(None)
    }
}

enum Verdict {
    Allow,
    Replace(Box<RawValue>),
    Deny(Option<String>),
}

/// Reads the response. An error says what is wrong with it, without quoting it: it may hold the message.
fn decide(text: &str, fits: impl Fn(&RawValue) -> Result<(), Failure>) -> Result<Verdict, String> {
    let shape = "the response is not an object with a decision";
    // An array would be read as the fields in their order.
    if !text.trim_start().starts_with('{') {
        return Err(shape.to_owned());
    }
    let decision: Decision = serde_json::from_str(text).map_err(|_| shape)?;
    match decision.decision.as_str() {
        "allow" => Ok(Verdict::Allow),
        "deny" => {
            let reason = decision.reason.filter(|reason| !reason.is_empty());
            let cut = |reason: String| reason.chars().take(MAX_REASON_CHARS).collect();
            Ok(Verdict::Deny(
                reason.filter(|text| is_readable(text)).map(cut),
            ))
        }
        "replace" => {
            let data = decision
                .data
                .ok_or("the decision is replace, and data is missing")?;
            // The errors would quote the data.
            if check_data(&data).is_err() {
                return Err("the data of the response is not I-JSON".to_owned());
            }
            if fits(&data).is_err() {
                return Err("the data of the response is too large for a message".to_owned());
            }
            Ok(Verdict::Replace(data))
        }
        _ => Err("the decision is not allow, replace or deny".to_owned()),
    }
}
