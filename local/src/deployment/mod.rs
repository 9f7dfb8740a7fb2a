//! What is to be run, as `terraform/` declares it.
//!
//! The gateway has no configuration of its own: routes, integrations, functions and tables are read from the very
//! resources that `terraform apply` creates, so the two worlds cannot drift apart.

mod access;
mod archive;
mod computed;
mod mock;
mod selection;
mod table;
mod throttle;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::terraform::{Instance, Module};

pub(crate) use access::{Access, ApiKeys, Authorization, Authorizer, IdentitySource, KeySource};
pub(crate) use archive::Archive;
pub(crate) use mock::Mock;
pub(crate) use selection::SelectionExpression;
pub use table::Table;
pub(crate) use throttle::Throttle;

/// API Gateway's default and largest integration timeout for WebSocket APIs.
const INTEGRATION_TIMEOUT_MS: u64 = 29_000;

/// Lambda's defaults.
const FUNCTION_TIMEOUT_SECONDS: u64 = 3;
const FUNCTION_MEMORY_MB: u64 = 128;

/// Everything the gateway runs.
#[derive(Debug)]
pub struct Deployment {
    pub(crate) api: Api,
    /// By function name.
    pub(crate) functions: BTreeMap<String, Function>,
    /// The declared tables.
    pub tables: Vec<Table>,
    /// The keys of routes that want an API key which is not checked.
    pub(crate) kinder_than_aws: Vec<String>,
    /// Sentences about what is declared and not to be had here.
    pub(crate) warnings: Vec<String>,
}

/// A WebSocket API and its stage.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) region: String,
    pub(crate) stage: String,
    pub(crate) stage_variables: BTreeMap<String, String>,
    pub(crate) selection: SelectionExpression,
    /// By route key.
    pub(crate) routes: BTreeMap<String, Route>,
    pub(crate) access: Access,
}

impl Api {
    /// The route of a message, with its key.
    pub(crate) fn route(&self, body: &str) -> Option<(&str, &Route)> {
        let keys = self.routes.keys().map(String::as_str);
        let (key, route) = self
            .routes
            .get_key_value(self.selection.select(body, keys)?)?;
        Some((key, route))
    }
}

#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) integration: Integration,
    /// The integration's limit, after which the caller is told `Endpoint request timed out`.
    pub(crate) timeout: Duration,
    /// Whether what the integration returns is sent to the client: a route response `$default` exists.
    pub(crate) two_way: bool,
    /// What the stage allows; only `--quota routes` keeps it.
    pub(crate) throttle: Option<Throttle>,
}

#[derive(Debug)]
pub(crate) enum Integration {
    /// The name of a function.
    Lambda(String),
    Mock(Mock),
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
    /// What Terraform would zip into the package: it runs without having been zipped.
    pub(crate) archive: Option<Archive>,
    pub(crate) memory_mb: u64,
    pub(crate) timeout: Duration,
    /// Invocations at once before Lambda throttles; `None` is the account's limit.
    pub(crate) reserved_concurrency: Option<u64>,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Deployment {
    /// Reads what the Terraform folder declares.
    ///
    /// # Errors
    /// When the folder is not one WebSocket API with a stage and routes, or a value the gateway needs is only known to AWS.
    pub fn load(directory: &Path, vars: &[(String, String)]) -> Result<Deployment> {
        let module = Module::load(directory, vars, &|instance, region| {
            computed::attributes(instance, region, None)
        })?;
        let mut functions = BTreeMap::new();
        let mut warnings = Vec::new();
        for declared in module.resources("aws_lambda_function")? {
            if !matches!(declared.get("layers"), Ok(None)) {
                warnings.push(format!(
                    "{}: layers are not read here; what they hold must be in the package, in NODE_PATH or in a venv.",
                    declared.address
                ));
            }
            let function = function(&module, declared)?;
            let name = function.function_name.clone();
            if functions.insert(name, function).is_some() {
                bail!(
                    "{}: another function has the same function_name",
                    declared.address
                );
            }
        }
        let tables = module.resources("aws_dynamodb_table")?;
        Ok(Deployment {
            api: api_of(&module)?,
            tables: tables.into_iter().map(table::read).collect::<Result<_>>()?,
            functions,
            kinder_than_aws: access::unchecked_keys(&module)?,
            warnings,
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
    for declared in module.resources("aws_apigatewayv2_route")? {
        let route_key = declared.string("route_key")?;
        let throttle = throttle::of_route(stage, &route_key)?;
        routes.insert(route_key, route(module, declared, throttle)?);
    }
    let name = stage.string("name")?;
    Ok(Api {
        region: module.region.clone(),
        access: access::read(module, api, &name)?,
        stage: name,
        stage_variables: stage.string_map("stage_variables")?,
        selection: SelectionExpression::parse(&expression)
            .with_context(|| format!("{}: route_selection_expression", api.address))?,
        routes,
    })
}

/// Whether an API is one of WebSockets.
fn is_websocket(api: &Instance) -> bool {
    matches!(api.optional_string("protocol_type"), Ok(Some(protocol)) if protocol == "WEBSOCKET")
}

/// Whether an API or a stage is the one that a flag names.
fn is_called(declared: &Instance, wanted: &str) -> bool {
    declared.address == wanted
        || matches!(declared.optional_string("name"), Ok(Some(name)) if name == wanted)
}

fn only<'a>(module: &'a Module, kind: &str) -> Result<&'a Instance> {
    match module.resources(kind)?.as_slice() {
        [one] => Ok(one),
        [] => bail!("the Terraform folder declares no {kind}"),
        _ => bail!("the Terraform folder declares several {kind}, and one gateway serves one"),
    }
}

/// The instances whose argument refers to another one by its id, which is its address here.
fn referring<'a>(
    module: &'a Module,
    kind: &str,
    argument: &str,
    to: &Instance,
) -> Result<Vec<&'a Instance>> {
    let mut referring = module.resources(kind)?;
    referring.retain(|one| {
        one.optional_string(argument)
            .is_ok_and(|id| id.as_ref() == Some(&to.address))
    });
    Ok(referring)
}

