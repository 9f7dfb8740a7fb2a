//! Signature Version 4: whether a request is signed as AWS wants it.
//!
//! The secret is always `local`, which is what functions are given, and any access key id will do. What is signed is
//! checked with `aws-sigv4`, the crate that signs in the AWS SDK for Rust.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use chrono::{DateTime, NaiveDateTime, Utc};
use percent_encoding::percent_decode_str;

use crate::management;

/// The secret of every access key.
pub(crate) const SECRET: &str = "local";

/// The service whose calls are signed here.
const SERVICE: &str = "execute-api";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// How far the signer's clock may be from ours, and for how long a signature in headers holds.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// The longest life of a signature in a query: a week.
const MAX_EXPIRY_SECONDS: u64 = 7 * 24 * 60 * 60;

/// A request whose signature is missing or wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    name: &'static str,
    message: String,
}

impl Rejected {
    fn missing() -> Rejected {
        Rejected {
            name: "MissingAuthenticationTokenException",
            message: "Missing Authentication Token".to_owned(),
        }
    }

    fn incomplete(message: &str) -> Rejected {
        Rejected {
            name: "IncompleteSignatureException",
            message: message.to_owned(),
        }
    }

    fn invalid(message: impl Into<String>) -> Rejected {
        Rejected {
            name: "InvalidSignatureException",
            message: message.into(),
        }
    }

    /// 403, in AWS's words.
    pub(crate) fn into_response(self) -> Response {
        management::error(StatusCode::FORBIDDEN, self.name, Some(&self.message))
    }
}

/// Checks a request's signature, in its `Authorization` header or in its query, against the wall clock: the signer's
/// is not the gateway's, which may be moved.
///
/// # Errors
/// What AWS would say of it.
pub(crate) fn check(request: &Parts, body: &[u8], region: &str) -> Result<(), Rejected> {
    check_at(request, body, region, SECRET, SystemTime::now())
}

fn check_at(
    request: &Parts,
    body: &[u8],
    region: &str,
    secret: &str,
    now: SystemTime,
) -> Result<(), Rejected> {
    let claim = match request.headers.get(header::AUTHORIZATION) {
        Some(authorization) => Claim::from_header(authorization.to_str().unwrap_or_default())?,
        None => Claim::from_query(request.uri.query().unwrap_or_default())?,
    };
    let (key_id, time) = claim.check_scope(request, region, now)?;
    let mismatch = || {
        Rejected::invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
        )
    };
    let expected = claim
        .sign(
            request,
            body,
            region,
            Credentials::new(key_id, secret, claim.token.clone(), None, "local"),
            time,
        )
        .ok_or_else(mismatch)?;
    if expected == claim.signature {
        Ok(())
    } else {
        Err(mismatch())
    }
}

/// What a request says of its own signature.
#[derive(Debug)]
struct Claim {
    credential: String,
    /// Lower case.
    signed_headers: Vec<String>,
    signature: String,
    /// Where the signature is in the query: its date and its life in seconds.
    presigned: Option<(String, u64)>,
    /// The session token of a signature in the query; in headers it is a header like any other.
    token: Option<String>,
}

impl Claim {
    /// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`
    fn from_header(authorization: &str) -> Result<Claim, Rejected> {
        let Some(parameters) = authorization.strip_prefix(ALGORITHM) else {
            return Err(Rejected::incomplete(
                "Unsupported AWS 'algorithm': only AWS4-HMAC-SHA256 is known.",
            ));
        };
        let parameters: BTreeMap<&str, &str> = parameters
            .split(',')
            .filter_map(|parameter| parameter.trim().split_once('='))
            .collect();
        let get = |name: &str| {
            parameters.get(name).ok_or_else(|| {
                Rejected::incomplete(&format!(
                    "Authorization header requires '{name}' parameter."
                ))
            })
        };
        Ok(Claim {
            credential: (*get("Credential")?).to_owned(),
            signed_headers: names(get("SignedHeaders")?),
            signature: (*get("Signature")?).to_owned(),
            presigned: None,
            token: None,
        })
    }

    /// `X-Amz-Algorithm=…&X-Amz-Credential=…&…`
    fn from_query(query: &str) -> Result<Claim, Rejected> {
        let parameters: BTreeMap<Cow<'_, str>, Cow<'_, str>> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        let get = |name: &str| parameters.get(name).map(|value| value.clone().into_owned());
        if get("X-Amz-Algorithm").as_deref() != Some(ALGORITHM) {
            return Err(Rejected::missing());
        }
        let required = |name: &str| {
            get(name).ok_or_else(|| {
                Rejected::incomplete(&format!(
                    "AWS query-string parameters must include '{name}'."
                ))
            })
        };
        let expires = required("X-Amz-Expires")?.parse().ok();
        let expires = expires.filter(|expires| *expires <= MAX_EXPIRY_SECONDS);
        let expires = expires.ok_or_else(|| {
            Rejected::incomplete("X-Amz-Expires must be a number of seconds, at most a week's.")
        })?;
        Ok(Claim {
            credential: required("X-Amz-Credential")?,
            signed_headers: names(&required("X-Amz-SignedHeaders")?),
            signature: required("X-Amz-Signature")?,
            presigned: Some((required("X-Amz-Date")?, expires)),
            token: get("X-Amz-Security-Token"),
        })
    }

