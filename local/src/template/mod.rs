//! Mapping templates: the parts of Velocity (VTL) that API Gateway's MOCK integrations use.
//!
//! Supported are text, `$context`, `$stageVariables`, `$input.body`, `$input.json`, `$input.path`, the functions of `$util`,
//! `#set`, `#if`/`#elseif`/`#else`, `#foreach`, comments, and the usual methods of texts, lists and maps. Anything
//! else is refused when the template is read, with its position.
//!
//! Two rules are AWS's and not Velocity's, as observed on REST APIs: a reference to a missing value is an empty text, not
//! the text of the reference; and an empty text is true in an `#if`, so that only a comparison with `''` finds it.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html>

mod ast;
mod functions;
mod parse;
mod path;
mod render;

use anyhow::Result;
use serde_json::Value;

use ast::Node;
pub(crate) use render::RenderError;

/// API Gateway's limit for a mapping template.
const MAX_TEMPLATE_BYTES: usize = 300 * 1024;

/// A parsed mapping template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Node>);

/// The inputs of a template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// `$context`: an event's `requestContext`.
    pub(crate) context: &'a Value,
    /// `$stageVariables`, an object.
    pub(crate) stage_variables: &'a Value,
    /// `$input.body`: the client's message in a request template, the integration's answer in a response template.
    pub(crate) body: &'a str,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Fails if the template is invalid or uses a part that does not run here, with the line and column.
    pub(crate) fn parse(text: &str) -> Result<Template> {
        anyhow::ensure!(
            text.len() <= MAX_TEMPLATE_BYTES,
            "the template has more than API Gateway's 300 KB"
        );
        parse::template(text).map(Template)
    }

    /// Renders the template.
    ///
    /// # Errors
    /// Fails if the rendering would take too long or grow too large.
    pub(crate) fn render(&self, inputs: Inputs<'_>) -> Result<String, RenderError> {
        render::render(&self.0, inputs)
    }
}

#[cfg(test)]
mod tests;
