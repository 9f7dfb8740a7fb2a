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

/// What an SDK has sent, with the signature it made with the secret "SK".
fn known(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn verdict(request: &Parts, body: &str, now: &str) -> Result<(), String> {
    check_at(request, body.as_bytes(), "us-east-1", "SK", at(now))
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
        "us-east-1",
        "local",
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
            "us-east-1",
            "SK",
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
            (verdict, Some(expected)) => assert!(verdict.unwrap_err().contains(expected), "{url}"),
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
