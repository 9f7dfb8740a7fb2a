//! The user of a connection and the user's rights: the context of the authorizer, which comes with every event.
//!
//! API Gateway runs the authorizer at the handshake and adds its context to each later event of the connection as
//! `requestContext.authorizer`, so a right costs no request. Where identity is on (`AUTH_MODE=required`) an event without a
//! verified user is refused.

use std::collections::HashMap;

use serde_json::Value;

use crate::protocol::{ErrorName, Failure, Grants, Right};
pub use crate::protocol::{UserError, check_user};

/// The time after its token's end in which a connection still gets messages, in seconds: the leeway of the authorizer.
pub const LEEWAY_S: i64 = 30;

/// The longest name that is shown for a user, in characters. A longer one is cut.
pub const MAX_DISPLAY_CHARS: usize = 64;

/// The setting `AUTH_MODE`: tells if the names of users are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// Users name themselves, and everybody may enter every room.
    #[default]
    Off,
    /// An authorizer stands before `$connect`; events without a verified user are refused.
    Required {
        /// True if two users have a room of their own.
        direct_messages: bool,
    },
}

/// The sender of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A sender whose name is not verified: identity is off.
    Anyone,
    /// A verified user.
    Verified(Box<Identity>),
    /// The backend, which IAM has let in: the name that it speaks under. It has all rights in every room.
    Backend(String),
    /// Identity is on, and the event has no usable context. The text says why, for the log.
    Unverified(String),
}

/// A verified user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user: `from` in messages.
    pub user: String,
    /// The name to show to people.
    pub name: Option<String>,
    /// The rights, by pattern of rooms.
    pub grants: Grants,
    /// The end of the token, in seconds since 1970. None for a user without a token.
    pub exp: Option<i64>,
    /// The time of the token's issue, in seconds since 1970.
    pub iat: Option<i64>,
}

impl Caller {
    /// Reads the context of an authorizer.
    pub fn new(auth: Auth, context: &HashMap<String, Value>) -> Self {
        match auth {
            Auth::Off => Self::Anyone,
            Auth::Required { direct_messages } => match Identity::new(context) {
                Ok(mut identity) => {
                    identity.grants.set_pairs(direct_messages);
                    Self::Verified(Box::new(identity))
                }
                Err(why) => Self::Unverified(why),
            },
        }
    }

    /// The verified user, or the name of the backend; none where identity is off.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Verified(identity) => Some(&identity.user),
            Self::Backend(name) => Some(name),
            Self::Anyone | Self::Unverified(_) => None,
        }
    }

    /// True if the sender is the backend.
    pub fn is_backend(&self) -> bool {
        matches!(self, Self::Backend(_))
    }

    /// The context of the authorizer; none where identity is off.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Verified(identity) => Some(identity),
            Self::Anyone | Self::Backend(_) | Self::Unverified(_) => None,
        }
    }

    /// Refuses an event without a verified user, and an event whose token has expired: the first check of every action.
    ///
    /// # Errors
    ///
    /// `forbidden`, `token_expired`.
    pub fn authenticate(&self, now_s: i64) -> Result<(), Failure> {
        match self {
            Self::Anyone | Self::Backend(_) => Ok(()),
            Self::Verified(identity) if identity.exp.is_some_and(|exp| exp <= now_s) => {
                Err(Failure::new(
                    ErrorName::TokenExpired,
                    "the token has expired; connect again with a fresh one",
                ))
            }
            Self::Verified(_) => Ok(()),
            Self::Unverified(why) => Err(Failure {
                cause: Some(anyhow::anyhow!("{why}")),
                ..Failure::new(
                    ErrorName::Forbidden,
                    "this connection has no verified user; connect with a token",
                )
            }),
        }
    }

    /// Tells if the caller has `right` in `room`. Where identity is off, every caller has all rights but `moderate`.
    pub fn may(&self, right: Right, room: &str) -> bool {
        match self {
            Self::Anyone => right != Right::Moderate && !is_private(room),
            Self::Backend(_) => true,
            Self::Verified(identity) => identity.grants.allows(right, room, &identity.user),
            Self::Unverified(_) => false,
        }
    }

    /// Refuses a caller without `right` in `room`.
    ///
    /// # Errors
    ///
    /// `forbidden`, which names the right.
    pub fn check(&self, right: Right, room: &str) -> Result<(), Failure> {
        match self {
            _ if self.may(right, room) => Ok(()),
            Self::Anyone if is_private(room) => Err(no_identity()),
            _ => Err(Failure::forbidden(right, room)),
        }
    }

    /// The verified user of an action that needs one.
    ///
    /// # Errors
    ///
    /// `forbidden`, where identity is off.
    pub fn verified(&self) -> Result<&str, Failure> {
        self.user().ok_or_else(no_identity)
    }

    /// Limits the expiry time `at_s` of a row, in seconds since 1970: the row expires at most [`LEEWAY_S`] after the
    /// token's end.
    pub fn row_end(&self, at_s: i64) -> i64 {
        let exp = self.identity().and_then(|identity| identity.exp);
        exp.map_or(at_s, |exp| at_s.min(exp.saturating_add(LEEWAY_S)))
    }
}

