//! Names of rooms and users.
//!
//! A name has 1 to 64 characters and at most 128 bytes of UTF-8: letters, digits and combining marks of any script,
//! and `-` `_` `.` `:`. A leading `@` is reserved. Two names that look the same but are encoded differently would be
//! two rooms, so a name must be in normalization form NFC and must not hold invisible characters. Letters of different
//! scripts that look alike (Latin `a`, Cyrillic `а`) remain different names.
//!
//! A name that breaks a rule is refused, not corrected: the answer repeats the name of the frame, and a client searches
//! for the name that it sent.

use std::fmt;

use thiserror::Error;
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::is_nfc;

/// The room of a connection that names none.
pub const DEFAULT_ROOM: &str = "lobby";

/// The longest name, in characters.
pub const MAX_CHARS: usize = 64;

/// The longest name, in bytes of UTF-8.
pub const MAX_BYTES: usize = 128;

/// The most combining marks in a row. Burmese and Tibetan words need five or six; a tower of them covers the lines above.
pub const MAX_MARKS: usize = 8;

/// The texts of a variable without a value, in JavaScript and in Python. A user or room with such a name would bring
/// all clients with the same mistake together.
pub(super) const NO_VALUE: [&str; 4] = ["undefined", "null", "NaN", "None"];

/// The name of a room or of a user, known to keep the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// The rule that a name breaks. The text completes "room …" or "user …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("must not be empty")]
    Empty,
    /// More than 64 characters or 128 bytes.
    #[error("is too long: at most {MAX_CHARS} characters and {MAX_BYTES} bytes")]
    TooLong,
    /// `@…`
    #[error("must not begin with @, which is reserved")]
    Reserved,
    /// `undefined`, `null`, …
    #[error("must not be {0:?}: the client's variable has no value")]
    NoValue(&'static str),
    /// A character that is shown as nothing or as a space, although it may be a letter or a mark.
    #[error("must not hold {}, which is invisible", code_point(*.0))]
    Invisible(char),
    /// Neither a letter, a digit, a combining mark nor one of `-_.:`.
    #[error("may hold letters, digits, combining marks and - _ . : only, not {}", shown(*.0))]
    Character(char),
    /// The first character is a combining mark.
    #[error("must not begin with the combining mark {}", code_point(*.0))]
    LeadingMark(char),
    /// More than [`MAX_MARKS`] combining marks in a row.
    #[error("must not hold more than {MAX_MARKS} combining marks in a row")]
    TooManyMarks,
    /// The pair room of a user with itself.
    #[error("must name two users")]
    PairOfOne,
    /// The pair room of two users in the wrong order.
    #[error(
        "must name its two users in order of code points: send the two names the other way round"
    )]
    PairOrder,
    /// Another encoding of the same text.
    #[error("must be in Unicode normalization form NFC (in JavaScript: name.normalize(\"NFC\"))")]
    NotNfc,
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// The first rule that the name breaks.
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
        if let Some(word) = NO_VALUE.into_iter().find(|&word| word == raw) {
            return Err(NameError::NoValue(word));
        }
        let mut marks_in_a_row = 0;
        for (index, c) in raw.chars().enumerate() {
            let mark = is_combining_mark(c);
            marks_in_a_row = if mark { marks_in_a_row + 1 } else { 0 };
            if invisible(c) {
                return Err(NameError::Invisible(c));
            }
            if !(mark || c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')) {
                return Err(NameError::Character(c));
            }
            if mark && index == 0 {
                return Err(NameError::LeadingMark(c));
            }
            if marks_in_a_row > MAX_MARKS {
                return Err(NameError::TooManyMarks);
            }
        }
        if !is_nfc(raw) {
            return Err(NameError::NotNfc);
        }
        Ok(Self(raw.to_owned()))
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

    /// A name that is known to keep the rules of its kind.
    pub(super) fn unchecked(name: String) -> Self {
        Self(name)
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

/// Tells if a character is invisible or blank: the code points of Unicode's property
/// `Default_Ignorable_Code_Point`, and the letters and marks beyond them that have no ink.
fn invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        // Tifinagh consonant joiner, Braille blank, blank hieroglyphs, Khitan filler.
        | '\u{2d7f}' | '\u{2800}' | '\u{13441}'..='\u{13442}' | '\u{16fe4}'
    )
}

/// A character as an error shows it: in quotes, or by its number where it has no shape of its own.
fn shown(c: char) -> String {
    match c {
        ' ' => "a space".to_owned(),
        _ if c.is_whitespace() || c.escape_debug().len() > 1 => code_point(c),
        _ => format!("\"{c}\""),
    }
}

