//! What a room or a user may be called.
//!
//! 1 to 64 characters, at most 128 bytes of UTF-8: letters and digits of any script, and `-` `_` `.` `:`.
//! A leading `@` is reserved. Combining marks are neither letters nor digits, so `é` is one character (U+00E9)
//! and not two: what looks like one room cannot be two because two keyboards spell it differently.

use std::fmt;

use thiserror::Error;

/// The room of a connection that names none.
pub const DEFAULT_ROOM: &str = "lobby";

/// The longest name, in characters.
pub const MAX_CHARS: usize = 64;

/// The longest name, in bytes of UTF-8.
pub const MAX_BYTES: usize = 128;

/// The name of a room or of a user, known to keep the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// Which rule a name breaks. The text completes "room …" or "user …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing.
    #[error("must not be empty")]
    Empty,
    /// More than 64 characters or 128 bytes.
    #[error("is too long: at most {MAX_CHARS} characters and {MAX_BYTES} bytes")]
    TooLong,
    /// `@…`
    #[error("must not begin with @, which is reserved")]
    Reserved,
    /// Holds something else than letters, digits and `-_.:`.
    #[error("may hold letters, digits and - _ . : only, not {}", .0.escape_debug())]
    Character(char),
}

impl Name {
    /// Takes a name as somebody typed it.
    ///
    /// # Errors
    ///
    /// The first rule it breaks.
    pub fn parse(raw: &str) -> Result<Self, NameError> {
        if raw.is_empty() {
            return Err(NameError::Empty);
        }
        if raw.len() > MAX_BYTES || raw.chars().count() > MAX_CHARS {
            return Err(NameError::TooLong);
        }
        if raw.starts_with('@') {
            return Err(NameError::Reserved);
        }
        match raw.chars().find(|&c| !allowed(c)) {
            Some(c) => Err(NameError::Character(c)),
            None => Ok(Self(raw.to_owned())),
        }
    }

    /// The room of a connection that names none.
    pub fn default_room() -> Self {
        Self(DEFAULT_ROOM.to_owned())
    }

    /// A user who gives no name: `guest-` and six random characters.
    pub fn guest() -> Self {
        // Without 0, 1, i, l and o, which people misread. 31^6 is 900 million guests.
        const ALPHABET: &[u8] = b"23456789abcdefghjkmnpqrstuvwxyz";
        let tail = (0..6).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]));
        Self("guest-".chars().chain(tail).collect())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

fn allowed(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(raw: &str, expected: &NameError) {
        assert_eq!(Name::parse(raw).as_ref(), Err(expected), "{raw:?}");
    }

    #[test]
    fn names_people_use_are_taken() {
        for name in [
            "lobby",
            "a",
            "Room_1.2:3-x",
            "日本語",
            "Αθήνα",
            "café",
            "٣",
            "x".repeat(64).as_str(),
        ] {
            assert!(Name::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn each_rule_is_named() {
        refused("", &NameError::Empty);
        refused(&"x".repeat(65), &NameError::TooLong);
        // 43 characters of three bytes: few enough characters, too many bytes.
        refused(&"語".repeat(43), &NameError::TooLong);
        refused("@all", &NameError::Reserved);
        refused("a@b", &NameError::Character('@'));
        refused("a b", &NameError::Character(' '));
        refused("a/b", &NameError::Character('/'));
        refused("a\u{0}", &NameError::Character('\0'));
        refused("🦀", &NameError::Character('🦀'));
        // "é" spelt with a combining accent.
        refused("cafe\u{301}", &NameError::Character('\u{301}'));
    }

    #[test]
    fn an_invisible_character_is_shown_escaped() {
        assert_eq!(
            NameError::Character('\u{202e}').to_string(),
            r"may hold letters, digits and - _ . : only, not \u{202e}"
        );
    }

    proptest! {
        #[test]
        fn every_guest_is_a_valid_name(_ in 0..100) {
            let guest = Name::guest();
            prop_assert_eq!(Name::parse(guest.as_str()), Ok(guest.clone()));
            prop_assert_eq!(guest.as_str().len(), "guest-".len() + 6);
        }

        #[test]
        fn a_name_is_taken_exactly_when_it_keeps_every_rule(raw in "\\PC{0,70}|[a-z@é語 ]{0,70}") {
            let keeps = (1..=64).contains(&raw.chars().count())
                && raw.len() <= 128
                && raw.chars().all(|c| c.is_alphabetic() || c.is_numeric() || "-_.:".contains(c));
            prop_assert_eq!(Name::parse(&raw).is_ok(), keeps);
        }

        #[test]
        fn a_name_is_kept_as_given(raw in any::<String>()) {
            if let Ok(name) = Name::parse(&raw) {
                prop_assert_eq!(name.as_str(), raw);
            }
        }
    }
}
