//! MOCK integrations: the gateway answers from mapping templates.
//!
//! The request template makes a JSON object from the message. Its `statusCode` selects an integration response, whose
//! template makes the answer. `$input` in that template is the output of the request template.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-data-transformations.html>

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use regex_lite::Regex;
use serde_json::Value;

use super::referring;
use super::selection::{DEFAULT_ROUTE, SelectionExpression};
use crate::deployment::{Instance, Module};
use crate::template::{Inputs, Template};

/// The key of the template, and of the integration response, that is used if no other matches.
const DEFAULT: &str = DEFAULT_ROUTE;

/// A MOCK integration and its responses.
#[derive(Debug)]
pub(crate) struct Mock {
    pub(crate) requests: Templates,
    pub(crate) passthrough: Passthrough,
    pub(crate) responses: Vec<Response>,
}

/// The treatment of a message without a matching request template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passthrough {
    /// The message is the integration's request.
    WhenNoMatch,
    /// The message is the integration's request if there is no request template at all.
    WhenNoTemplates,
    Never,
}

impl Passthrough {
    /// # Errors
    /// Fails if the text is not one of API Gateway's three values.
    pub(crate) fn parse(text: &str) -> Result<Passthrough> {
        Ok(match text {
            "WHEN_NO_MATCH" => Passthrough::WhenNoMatch,
            "WHEN_NO_TEMPLATES" => Passthrough::WhenNoTemplates,
            "NEVER" => Passthrough::Never,
            _ => bail!("\"{text}\" is not one of WHEN_NO_MATCH, WHEN_NO_TEMPLATES and NEVER"),
        })
    }
}

/// Templates by key, and the expression that selects one.
#[derive(Debug)]
pub(crate) struct Templates {
    selection: SelectionExpression,
    by_key: BTreeMap<String, Template>,
}

impl Templates {
    /// # Errors
    /// Fails if the expression or a template is invalid or does not run here.
    pub(crate) fn parse(
        selection: Option<&str>,
        texts: &BTreeMap<String, String>,
    ) -> Result<Templates> {
        let selection = match selection {
            // The literal key, which looks like a variable.
            None | Some(DEFAULT) => SelectionExpression::parse(r"\$default"),
            Some(text) => SelectionExpression::parse_for_response(text),
        };
        let template = |(key, text): (&String, &String)| {
            let template = Template::parse(text).with_context(|| format!("\"{key}\""))?;
            Ok((key.clone(), template))
        };
        Ok(Templates {
            selection: selection.context("`template_selection_expression`")?,
            by_key: texts.iter().map(template).collect::<Result<_>>()?,
        })
    }

    fn select(&self, message: &str, status: i64) -> Option<&Template> {
        let key = self.selection.evaluate_for_response(message, status);
        self.by_key.get(&key).or_else(|| self.by_key.get(DEFAULT))
    }
}

/// An integration response.
#[derive(Debug)]
pub(crate) struct Response {
    /// `None` is `$default`.
    status: Option<Regex>,
    templates: Templates,
}

impl Response {
    /// `key` is `$default`, or an expression that a whole status must match: `/200/`, `/2\d\d/`.
    ///
    /// # Errors
    /// Fails if the key is neither `$default` nor such an expression.
    pub(crate) fn parse(key: &str, templates: Templates) -> Result<Response> {
        let expression = key.strip_prefix('/').and_then(|key| key.strip_suffix('/'));
        let status = match expression {
            Some(expression) => Some(
                Regex::new(&format!("^(?:{expression})$"))
                    .with_context(|| format!("\"{key}\" is not a regular expression"))?,
            ),
            None if key == DEFAULT => None,
            None => bail!("\"{key}\" must be $default or of the form /expression/"),
        };
        Ok(Response { status, templates })
    }
}

impl Mock {
    /// Returns the status and the body of the answer to an event. Without a declared template there is no body.
    ///
    /// # Errors
    /// The reason why the templates make no answer, without their output: it may hold somebody's message.
    pub(crate) fn answer(&self, event: &Value) -> Result<(i64, Option<String>), String> {
        let message = event["body"].as_str().unwrap_or_default();
        let inputs = |body| Inputs {
            context: &event["requestContext"],
            stage_variables: &event["stageVariables"],
            body,
        };
        let request = match (self.requests.select(message, 0), self.passthrough) {
            (Some(template), _) => template
                .render(inputs(message))
                .map_err(|error| error.to_string())?,
            (None, Passthrough::WhenNoMatch) => message.to_owned(),
            (None, Passthrough::WhenNoTemplates) if self.requests.by_key.is_empty() => {
                message.to_owned()
            }
            (None, _) => return Err("there is no request template for this message".to_owned()),
        };
        let request_json: Value = serde_json::from_str(&request).unwrap_or_default();
        let Some(status) = request_json.get("statusCode").and_then(Value::as_i64) else {
            return Err("its request is not a JSON object with an integer statusCode".to_owned());
        };
        let text = status.to_string();
        let matching = |response: &&Response| {
            let status = response.status.as_ref();
            status.is_some_and(|status| status.is_match(&text))
        };
        let response = self.responses.iter().find(matching).or_else(|| {
            let mut responses = self.responses.iter();
            responses.find(|response| response.status.is_none())
        });
        let Some(response) = response else {
            return match self.responses.is_empty() {
                true => Ok((status, None)),
                false => Err(format!(
                    "no integration response is for the status {status}"
                )),
            };
        };
        let template = response.templates.select(message, status);
        let body = template.map(|template| template.render(inputs(&request)));
        Ok((status, body.transpose().map_err(|error| error.to_string())?))
    }
}

