//! Rights: what a user may do in which room.
//!
//! A grant is a pattern of room names with a list of rights: `{"lobby": ["join","publish"], "team-*": ["join"]}`. In a
//! pattern `*` is any run of characters, an empty one too, and `{sub}` is the user. **The most specific pattern that
//! matches decides, alone**: the pattern with the most literal characters, those of the user included. Among equals
//! the pattern with fewer stars decides, then the pattern that sorts first by code point. Rights do not add up, and an
//! empty list forbids everything.
//!
//! A room whose name begins with `@` is never granted by a pattern: its name says who may use it, see [`Private`].

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::private::Private;

/// The most patterns of one user.
pub const MAX_PATTERNS: usize = 32;

/// The longest pattern, in characters.
pub const MAX_PATTERN_CHARS: usize = 96;

/// The most stars of one pattern.
pub const MAX_STARS: usize = 3;

/// The placeholder for the user.
const SUB: &str = "{sub}";

/// A right that a token can grant in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// To be in the room: get messages, list members, fill gaps back to one's own joining.
    Join,
    /// To read messages from before one's own joining.
    History,
    /// To publish, and to change one's own messages.
    Publish,
    /// To kick, ban and mute, and to change the messages of others.
    Moderate,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Join, Self::History, Self::Publish, Self::Moderate];

    /// The name in tokens and in error frames.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::History => "history",
            Self::Publish => "publish",
            Self::Moderate => "moderate",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == name)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Right {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The rights of one user, by pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Grants {
    patterns: BTreeMap<String, Vec<Right>>,
    /// True if two users have a room of their own.
    #[serde(skip)]
    pairs: bool,
}

/// The rule that grants break. The text completes "rooms …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrantsError {
    /// Not JSON, not an object, or a value is not a list of strings.
    #[error("must be a JSON object whose keys are patterns and whose values are lists of rights")]
    Shape,
    /// More than [`MAX_PATTERNS`].
    #[error("has {0} patterns, at most {MAX_PATTERNS} are allowed")]
    TooMany(usize),
    /// An empty pattern, or one of more than [`MAX_PATTERN_CHARS`] characters.
    #[error("has a pattern of {0} characters, 1 to {MAX_PATTERN_CHARS} are allowed")]
    Length(usize),
    /// More than [`MAX_STARS`] in one pattern.
    #[error("has a pattern with {0} stars, at most {MAX_STARS} are allowed")]
    Stars(usize),
    /// A right that does not exist.
    #[error("has an unknown right; the rights are join, history, publish and moderate")]
    Right,
}

impl Grants {
    /// The rights of a user whose token grants no rooms itself: all but `moderate`, in every room.
    pub fn everywhere() -> Self {
        let rights = vec![Right::Join, Right::History, Right::Publish];
        Self::of(BTreeMap::from([("*".to_owned(), rights)]))
    }

    /// Reads a JSON text.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn parse(json: &str) -> Result<Self, GrantsError> {
        let grants = serde_json::from_str(json).map_err(|_| GrantsError::Shape)?;
        Self::new(grants)
    }

    /// Checks patterns and rights.
    ///
    /// # Errors
    ///
    /// The first rule that they break.
    pub fn new(grants: BTreeMap<String, Vec<String>>) -> Result<Self, GrantsError> {
        if grants.len() > MAX_PATTERNS {
            return Err(GrantsError::TooMany(grants.len()));
        }
        let mut checked = BTreeMap::new();
        for (pattern, names) in grants {
            let chars = pattern.chars().count();
            if !(1..=MAX_PATTERN_CHARS).contains(&chars) {
                return Err(GrantsError::Length(chars));
            }
            let stars = stars(&pattern);
            if stars > MAX_STARS {
                return Err(GrantsError::Stars(stars));
            }
            let rights = names
                .iter()
                .map(|name| Right::parse(name).ok_or(GrantsError::Right));
            checked.insert(pattern, rights.collect::<Result<_, _>>()?);
        }
        Ok(Self::of(checked))
    }

    fn of(patterns: BTreeMap<String, Vec<Right>>) -> Self {
        Self {
            patterns,
            pairs: true,
        }
    }

    /// Says if two users have a room of their own.
    pub fn set_pairs(&mut self, pairs: bool) {
        self.pairs = pairs;
    }

    /// Tells if no right is granted in any room.
    pub fn is_empty(&self) -> bool {
        self.patterns.values().all(Vec::is_empty)
    }

    /// Tells if `user` has `right` in `room`.
    pub fn allows(&self, right: Right, room: &str, user: &str) -> bool {
        if room.starts_with('@') {
            let private = Private::of(room);
            let is_off = !self.pairs && matches!(private, Some(Private::Pair(..)));
            return !is_off && private.is_some_and(|private| private.allows(right, user));
        }
        self.deciding(room, user)
            .is_some_and(|(_, rights)| rights.contains(&right))
    }

    /// The pattern that decides for `room`, and what it grants.
    pub fn deciding(&self, room: &str, user: &str) -> Option<(&str, &[Right])> {
        let matching = self.patterns.iter().filter_map(|(written, rights)| {
            // A user's name holds no star.
            let pattern = written.replace(SUB, user);
            matches(&pattern, room).then(|| {
                let stars = stars(&pattern);
                let literals = pattern.chars().count() - stars;
                let order = (literals, Reverse(stars), Reverse(pattern), Reverse(written));
                (order, (written.as_str(), rights.as_slice()))
            })
        });
        matching
            .max_by(|(one, _), (other, _)| one.cmp(other))
            .map(|(_, decision)| decision)
    }
}

