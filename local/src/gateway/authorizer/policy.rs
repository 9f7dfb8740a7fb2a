//! Evaluates policy documents.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>

use serde_json::Value;

/// The action that an authorizer decides on.
const ACTION: &str = "execute-api:Invoke";

/// Reports whether a policy document allows a call of `method_arn`: a statement must allow the call, and none may deny
/// it.
///
/// # Errors
/// Fails if the document is invalid, or has an element that is not evaluated here. The error holds none of its values.
pub(super) fn allows(document: &Value, method_arn: &str) -> Result<bool, String> {
    let Value::Object(document) = document else {
        return Err("policyDocument is missing or not an object".to_owned());
    };
    if let Some(version) = document.get("Version")
        && !["2012-10-17", "2008-10-17"]
            .map(Value::from)
            .contains(version)
    {
        return Err("the policy's Version is not 2012-10-17".to_owned());
    }
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) => statements.as_slice(),
        Some(statement @ Value::Object(_)) => std::slice::from_ref(statement),
        _ => return Err("the policy's Statement is missing or not a list".to_owned()),
    };
    let mut allowed = false;
    let mut denied = false;
    for statement in statements {
        match (effect(statement, method_arn)?, statement["Effect"].as_str()) {
            (false, _) => {}
            (true, Some("Deny")) => denied = true,
            (true, _) => allowed = true,
        }
    }
    Ok(allowed && !denied)
}

/// Reports whether a statement applies to the call.
fn effect(statement: &Value, method_arn: &str) -> Result<bool, String> {
    let Value::Object(statement) = statement else {
        return Err("a statement of the policy is not an object".to_owned());
    };
    if !matches!(
        statement.get("Effect").and_then(Value::as_str),
        Some("Allow" | "Deny")
    ) {
        return Err("a statement's Effect must be Allow or Deny".to_owned());
    }
    if let Some(key) = statement
        .keys()
        .find(|key| !["Sid", "Effect", "Action", "Resource"].contains(&key.as_str()))
    {
        // A refusal is safe. Admitting a client that AWS would refuse is not.
        return Err(format!(
            "a statement's {} is not evaluated here",
            key.escape_debug()
        ));
    }
    let actions = texts(statement.get("Action"), "Action")?;
    let resources = texts(statement.get("Resource"), "Resource")?;
    let action = ACTION.to_ascii_lowercase();
    Ok(actions
        .iter()
        .any(|pattern| matches(&pattern.to_ascii_lowercase(), &action))
        && resources.iter().any(|pattern| matches(pattern, method_arn)))
}

/// Reads a string or a list of strings.
fn texts<'a>(value: Option<&'a Value>, name: &str) -> Result<Vec<&'a str>, String> {
    let texts = match value {
        Some(Value::String(text)) => Some(vec![text.as_str()]),
        Some(Value::Array(items)) => items.iter().map(Value::as_str).collect(),
        _ => None,
    };
    texts.ok_or_else(|| format!("a statement's {name} must be a string or a list of strings"))
}

/// Reports whether a pattern matches a text: `*` matches any text, `?` any character.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut seen) = (0, 0);
    // The last `*`, and how much of the text it matches so far.
    let mut star = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((star_at, from)) = star else {
                    return false;
                };
                star = Some((star_at, from + 1));
                at = star_at + 1;
                seen = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const ARN: &str = "arn:aws:execute-api:eu-central-1:000000000000:local00000/prod/$connect";

    fn statement(effect: &str, action: Value, resource: Value) -> Value {
        let mut statement = json!({ "Effect": effect });
        statement["Action"] = action;
        statement["Resource"] = resource;
        statement
    }

    fn check(statements: Value, expected: bool) {
        let mut document = json!({"Version": "2012-10-17"});
        document["Statement"] = statements;
        assert_eq!(allows(&document, ARN), Ok(expected), "{document}");
    }

    #[test]
    fn a_statement_is_about_an_action_and_a_resource() {
        let allow = |action: Value, resource: Value| json!([statement("Allow", action, resource)]);
        for action in [
            "execute-api:Invoke",
            "execute-api:*",
            "*",
            "EXECUTE-API:invoke",
            "execute-api:Inv?ke",
        ] {
            check(allow(json!(action), json!(ARN)), true);
        }
        for action in [
            "execute-api:ManageConnections",
            "lambda:*",
            "",
            "execute-api",
        ] {
            check(allow(json!(action), json!("*")), false);
        }
        for resource in [
            "*",
            "arn:aws:execute-api:*:*:*",
            "arn:aws:execute-api:eu-central-1:000000000000:local00000/*",
            "arn:aws:execute-api:eu-central-1:*:local0000?/prod/$connect",
            "arn:*/$connect",
        ] {
            check(allow(json!("*"), json!(resource)), true);
        }
        for resource in [
            "",
            "arn:aws:execute-api:eu-central-1:000000000000:local00000/dev/*",
            "arn:aws:execute-api:eu-central-1:000000000000:local00000/prod/$CONNECT",
            "arn:aws:execute-api:us-east-1:*",
            "arn:*/$connect?",
        ] {
            check(allow(json!("*"), json!(resource)), false);
        }
        check(
            allow(
                json!(["s3:*", "execute-api:Invoke"]),
                json!(["arn:nothing", ARN]),
            ),
            true,
        );
        check(allow(json!([]), json!(ARN)), false);
        // A single statement needs no list.
        check(statement("Allow", json!("*"), json!("*")), true);
    }

    #[test]
    fn nothing_is_allowed_by_itself_and_a_deny_wins() {
        let all = |effect: &str| statement(effect, json!("*"), json!("*"));
        check(json!([]), false);
        check(json!([all("Deny")]), false);
        check(json!([all("Allow"), all("Deny")]), false);
        check(json!([all("Deny"), all("Allow")]), false);
        check(
            json!([
                statement("Deny", json!("*"), json!("arn:other")),
                all("Allow")
            ]),
            true,
        );
    }

    #[test]
    fn what_is_no_policy_is_malformed() {
        let good = statement("Allow", json!("*"), json!("*"));
        let with = |name: &str, value: Value| {
            let mut statement = good.clone();
            statement[name] = value;
            json!({ "Statement": [statement] })
        };
        for document in [
            json!(null),
            json!("{}"),
            json!({}),
            json!({"Version": "2012-10-18", "Statement": [good]}),
            json!({"Statement": "Allow"}),
            json!({"Statement": ["Allow"]}),
            with("Effect", json!("allow")),
            with("Effect", json!(null)),
            with("Action", json!(null)),
            with("Action", json!([5])),
            with("Resource", json!({})),
            with("Condition", json!({})),
            with("NotAction", json!("s3:*")),
        ] {
            assert!(allows(&document, ARN).is_err(), "{document}");
        }
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_what_a_star_leaves_of_it(text in "[ab/]{0,12}", cut in 0..13_usize, pattern in "[ab*?]{0,12}") {
            let cut = cut.min(text.len());
            prop_assert!(matches(&text, &text));
            let (start, end) = text.split_at(cut);
            let starred = format!("{start}*");
            prop_assert!(matches(&starred, &text));
            let starred = format!("*{end}");
            prop_assert!(matches(&starred, &text));
            // Against the textbook's definition.
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.first(), text.first()) {
                    (None, _) => text.is_empty(),
                    (Some(b'*'), _) => slow(&pattern[1..], text) || (!text.is_empty() && slow(pattern, &text[1..])),
                    (Some(p), Some(t)) => (*p == b'?' || p == t) && slow(&pattern[1..], &text[1..]),
                    (Some(_), None) => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