/// Reads the integration and its `aws_apigatewayv2_integration_response`s.
///
/// # Errors
/// Fails if a template is invalid or does not run here, or a route that answers its client has no integration response.
pub(super) fn read(module: &Module, integration: &Instance, two_way: bool) -> Result<Mock> {
    let kind = "aws_apigatewayv2_integration_response";
    let responses = referring(module, kind, "integration_id", integration)?;
    if two_way && responses.is_empty() {
        bail!(
            "{}: a MOCK integration of a route with a route response needs an {kind}",
            integration.address
        );
    }
    let passthrough = integration.optional_string("passthrough_behavior")?;
    Ok(Mock {
        requests: templates(integration, "request_templates")?,
        passthrough: Passthrough::parse(passthrough.as_deref().unwrap_or("WHEN_NO_MATCH"))
            .with_context(|| format!("{}: `passthrough_behavior`", integration.address))?,
        responses: responses.into_iter().map(response).collect::<Result<_>>()?,
    })
}

fn response(declared: &Instance) -> Result<Response> {
    let key = declared.string("integration_response_key")?;
    Response::parse(&key, templates(declared, "response_templates")?)
        .with_context(|| format!("{}: `integration_response_key`", declared.address))
}

fn templates(declared: &Instance, argument: &str) -> Result<Templates> {
    let selection = declared.optional_string("template_selection_expression")?;
    Templates::parse(selection.as_deref(), &declared.string_map(argument)?)
        .with_context(|| format!("{}: `{argument}`", declared.address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn templates<const N: usize>(selection: Option<&str>, texts: [(&str, &str); N]) -> Templates {
        let texts = texts.map(|(key, text)| (key.to_owned(), text.to_owned()));
        Templates::parse(selection, &texts.into_iter().collect()).unwrap()
    }

    fn answer(mock: &Mock, body: &str) -> Result<(i64, Option<String>), String> {
        mock.answer(&json!({
            "body": body,
            "requestContext": {"connectionId": "abc="},
            "stageVariables": {"colour": "green"},
        }))
    }

    #[test]
    fn a_status_selects_the_response_and_its_template_makes_the_answer() {
        let request = r#"{"statusCode": $input.path('$.status'), "n": $input.json('$.n')}"#;
        let response = |key, text| Response::parse(key, templates(None, [("$default", text)]));
        let mock = Mock {
            requests: templates(None, [("$default", request)]),
            passthrough: Passthrough::Never,
            responses: vec![
                response("$default", "other").unwrap(),
                response("/200/", "$input.path('$.n') $context.connectionId").unwrap(),
                response(r"/4\d\d/", "wrong: $stageVariables.colour").unwrap(),
            ],
        };
        let check = |body: &str, expected: (i64, &str)| {
            let (status, answer) = answer(&mock, body).unwrap();
            assert_eq!((status, answer.as_deref()), (expected.0, Some(expected.1)));
        };
        check(r#"{"status":200,"n":7}"#, (200, "7 abc="));
        check(r#"{"status":404}"#, (404, "wrong: green"));
        // The whole status must match.
        check(r#"{"status":2001}"#, (2001, "other"));
        for body in [r#"{"status":"no"}"#, r#"{"status":20.5}"#, "{}", ""] {
            assert!(answer(&mock, body).is_err(), "{body}");
        }
    }

    #[test]
    fn expressions_select_the_templates() {
        let request = [
            ("a", r#"{"statusCode":201}"#),
            ("$default", r#"{"statusCode":202}"#),
        ];
        let response = templates(
            Some("$integration.response.statuscode"),
            [("201", "first"), ("202", "second")],
        );
        let mock = Mock {
            requests: templates(Some("$request.body.kind"), request),
            passthrough: Passthrough::Never,
            responses: vec![Response::parse("$default", response).unwrap()],
        };
        let check = |body: &str, expected: (i64, &str)| {
            let expected = (expected.0, Some(expected.1.to_owned()));
            assert_eq!(answer(&mock, body), Ok(expected), "{body}");
        };
        check(r#"{"kind":"a"}"#, (201, "first"));
        check(r#"{"kind":"b"}"#, (202, "second"));
    }

    #[test]
    fn without_a_template_the_message_itself_may_be_the_request() {
        let mock = |passthrough, texts: &[(&str, &str)]| Mock {
            requests: Templates::parse(
                Some("$request.body.kind"),
                &texts
                    .iter()
                    .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
                    .collect(),
            )
            .unwrap(),
            passthrough,
            responses: Vec::new(),
        };
        let body = r#"{"statusCode":200}"#;
        let one = [("a", body)];
        assert_eq!(
            answer(&mock(Passthrough::WhenNoMatch, &one), body),
            Ok((200, None))
        );
        assert!(answer(&mock(Passthrough::WhenNoTemplates, &one), body).is_err());
        assert_eq!(
            answer(&mock(Passthrough::WhenNoTemplates, &[]), body),
            Ok((200, None))
        );
        assert!(answer(&mock(Passthrough::Never, &[]), body).is_err());
    }

    #[test]
    fn a_status_without_a_response_is_a_failure_where_there_are_responses() {
        let mock = Mock {
            requests: templates(None, [("$default", r#"{"statusCode":500}"#)]),
            passthrough: Passthrough::Never,
            responses: vec![Response::parse("/200/", templates(None, [])).unwrap()],
        };
        assert!(answer(&mock, "").is_err());
    }

    #[test]
    fn a_key_is_default_or_an_expression() {
        for key in ["200", "/(/", "", "default", "/"] {
            assert!(Response::parse(key, templates(None, [])).is_err(), "{key}");
        }
    }
}