fn stars(pattern: &str) -> usize {
    pattern.matches('*').count()
}

/// Tells if the whole of `text` matches: the parts between stars appear in order, the first at the beginning and the last
/// at the end. Each part in between is taken as early as possible, which leaves the most to those after it.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some((_, after)) = text.split_once(part) else {
            return false;
        };
        text = after;
    }
    text.ends_with(last)
}

impl Private<'_> {
    /// Tells if the room's name gives `user` this right.
    pub fn allows(self, right: Right, user: &str) -> bool {
        match self {
            Self::Inbox(owner) => owner == user && matches!(right, Right::Join | Right::History),
            Self::Pair(one, other) => (one == user || other == user) && right != Right::Moderate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grants(json: &str) -> Grants {
        Grants::parse(json).unwrap()
    }

    #[test]
    fn the_most_specific_pattern_decides_alone() {
        let grants = grants(
            r#"{"lobby":["join","history","publish"],"team-*":["join"],"team-audit":[],
                "desk-{sub}-*":["moderate"],"desk-*":["publish"],"*":["history"]}"#,
        );
        let rights = |room| grants.deciding(room, "alice").unwrap().1.to_vec();
        assert_eq!(
            rights("lobby"),
            [Right::Join, Right::History, Right::Publish]
        );
        assert_eq!(rights("team-red"), [Right::Join]);
        assert_eq!(rights("team-audit"), []);
        assert_eq!(rights("desk-alice-1"), [Right::Moderate]);
        assert_eq!(rights("desk-bob-1"), [Right::Publish]);
        assert_eq!(rights("garden"), [Right::History]);
        assert!(grants.allows(Right::Join, "team-red", "alice"));
        assert!(!grants.allows(Right::Publish, "team-red", "alice"));
    }

    #[test]
    fn of_equal_length_fewer_stars_decide_and_then_the_code_point() {
        let grants = grants(r#"{"a*c":["join"],"*ac":["history"],"a**c":["publish"]}"#);
        // "*" is less than "a".
        assert_eq!(grants.deciding("ac", "u").unwrap().0, "*ac");
        assert_eq!(grants.deciding("abc", "u").unwrap().0, "a*c");
    }

    #[test]
    fn the_users_own_characters_count_as_literal() {
        let grants = grants(r#"{"{sub}":["join"],"al*e":["history"],"{sub}*":["publish"]}"#);
        assert_eq!(grants.deciding("alice", "alice").unwrap().0, "{sub}");
        assert_eq!(grants.deciding("alXe", "alice").unwrap().0, "al*e");
        assert_eq!(grants.deciding("bob", "alice"), None);
    }

    #[test]
    fn a_reserved_room_is_granted_by_nothing() {
        let grants = grants(r#"{"*":["join","moderate"],"@alice":["join"],"@*":["join"]}"#);
        for right in Right::ALL {
            assert!(!grants.allows(right, "@alice", "mallory"));
            assert!(!grants.allows(right, "@alice&bob", "mallory"));
            assert!(!grants.allows(right, "@audit", "alice"));
            assert!(!grants.allows(right, "@audit", "audit"));
        }
    }

    #[test]
    fn a_room_of_ones_own_needs_no_pattern() {
        let mut grants = grants("{}");
        assert!(grants.allows(Right::History, "@alice", "alice"));
        assert!(grants.allows(Right::Publish, "@alice&bob", "bob"));
        assert!(!grants.allows(Right::Publish, "@alice", "alice"));
        assert!(!grants.allows(Right::Moderate, "@alice&bob", "bob"));
        grants.set_pairs(false);
        assert!(!grants.allows(Right::Publish, "@alice&bob", "bob"));
        assert!(grants.allows(Right::History, "@alice", "alice"));
    }

    #[test]
    fn no_match_and_an_empty_list_grant_nothing() {
        for json in ["{}", r#"{"lobby":[]}"#] {
            assert!(grants(json).is_empty());
            assert!(!grants(json).allows(Right::Join, "lobby", "u"));
        }
    }

    #[test]
    fn each_rule_is_named() {
        let many: BTreeMap<String, Vec<String>> =
            (0..33).map(|n| (format!("r{n}"), Vec::new())).collect();
        assert_eq!(Grants::new(many), Err(GrantsError::TooMany(33)));
        let one = |pattern: &str| Grants::new(BTreeMap::from([(pattern.to_owned(), Vec::new())]));
        assert_eq!(one(""), Err(GrantsError::Length(0)));
        assert!(one(&"語".repeat(96)).is_ok());
        assert_eq!(one(&"語".repeat(97)), Err(GrantsError::Length(97)));
        assert!(one("*a*b*").is_ok());
        assert_eq!(one("****"), Err(GrantsError::Stars(4)));
        for text in [
            "",
            "[]",
            "5",
            r#""*""#,
            r#"{"a":"join"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":null}"#,
        ] {
            assert_eq!(Grants::parse(text), Err(GrantsError::Shape), "{text}");
        }
        assert_eq!(Grants::parse(r#"{"a":["Join"]}"#), Err(GrantsError::Right));
    }

    #[test]
    fn grants_are_written_as_they_are_read() {
        let json = r#"{"*":["join","history","publish"]}"#;
        assert_eq!(serde_json::to_string(&Grants::everywhere()).unwrap(), json);
        assert_eq!(grants(json), Grants::everywhere());
    }

    /// The same rule, written in the simplest way to compare with.
    mod reference {
        pub(super) fn matches(pattern: &[char], text: &[char]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some(('*', rest)) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
                Some((c, rest)) => text.first() == Some(c) && matches(rest, &text[1..]),
            }
        }

        pub(super) fn deciding(patterns: &[String], room: &str, user: &str) -> Option<String> {
            let room: Vec<char> = room.chars().collect();
            let mut best: Option<(usize, usize, String, String)> = None;
            for written in patterns {
                let pattern = written.replace("{sub}", user);
                let chars: Vec<char> = pattern.chars().collect();
                let stars = chars.iter().filter(|c| **c == '*').count();
                let this = (chars.len() - stars, stars, pattern, written.clone());
                let wins = best.as_ref().is_none_or(|best| {
                    this.0 > best.0
                        || (this.0 == best.0
                            && (this.1, &this.2, &this.3) < (best.1, &best.2, &best.3))
                });
                if matches(&chars, &room) && wins {
                    best = Some(this);
                }
            }
            best.map(|best| best.3)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_deciding_pattern_is_the_references_in_every_order(
            patterns in prop::collection::vec("([ab語]|\\*|\\{sub\\}){1,6}", 0..8),
            room in "[ab語]{0,8}",
            user in "[ab]{1,2}",
            turn in 0..8_usize,
        ) {
            let mut patterns: Vec<String> = patterns.into_iter().filter(|p| stars(p) <= MAX_STARS).collect();
            let shift = turn.min(patterns.len());
            patterns.rotate_left(shift);
            let rights = |n: usize| vec![Right::ALL[n % 4].as_str().to_owned()];
            let grants = Grants::new(patterns.iter().enumerate().map(|(n, p)| (p.clone(), rights(n))).collect()).unwrap();
            let expected = reference::deciding(&patterns, &room, &user);
            let decided = grants.deciding(&room, &user).map(|(pattern, _)| pattern);
            prop_assert_eq!(decided, expected.as_deref());
            for right in Right::ALL {
                let granted = expected.as_ref().is_some_and(|p| grants.patterns[p].contains(&right));
                prop_assert_eq!(grants.allows(right, &room, &user), granted);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = Grants::parse(&text);
        }
    }
}
