//! Rooms that belong to a verified user or to two of them. Their name says who may use them, so no row has to.
//!
//! | name | room |
//! |---|---|
//! | `@alice` | the inbox of alice: the service alone writes there, alice alone reads |
//! | `@alice&bob` | the pair room of alice and bob: these two write and read |
//!
//! No name of a room or a user begins with `@` or holds `&`, and the two users of a pair stand in order of code points, so
//! two users have one pair room.

use super::names::{Name, NameError, check_user};

/// The first character of the name of every such room.
const MARK: char = '@';

/// The character between the two users of a pair room.
const AND: char = '&';

/// The inbox of a verified user. It is also the partition of the index that lists the user's connections.
pub fn inbox(user: &str) -> String {
    format!("{MARK}{user}")
}

/// The pair room of two users, in whatever order they are given.
pub fn pair(one: &str, other: &str) -> String {
    let (first, second) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    format!("{MARK}{first}{AND}{second}")
}

/// A room of this kind, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Private<'a> {
    /// The inbox of this user.
    Inbox(&'a str),
    /// The pair room of these two users, in order of code points.
    Pair(&'a str, &'a str),
}

impl<'a> Private<'a> {
    /// Reads the name of a room. None for every other room, and for names that no room can have.
    pub fn of(room: &'a str) -> Option<Self> {
        Self::parse(room).ok()
    }

    /// Reads the name of a room that begins with `@`.
    ///
    /// # Errors
    ///
    /// The first rule that the name breaks.
    pub(super) fn parse(room: &'a str) -> Result<Self, NameError> {
        let users = room.strip_prefix(MARK).ok_or(NameError::Reserved)?;
        let is_user = |user: &str| check_user(user).is_ok();
        match users.split_once(AND) {
            None if is_user(users) => Ok(Self::Inbox(users)),
            Some((one, other)) if is_user(one) && is_user(other) => {
                if one < other {
                    Ok(Self::Pair(one, other))
                } else if one == other {
                    Err(NameError::PairOfOne)
                } else {
                    Err(NameError::PairOrder)
                }
            }
            _ => Err(NameError::Reserved),
        }
    }

    /// The users whose connections get the messages of the room.
    pub fn users(self) -> [Option<&'a str>; 2] {
        match self {
            Self::Inbox(user) => [Some(user), None],
            Self::Pair(one, other) => [Some(one), Some(other)],
        }
    }

    /// The other user of a pair room of `user`.
    pub fn other(self, user: &str) -> Option<&'a str> {
        match self {
            Self::Pair(one, other) if one == user => Some(other),
            Self::Pair(one, other) if other == user => Some(one),
            _ => None,
        }
    }
}

impl Name {
    /// Checks the name of a room that may belong to a user, or to two of them.
    ///
    /// # Errors
    ///
    /// The first rule that the name breaks.
    pub(super) fn of_any_room(raw: &str) -> Result<Self, NameError> {
        if raw.starts_with(MARK) {
            Private::parse(raw)?;
            return Ok(Self::unchecked(raw.to_owned()));
        }
        Self::parse(raw)
    }

    /// The room of two verified users.
    pub fn pair(one: &str, other: &str) -> Self {
        Self::unchecked(pair(one, other))
    }

    /// Tells if the room belongs to a user, or to two of them.
    pub fn is_private(&self) -> bool {
        self.as_str().starts_with(MARK)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rights::Right;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read() {
        let long = "x".repeat(64);
        let two_long = format!("@{long}&{}", "y".repeat(64));
        for (name, room) in [
            ("@alice", Some(Private::Inbox("alice"))),
            ("@alice&bob", Some(Private::Pair("alice", "bob"))),
            ("@a@x.org&b|7", Some(Private::Pair("a@x.org", "b|7"))),
            ("@Bob&alice", Some(Private::Pair("Bob", "alice"))),
            ("@é&日本", Some(Private::Pair("é", "日本"))),
            ("alice", None),
            ("alice&bob", None),
            ("", None),
            ("@", None),
            ("@&", None),
            ("@alice&", None),
            ("@&bob", None),
            ("@bob&alice", None),
            ("@alice&alice", None),
            ("@alice&bob&carol", None),
            ("@@alice", None),
            ("@alice&@bob", None),
            ("@deliver#lobby", None),
            ("@system", None),
            ("@alice&system:x", None),
            // The room of the audit is nobody's inbox.
            ("@audit", None),
            ("@alice bob", None),
        ] {
            assert_eq!(Private::of(name), room, "{name}");
        }
        assert!(Private::of(&two_long).is_some());
        assert_eq!(Private::of(&format!("{two_long}y")), None);
    }

    #[test]
    fn the_name_is_the_rule() {
        let rights = |room, user| -> Vec<Right> {
            let room = Private::of(room).unwrap();
            Right::ALL
                .into_iter()
                .filter(|right| room.allows(*right, user))
                .collect()
        };
        let pair = [Right::Join, Right::History, Right::Publish];
        assert_eq!(rights("@alice&bob", "alice"), pair);
        assert_eq!(rights("@alice&bob", "bob"), pair);
        assert_eq!(rights("@alice", "alice"), [Right::Join, Right::History]);
        for stranger in ["mallory", "alic", "alice&bob", "bob&", "", "*", "{sub}"] {
            assert_eq!(rights("@alice&bob", stranger), [], "{stranger}");
        }
        assert_eq!(rights("@alice", "bob"), []);
    }

    proptest! {
        #[test]
        fn two_users_have_one_room(one in "[a-z][a-z@|+=/~.:-]{0,12}", other in "[A-Za-zéß日本0-9][A-Zé日@|+=/~.:-]{0,12}") {
            prop_assume!(one != other && check_user(&one).is_ok() && check_user(&other).is_ok());
            let room = pair(&one, &other);
            prop_assert_eq!(&room, &pair(&other, &one));
            let read = Private::of(&room).unwrap();
            prop_assert_eq!(read.other(&one), Some(other.as_str()));
            prop_assert_eq!(read.other(&other), Some(one.as_str()));
            let inbox = inbox(&one);
            prop_assert_eq!(Private::of(&inbox), Some(Private::Inbox(&one)));
        }

        #[test]
        fn any_text_is_read_as_at_most_one_room(text in "[@&#a-c*]{0,8}") {
            if let Some(room) = Private::of(&text) {
                let name = match room {
                    Private::Inbox(user) => inbox(user),
                    Private::Pair(one, other) => pair(one, other),
                };
                prop_assert_eq!(name, text);
            }
        }
    }
}
