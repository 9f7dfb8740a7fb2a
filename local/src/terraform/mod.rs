//! What is to be run, as `terraform/` declares it.
//!
//! The gateway has no configuration of its own: routes, integrations, functions and tables are read from the very
//! resources that `terraform apply` creates, so the two worlds cannot drift apart.

mod functions;
mod module;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::mock::Template;
use crate::selection::SelectionExpression;
use module::{Instance, Module};

/// The id of the one API a gateway serves: ten lower-case letters and digits, as API Gateway's are.
pub(crate) const API_ID: &str = "local00000";

/// API Gateway's default and largest integration timeout for WebSocket APIs.
const INTEGRATION_TIMEOUT_MS: u64 = 29_000;

/// Lambda's defaults.
const FUNCTION_TIMEOUT_SECONDS: u64 = 3;
const FUNCTION_MEMORY_MB: u64 = 128;

/// Everything the gateway runs.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) region: String,
    pub(crate) api: Api,
    pub(crate) functions: BTreeMap<String, Function>,
    pub(crate) tables: Vec<Table>,
}

/// A WebSocket API and its stage.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) stage: String,
    pub(crate) stage_variables: BTreeMap<String, String>,
    pub(crate) selection: SelectionExpression,
    /// By route key.
    pub(crate) routes: BTreeMap<String, Route>,
}

#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) integration: Integration,
    /// The integration's limit, after which the caller is told `Endpoint request timed out`.
    pub(crate) timeout: Duration,
    /// Whether what the integration returns is sent to the client: a route response `$default` exists.
    pub(crate) two_way: bool,
}

#[derive(Debug)]
pub(crate) enum Integration {
    /// The key of a function.
    Lambda(String),
    Mock(Template),
}

/// A Lambda function.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// The Terraform map key, and the name of its binary.
    pub(crate) key: String,
    pub(crate) function_name: String,
    pub(crate) runtime: String,
    pub(crate) handler: String,
    /// The deployment package: a zip, or a folder that holds what the zip would.
    pub(crate) package: Option<PathBuf>,
    pub(crate) memory_mb: u64,
    pub(crate) timeout: Duration,
    /// Invocations at once before Lambda throttles; `None` is the account's limit.
    pub(crate) reserved_concurrency: Option<u64>,
    pub(crate) environment: BTreeMap<String, String>,
}

/// A DynamoDB table, in the shape of the CreateTable request.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// The CreateTable request.
    pub(crate) create: serde_json::Value,
    pub(crate) ttl_attribute: Option<String>,
}

impl Deployment {
    /// Reads what the Terraform folder declares.
    ///
    /// # Errors
    /// When the folder is not one WebSocket API with a stage and routes, or a value the gateway needs is only known to AWS.
    pub(crate) fn load(directory: &Path, vars: &[(String, String)]) -> Result<Deployment> {
        let module = Module::load(directory, vars)?;
        let functions = functions_of(&module)?;
        Ok(Deployment {
            api: api_of(&module)?,
            tables: module
                .resources("aws_dynamodb_table")
                .map(table)
                .collect::<Result<_>>()?,
            functions: functions
                .into_iter()
                .map(|function| (function.key.clone(), function))
                .collect(),
            region: module.region,
        })
    }
}

fn api_of(module: &Module) -> Result<Api> {
    let api = only(module, "aws_apigatewayv2_api")?;
    let protocol = api.string("protocol_type")?;
    if protocol != "WEBSOCKET" {
        bail!(
            "{}: protocol_type is {protocol}, and only WEBSOCKET runs here",
            api.address
        );
    }
    let expression = api.string("route_selection_expression")?;
    let stage = only(module, "aws_apigatewayv2_stage")?;
    let mut routes = BTreeMap::new();
    for declared in module.resources("aws_apigatewayv2_route") {
        routes.insert(declared.string("route_key")?, route(module, declared)?);
    }
    Ok(Api {
        stage: stage.string("name")?,
        stage_variables: stage.string_map("stage_variables")?,
        selection: SelectionExpression::parse(&expression)
            .with_context(|| format!("{}: route_selection_expression", api.address))?,
        routes,
    })
}

fn only<'a>(module: &'a Module, kind: &'a str) -> Result<&'a Instance> {
    let mut all = module.resources(kind);
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => bail!("the Terraform folder declares no {kind}"),
        (Some(_), Some(_)) => {
            bail!("the Terraform folder declares several {kind}, and one gateway serves one")
        }
    }
}

fn route(module: &Module, route: &Instance) -> Result<Route> {
    let target = route.string("target")?;
    let integration = module
        .resources("aws_apigatewayv2_integration")
        .find(|candidate| target.strip_prefix("integrations/") == Some(candidate.address.as_str()))
        .ok_or_else(|| {
            anyhow!(
                "{}: target \"{target}\" is no integration declared here",
                route.address
            )
        })?;
    let has_response = || {
        module
            .resources("aws_apigatewayv2_route_response")
            .filter(|response| {
                response
                    .optional_string("route_id")
                    .is_ok_and(|id| id.as_ref() == Some(&route.address))
            })
            .any(|response| {
                response
                    .optional_string("route_response_key")
                    .is_ok_and(|key| key.as_deref() == Some("$default"))
            })
    };
    let selection = route.optional_string("route_response_selection_expression")?;
    Ok(Route {
        two_way: selection.as_deref() == Some("$default") && has_response(),
        timeout: Duration::from_millis(
            integration
                .optional_u64("timeout_milliseconds")?
                .unwrap_or(INTEGRATION_TIMEOUT_MS),
        ),
        integration: match integration.string("integration_type")?.as_str() {
            "AWS_PROXY" => Integration::Lambda(invoked_function(module, integration)?),
            "MOCK" => Integration::Mock(mock_template(module, integration)?),
            other => bail!(
                "{}: integration_type {other} does not run here, only AWS_PROXY and MOCK",
                integration.address
            ),
        },
    })
}

