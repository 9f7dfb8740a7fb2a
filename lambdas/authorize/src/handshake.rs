//! Finds the token in the handshake.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};

/// The longest token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 4_096;

/// The prefix of a token among the offered subprotocols: a browser cannot set any other header.
const SUBPROTOCOL: &str = "roomchat.token.";

/// The event of a REQUEST authorizer, as far as it is looked at. Every map may be `null`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The ARN of `$connect`, which the answer's policy names.
    pub method_arn: String,
    #[serde(default, deserialize_with = "or_empty")]
    headers: HashMap<String, String>,
    #[serde(default, deserialize_with = "or_empty")]
    multi_value_headers: HashMap<String, Vec<String>>,
    #[serde(default, deserialize_with = "or_empty")]
    query_string_parameters: HashMap<String, String>,
    #[serde(default, deserialize_with = "or_empty")]
    multi_value_query_string_parameters: HashMap<String, Vec<String>>,
}

fn or_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The token of a handshake.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The handshake has no token.
    Nothing,
    /// The only token.
    Token(String),
    /// Several tokens, a token that is too long, or credentials that are not a token.
    Unusable(&'static str),
}

impl Event {
    /// Looks in all three places. Two tokens are refused, even equal ones: two parts of a client disagree about who
    /// sends it.
    pub fn token(&self) -> Found {
        let mut tokens = Vec::new();
        for offers in self.header("sec-websocket-protocol") {
            let offers = offers.split(',').map(str::trim);
            tokens.extend(offers.filter_map(|offer| offer.strip_prefix(SUBPROTOCOL)));
        }
        for credentials in self.header("authorization") {
            match credentials.trim().split_once(' ') {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                    tokens.push(token.trim());
                }
                _ => return Found::Unusable("the header Authorization is not a bearer token"),
            }
        }
        let query = match self.multi_value_query_string_parameters.get("token") {
            Some(values) => values.iter().collect(),
            None => Vec::from_iter(self.query_string_parameters.get("token")),
        };
        tokens.extend(query.into_iter().map(String::as_str));
        match tokens.as_slice() {
            [] => Found::Nothing,
            [token] if token.len() > MAX_TOKEN_BYTES => Found::Unusable("the token is too long"),
            [token] => Found::Token((*token).to_owned()),
            _ => Found::Unusable("there are several tokens"),
        }
    }

    /// Every value of a header, whose case does not matter.
    fn header(&self, name: &str) -> Vec<&str> {
        let is_it = |key: &String| key.eq_ignore_ascii_case(name);
        let multi = self
            .multi_value_headers
            .iter()
            .filter(|(key, _)| is_it(key));
        let values: Vec<&str> = multi
            .flat_map(|(_, values)| values.iter().map(String::as_str))
            .collect();
        if !values.is_empty() {
            return values;
        }
        let single = self.headers.iter().filter(|(key, _)| is_it(key));
        single.map(|(_, value)| value.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found(mut event: Value) -> Found {
        event["methodArn"] = "arn".into();
        serde_json::from_value::<Event>(event).unwrap().token()
    }

    fn token(text: &str) -> Found {
        Found::Token(text.to_owned())
    }

    #[test]
    fn a_token_is_found_in_each_place() {
        assert_eq!(found(json!({})), Found::Nothing);
        for nothing in [
            json!({"headers": null, "multiValueHeaders": null, "queryStringParameters": null}),
            json!({"headers": {"Sec-WebSocket-Protocol": "roomchat.v1"}, "queryStringParameters": {"room": "a"}}),
        ] {
            assert_eq!(found(nothing), Found::Nothing);
        }
        for event in [
            json!({"multiValueHeaders": {"Sec-WebSocket-Protocol": ["roomchat.v1, roomchat.token.a.b.c"]}}),
            json!({"multiValueHeaders": {"sec-websocket-protocol": ["roomchat.v1", "roomchat.token.a.b.c"]}}),
            json!({"headers": {"Sec-Websocket-Protocol": "roomchat.token.a.b.c,roomchat.v1"}}),
            json!({"headers": {"Authorization": "Bearer a.b.c"}}),
            json!({"headers": {"authorization": "bearer  a.b.c "}, "multiValueHeaders": {"authorization": ["bearer  a.b.c "]}}),
            json!({"queryStringParameters": {"token": "a.b.c"}}),
            json!({"queryStringParameters": {"token": "a.b.c"}, "multiValueQueryStringParameters": {"token": ["a.b.c"]}}),
        ] {
            assert_eq!(found(event.clone()), token("a.b.c"), "{event}");
        }
    }

    #[test]
    fn two_tokens_and_other_credentials_are_unusable() {
        for event in [
            json!({"headers": {"Authorization": "Bearer a"}, "queryStringParameters": {"token": "a"}}),
            json!({"headers": {"Authorization": "Bearer a", "Sec-WebSocket-Protocol": "roomchat.token.a"}}),
            json!({"multiValueHeaders": {"Sec-WebSocket-Protocol": ["roomchat.token.a, roomchat.token.b"]}}),
            json!({"multiValueHeaders": {"Authorization": ["Bearer a", "Bearer b"]}}),
            json!({"multiValueQueryStringParameters": {"token": ["a", "b"]}}),
            json!({"headers": {"Authorization": "Basic YTpi"}}),
            json!({"headers": {"Authorization": "a.b.c"}}),
            json!({"headers": {"Authorization": ""}}),
        ] {
            let found = found(event.clone());
            assert!(matches!(found, Found::Unusable(_)), "{event}: {found:?}");
        }
    }

    #[test]
    fn a_token_has_4096_bytes_at_most() {
        let of = |bytes| found(json!({"queryStringParameters": {"token": "x".repeat(bytes)}}));
        assert_eq!(of(4_096), token(&"x".repeat(4_096)));
        assert_eq!(of(4_097), Found::Unusable("the token is too long"));
        // An empty token is given, but is not a token.
        assert_eq!(of(0), token(""));
    }
}
