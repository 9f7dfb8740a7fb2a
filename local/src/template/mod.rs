//! Mapping templates: the parts of Velocity (VTL) from which API Gateway's MOCK integrations make their answers.
//!
//! What runs: text, `$context`, `$stageVariables`, `$input.body`, `$input.json`, `$input.path`, the functions of `$util`,
//! `#set`, `#if`/`#elseif`/`#else`, `#foreach`, comments, and the usual methods of texts, lists and maps. What does not run
//! is refused when the template is read, with its place, rather than sent half rendered.
//!
//! Two things are AWS's and not Velocity's, as people have seen them on REST APIs: a reference to what is not there is an
//! empty text, not the reference as it is written; and that empty text is as true as any other in an `#if`, so that only
//! a comparison with `''` tells.
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

/// What a template can see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// `$context`: an event's `requestContext`.
    pub(crate) context: &'a Value,
    /// `$stageVariables`, an object.
    pub(crate) stage_variables: &'a Value,
    /// `$input.body`: what a request template makes something of is the client's message, and a response template's is
    /// the integration's answer.
    pub(crate) body: &'a str,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// When it holds what does not run here, or is no template at all, with the line and column.
    pub(crate) fn parse(text: &str) -> Result<Template> {
        anyhow::ensure!(
            text.len() <= MAX_TEMPLATE_BYTES,
            "the template has more than API Gateway's 300 KB"
        );
        parse::template(text).map(Template)
    }

    /// Renders it.
    ///
    /// # Errors
    /// When it would take too long or grow too large.
    pub(crate) fn render(&self, inputs: Inputs<'_>) -> Result<String, RenderError> {
        render::render(&self.0, inputs)
    }
}

#[cfg(test)]
mod tests;
