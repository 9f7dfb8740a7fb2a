//! MOCK integrations: the gateway itself answers, from a mapping template.

use anyhow::{Result, bail};

/// A mapping template of plain text and `$context.NAME` variables.
///
/// Of the template language that is the part a constant answer needs. A template that uses more is refused when it is
/// read, rather than sent half rendered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Context(String),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// When it holds a directive (`#set`, `#if` …) or a variable other than `$context.NAME`.
    pub(crate) fn parse(text: &str) -> Result<Template> {
        const DIRECTIVES: [&str; 6] = ["#set", "#if", "#else", "#end", "#foreach", "##"];
        if let Some(directive) = DIRECTIVES
            .into_iter()
            .find(|directive| text.contains(directive))
        {
            bail!("the directive {directive} does not run here, only text and $context variables");
        }
        let mut pieces = text.split('$');
        let mut parts = vec![Part::Text(pieces.next().unwrap_or_default().to_owned())];
        for piece in pieces {
            let (braced, piece) = piece
                .strip_prefix('{')
                .map_or((false, piece), |inner| (true, inner));
            let Some(variable) = piece.strip_prefix("context.") else {
                bail!("the variable ${piece} does not run here, only $context variables");
            };
            let end = variable
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
                .unwrap_or(variable.len());
            // A full stop that ends the name ends the sentence.
            let name = variable[..end].trim_end_matches('.');
            let after = &variable[name.len()..];
            parts.push(Part::Context(name.to_owned()));
            parts.push(Part::Text(
                after
                    .strip_prefix('}')
                    .filter(|_| braced)
                    .unwrap_or(after)
                    .to_owned(),
            ));
        }
        Ok(Template(parts))
    }

    /// The answer, with `$context` taken from the event's `requestContext`. What is not there becomes "".
    pub(crate) fn render(&self, request_context: &serde_json::Value) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Context(name) => {
                    match name
                        .split('.')
                        .try_fold(request_context, |value, step| value.get(step))
                    {
                        Some(serde_json::Value::String(text)) => out.push_str(text),
                        Some(value) => out.push_str(&value.to_string()),
                        None => {}
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_and_context_variables_are_rendered() {
        let context =
            json!({"connectionId": "abc=", "connectedAt": 5, "identity": {"sourceIp": "::1"}});
        let check = |template: &str, expected: &str| {
            assert_eq!(
                Template::parse(template).unwrap().render(&context),
                expected,
                "{template}"
            );
        };
        check(r#"{"type":"pong"}"#, r#"{"type":"pong"}"#);
        check(r#"{"id":"$context.connectionId"}"#, r#"{"id":"abc="}"#);
        check("${context.connectedAt}ms", "5ms");
        check("I am $context.connectionId.", "I am abc=.");
        check("$context.identity.sourceIp|$context.nothing|", "::1||");
    }

    #[test]
    fn what_it_cannot_render_is_refused() {
        for template in ["#set($x = 1)", "$input.body", "price: $5"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