    /// The access key id and the time of signing, once the scope is right and the time near enough.
    fn check_scope(
        &self,
        request: &Parts,
        region: &str,
        now: SystemTime,
    ) -> Result<(&str, SystemTime), Rejected> {
        let scope: Vec<&str> = self.credential.split('/').collect();
        let [key_id, date, signed_region, service, terminator] = scope.as_slice() else {
            return Err(Rejected::incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
            ));
        };
        let header = |name: &str| request.headers.get(name)?.to_str().ok();
        let written = match &self.presigned {
            Some((date, _)) => Some(date.as_str()),
            None => header("x-amz-date"),
        };
        let time = written.and_then(|text| NaiveDateTime::parse_from_str(text, DATE_FORMAT).ok());
        let (Some(written), Some(time)) = (written, time) else {
            return Err(Rejected::incomplete(
                "The request requires an 'X-Amz-Date' of the form 20260121T012019Z.",
            ));
        };
        let wrong = [
            (
                terminator != &"aws4_request",
                "Credential should be scoped with a valid terminator: 'aws4_request'.",
            ),
            (
                service != &SERVICE,
                "Credential should be scoped to correct service: 'execute-api'.",
            ),
            (
                *signed_region != region,
                "Credential should be scoped to a valid Region.",
            ),
            (
                written.get(..8) != Some(*date),
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.",
            ),
            (
                !self.signed_headers.iter().any(|name| name == "host") || header("host").is_none(),
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ),
        ];
        if let Some((_, message)) = wrong.iter().find(|(is_wrong, _)| *is_wrong) {
            return Err(Rejected::invalid(*message));
        }
        let time = SystemTime::from(time.and_utc());
        let life = match self.presigned {
            Some((_, seconds)) => Duration::from_secs(seconds),
            None => SKEW,
        };
        let format = |time: SystemTime| DateTime::<Utc>::from(time).format(DATE_FORMAT);
        if now.duration_since(time).is_ok_and(|age| age > life) {
            let now = format(now);
            return Err(Rejected::invalid(format!(
                "Signature expired: {written} is too early for {now}."
            )));
        }
        if time.duration_since(now).is_ok_and(|ahead| ahead > SKEW) {
            let now = format(now);
            return Err(Rejected::invalid(format!(
                "Signature not yet current: {written} is still later than {now} + 5 min."
            )));
        }
        Ok((key_id, time))
    }

    /// The signature that the request should have; `None` when it cannot be signed at all.
    fn sign(
        &self,
        request: &Parts,
        body: &[u8],
        region: &str,
        credentials: Credentials,
        time: SystemTime,
    ) -> Option<String> {
        // The crate signs the date in any case.
        if self.presigned.is_none() && !self.signed_headers.iter().any(|name| name == "x-amz-date")
        {
            return None;
        }
        let mut settings = SigningSettings::default();
        // What is signed is what the request says, no more and no less.
        settings.excluded_headers = None;
        let mut url = request.uri.path().to_owned();
        if let Some(query) = request.uri.query() {
            // A signature in the query signs the rest of it, which the crate completes.
            let unsigned: Vec<&str> = query
                .split('&')
                .filter(|pair| self.presigned.is_none() || !is_of_signature(pair))
                .collect();
            url.extend(["?", &unsigned.join("&")]);
        }
        if let Some((_, seconds)) = self.presigned {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(Duration::from_secs(seconds));
        }
        let headers: Option<Vec<(&str, &str)>> = request
            .headers
            .iter()
            .filter(|(name, _)| {
                let is_signed = self
                    .signed_headers
                    .iter()
                    .any(|signed| name.as_str() == signed);
                // The crate adds the date itself.
                is_signed && *name != "x-amz-date"
            })
            .map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(SERVICE)
            .time(time)
            .settings(settings)
            .build()
            .ok()?;
        let signable = SignableRequest::new(
            request.method.as_str(),
            url,
            headers?.into_iter(),
            SignableBody::Bytes(body),
        );
        let (_, signature) = sign(signable.ok()?, &parameters.into()).ok()?.into_parts();
        Some(signature)
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(';').map(str::to_ascii_lowercase).collect()
}

fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

fn is_of_signature(pair: &str) -> bool {
    let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
    matches!(
        name,
        "X-Amz-Algorithm"
            | "X-Amz-Credential"
            | "X-Amz-Date"
            | "X-Amz-Expires"
            | "X-Amz-SignedHeaders"
            | "X-Amz-Signature"
            | "X-Amz-Security-Token"
    )
}

#[cfg(test)]
mod tests;
