//! Checks that a JSON text is I-JSON (RFC 7493): JSON that every client's parser accepts and reads the same way.
//!
//! A message is delivered as it was written and stays in the log for days. A text that one parser rejects or reads as
//! something else would break the clients of a whole room for that time.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;
use thiserror::Error;

/// The deepest nesting of arrays and objects.
pub(super) const MAX_DEPTH: usize = 32;

/// The longest number, in characters. A double in full, without an exponent, has fewer; some parsers refuse more.
pub(super) const MAX_NUMBER_CHARS: usize = 1_000;

/// The most characters of a number or key that an error repeats.
const SHOWN_CHARS: usize = 20;

/// The rule that a JSON text breaks. The text completes "data …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum NotIJson {
    /// Arrays and objects are nested too deep.
    #[error("is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// `"\ud800"`, which no Unicode text can hold.
    #[error(
        "holds a lone surrogate (\\ud800 to \\udfff): cut text between characters, not within one"
    )]
    LoneSurrogate,
    /// A code point that Unicode keeps free for internal use.
    #[error("holds the noncharacter U+{0:04X}, which is not for interchange")]
    Noncharacter(u32),
    /// One parser reads such a number as infinity, another refuses it. A number that is too small becomes zero.
    #[error("holds a number outside the range of a double: {0}")]
    NumberRange(String),
    /// More than [`MAX_NUMBER_CHARS`].
    #[error("holds a number of more than {MAX_NUMBER_CHARS} characters: {0}")]
    LongNumber(String),
    /// Parsers differ in which of the two values they keep.
    #[error("holds the key {0:?} twice in one object")]
    DuplicateKey(String),
}

/// Checks a JSON text in one pass, without recursion.
///
/// # Errors
///
/// The first rule that the text breaks.
pub(super) fn check(json: &RawValue) -> Result<(), NotIJson> {
    let text = json.get();
    // The keys of each open object; none for an open array.
    let mut open: Vec<Option<HashSet<Cow<'_, str>>>> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.as_bytes().first() {
        let length = match first {
            b'{' | b'[' => {
                open.push((*first == b'{').then(HashSet::new));
                if open.len() > MAX_DEPTH {
                    return Err(NotIJson::TooDeep);
                }
                1
            }
            b'}' | b']' => {
                open.pop();
                1
            }
            b'"' => {
                let length = string_length(rest);
                let string = read(&rest[..length])?;
                let is_key = rest[length..].trim_start().starts_with(':');
                if let (true, Some(Some(keys))) = (is_key, open.last_mut())
                    && let Some(twice) = keys.replace(string)
                {
                    return Err(NotIJson::DuplicateKey(start(&twice)));
                }
                length
            }
            b'-' | b'0'..=b'9' => {
                let end =
                    rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
                let length = end.unwrap_or(rest.len());
                number(&rest[..length])?;
                length
            }
            // White space, commas, colons, and the letters of true, false and null.
            _ => 1,
        };
        rest = &rest[length..];
    }
    Ok(())
}

/// Checks that a string, as JSON decodes it, holds no noncharacter.
///
/// # Errors
///
/// [`NotIJson::Noncharacter`].
pub(super) fn check_text(text: &str) -> Result<(), NotIJson> {
    match text.chars().map(u32::from).find(|&c| noncharacter(c)) {
        Some(c) => Err(NotIJson::Noncharacter(c)),
        None => Ok(()),
    }
}

/// U+FDD0 to U+FDEF, and the last two of each plane.
fn noncharacter(c: u32) -> bool {
    (0xfdd0..=0xfdef).contains(&c) || c & 0xfffe == 0xfffe
}

/// The length of the JSON string at the beginning of `text`, with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// The decoded text of a JSON string.
fn read(quoted: &str) -> Result<Cow<'_, str>, NotIJson> {
    let text = if quoted.contains('\\') {
        // The text is known to be JSON, so a lone surrogate is the only thing left to refuse.
        Cow::Owned(serde_json::from_str(quoted).map_err(|_| NotIJson::LoneSurrogate)?)
    } else {
        Cow::Borrowed(quoted.trim_matches('"'))
    };
    check_text(&text)?;
    Ok(text)
}

fn number(digits: &str) -> Result<(), NotIJson> {
    if digits.len() > MAX_NUMBER_CHARS {
        return Err(NotIJson::LongNumber(start(digits)));
    }
    let mantissa = digits.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.contains(|c: char| matches!(c, '1'..='9'));
    // A double is read from every JSON number.
    let value: f64 = digits.parse().unwrap_or(f64::NAN);
    if value.is_finite() && (is_zero || value != 0.0) {
        Ok(())
    } else {
        Err(NotIJson::NumberRange(start(digits)))
    }
}

