//! Makes text that other people chose safe to show in a terminal.

/// The indent of the second and later lines of a text. It tells them apart from the lines of the client itself.
const INDENT: &str = "    ";

/// The number of lines of a text that are shown.
const MAX_LINES: usize = 100;

/// Returns `text` as one line. Characters that are invisible, or that would control the terminal or the direction of
/// the text, are escaped.
pub fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns `text` with its line breaks, and otherwise escaped as `line` does. Joiners and variation selectors stay
/// where scripts and emoji need them.
pub fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let mut rest = text.split('\n');
    let mut shown: Vec<String> = rest.by_ref().take(MAX_LINES).map(spoken).collect();
    let hidden = rest.count();
    if hidden > 0 {
        shown.push(format!("({hidden} more lines are not shown)"));
    }
    shown.join(&format!("\n{INDENT}"))
}

fn spoken(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\t' {
            shown.push_str(INDENT);
        } else if is_hidden(c) && !is_needed(before, c, chars.peek().copied()) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        before = Some(c);
    }
    shown
}

/// Returns whether a joiner stands between, or a variation selector after, the characters of a script or an emoji: 👨‍👩‍👧, ❤️,
/// می‌خواهم. Beside ASCII, spaces and other hidden characters they have no effect and could only hide something.
fn is_needed(before: Option<char>, c: char, after: Option<char>) -> bool {
    let joins = |c: char| !c.is_ascii() && !c.is_whitespace() && !is_hidden(c);
    match c {
        // An emoji with its variation selector can be joined to the next emoji: ❤️‍🔥.
        '\u{200d}' => {
            before.is_some_and(|c| joins(c) || c == '\u{fe0f}') && after.is_some_and(joins)
        }
        '\u{200c}' => before.is_some_and(joins) && after.is_some_and(joins),
        // The keycaps 0️⃣ to 9️⃣ are the only ASCII characters with a variation selector.
        '\u{fe0e}' | '\u{fe0f}' => {
            before.is_some_and(|c| joins(c) || c.is_ascii_digit() || matches!(c, '#' | '*'))
        }
        _ => false,
    }
}

/// Returns whether a character is invisible, or controls the terminal or the direction of the text: the general categories
/// Cc, Cf, Zl, Zp and Co, the property `Default_Ignorable_Code_Point`, and the blanks that look like a space, as of
/// Unicode 17 (DerivedGeneralCategory.txt, DerivedCoreProperties.txt).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped() {
        for c in [
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{206a}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fffb}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{10fffd}',
        ] {
            let escaped = format!("a\\u{{{:x}}}b", c as u32);
            assert_eq!(line(&format!("a{c}b")), escaped);
            assert_eq!(lines(&format!("a{c}b")), escaped);
        }
    }

    #[test]
    fn every_script_and_emoji_stays_as_it_is() {
        for text in [
            "Zoë naïve",
            "नमस्ते",
            "می‌خواهم",
            "שלום",
            "한국어",
            "👨‍👩‍👧",
            "❤️",
            "❤️‍🔥",
            "1️⃣",
            "日本　語",
        ] {
            assert_eq!(lines(text), text);
        }
    }

    #[test]
    fn lines_stay_lines_and_have_a_bound() {
        assert_eq!(lines("a\r\nb\n\tc\rd"), "a\n    b\n        c\\rd");
        assert_eq!(line("a\nb\tc"), r"a\nb\tc");
        let flood = lines(&"\n".repeat(30_000));
        assert_eq!(flood.lines().count(), MAX_LINES + 1);
        assert!(flood.ends_with("(29901 more lines are not shown)"));
    }
}
