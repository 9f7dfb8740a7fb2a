//! Route selection expressions: they select the route of a message.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde_json::Value;
use serde_json::value::RawValue;

/// The predefined route for messages that match no other route.
pub(crate) const DEFAULT_ROUTE: &str = "$default";

/// A parsed expression such as `$request.body.action` or `${request.body.service}.${request.body.action}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SelectionExpression(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Literal(String),
    /// A path into the body.
    Body(Vec<Step>),
    /// The status of the integration's response.
    Status,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Name(String),
    Index(usize),
}

impl SelectionExpression {
    /// Parses the expression.
    ///
    /// # Errors
    /// Fails if it names a variable other than the request's body: a WebSocket API selects routes by the body only.
    pub(crate) fn parse(text: &str) -> Result<SelectionExpression> {
        SelectionExpression::parse_any(text, false)
    }

    /// Parses an expression for integration responses, which can also use the status of the response.
    ///
    /// # Errors
    /// Fails if it names any other variable.
    pub(crate) fn parse_for_response(text: &str) -> Result<SelectionExpression> {
        SelectionExpression::parse_any(text, true)
    }

    fn parse_any(text: &str, for_response: bool) -> Result<SelectionExpression> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(escaped) = rest.strip_prefix('\\') {
                let mut chars = escaped.chars();
                literal.extend(chars.next());
                rest = chars.as_str();
            } else if let Some(variable) = rest.strip_prefix('$') {
                let (path, after) = match variable.strip_prefix('{') {
                    Some(braced) => match braced.split_once('}') {
                        Some(split) => split,
                        None => bail!("\"{text}\" has a `${{` without its `}}`"),
                    },
                    None => {
                        variable.split_at(variable.find(is_delimiter).unwrap_or(variable.len()))
                    }
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(match path.strip_prefix("request.body.") {
                    Some(path) => Part::Body(steps(path)),
                    None if for_response && path == "integration.response.statuscode" => {
                        Part::Status
                    }
                    None => bail!("\"{text}\": ${path} is not of the form $request.body.NAME"),
                });
                rest = after;
            } else {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(SelectionExpression(parts))
    }

    /// Evaluates the expression for a message. A body that is not JSON, and a path without a value, give "".
    pub(crate) fn evaluate(&self, body: &str) -> String {
        self.evaluate_for_response(body, 0)
    }

    /// Evaluates the expression for a message and the status of the integration's response.
    pub(crate) fn evaluate_for_response(&self, body: &str, status: i64) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Body(steps) => {
                    let found = steps.iter().try_fold(body, step_into);
                    let value = found.and_then(|found| serde_json::from_str(found).ok());
                    stringify(&value.unwrap_or(Value::Null), &mut out);
                }
                Part::Status => stringify(&status.into(), &mut out),
            }
        }
        out
    }

    /// Selects the route key of a message, by an exact, case-sensitive match. Otherwise `$default`; `None` without
    /// that.
    ///
    /// No message reaches `$connect` or `$disconnect`: those routes are for the connection's events.
    pub(crate) fn select<'a>(
        &self,
        body: &str,
        mut routes: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<&'a str> {
        let wanted = self.evaluate(body);
        routes
            .clone()
            .find(|key| *key == wanted && !key.starts_with('$'))
            .or_else(|| routes.find(|key| *key == DEFAULT_ROUTE))
    }
}

/// Returns the text of the value one step into a JSON text. The rest is not parsed: it may hold text that not every
/// parser accepts, such as half a surrogate pair.
fn step_into<'a>(json: &'a str, step: &Step) -> Option<&'a str> {
    let found: &RawValue = match step {
        Step::Name(name) => serde_json::from_str::<BTreeMap<String, &RawValue>>(json)
            .ok()?
            .remove(name)?,
        Step::Index(index) => serde_json::from_str::<Vec<&RawValue>>(json)
            .ok()?
            .get(*index)?,
    };
    Some(found.get())
}

fn is_delimiter(c: char) -> bool {
    !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '[' | ']'))
}

/// `a.b[0].c` → names and indexes.
fn steps(path: &str) -> Vec<Step> {
    path.split(['.', '['])
        .filter(|step| !step.is_empty())
        .map(|step| match step.strip_suffix(']') {
            Some(index) => match index.parse() {
                Ok(index) => Step::Index(index),
                Err(_) => Step::Name(index.trim_matches(['\'', '"']).to_owned()),
            },
            None => Step::Name(step.to_owned()),
        })
        .collect()
}