/// The beginning of a text, for an error.
fn start(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn checked(text: &str) -> Result<(), NotIJson> {
        check(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_parsers_read_alike_is_accepted() {
        let deep = format!("{}{}", "[".repeat(32), "]".repeat(32));
        for text in [
            "null",
            " true ",
            r#""""#,
            r#""\"\\\/\b\n\ud83e\udd80\u0000 é 🦀""#,
            r#"{"a":{"a":1},"b":[{"a":1},{"a":2},"a","a"],"c":"a"}"#,
            r#"{"key":"key" , "other" : "key"}"#,
            "[-0,0e99999,0.00,1.7976931348623157e308,4.9e-324,9007199254740993,123456789012345678901234567890]",
            &deep,
        ] {
            assert_eq!(checked(text), Ok(()), "{text}");
        }
        let full = format!("{}", f64::MAX);
        assert_eq!(checked(&full), Ok(()));
    }

    #[test]
    fn each_rule_has_its_sentence() {
        let deep = |open: &str, close: &str, n| format!("{}1{}", open.repeat(n), close.repeat(n));
        let digits = "1".repeat(20_000);
        let small = format!("0.{digits}");
        for (text, sentence) in [
            (deep("[", "]", 33), "is nested deeper than 32 levels"),
            (deep("[", "]", 15_000), "is nested deeper than 32 levels"),
            (deep("{\"a\":", "}", 33), "is nested deeper than 32 levels"),
            (
                deep("[{\"a\":", "}]", 17),
                "is nested deeper than 32 levels",
            ),
            (
                r#""\ud800""#.to_owned(),
                "holds a lone surrogate (\\ud800 to \\udfff): cut text between characters, not within one",
            ),
            (
                r#"{"a":["x\uDFFFy"]}"#.to_owned(),
                "holds a lone surrogate (\\ud800 to \\udfff): cut text between characters, not within one",
            ),
            (
                r#"{"\ud800":1}"#.to_owned(),
                "holds a lone surrogate (\\ud800 to \\udfff): cut text between characters, not within one",
            ),
            (
                r#""\udd80\ud83e""#.to_owned(),
                "holds a lone surrogate (\\ud800 to \\udfff): cut text between characters, not within one",
            ),
            (
                r#""\uffff""#.to_owned(),
                "holds the noncharacter U+FFFF, which is not for interchange",
            ),
            (
                "\"\u{fdd0}\"".to_owned(),
                "holds the noncharacter U+FDD0, which is not for interchange",
            ),
            (
                r#"{"\ud83f\udffe":1}"#.to_owned(),
                "holds the noncharacter U+1FFFE, which is not for interchange",
            ),
            (
                "1e400".to_owned(),
                "holds a number outside the range of a double: 1e400",
            ),
            (
                "[[-1E+309]]".to_owned(),
                "holds a number outside the range of a double: -1E+309",
            ),
            (
                "1e-400".to_owned(),
                "holds a number outside the range of a double: 1e-400",
            ),
            (
                "1e99999999999999999999".to_owned(),
                "holds a number outside the range of a double: 1e999999999999999999…",
            ),
            (
                "9".repeat(400),
                "holds a number outside the range of a double: 99999999999999999999…",
            ),
            (
                digits,
                "holds a number of more than 1000 characters: 11111111111111111111…",
            ),
            (
                small,
                "holds a number of more than 1000 characters: 0.111111111111111111…",
            ),
            (
                r#"{"a":1,"b":[],"a":2}"#.to_owned(),
                "holds the key \"a\" twice in one object",
            ),
            (
                r#"[{"é":1,"\u00e9" :1}]"#.to_owned(),
                "holds the key \"é\" twice in one object",
            ),
            (
                r#"{"":1,"":1}"#.to_owned(),
                "holds the key \"\" twice in one object",
            ),
            (
                r#"{"b":{"a":{}},"b":1}"#.to_owned(),
                "holds the key \"b\" twice in one object",
            ),
        ] {
            let error = checked(&text).unwrap_err();
            assert_eq!(error.to_string(), sentence, "{}", start(&text));
        }
    }

    /// The levels of a value, and whether a string holds a noncharacter: the same rules, read from the parsed value.
    fn depth_and_noncharacters(value: &Value) -> (usize, bool) {
        let inner: Vec<(usize, bool)> = match value {
            Value::String(text) => return (0, check_text(text).is_err()),
            Value::Array(items) => items.iter().map(depth_and_noncharacters).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| {
                    let (depth, found) = depth_and_noncharacters(value);
                    (depth, found || check_text(key).is_err())
                })
                .collect(),
            _ => return (0, false),
        };
        let deepest = inner.iter().map(|(depth, _)| *depth).max().unwrap_or(0);
        (deepest + 1, inner.iter().any(|(_, found)| *found))
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = "[a\"\\\\{}\\[\\]:, é🦀\u{0}\u{fdd0}]{0,6}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text, inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_that_was_written_by_a_library_is_judged_by_depth_and_text_alone(
            value in any_value(), wraps in 24_usize..34, pretty: bool
        ) {
            let value = (0..wraps).fold(value, |value, _| Value::Array(vec![value]));
            let (depth, noncharacters) = depth_and_noncharacters(&value);
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let expected = depth <= MAX_DEPTH && !noncharacters;
            prop_assert_eq!(checked(&text.unwrap()).is_ok(), expected);
        }

        #[test]
        fn any_json_is_judged_without_a_panic(text in "[\\[\\]{}\":,0-9eE.\\\\u+-dD8 ]{0,40}") {
            if let Ok(raw) = serde_json::from_str::<&RawValue>(&text) {
                let _ = check(raw);
            }
        }
    }
}
