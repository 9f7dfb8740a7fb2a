//! Signature Version 4: checks the signature of a request.
//!
//! All access keys have the same secret, which functions get in their environment. The signature is checked with `aws-sigv4`, the crate that signs in the AWS SDK for Rust.
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

use super::responses;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// The largest difference between the signer's clock and ours, and the life of a signature in headers.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// The longest life of a signature in a query: one week.
const MAX_EXPIRY_SECONDS: u64 = 7 * 24 * 60 * 60;

/// The service and region that a signature must name, and the secret that makes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// `execute-api` or `lambda`.
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    pub(crate) secret: &'a str,
}

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
        responses::error(StatusCode::FORBIDDEN, self.name, Some(&self.message))
    }
}

/// Checks a request's signature, in its `Authorization` header or in its query, against the system's clock: a test can
/// move the gateway's clock, and the signer does not know.
///
/// # Errors
/// The error that AWS would return.
pub(crate) fn check(request: &Parts, body: &[u8], scope: Scope<'_>) -> Result<(), Rejected> {
    check_at(request, body, scope, SystemTime::now())
}

fn check_at(
    request: &Parts,
    body: &[u8],
    scope: Scope<'_>,
    now: SystemTime,
) -> Result<(), Rejected> {
    let claim = match request.headers.get(header::AUTHORIZATION) {
        Some(authorization) => Claim::from_header(authorization.to_str().unwrap_or_default())?,
        None => Claim::from_query(request.uri.query().unwrap_or_default())?,
    };
    let (key_id, time) = claim.check_scope(request, scope, now)?;
    let mismatch = || {
        Rejected::invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
        )
    };
    let expected = claim
        .sign(
            request,
            body,
            scope,
            Credentials::new(key_id, scope.secret, claim.token.clone(), None, "local"),
            time,
        )
        .ok_or_else(mismatch)?;
    if expected == claim.signature {
        Ok(())
    } else {
        Err(mismatch())
    }
}

/// The parts of a signature, as the request states them.
#[derive(Debug)]
struct Claim {
    credential: String,
    /// Lower case.
    signed_headers: Vec<String>,
    signature: String,
    /// The date and the life in seconds of a signature in the query.
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