fn code_point(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

/// Checks the name of a verified user. An identity provider has made it, so it may hold `|+=/~@` besides what a [`Name`]
/// may hold.
///
/// # Errors
///
/// The first rule that the name breaks.
pub fn check_user(user: &str) -> Result<(), UserError> {
    if user.starts_with('@') {
        return Err(NameError::Reserved.into());
    }
    if user.starts_with("system") {
        return Err(UserError::System);
    }
    if user == "audit" {
        return Err(UserError::Audit);
    }
    Name::parse(&user.replace(['|', '+', '=', '/', '~', '@'], "-"))?;
    Ok(())
}

/// The rule that the name of a verified user breaks. The text completes "user …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UserError {
    /// A rule of all names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `system…`
    #[error("must not begin with system, which is the backend")]
    System,
    /// The room of the audit would be this user's inbox.
    #[error("must not be audit, which is a room of the service")]
    Audit,
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use fancy_regex::Regex;
    use proptest::prelude::*;

    /// The regular expression that PROTOCOL.md gives to clients.
    static PUBLISHED: LazyLock<Regex> = LazyLock::new(|| {
        let page = include_str!("../../../../PROTOCOL.md");
        let (_, after) = page.split_once("```regex\n").unwrap();
        let (regex, _) = after.split_once("\n```").unwrap();
        Regex::new(regex).unwrap()
    });

    #[test]
    fn a_user_may_hold_what_identity_providers_write() {
        for user in [
            "auth0|64f",
            "a+b=c/d~e@example.com",
            "guest-x",
            "us-east-1:0a1b",
            "日本語",
        ] {
            assert_eq!(check_user(user), Ok(()), "{user}");
        }
        for user in [
            "",
            "@a",
            "a&b",
            "a#b",
            "a b",
            "a*",
            "system",
            "system:x",
            "audit",
            "x\u{202e}",
            &"x".repeat(65),
        ] {
            assert!(check_user(user).is_err(), "{user}");
        }
    }

    #[test]
    fn names_people_use_are_accepted() {
        for name in [
            "lobby",
            "a",
            "Room_1.2:3-x",
            "日本語",
            "Αθήνα",
            "café",
            "٣",
            "Null",
            "nullable",
            "none",
            // Hindi, Bengali, Tamil, Thai, Khmer, Burmese, Tibetan, Arabic with vowel marks, Hebrew with points, Yoruba.
            "नमस्ते",
            "বাংলা",
            "தமிழ்",
            "สวัสดีที่นี่",
            "ភាសាខ្មែរ",
            "လျှော့",
            "မြန်မာစာ",
            "བསྒྲུབས",
            "مُحَمَّد",
            "שָׁלוֹם",
            "ọ̀rẹ́",
            "한국어",
            "Å",
            "x".repeat(64).as_str(),
        ] {
            assert_eq!(
                Name::parse(name).map(String::from),
                Ok(name.to_owned()),
                "{name}"
            );
        }
    }

    #[test]
    fn each_rule_has_its_sentence() {
        use NameError::{
            Character, Empty, Invisible, LeadingMark, NoValue, NotNfc, Reserved, TooLong,
            TooManyMarks,
        };
        let towers = format!("a{}", "\u{5b0}".repeat(9));
        for (raw, expected, sentence) in [
            ("", Empty, "must not be empty"),
            (
                &"x".repeat(65),
                TooLong,
                "is too long: at most 64 characters and 128 bytes",
            ),
            // 43 characters of three bytes: few enough characters, too many bytes.
            (
                &"語".repeat(43),
                TooLong,
                "is too long: at most 64 characters and 128 bytes",
            ),
            ("@all", Reserved, "must not begin with @, which is reserved"),
            (
                "undefined",
                NoValue("undefined"),
                "must not be \"undefined\": the client's variable has no value",
            ),
            (
                "null",
                NoValue("null"),
                "must not be \"null\": the client's variable has no value",
            ),
            (
                "NaN",
                NoValue("NaN"),
                "must not be \"NaN\": the client's variable has no value",
            ),
            (
                "None",
                NoValue("None"),
                "must not be \"None\": the client's variable has no value",
            ),
            (
                "a@b",
                Character('@'),
                "may hold letters, digits, combining marks and - _ . : only, not \"@\"",
            ),
            (
                "a b",
                Character(' '),
                "may hold letters, digits, combining marks and - _ . : only, not a space",
            ),
            (
                "a\"b",
                Character('"'),
                "may hold letters, digits, combining marks and - _ . : only, not U+0022",
            ),
            (
                "a\u{3000}b",
                Character('\u{3000}'),
                "may hold letters, digits, combining marks and - _ . : only, not U+3000",
            ),
            (
                "a\0",
                Character('\0'),
                "may hold letters, digits, combining marks and - _ . : only, not U+0000",
            ),
            (
                "a\u{1b}",
                Character('\u{1b}'),
                "may hold letters, digits, combining marks and - _ . : only, not U+001B",
            ),
            (
                "🦀",
                Character('🦀'),
                "may hold letters, digits, combining marks and - _ . : only, not \"🦀\"",
            ),
            (
                "\u{e000}",
                Character('\u{e000}'),
                "may hold letters, digits, combining marks and - _ . : only, not U+E000",
            ),
            (
                "alice\u{3164}",
                Invisible('\u{3164}'),
                "must not hold U+3164, which is invisible",
            ),
            (
                "\u{115f}",
                Invisible('\u{115f}'),
                "must not hold U+115F, which is invisible",
            ),
            (
                "\u{ffa0}",
                Invisible('\u{ffa0}'),
                "must not hold U+FFA0, which is invisible",
            ),
            (
                "ali\u{200d}ce",
                Invisible('\u{200d}'),
                "must not hold U+200D, which is invisible",
            ),
            (
                "a\u{202e}b",
                Invisible('\u{202e}'),
                "must not hold U+202E, which is invisible",
            ),
            (
                "a\u{fe0f}",
                Invisible('\u{fe0f}'),
                "must not hold U+FE0F, which is invisible",
            ),
            (
                "a\u{2800}",
                Invisible('\u{2800}'),
                "must not hold U+2800, which is invisible",
            ),
            (
                "\u{301}a",
                LeadingMark('\u{301}'),
                "must not begin with the combining mark U+0301",
            ),
            (
                &towers,
                TooManyMarks,
                "must not hold more than 8 combining marks in a row",
            ),
        ] {
            assert_eq!(Name::parse(raw), Err(expected.clone()), "{raw:?}");
            assert_eq!(expected.to_string(), sentence);
        }
        assert!(
            NotNfc
                .to_string()
                .starts_with("must be in Unicode normalization form NFC")
        );
    }

    #[test]
    fn of_several_encodings_of_a_text_one_is_a_name() {
        for (nfc, others) in [
            ("café", &["cafe\u{301}"][..]),
            // Hangul in syllables and in jamo.
            ("한", &["\u{1112}\u{1161}\u{11ab}"]),
            // The letter Å, the sign Ångström, and A with a ring.
            ("\u{c5}", &["\u{212b}", "A\u{30a}"]),
            // Fatha and shadda in either order.
            ("م\u{64e}\u{651}", &["م\u{651}\u{64e}"]),
            ("\u{3a9}", &["\u{2126}"]),
            // A CJK compatibility ideograph.
            ("\u{8c48}", &["\u{f900}"]),
            // Devanagari qa is excluded from composition.
            ("\u{915}\u{93c}", &["\u{958}"]),
        ] {
            assert!(Name::parse(nfc).is_ok(), "{nfc:?}");
            for other in others {
                assert_eq!(Name::parse(other), Err(NameError::NotNfc), "{other:?}");
            }
        }
    }

    #[test]
    fn an_invisible_character_is_never_accepted() {
        let ignorable = Regex::new(r"^\p{Default_Ignorable_Code_Point}$").unwrap();
        for c in '\0'..=char::MAX {
            if ignorable.is_match(c.encode_utf8(&mut [0; 4])).unwrap()
                || c.is_whitespace()
                || c.is_control()
            {
                assert!(Name::parse(&format!("a{c}")).is_err(), "{}", code_point(c));
            }
        }
    }

    #[test]
    fn the_published_expression_says_the_same_of_every_character() {
        // A character that one side does not know is skipped: the two may have different versions of Unicode.
        let assigned = Regex::new(r"^\P{Cn}$").unwrap();
        for c in '\0'..=char::MAX {
            if !assigned.is_match(c.encode_utf8(&mut [0; 4])).unwrap() {
                continue;
            }
            for name in [c.to_string(), format!("a{c}")] {
                let ours = Name::parse(&name);
                let refused_for_its_encoding = ours == Err(NameError::NotNfc);
                assert_eq!(
                    PUBLISHED.is_match(&name).unwrap(),
                    ours.is_ok() || refused_for_its_encoding,
                    "{} {ours:?}",
                    code_point(c)
                );
            }
        }
        for name in [
            "",
            "undefined",
            "null",
            "NaN",
            "None",
            "@a",
            &"x".repeat(65),
            &format!("a{}", "\u{5b0}".repeat(9)),
            "a\n",
        ] {
            assert!(!PUBLISHED.is_match(name).unwrap(), "{name:?}");
        }
        for name in [
            "undefined1",
            "Null",
            &"x".repeat(64),
            &format!("a{}", "\u{5b0}".repeat(8)),
        ] {
            assert!(PUBLISHED.is_match(name).unwrap(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_guest_is_a_valid_name(_ in 0..100) {
            let guest = Name::guest();
            prop_assert_eq!(Name::parse(guest.as_str()), Ok(guest.clone()));
            prop_assert_eq!(guest.as_str().len(), "guest-".len() + 6);
        }

        #[test]
        fn a_name_is_accepted_exactly_when_the_published_rules_say_so(
            raw in "\\PC{0,70}|[a-z@é語 ]{0,70}|[a\u{301}\u{5b0}\u{3164}\u{915}\u{94d}\u{200d}\u{212b}]{0,20}"
        ) {
            let expected = PUBLISHED.is_match(&raw).unwrap() && raw.len() <= 128 && is_nfc(&raw);
            prop_assert_eq!(Name::parse(&raw).is_ok(), expected);
        }

        #[test]
        fn a_name_is_kept_as_given(raw in any::<String>()) {
            if let Ok(name) = Name::parse(&raw) {
                prop_assert_eq!(name.as_str(), raw);
            }
        }
    }
}
