//! A MOCK integration and its responses.

use anyhow::{Context as _, Result, bail};

use super::instance::Instance;
use super::module::Module;
use super::referring;
use crate::mock::{Mock, Passthrough, Response, Templates};

/// Reads the integration and its `aws_apigatewayv2_integration_response`s.
///
/// # Errors
/// When a template holds what does not run here, or when a route that answers its client has nothing to answer with.
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