    /// Checks the scope and the time, and returns the access key id and the time of signing.
    fn check_scope(
        &self,
        request: &Parts,
        expected: Scope<'_>,
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
        let wrong_service = format!(
            "Credential should be scoped to correct service: '{}'.",
            expected.service
        );
        let wrong = [
            (
                terminator != &"aws4_request",
                "Credential should be scoped with a valid terminator: 'aws4_request'.",
            ),
            (*service != expected.service, wrong_service.as_str()),
            (
                *signed_region != expected.region,
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

    /// Computes the signature that the request must have; `None` if it cannot be signed.
    fn sign(
        &self,
        request: &Parts,
        body: &[u8],
        scope: Scope<'_>,
        credentials: Credentials,
        time: SystemTime,
    ) -> Option<String> {
        // The crate always signs the date.
        if self.presigned.is_none() && !self.signed_headers.iter().any(|name| name == "x-amz-date")
        {
            return None;
        }
        let mut settings = SigningSettings::default();
        // Exactly the headers that the request names are signed.
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
            .region(scope.region)
            .name(scope.service)
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
mod tests {
    use super::*;
    use axum::http::Request;
    use proptest::prelude::*;

    const PATH: &str = "/prod/@connections/e_d2EewNLPECIGw%3D";
    const DATE: &str = "20261121T012019Z";
    const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AK/20261121/us-east-1/execute-api/aws4_request, \
        SignedHeaders=host;x-amz-date, Signature=8e4576b8c5c43081ea01b45a8bc60642e971af325c179b52747bbf70b29fc423";

    fn at(date: &str) -> SystemTime {
        NaiveDateTime::parse_from_str(date, DATE_FORMAT)
            .unwrap()
            .and_utc()
            .into()
    }

    /// A request of an SDK, with the signature it made with the secret "SK".
    fn known(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn scope(secret: &str) -> Scope<'_> {
        Scope {
            service: "execute-api",
            region: "us-east-1",
            secret,
        }
    }

    fn verdict(request: &Parts, body: &str, now: &str) -> Result<(), String> {
        check_at(request, body.as_bytes(), scope("SK"), at(now))
            .map_err(|rejected| rejected.message)
    }

    #[test]
    fn the_known_answer_verifies_and_nothing_else_does() {
        let headers = [
            ("host", "127.0.0.1:46605"),
            ("x-amz-date", DATE),
            ("authorization", AUTHORIZATION),
        ];
        assert_eq!(verdict(&known("POST", PATH, &headers), "hi", DATE), Ok(()));
        // A header that is not signed may be anything.
        let more = [headers.as_slice(), &[("x-other", "1")]].concat();
        assert_eq!(verdict(&known("POST", PATH, &more), "hi", DATE), Ok(()));

        let mismatch = |request: Parts, body: &str| {
            let message = verdict(&request, body, DATE).unwrap_err();
            assert!(message.contains("does not match"), "{message}");
        };
        mismatch(known("POST", PATH, &headers), "ho");
        mismatch(known("GET", PATH, &headers), "hi");
        mismatch(
            known("POST", "/prod/@connections/e_d2EewNLPECIGx%3D", &headers),
            "hi",
        );
        mismatch(known("POST", &format!("{PATH}?x=1"), &headers), "hi");
        let with = |name: &str, value: &str| {
            let mut changed = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            for header in &mut changed {
                if header.0 == name {
                    header.1 = value.to_owned();
                }
            }
            let changed: Vec<(&str, &str)> = changed
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            known("POST", PATH, &changed)
        };
        mismatch(with("host", "127.0.0.1:46606"), "hi");
        mismatch(with("x-amz-date", "20261121T012020Z"), "hi");
        mismatch(
            with("authorization", &AUTHORIZATION.replace("c423", "c424")),
            "hi",
        );
        let unlisted = AUTHORIZATION.replace("host;x-amz-date", "host");
        mismatch(with("authorization", &unlisted), "hi");
        let other_secret = check_at(
            &known("POST", PATH, &headers),
            b"hi",
            scope("local"),
            at(DATE),
        );
        assert!(other_secret.is_err());

        let refused = |from: &str, to: &str, expected: &str| {
            let message = verdict(
                &with("authorization", &AUTHORIZATION.replace(from, to)),
                "hi",
                DATE,
            )
            .unwrap_err();
            assert!(message.contains(expected), "{to}: {message}");
        };
        refused("execute-api", "dynamodb", "correct service");
        refused("us-east-1", "eu-west-1", "valid Region");
        refused("aws4_request", "aws4", "terminator");
        refused("/20261121/", "/20261120/", "Date in Credential scope");
        refused("AK/", "", "5 slash-delimited");
        refused("host;", "", "'Host'");
        refused("Signature=", "Sig=", "requires 'Signature'");
        refused("AWS4-HMAC-SHA256", "Bearer", "algorithm");
    }

    #[test]
    fn a_signature_holds_for_five_minutes() {
        let headers = [
            ("host", "127.0.0.1:46605"),
            ("x-amz-date", DATE),
            ("authorization", AUTHORIZATION),
        ];
        let check = |now: &str, expected: Option<&str>| {
            let verdict = verdict(&known("POST", PATH, &headers), "hi", now);
            match expected {
                None => assert_eq!(verdict, Ok(()), "{now}"),
                Some(expected) => assert!(verdict.unwrap_err().contains(expected), "{now}"),
            }
        };
        check("20261121T012519Z", None);
        check("20261121T012520Z", Some("expired"));
        check("20261121T011519Z", None);
        check("20261121T011518Z", Some("not yet current"));
    }

    #[test]
    fn what_is_not_signed_lacks_a_token() {
        for path in [PATH, "/prod?X-Amz-Signature=1", "/prod?token=a"] {
            let rejected = check_at(
                &known("POST", path, &[("host", "h")]),
                b"",
                scope("SK"),
                at(DATE),
            );
            assert_eq!(rejected, Err(Rejected::missing()), "{path}");
        }
        let undated = known(
            "POST",
            PATH,
            &[
                ("host", "127.0.0.1:46605"),
                ("authorization", AUTHORIZATION),
            ],
        );
        assert!(
            verdict(&undated, "hi", DATE)
                .unwrap_err()
                .contains("X-Amz-Date")
        );
    }

    /// A handshake's URL as botocore's SigV4QueryAuth signs it: key AK, secret SK, token T/+=, 60 seconds.
    const PRESIGNED: &str = "/prod?room=a%20b&user=x%2By&X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AK%2F20261121%2Fus-east-1%2Fexecute-api%2Faws4_request&X-Amz-Date=20261121T012019Z\
        &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=T%2F%2B%3D\
        &X-Amz-Signature=18e5c42f4faaa701c627c01a9daf1251f3541e2a32e1f79b466eb82afd624edc";

    #[test]
    fn a_signature_in_the_query_verifies_for_its_life() {
        let check = |url: &str, now: &str, expected: Option<&str>| {
            let request = known(
                "GET",
                url,
                &[("host", "example.execute-api"), ("user-agent", "any")],
            );
            match (verdict(&request, "", now), expected) {
                (verdict, None) => assert_eq!(verdict, Ok(()), "{url}"),
                (verdict, Some(expected)) => {
                    assert!(verdict.unwrap_err().contains(expected), "{url}")
                }
            }
        };
        check(PRESIGNED, DATE, None);
        check(PRESIGNED, "20261121T012119Z", None);
        check(PRESIGNED, "20261121T012120Z", Some("expired"));
        check(
            &PRESIGNED.replace("a%20b", "b%20a"),
            DATE,
            Some("does not match"),
        );
        check(
            &PRESIGNED.replace("T%2F", "U%2F"),
            DATE,
            Some("does not match"),
        );
        check(
            &PRESIGNED.replace("Expires=60", "Expires=61"),
            DATE,
            Some("does not match"),
        );
        check(
            &PRESIGNED.replace("Expires=60", "Expires=604801"),
            DATE,
            Some("X-Amz-Expires"),
        );
        check(
            &PRESIGNED.replace("X-Amz-Date", "X-Date"),
            DATE,
            Some("X-Amz-Date"),
        );
    }

    proptest! {
        #[test]
        fn any_authorization_is_judged(
            authorization in prop_oneof![
                "[ -~]{0,80}",
                "AWS4-HMAC-SHA256 Credential=[a-zA-Z0-9/]{0,20}(/20261121/us-east-1/execute-api/aws4_request)?, \
                 SignedHeaders=[a-z;-]{0,10}(host)?, Signature=[0-9a-f]{0,64}",
            ],
            date in prop_oneof!["[0-9TZ]{0,16}", Just(DATE.to_owned())],
            query in "[ -~&&[^#\\\\\"<>`{}|^ ]]{0,40}",
            name in "[a-z-]{1,8}",
        ) {
            let headers = [("host", "h"), ("x-amz-date", date.as_str()), (name.as_str(), "v"), ("authorization", authorization.as_str())];
            let request = Request::builder().uri(format!("/prod?{query}"));
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            if let Ok(request) = request.body(()) {
                prop_assert!(verdict(&request.into_parts().0, "", DATE).is_err());
            }
        }

        #[test]
        fn any_query_is_judged(credential in "[A-Za-z0-9/%]{0,40}", expires in "[0-9]{0,25}", more in "[a-z%&=+]{0,10}") {
            let url = format!(
                "/prod?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK{credential}%2F20261121%2Fus-east-1%2Fexecute-api%2Faws4_request\
                 &X-Amz-Date={DATE}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature=00&{more}"
            );
            if let Ok(request) = Request::builder().uri(url).header("host", "h").body(()) {
                prop_assert!(verdict(&request.into_parts().0, "", DATE).is_err());
            }
        }
    }
}