/// Makes a string of a value, as API Gateway does. null is treated as missing.
fn stringify(value: &Value, out: &mut String) {
    match value {
        Value::Null => {}
        Value::String(text) => out.push_str(text),
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                stringify(value, out);
            }
            out.push(']');
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROUTES: [&str; 6] = ["$connect", "$disconnect", "$default", "join", "5", "true"];

    fn check(body: &str, expected: &str) {
        let expression = SelectionExpression::parse("$request.body.action").unwrap();
        assert_eq!(
            expression.select(body, ROUTES.into_iter()),
            Some(expected),
            "{body}"
        );
    }

    #[test]
    fn a_message_takes_the_route_its_action_names() {
        check(r#"{"action":"join"}"#, "join");
        check(r#"{"action":"nope"}"#, "$default");
        check(r#"{"action":"Join"}"#, "$default");
        check(r#"{"action":" join"}"#, "$default");
        check("{}", "$default");
        check(r#"{"action":""}"#, "$default");
        check(r#"{"action":null}"#, "$default");
        check(r#"{"action":5}"#, "5");
        check(r#"{"action":true}"#, "true");
        check(r#"{"action":["join"]}"#, "$default");
        check(r#"{"action":{"x":1}}"#, "$default");
        check("join", "$default");
        check("", "$default");
        check(r#""join""#, "$default");
        check("5", "$default");
        check("[]", "$default");
        check(r#"{"action":"nope","action":"join"}"#, "join");
        check(r#"{"action":"$default"}"#, "$default");
    }

    #[test]
    fn what_is_beside_the_path_does_not_matter() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for data in [
            r#""\ud83d""#,
            "1e400",
            "123456789012345678901234567890",
            &deep,
        ] {
            check(&format!(r#"{{"data":{data},"action":"join"}}"#), "join");
        }
    }

    #[test]
    fn no_message_reaches_the_lifecycle_routes() {
        check(r#"{"action":"$connect"}"#, "$default");
        check(r#"{"action":"$disconnect"}"#, "$default");
    }

    #[test]
    fn without_a_default_route_nothing_may_match() {
        let expression = SelectionExpression::parse("$request.body.action").unwrap();
        assert_eq!(
            expression.select("{}", ["join", "$connect"].into_iter()),
            None
        );
    }

    #[test]
    fn expressions_of_several_parts() {
        let evaluate = |expression: &str, body: &str| {
            SelectionExpression::parse(expression)
                .unwrap()
                .evaluate(body)
        };
        let body = r#"{"service":"chat","action":"join","deep":{"list":[{"x":"y"}]}}"#;
        assert_eq!(
            evaluate("${request.body.service}.${request.body.action}", body),
            "chat.join"
        );
        assert_eq!(
            evaluate("$request.body.service/$request.body.action", body),
            "chat/join"
        );
        assert_eq!(evaluate("$request.body.deep.list[0].x", body), "y");
        assert_eq!(evaluate(r"\$default", body), "$default");
        assert_eq!(evaluate("literal", body), "literal");
        // A value is not expanded a second time.
        assert_eq!(
            evaluate("$request.body.a", r#"{"a":"$request.body.b","b":"c"}"#),
            "$request.body.b"
        );
    }

    #[test]
    fn an_expression_it_cannot_honour_is_refused() {
        for text in [
            "$request.header.action",
            "${request.body.action",
            "$context.routeKey",
        ] {
            assert!(SelectionExpression::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_response_is_selected_by_its_status_too() {
        let expression = SelectionExpression::parse_for_response(
            "${integration.response.statuscode}-${request.body.kind}",
        );
        let selected = expression
            .unwrap()
            .evaluate_for_response(r#"{"kind":"x"}"#, 404);
        assert_eq!(selected, "404-x");
        assert!(SelectionExpression::parse("$integration.response.statuscode").is_err());
    }

    proptest! {
        #[test]
        fn any_body_takes_some_route(body in ".*") {
            let expression = SelectionExpression::parse("$request.body.action").unwrap();
            let route = expression.select(&body, ROUTES.into_iter()).unwrap();
            prop_assert!(!matches!(route, "$connect" | "$disconnect"));
        }

        #[test]
        fn any_expression_parses_or_is_refused(text in ".*", body in ".*") {
            if let Ok(expression) = SelectionExpression::parse(&text) {
                expression.evaluate(&body);
            }
        }
    }
}
