//! The JSONPath of `$input.json` and `$input.path`: names and indexes, one after the other.

use serde_json::Value;

#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

/// `$`, `$.a.b`, `$.a[0]`, `$['a b'].c`.
///
/// # Errors
/// Fails if the path has a wildcard, a filter, a slice or `..`: they do not run here.
pub(super) fn parse(text: &str) -> Result<Vec<Step>, String> {
    let Some(mut rest) = text.strip_prefix('$') else {
        return Err(format!("the path \"{text}\" does not begin with $"));
    };
    let unsupported = || format!("of the path \"{text}\", only names and indexes run here");
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = &after[..end];
            if name.is_empty() || name.contains(['*', '(', '@', '?']) {
                return Err(unsupported());
            }
            steps.push(Step::Name(name.to_owned()));
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix('[') {
            let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'));
            let (step, end) = match quote {
                Some(quote) => {
                    let end = after[1..].find(quote).ok_or_else(unsupported)? + 1;
                    (Step::Name(after[1..end].to_owned()), end + 1)
                }
                None => {
                    let end = after.find(']').ok_or_else(unsupported)?;
                    let index = after[..end].parse().map_err(|_| unsupported())?;
                    (Step::Index(index), end)
                }
            };
            steps.push(step);
            rest = after[end..].strip_prefix(']').ok_or_else(unsupported)?;
        } else {
            return Err(unsupported());
        }
    }
    Ok(steps)
}

/// Returns the value at the path; `None` if there is none.
pub(super) fn find<'a>(value: &'a Value, text: &str) -> Option<&'a Value> {
    parse(text)
        .ok()?
        .iter()
        .try_fold(value, |value, step| match step {
            Step::Name(name) => value.get(name),
            Step::Index(index) => value.get(index),
        })
        .filter(|found| !found.is_null())
}