fn invoked_function(module: &Module, integration: &Instance) -> Result<String> {
    let uri = integration.string("integration_uri")?;
    for function in module.resources("aws_lambda_function") {
        // The invoke ARN ends in the function's own: `…/functions/arn:aws:lambda:…:function:NAME/invocations`.
        let name = function.string("function_name")?;
        if uri.ends_with(&format!(":function:{name}/invocations")) {
            return Ok(function.key.clone());
        }
    }
    bail!(
        "{}: integration_uri invokes no aws_lambda_function declared here",
        integration.address
    )
}

/// The body a MOCK integration answers with: the one template of its integration response.
fn mock_template(module: &Module, integration: &Instance) -> Result<Template> {
    let responses: Vec<_> = module
        .resources("aws_apigatewayv2_integration_response")
        .filter(|r| {
            r.optional_string("integration_id")
                .is_ok_and(|id| id.as_ref() == Some(&integration.address))
        })
        .collect();
    let [response] = responses.as_slice() else {
        bail!(
            "{}: a MOCK integration needs exactly one aws_apigatewayv2_integration_response here",
            integration.address
        );
    };
    let templates = response.string_map("response_templates")?;
    let mut texts = templates.values();
    let (Some(text), None) = (texts.next(), texts.next()) else {
        bail!(
            "{}: `response_templates` must hold exactly one template here",
            response.address
        );
    };
    Template::parse(text).with_context(|| format!("{}: `response_templates`", response.address))
}

fn functions_of(module: &Module) -> Result<Vec<Function>> {
    module
        .resources("aws_lambda_function")
        .map(function)
        .collect()
}

fn function(declared: &Instance) -> Result<Function> {
    let environment = declared.blocks("environment").next();
    let mut environment = environment
        .map(|block| block.string_map("variables"))
        .transpose()?
        .unwrap_or_default();
    // What Lambda sets from the function's logging configuration.
    if let Some(logging) = declared.blocks("logging_config").next() {
        let settings = [
            ("log_format", "AWS_LAMBDA_LOG_FORMAT"),
            ("application_log_level", "AWS_LAMBDA_LOG_LEVEL"),
        ];
        for (argument, variable) in settings {
            if let Some(value) = logging.optional_string(argument)? {
                environment.insert(variable.to_owned(), value);
            }
        }
    }
    Ok(Function {
        key: declared.key.clone(),
        function_name: declared.string("function_name")?,
        runtime: declared.optional_string("runtime")?.unwrap_or_default(),
        handler: declared.optional_string("handler")?.unwrap_or_default(),
        package: declared.optional_string("filename")?.map(PathBuf::from),
        memory_mb: declared
            .optional_u64("memory_size")?
            .unwrap_or(FUNCTION_MEMORY_MB),
        timeout: Duration::from_secs(
            declared
                .optional_u64("timeout")?
                .unwrap_or(FUNCTION_TIMEOUT_SECONDS),
        ),
        // -1 is Terraform's word for "unreserved".
        reserved_concurrency: declared
            .get("reserved_concurrent_executions")?
            .and_then(|value| value.as_u64()),
        environment,
    })
}

fn table(declared: &Instance) -> Result<Table> {
    let name = declared.string("name")?;
    let attributes: Vec<_> = declared
        .blocks("attribute")
        .map(|a| Ok(serde_json::json!({ "AttributeName": a.string("name")?, "AttributeType": a.string("type")? })))
        .collect::<Result<_>>()?;
    let indexes: Vec<_> = declared
        .blocks("global_secondary_index")
        .map(global_secondary_index)
        .collect::<Result<_>>()?;
    let mut create = serde_json::json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": key_schema(declared)?,
    });
    if !indexes.is_empty() {
        create["GlobalSecondaryIndexes"] = indexes.into();
    }
    let ttl_attribute = declared
        .blocks("ttl")
        .find(|ttl| {
            ttl.get("enabled")
                .is_ok_and(|enabled| enabled.is_none_or(|e| e.as_bool() != Some(false)))
        })
        .map(|ttl| ttl.string("attribute_name"))
        .transpose()?;
    Ok(Table {
        name,
        create,
        ttl_attribute,
    })
}

fn key_schema(declared: &Instance) -> Result<Vec<serde_json::Value>> {
    let mut schema = vec![
        serde_json::json!({ "AttributeName": declared.string("hash_key")?, "KeyType": "HASH" }),
    ];
    if let Some(range_key) = declared.optional_string("range_key")? {
        schema.push(serde_json::json!({ "AttributeName": range_key, "KeyType": "RANGE" }));
    }
    Ok(schema)
}

fn global_secondary_index(declared: &Instance) -> Result<serde_json::Value> {
    let mut projection =
        serde_json::json!({ "ProjectionType": declared.string("projection_type")? });
    if let Some(attributes) = declared.get("non_key_attributes")? {
        projection["NonKeyAttributes"] = serde_json::to_value(attributes)?;
    }
    Ok(serde_json::json!({
        "IndexName": declared.string("name")?,
        "KeySchema": key_schema(declared)?,
        "Projection": projection,
    }))
}