impl Identity {
    /// Reads the context. An absent `user` is `principalId`; absent `rooms` grant what [`Grants::everywhere`] does, for
    /// authorizers that know nothing of rooms.
    fn new(context: &HashMap<String, Value>) -> Result<Self, String> {
        let given = |key: &str| context.get(key).filter(|value| !value.is_null());
        let user = match given("user").or_else(|| given("principalId")) {
            Some(Value::String(user)) => user,
            Some(_) => return Err("the authorizer's context: user must be a string".to_owned()),
            None => return Err("the event has no user: no authorizer ran".to_owned()),
        };
        check_user(user).map_err(|error| format!("the authorizer's context: user {error}"))?;
        let name = given("name").and_then(Value::as_str);
        let grants = match given("rooms") {
            None => Grants::everywhere(),
            Some(Value::String(json)) => Grants::parse(json)
                .map_err(|error| format!("the authorizer's context: rooms {error}"))?,
            Some(_) => return Err("the authorizer's context: rooms must be JSON text".to_owned()),
        };
        Ok(Self {
            user: user.clone(),
            name: name
                .map(|name| name.chars().take(MAX_DISPLAY_CHARS).collect())
                .filter(|name: &String| !name.is_empty()),
            grants,
            exp: seconds(given("exp"), "exp")?,
            iat: seconds(given("iat"), "iat")?,
        })
    }
}

/// Tells if a room belongs to a user or to two of them.
fn is_private(room: &str) -> bool {
    room.starts_with('@')
}

/// The failure of an action that needs a verified user, where identity is off.
pub(crate) fn no_identity() -> Failure {
    Failure::new(
        ErrorName::Forbidden,
        "this needs verified users, and this service does not verify names",
    )
}