fn route(module: &Module, route: &Instance, throttle: Option<Throttle>) -> Result<Route> {
    let target = route.string("target")?;
    let integrations = module.resources("aws_apigatewayv2_integration")?;
    let integration = integrations
        .into_iter()
        .find(|candidate| target.strip_prefix("integrations/") == Some(candidate.address.as_str()))
        .ok_or_else(|| {
            anyhow!(
                "{}: target \"{target}\" is no integration declared here",
                route.address
            )
        })?;
    let mut two_way = false;
    for response in referring(module, "aws_apigatewayv2_route_response", "route_id", route)? {
        two_way |= response.string("route_response_key")? == "$default";
    }
    let selection = route.optional_string("route_response_selection_expression")?;
    let two_way = two_way && selection.as_deref() == Some("$default");
    let timeout_ms = integration.optional_u64("timeout_milliseconds")?;
    Ok(Route {
        two_way,
        throttle,
        timeout: Duration::from_millis(timeout_ms.unwrap_or(INTEGRATION_TIMEOUT_MS)),
        integration: match integration.string("integration_type")?.as_str() {
            "AWS_PROXY" => {
                Integration::Lambda(invoked_function(module, integration, "integration_uri")?)
            }
            "MOCK" => Integration::Mock(mock::read(module, integration, two_way)?),
            other => bail!(
                "{}: integration_type {other} does not run here, only AWS_PROXY and MOCK",
                integration.address
            ),
        },
    })
}

/// The function whose invoke ARN an argument holds.
fn invoked_function(module: &Module, invoking: &Instance, argument: &str) -> Result<String> {
    let uri = invoking.string(argument)?;
    for function in module.resources("aws_lambda_function")? {
        // The invoke ARN ends in the function's own: `…/functions/arn:aws:lambda:…:function:NAME/invocations`.
        let name = function.string("function_name")?;
        if uri.ends_with(&format!(":function:{name}/invocations")) {
            return Ok(name);
        }
    }
    bail!(
        "{}: {argument} invokes no aws_lambda_function declared here",
        invoking.address
    )
}

/// The file that an object in S3 is made from, if that is where the function's package comes from.
fn uploaded(module: &Module, declared: &Instance) -> Result<Option<String>> {
    let Ok(Some(key)) = declared.optional_string("s3_key") else {
        return Ok(None);
    };
    for kind in ["aws_s3_object", "aws_s3_bucket_object"] {
        for object in module.instances(kind) {
            if object
                .optional_string("key")
                .is_ok_and(|k| k.as_ref() == Some(&key))
            {
                return object.optional_string("source");
            }
        }
    }
    Ok(None)
}

fn function(module: &Module, declared: &Instance) -> Result<Function> {
    let environment = declared.blocks("environment")?.into_iter().next();
    let mut environment = environment
        .map(|block| block.string_map("variables"))
        .transpose()?
        .unwrap_or_default();
    // What Lambda sets from the function's logging configuration.
    if let Some(logging) = declared.blocks("logging_config")?.into_iter().next() {
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
    let filename = match declared.optional_string("filename")? {
        Some(filename) => Some(filename),
        None => uploaded(module, declared)?,
    };
    let archive = filename.as_deref().map(|name| archive::of(module, name));
    Ok(Function {
        key: declared.key.clone(),
        function_name: declared.string("function_name")?,
        runtime: declared.optional_string("runtime")?.unwrap_or_default(),
        handler: declared.optional_string("handler")?.unwrap_or_default(),
        archive: archive.transpose()?.flatten(),
        package: filename.map(|name| module.directory.join(name)),
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
