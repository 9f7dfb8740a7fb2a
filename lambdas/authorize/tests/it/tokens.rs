//! Tokens good and bad, each with its exact outcome.

use authorizer::answer::{Decision, MAX_CONTEXT_BYTES, policy};
use authorizer::keys::KeySet;
use chat::identity::{Auth, Caller};
use chat::protocol::Right;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::issuer::{
    AUDIENCE, ISSUER, KEYS, authorizer, claims, event, now_s, outcome, part, signed, token, with,
};

const MALFORMED: &str = "the token cannot be read";
const ALGORITHM: &str = "the token's algorithm is not one of its key";
const SIGNATURE: &str = "the signature does not match";
const UNKNOWN: &str = "no key of the token's kid";
const CRITICAL: &str = "the token's header has crit";

fn claim(name: &str) -> String {
    format!("the claim {name} is missing or not valid")
}

/// Good claims with one of them changed.
fn with_claim(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[tokio::test]
async fn claims_are_checked_one_by_one() {
    let mut authorizer = authorizer(&[&KEYS.p256.jwk]);
    let user = |why: &str| format!("the token's user is not allowed: user {why}");
    let rooms = |why: &str| format!("the token's rooms are not valid: rooms {why}");
    let good = || "alice".to_owned();
    let now = now_s();
    let table = [
        (claims(), good()),
        // exp
        (without("exp"), claim("exp")),
        (with_claim("exp", Value::Null), claim("exp")),
        (
            with_claim("exp", json!((now + 600).to_string())),
            claim("exp"),
        ),
        (with_claim("exp", json!([now + 600])), MALFORMED.to_owned()),
        (with_claim("exp", json!(true)), claim("exp")),
        (with_claim("exp", json!(-5)), claim("exp")),
        (
            with_claim("exp", json!(0)),
            "the token has expired".to_owned(),
        ),
        (
            with_claim("exp", json!(now - 31)),
            "the token has expired".to_owned(),
        ),
        (with_claim("exp", json!(1e300)), claim("exp")),
        (with_claim("exp", json!(now as f64 + 60.5)), good()),
        // nbf
        (
            with_claim("nbf", json!(now + 60)),
            "the token is not valid yet".to_owned(),
        ),
        (with_claim("nbf", json!(now)), good()),
        (with_claim("nbf", json!("now")), claim("nbf")),
        // iat
        (without("iat"), good()),
        (with_claim("iat", json!("yesterday")), claim("iat")),
        // iss
        (without("iss"), claim("iss")),
        (
            with_claim("iss", json!("https://issuer.example")),
            "the token is of another issuer".to_owned(),
        ),
        (with_claim("iss", json!([ISSUER])), claim("iss")),
        (with_claim("iss", json!(5)), claim("iss")),
        (
            with_claim("iss", json!("")),
            "the token is of another issuer".to_owned(),
        ),
        // aud
        (without("aud"), claim("aud")),
        (with_claim("aud", json!([AUDIENCE])), good()),
        (with_claim("aud", json!(["x", AUDIENCE])), good()),
        (with_claim("aud", json!(["x", 5, AUDIENCE])), claim("aud")),
        (
            with_claim("aud", json!([])),
            "the token is for another audience".to_owned(),
        ),
        (
            with_claim("aud", json!("Chat")),
            "the token is for another audience".to_owned(),
        ),
        (with_claim("aud", json!(5)), claim("aud")),
        (with_claim("aud", json!({"chat": 1})), claim("aud")),
        // sub
        (without("sub"), claim("sub")),
        (with_claim("sub", json!(7)), claim("sub")),
        (with_claim("sub", json!("")), user("must not be empty")),
        (
            with_claim("sub", json!("@alice")),
            user("must not begin with @, which is reserved"),
        ),
        (
            with_claim("sub", json!("guest-abc")),
            user("must not begin with guest-"),
        ),
        (
            with_claim("sub", json!("system")),
            user("must not begin with system, which is the backend"),
        ),
        (
            with_claim("sub", json!("x".repeat(65))),
            user("is too long: at most 64 characters and 128 bytes"),
        ),
        // name
        (with_claim("name", json!("Alice B.")), good()),
        (with_claim("name", json!(5)), claim("of the name")),
        // rooms
        (with_claim("rooms", json!({"lobby": ["join"]})), good()),
        (with_claim("rooms", json!(r#"{"lobby":["join"]}"#)), good()),
        (with_claim("rooms", Value::Null), good()),
        (with_claim("rooms", json!(["lobby"])), claim("of the rooms")),
        (
            with_claim("rooms", json!({"lobby": "join"})),
            claim("of the rooms"),
        ),
        (
            with_claim("rooms", json!("lobby")),
            rooms(
                "must be a JSON object whose keys are patterns and whose values are lists of rights",
            ),
        ),
        (
            with_claim("rooms", json!({"a": ["fly"]})),
            rooms("has an unknown right; the rights are join, history, publish and moderate"),
        ),
        (
            with_claim("rooms", json!({"****": []})),
            rooms("has a pattern with 4 stars, at most 3 are allowed"),
        ),
    ];
    for (claims, expected) in table {
        assert_eq!(
            outcome(&mut authorizer, &token(&claims)).await,
            expected,
            "{claims}"
        );
    }
    for refused in [
        "a&b",
        "a#b",
        "a b",
        "a*",
        "a{b}",
        "a\u{0}b",
        "a\"b",
        "cafe\u{301}",
    ] {
        let outcome = outcome(&mut authorizer, &token(&with_claim("sub", json!(refused)))).await;
        assert!(
            outcome.starts_with("the token's user"),
            "{refused}: {outcome}"
        );
    }
    // 30 s of leeway. The clock may move on by a second between making the token and reading it.
    for exp in [now_s() - 28, now_s() + 1] {
        let token = token(&with_claim("exp", json!(exp)));
        assert_eq!(outcome(&mut authorizer, &token).await, "alice");
    }
    for (late, expected) in [(29, "alice"), (32, "the token is not valid yet")] {
        let token = token(&with_claim("nbf", json!(now_s() + late)));
        assert_eq!(outcome(&mut authorizer, &token).await, expected);
    }
}

#[tokio::test]
async fn the_key_says_which_algorithm() {
    let keys = &*KEYS;
    let all = [&keys.rsa, &keys.p256, &keys.p384, &keys.ed];
    let mut authorizer = authorizer(&all.map(|signer| &signer.jwk));
    let algorithms = [
        (
            &keys.rsa,
            "rsa",
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..],
        ),
        (&keys.p256, "p256", &["ES256"]),
        (&keys.p384, "p384", &["ES384"]),
        (&keys.ed, "ed", &["EdDSA"]),
    ];
    let names: Vec<&str> = algorithms
        .iter()
        .flat_map(|(_, _, names)| names.iter().copied())
        .collect();
    for (signer, kid, own) in &algorithms {
        for name in names.iter().chain(&["HS256", "HS384", "HS512"]) {
            let header = json!({"alg": name, "kid": kid});
            if own.contains(name) {
                let algorithm = name.parse().unwrap();
                let good = signed(&header, &claims(), &signer.key, algorithm);
                assert_eq!(
                    outcome(&mut authorizer, &good).await,
                    "alice",
                    "{kid} {name}"
                );
            } else {
                // Signed rightly by the key, under the name of another algorithm.
                let algorithm = own[0].parse().unwrap();
                let bad = signed(&header, &claims(), &signer.key, algorithm);
                assert_eq!(
                    outcome(&mut authorizer, &bad).await,
                    ALGORITHM,
                    "{kid} {name}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_public_key_is_not_a_secret() {
    let keys = &*KEYS;
    let mut authorizer = authorizer(&[&keys.rsa.jwk, &keys.p256.jwk]);
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(keys.rsa.jwk.clone()).unwrap();
    let pem_like = [
        keys.rsa.jwk.to_string().into_bytes(),
        keys.rsa.jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        serde_json::to_vec(&jwk).unwrap(),
        b"-----BEGIN PUBLIC KEY-----".to_vec(),
        Vec::new(),
    ];
    for secret in pem_like {
        for kid in [Some("rsa"), Some("p256"), None] {
            let header = json!({"alg": "HS256", "kid": kid});
            let key = EncodingKey::from_secret(&secret);
            let forged = signed(&header, &claims(), &key, Algorithm::HS256);
            let outcome = outcome(&mut authorizer, &forged).await;
            assert!(
                [ALGORITHM, UNKNOWN].contains(&outcome.as_str()),
                "{outcome}"
            );
        }
    }
}

#[tokio::test]
async fn headers_and_signatures_are_looked_at() {
    let keys = &*KEYS;
    let mut authorizer = authorizer(&[&keys.rsa.jwk, &keys.p256.jwk]);
    let good = token(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    let p256 = |header: Value| signed(&header, &claims(), &keys.p256.key, Algorithm::ES256);
    let mut altered = claims();
    altered["sub"] = "bob".into();
    let twice = |header: &str| {
        use base64::Engine as _;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
        let message = format!("{header}.{payload}");
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &keys.p256.key, Algorithm::ES256);
        format!("{message}.{}", signature.unwrap())
    };
    let table = [
        (good.clone(), "alice"),
        (String::new(), MALFORMED),
        ("x".to_owned(), MALFORMED),
        ("..".to_owned(), MALFORMED),
        ("a.b.c.d".to_owned(), MALFORMED),
        (message.to_owned(), MALFORMED),
        (format!("{message}."), SIGNATURE),
        (format!("{message}.{signature}="), MALFORMED),
        (format!("{good}.x"), MALFORMED),
        (format!(" {good}"), MALFORMED),
        (format!("{message}.{}", &signature[2..]), SIGNATURE),
        (
            format!(
                "{}.{}.{signature}",
                part(&json!({"alg": "ES256", "kid": "p256"})),
                part(&altered)
            ),
            SIGNATURE,
        ),
        // none, in each spelling
        (
            format!("{}.{payload}.", part(&json!({"alg": "none"}))),
            MALFORMED,
        ),
        (
            format!(
                "{}.{payload}.",
                part(&json!({"alg": "None", "kid": "p256"}))
            ),
            MALFORMED,
        ),
        (
            format!(
                "{}.{payload}.{signature}",
                part(&json!({"alg": "NONE", "kid": "p256"}))
            ),
            MALFORMED,
        ),
        (p256(json!({"kid": "p256"})), MALFORMED),
        (p256(json!({"alg": ["ES256"], "kid": "p256"})), MALFORMED),
        // kid
        (p256(json!({"alg": "ES256"})), UNKNOWN),
        (p256(json!({"alg": "ES256", "kid": "P256"})), UNKNOWN),
        (p256(json!({"alg": "ES256", "kid": ""})), UNKNOWN),
        (p256(json!({"alg": "ES256", "kid": 5})), MALFORMED),
        (p256(json!({"alg": "ES256", "kid": "../../p256"})), UNKNOWN),
        (p256(json!({"alg": "ES256", "kid": "rsa"})), ALGORITHM),
        (
            twice(r#"{"alg":"ES256","kid":"rsa","kid":"p256"}"#),
            MALFORMED,
        ),
        (
            twice(r#"{"alg":"none","alg":"ES256","kid":"p256"}"#),
            MALFORMED,
        ),
        // Keys and extensions in a header
        (
            p256(json!({"alg": "ES256", "kid": "p256", "crit": ["exp"]})),
            CRITICAL,
        ),
        (
            p256(json!({"alg": "ES256", "kid": "p256", "crit": []})),
            CRITICAL,
        ),
        (
            p256(json!({"alg": "ES256", "kid": "p256", "b64": false, "crit": ["b64"]})),
            CRITICAL,
        ),
        (
            p256(
                json!({"alg": "ES256", "kid": "p256", "jku": "https://evil.example/jwks", "x5u": "https://evil.example"}),
            ),
            "alice",
        ),
        (
            p256(json!({"alg": "ES256", "kid": "evil", "jwk": keys.p256.jwk})),
            UNKNOWN,
        ),
        (
            p256(json!({"alg": "ES256", "kid": "p256", "typ": "at+jwt"})),
            "alice",
        ),
        // Another issuer's key of the same kid
        (
            signed(
                &json!({"alg": "RS256", "kid": "rsa"}),
                &claims(),
                &keys.other_rsa.key,
                Algorithm::RS256,
            ),
            SIGNATURE,
        ),
    ];
    for (token, expected) in table {
        assert_eq!(outcome(&mut authorizer, &token).await, expected, "{token}");
    }
}

#[tokio::test]
async fn without_a_kid_the_only_key_is_meant() {
    let keys = &*KEYS;
    let no_kid = signed(
        &json!({"alg": "ES256"}),
        &claims(),
        &keys.p256.key,
        Algorithm::ES256,
    );
    let mut one = authorizer(&[&keys.p256.jwk]);
    assert_eq!(outcome(&mut one, &no_kid).await, "alice");
    // Keys that cannot be used do not count.
    let mut enc = keys.rsa.jwk.clone();
    enc["use"] = "enc".into();
    let mut two = authorizer(&[&keys.p256.jwk, &enc]);
    assert_eq!(outcome(&mut two, &no_kid).await, "alice");
    let mut two = authorizer(&[&keys.p256.jwk, &keys.rsa.jwk]);
    assert_eq!(outcome(&mut two, &no_kid).await, UNKNOWN);
    // Two keys of one kid: either may have signed.
    let mut same = keys.rsa.jwk.clone();
    same["kid"] = "p256".into();
    let mut two = authorizer(&[&same, &keys.p256.jwk]);
    assert_eq!(outcome(&mut two, &token(&claims())).await, "alice");
}

#[test]
fn keys_that_do_not_verify_signatures_are_skipped() {
    let keys = &*KEYS;
    let changed = |signer: &Value, change: &dyn Fn(&mut Value)| {
        let mut jwk = signer.clone();
        change(&mut jwk);
        jwk
    };
    let short = "w".repeat(171); // 1,024 bits
    let unusable = [
        changed(&keys.rsa.jwk, &|jwk| jwk["use"] = "enc".into()),
        changed(&keys.rsa.jwk, &|jwk| jwk["alg"] = "RSA-OAEP".into()),
        changed(&keys.rsa.jwk, &|jwk| jwk["alg"] = "ES256".into()),
        changed(&keys.rsa.jwk, &|jwk| jwk["alg"] = "HS256".into()),
        changed(&keys.rsa.jwk, &|jwk| jwk["n"] = short.as_str().into()),
        changed(&keys.rsa.jwk, &|jwk| {
            jwk["n"] = format!("{}{short}", "A".repeat(400)).into()
        }),
        changed(&keys.rsa.jwk, &|jwk| jwk["key_ops"] = json!(["encrypt"])),
        changed(&keys.p256.jwk, &|jwk| jwk["crv"] = "P-521".into()),
        changed(&keys.p256.jwk, &|jwk| jwk["crv"] = "P-384".into()),
        changed(&keys.p256.jwk, &|jwk| jwk["x"] = "AA".into()),
        changed(&keys.ed.jwk, &|jwk| jwk["crv"] = "X25519".into()),
        json!({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I", "kid": "o", "alg": "HS256"}),
        json!({"kty": "AKP", "kid": "x"}),
        json!("key"),
        json!(null),
    ];
    for jwk in unusable {
        let set = json!({ "keys": [jwk] }).to_string();
        assert!(KeySet::parse(set.as_bytes()).is_err(), "{set}");
        // Nor do they spoil the others.
        let set = json!({ "keys": [jwk, keys.ed.jwk] }).to_string();
        assert_eq!(
            KeySet::parse(set.as_bytes()).unwrap().of(None).len(),
            1,
            "{set}"
        );
    }
    for set in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#] {
        assert!(KeySet::parse(set.as_bytes()).is_err(), "{set}");
    }
}

#[tokio::test]
async fn a_key_may_name_its_one_algorithm() {
    let keys = &*KEYS;
    let mut jwk = keys.rsa.jwk.clone();
    jwk["alg"] = "PS256".into();
    let mut authorizer = authorizer(&[&jwk]);
    for (name, expected) in [
        ("PS256", "alice"),
        ("RS256", ALGORITHM),
        ("PS512", ALGORITHM),
    ] {
        let header = json!({"alg": name, "kid": "rsa"});
        let token = signed(&header, &claims(), &keys.rsa.key, name.parse().unwrap());
        assert_eq!(outcome(&mut authorizer, &token).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_secret_verifies_hs256_alone() {
    let secret = "a secret of thirty-two bytes, 32";
    let mut authorizer = with(&json!({}), Some(secret));
    let key = EncodingKey::from_secret(secret.as_bytes());
    for (name, expected) in [
        ("HS256", "alice"),
        ("HS384", ALGORITHM),
        ("HS512", ALGORITHM),
    ] {
        for kid in [None, Some("any")] {
            let header = json!({"alg": name, "kid": kid});
            let token = signed(&header, &claims(), &key, name.parse().unwrap());
            assert_eq!(outcome(&mut authorizer, &token).await, expected, "{name}");
        }
    }
    let other = EncodingKey::from_secret(b"another secret of thirty-two bytes");
    let forged = signed(
        &json!({"alg": "HS256"}),
        &claims(),
        &other,
        Algorithm::HS256,
    );
    assert_eq!(outcome(&mut authorizer, &forged).await, SIGNATURE);
    assert_eq!(outcome(&mut authorizer, &token(&claims())).await, ALGORITHM);
}

#[tokio::test]
async fn a_token_that_is_too_long_is_not_read() {
    let mut authorizer = authorizer(&[&KEYS.p256.jwk]);
    let of = |bytes: usize| {
        let base = token(&with_claim("pad", json!(""))).len();
        // Three bytes of text are four of base64.
        token(&with_claim(
            "pad",
            json!("x".repeat((bytes - base) * 3 / 4)),
        ))
    };
    let fits = of(4_090);
    assert!(fits.len() <= 4_096);
    assert_eq!(outcome(&mut authorizer, &fits).await, "alice");
    let long = of(4_110);
    assert!(long.len() > 4_096);
    assert_eq!(
        outcome(&mut authorizer, &long).await,
        "the token is too long"
    );
}

#[tokio::test]
async fn a_context_that_is_too_large_is_refused() {
    let mut authorizer = with(
        &json!({"jwks": json!({"keys": [KEYS.p256.jwk]}).to_string(), "rooms_claim": "r"}),
        None,
    );
    // In the context each quote of the rights is escaped, so they are longer there than in the token.
    let rooms: Value = (0..32)
        .map(|n| (format!("{n}-{}", "\"".repeat(30)), json!(["join"])))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let claims = with_claim("r", rooms);
    let token = token(&claims);
    assert!(token.len() <= 4_096, "{}", token.len());
    let outcome = outcome(&mut authorizer, &token).await;
    assert!(
        outcome.ends_with(&format!("at most {MAX_CONTEXT_BYTES}")),
        "{outcome}"
    );
}

/// Tokens of identity providers that know nothing of rooms. An access token of Cognito has no `aud`.
#[tokio::test]
async fn plain_tokens_of_cognito_and_auth0_are_enough() {
    let keys = &*KEYS;
    let mut authorizer = authorizer(&[&keys.rsa.jwk]);
    let sub = "5d1e2f3a-7b8c-4d9e-a0f1-223344556677";
    let id_token = json!({
        "sub": sub, "email_verified": true, "iss": ISSUER, "cognito:username": sub, "origin_jti": "x", "aud": AUDIENCE,
        "event_id": "e", "token_use": "id", "auth_time": now_s(), "name": "Alice", "exp": now_s() + 3600,
        "iat": now_s(), "jti": "j", "email": "alice@example.com", "cognito:groups": ["staff"],
    });
    let access_token = json!({
        "sub": sub, "iss": ISSUER, "client_id": AUDIENCE, "token_use": "access", "scope": "openid", "username": sub,
        "auth_time": now_s(), "exp": now_s() + 3600, "iat": now_s(), "jti": "j", "version": 2,
    });
    let auth0 = json!({
        "iss": ISSUER, "sub": "auth0|64f0c1", "aud": [AUDIENCE, "https://x.auth0.com/userinfo"], "iat": now_s(),
        "exp": now_s() + 86_400, "azp": "a", "scope": "openid profile", "permissions": [],
    });
    for (claims, user) in [
        (id_token, sub),
        (access_token, sub),
        (auth0, "auth0|64f0c1"),
    ] {
        let header = json!({"alg": "RS256", "kid": "rsa", "typ": "JWT"});
        let token = signed(&header, &claims, &keys.rsa.key, Algorithm::RS256);
        let decision = authorizer.decide(&event(&token), now_s() * 1_000).await;
        let Decision::Allow(context) = decision else {
            panic!("{decision:?}")
        };
        assert_eq!(context["user"], user);
        assert_eq!(context["rooms"], r#"{"*":["join","history","publish"]}"#);
    }
    // Another app's tokens of the same user pool are not for us.
    let mut claims = with_claim("client_id", json!("another-app"));
    claims.as_object_mut().unwrap().remove("aud");
    let other = signed(
        &json!({"alg": "RS256", "kid": "rsa"}),
        &claims,
        &keys.rsa.key,
        Algorithm::RS256,
    );
    assert_eq!(
        outcome(&mut authorizer, &other).await,
        "the token is for another audience"
    );
    // `client_id` is looked at only where `aud` is missing.
    let mut claims = with_claim("client_id", json!(AUDIENCE));
    claims["aud"] = "another".into();
    let other = signed(
        &json!({"alg": "RS256", "kid": "rsa"}),
        &claims,
        &keys.rsa.key,
        Algorithm::RS256,
    );
    assert_eq!(
        outcome(&mut authorizer, &other).await,
        "the token is for another audience"
    );
}

#[tokio::test]
async fn the_claims_can_have_other_names() {
    let mut authorizer = with(
        &json!({
            "jwks": json!({"keys": [KEYS.p256.jwk]}).to_string(), "user_claim": "email",
            "name_claim": "nickname", "rooms_claim": "https://example.com/rooms",
            "default_rooms": {"lobby": ["join"]},
        }),
        None,
    );
    let mut claims = claims();
    claims["email"] = "alice@example.com".into();
    claims["nickname"] = format!("{}\n", "ä".repeat(70)).into();
    let decision = authorizer.decide(&event(&token(&claims)), 0).await;
    let Decision::Allow(context) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(context["user"], "alice@example.com");
    assert_eq!(context["name"], "ä".repeat(64));
    assert_eq!(context["rooms"], r#"{"lobby":["join"]}"#);
    claims["https://example.com/rooms"] = json!({"desk-{sub}": ["moderate", "join"]});
    let decision = authorizer.decide(&event(&token(&claims)), 0).await;
    let Decision::Allow(context) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(context["rooms"], r#"{"desk-{sub}":["moderate","join"]}"#);
    claims.as_object_mut().unwrap().remove("email");
    assert_eq!(
        outcome(&mut authorizer, &token(&claims)).await,
        claim("of the user")
    );
}

#[tokio::test]
async fn without_a_token_one_is_a_guest_where_guests_may_enter() {
    let nothing = serde_json::from_value(json!({"methodArn": "arn"})).unwrap();
    let mut closed = authorizer(&[&KEYS.p256.jwk]);
    assert!(matches!(
        closed.decide(&nothing, 0).await,
        Decision::NoToken
    ));
    let jwks = json!({"keys": [KEYS.p256.jwk]}).to_string();
    let mut open = with(
        &json!({"jwks": jwks, "anonymous": {"lobby": ["join"]}}),
        None,
    );
    let mut users = Vec::new();
    for _ in 0..2 {
        let decision = open.decide(&nothing, 0).await;
        let Decision::Allow(context) = decision else {
            panic!("{decision:?}")
        };
        let user = context["user"].as_str().unwrap().to_owned();
        assert_eq!(user.len(), "guest-".len() + 12);
        assert!(user.starts_with("guest-"));
        assert!(!context.contains_key("exp"));
        assert_eq!(context["rooms"], r#"{"lobby":["join"]}"#);
        users.push(user);
    }
    assert_ne!(users[0], users[1]);
    // A bad token does not make a guest.
    assert_eq!(outcome(&mut open, "x").await, MALFORMED);
}

/// The functions read the authorizer's answer.
#[tokio::test]
async fn the_functions_read_the_context_back() {
    let mut authorizer = authorizer(&[&KEYS.p256.jwk]);
    let mut claims = with_claim("rooms", json!({"team-*": ["join", "publish"]}));
    claims["name"] = "Alice \"B\"".into();
    let event = event(&token(&claims));
    let Decision::Allow(context) = authorizer.decide(&event, 0).await else {
        panic!()
    };
    let answer = policy(&event, Some(context));
    assert_eq!(answer["principalId"], "alice");
    assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Allow");
    assert_eq!(answer["policyDocument"]["Statement"][0]["Resource"], "arn");
    assert!(
        answer["context"]
            .as_object()
            .unwrap()
            .values()
            .all(Value::is_string)
    );
    let caller = Caller::new(
        Auth::Required {
            direct_messages: true,
        },
        &serde_json::from_value(answer["context"].clone()).unwrap(),
    );
    let identity = caller.identity().unwrap();
    assert_eq!(
        (identity.user.as_str(), identity.name.as_deref()),
        ("alice", Some("Alice \"B\""))
    );
    assert_eq!(
        (identity.exp, identity.iat),
        (claims["exp"].as_i64(), claims["iat"].as_i64())
    );
    assert!(caller.may(Right::Publish, "team-1") && !caller.may(Right::Join, "lobby"));

    let denied = policy(&event, None);
    assert_eq!(denied["policyDocument"]["Statement"][0]["Effect"], "Deny");
    assert_eq!(denied["context"], json!({}));
}

/// No log line quotes a part of a token.
#[tokio::test]
async fn no_reason_quotes_the_token() {
    let mut authorizer = authorizer(&[&KEYS.p256.jwk]);
    let marks = json!({"iss": "SECRETMARK", "aud": {"SECRETMARK": 1}, "sub": ["SECRETMARK"], "exp": "SECRETMARK"});
    for header in [
        json!({"alg": "SECRETMARK"}),
        json!({"alg": "ES256", "kid": "SECRETMARK"}),
        json!({"alg": "ES256", "kid": "p256", "crit": ["SECRETMARK"]}),
        json!({"alg": "ES256", "kid": "p256"}),
    ] {
        for claims in [
            &marks,
            &with_claim("rooms", json!({"SECRETMARK": ["SECRETMARK"]})),
        ] {
            let token = signed(&header, claims, &KEYS.p256.key, Algorithm::ES256);
            let outcome = outcome(&mut authorizer, &token).await;
            assert!(!outcome.contains("SECRETMARK"), "{outcome}");
        }
    }
}