/// A time in seconds, as a string or as a number: API Gateway is not known to turn numbers of a context into strings in
/// every event.
fn seconds(value: Option<&Value>, key: &str) -> Result<Option<i64>, String> {
    let seconds = match value {
        None => return Ok(None),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
    };
    match seconds {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(format!(
            "the authorizer's context: {key} must be whole seconds since 1970"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const REQUIRED: Auth = Auth::Required {
        direct_messages: true,
    };

    fn caller(context: Value) -> Caller {
        Caller::new(REQUIRED, &serde_json::from_value(context).unwrap())
    }

    fn why(context: Value) -> String {
        match caller(context) {
            Caller::Unverified(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_context_is_read() {
        let caller = caller(json!({
            "user": "auth0|7", "name": "Alice B.", "rooms": r#"{"lobby":["join"]}"#, "exp": "2000", "iat": 1000,
            "principalId": "x", "integrationLatency": 12,
        }));
        let identity = caller.identity().unwrap();
        assert_eq!(caller.user(), Some("auth0|7"));
        assert_eq!(identity.name.as_deref(), Some("Alice B."));
        assert_eq!((identity.exp, identity.iat), (Some(2_000), Some(1_000)));
        assert!(caller.may(Right::Join, "lobby") && !caller.may(Right::Publish, "lobby"));
        assert!(!caller.may(Right::Join, "garden"));
    }

    #[test]
    fn an_authorizer_that_knows_nothing_of_rooms_grants_them_all() {
        let caller = caller(json!({"principalId": "alice"}));
        assert_eq!(caller.user(), Some("alice"));
        assert!(caller.may(Right::Publish, "any") && !caller.may(Right::Moderate, "any"));
        assert_eq!(caller.row_end(100), 100);
        assert!(caller.authenticate(i64::MAX).is_ok());
    }

    #[test]
    fn a_context_that_cannot_be_used_is_nobody() {
        for (context, text) in [
            (json!({}), "the event has no user: no authorizer ran"),
            (
                json!({"user": null}),
                "the event has no user: no authorizer ran",
            ),
            (json!({"user": 5}), "user must be a string"),
            (json!({"user": ""}), "user must not be empty"),
            (json!({"user": "@alice"}), "user must not begin with @"),
            (json!({"user": "a&b"}), "user may hold"),
            (
                json!({"user": "system:billing"}),
                "user must not begin with system",
            ),
            (
                json!({"user": "a", "rooms": "x"}),
                "rooms must be a JSON object",
            ),
            (json!({"user": "a", "rooms": {}}), "rooms must be JSON text"),
            (
                json!({"user": "a", "rooms": r#"{"a":["fly"]}"#}),
                "rooms has an unknown right",
            ),
            (
                json!({"user": "a", "exp": "soon"}),
                "exp must be whole seconds",
            ),
            (
                json!({"user": "a", "exp": 1.5}),
                "exp must be whole seconds",
            ),
            (
                json!({"user": "a", "iat": "x"}),
                "iat must be whole seconds",
            ),
        ] {
            let why = why(context.clone());
            assert!(why.contains(text), "{context}: {why}");
        }
        let nobody = caller(json!({}));
        assert_eq!(
            nobody.authenticate(0).unwrap_err().name,
            ErrorName::Forbidden
        );
        assert!(Right::ALL.iter().all(|right| !nobody.may(*right, "lobby")));
    }

    #[test]
    fn a_context_is_not_looked_at_where_identity_is_off() {
        let context = HashMap::from([("user".to_owned(), json!(5))]);
        let caller = Caller::new(Auth::Off, &context);
        assert_eq!(caller, Caller::Anyone);
        assert!(caller.authenticate(0).is_ok() && caller.user().is_none());
        for right in Right::ALL {
            assert_eq!(caller.may(right, "any"), right != Right::Moderate);
            assert!(!caller.may(right, "@alice&bob") && !caller.may(right, "@alice"));
        }
        for refusal in [
            caller.check(Right::Publish, "@alice&bob").unwrap_err(),
            caller.verified().unwrap_err(),
        ] {
            assert_eq!(refusal.name, ErrorName::Forbidden);
            assert!(refusal.message.contains("does not verify names"));
        }
    }

    #[test]
    fn a_pair_room_is_its_two_users_and_can_be_turned_off() {
        let context = |user: &str| serde_json::from_value(json!({"user": user})).unwrap();
        let caller =
            |user, direct_messages| Caller::new(Auth::Required { direct_messages }, &context(user));
        let publish = |caller: Caller| caller.may(Right::Publish, "@alice&bob");
        assert!(publish(caller("alice", true)) && publish(caller("bob", true)));
        assert!(!publish(caller("mallory", true)));
        assert!(!publish(caller("alice", false)));
        // The inbox holds more than conversations.
        assert!(caller("alice", false).may(Right::History, "@alice"));
    }

    #[test]
    fn an_ended_token_is_refused_and_its_rows_end_after_the_leeway() {
        let caller = caller(json!({"user": "a", "exp": "1000"}));
        assert!(caller.authenticate(999).is_ok());
        let failure = caller.authenticate(1_000).unwrap_err();
        assert_eq!(failure.name, ErrorName::TokenExpired);
        assert_eq!((caller.row_end(900), caller.row_end(9_000)), (900, 1_030));
    }
}
