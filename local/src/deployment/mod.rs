//! The deployment that a Terraform folder declares.
//!
//! The gateway has no configuration of its own: it reads routes, integrations, functions and tables from the resources
//! that `terraform apply` creates, so that both always agree.

mod access;
mod address;
mod computed;
mod functions;
mod mock;
mod notices;
mod package;
mod selection;
mod table;
mod throttle;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::account::API_ID;
use crate::terraform::{Instance, Module};

pub(crate) use access::{Access, ApiKeys, Authorization, Authorizer, IdentitySource, KeySource};
pub(crate) use address::localized;
pub(crate) use functions::{Function, LATEST, name_of};
pub(crate) use mock::Mock;
pub(crate) use package::{Archive, Package};
pub(crate) use selection::SelectionExpression;
pub use table::Table;
pub(crate) use throttle::Throttle;

/// API Gateway's default and largest integration timeout for WebSocket APIs.
const INTEGRATION_TIMEOUT_MS: u64 = 29_000;

/// The options of the command line that concern the Terraform folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Values of variables.
    pub vars: &'a [(String, String)],
    /// Environment variables that every function is given.
    pub env: &'a [(String, String)],
    /// The WebSocket API to serve, by its name or address.
    pub api: Option<&'a str>,
    /// The stage to serve, by its name or address.
    pub stage: Option<&'a str>,
}

/// Everything that the gateway runs.
#[derive(Debug)]
pub struct Deployment {
    pub(crate) api: Api,
    /// By function name.
    pub(crate) functions: BTreeMap<String, Function>,
    /// The declared tables.
    pub tables: Vec<Table>,
    /// The keys of routes that require an API key, which is not checked here.
    pub(crate) kinder_than_aws: Vec<String>,
    /// Sentences about what is declared and does not run here.
    pub(crate) notices: Vec<String>,
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
    /// Returns the route of a message, with its key.
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
    /// The integration's timeout, after which the client gets `Endpoint request timed out`.
    pub(crate) timeout: Duration,
    /// If set, the response is sent to the client: a route response `$default` exists.
    pub(crate) two_way: bool,
    /// The throttle of the stage; only `--quota routes` enforces it.
    pub(crate) throttle: Option<Throttle>,
}

#[derive(Debug)]
pub(crate) enum Integration {
    /// The name of a function.
    Lambda(String),
    Mock(Mock),
}

impl Deployment {
    /// Reads the declaration in a Terraform folder.
    ///
    /// # Errors
    /// Fails if it is not clear which WebSocket API and stage to serve, or if a route or authorizer of the API needs a
    /// part that does not run here, or a value that only AWS knows. Anything else that does not run here is a notice.
    pub fn load(directory: &Path, wanted: Wanted<'_>) -> Result<Deployment> {
        let module = Module::load(directory, wanted.vars, &|instance, region| {
            computed::attributes(instance, region, wanted.api)
        })?;
        let mut notices: Vec<String> = module.unread().collect();
        let api = api_of(&module, wanted, &mut notices)?;
        let functions = functions::read(&module, &api, wanted.env, &mut notices)?;
        let mut tables = Vec::new();
        for declared in module.instances("aws_dynamodb_table") {
            match table::read(declared) {
                Ok(table) => tables.push(table),
                Err(error) => notices.push(format!(
                    "There is no table for {}: {error:#}",
                    declared.address
                )),
            }
        }
        notices.extend(module.uncounted("aws_dynamodb_table"));
        notices.extend(notices::of(&module));
        Ok(Deployment {
            kinder_than_aws: access::unchecked_keys(&module)?,
            api,
            tables,
            functions,
            notices,
        })
    }
}

fn api_of(module: &Module, wanted: Wanted<'_>, notices: &mut Vec<String>) -> Result<Api> {
    let apis = module.resources("aws_apigatewayv2_api")?;
    let apis = apis.into_iter().filter(|api| is_websocket(api)).collect();
    let api = one(module, apis, "WebSocket API", "--api", wanted.api)?;
    let stages = served(module, "aws_apigatewayv2_stage")?;
    if stages.is_empty() && module.unread().next().is_none() {
        bail!(
            "{}: {} has no stage here: declare an aws_apigatewayv2_stage with its api_id",
            api.place,
            api.address
        );
    }
    let stage = one(
        module,
        stages,
        "stage of the WebSocket API",
        "--stage",
        wanted.stage,
    )?;
    let expression = api.string("route_selection_expression")?;
    let mut routes = BTreeMap::new();
    for declared in served(module, "aws_apigatewayv2_route")? {
        let route_key = declared.string("route_key")?;
        if declared.optional_string("target")?.is_none() {
            notices.push(format!(
                "{}: route {route_key} has no target: it is served as if it were not declared. Set its target to \
                 \"integrations/ID\", with the id of an aws_apigatewayv2_integration.",
                declared.place
            ));
            continue;
        }
        let throttle = throttle::of_route(stage, &route_key)?;
        let route = route(module, declared, throttle, notices)?;
        if routes.insert(route_key.clone(), route).is_some() {
            bail!("{}: there is another route {route_key}", declared.place);
        }
    }
    if let (true, Some(unread)) = (routes.is_empty(), module.unread().next()) {
        bail!("the WebSocket API has no route here, and {unread}");
    }
    let name = stage.string("name")?;
    Ok(Api {
        region: module.region.clone(),
        access: access::read(module, api, &name)?,
        stage: name,
        stage_variables: stage.string_map("stage_variables")?,
        selection: SelectionExpression::parse(&expression)
            .with_context(|| format!("{}: route_selection_expression", api.place))?,
        routes,
    })
}

/// The instances of a type that belong to the served API.
fn served<'a>(module: &'a Module, kind: &str) -> Result<Vec<&'a Instance>> {
    let mut served = Vec::new();
    for instance in module.resources(kind)? {
        if instance.string("api_id")? == API_ID {
            served.push(instance);
        }
    }
    Ok(served)
}

/// The only instance, or the instance that a flag names.
fn one<'a>(
    module: &Module,
    mut found: Vec<&'a Instance>,
    what: &str,
    flag: &str,
    wanted: Option<&str>,
) -> Result<&'a Instance> {
    let names: Vec<String> = found
        .iter()
        .map(|one| one.string("name").unwrap_or_else(|_| one.address.clone()))
        .collect();
    if let Some(wanted) = wanted {
        found.retain(|one| is_called(one, wanted));
    }
    match (found.as_slice(), wanted) {
        ([one], _) => Ok(one),
        ([], Some(wanted)) if !names.is_empty() => {
            bail!(
                "{flag} {wanted}: there is no such {what}, but {}",
                names.join(", ")
            )
        }
        ([], _) => match module.unread().next() {
            Some(unread) => bail!("there is no {what} here, and {unread}"),
            None => bail!("the Terraform folder declares no {what}"),
        },
        (_, _) => bail!(
            "the Terraform folder declares more than one {what}, and one gateway serves one: name it with {flag}: {}",
            names.join(", ")
        ),
    }
}

/// Tells if an API is a WebSocket API.
fn is_websocket(api: &Instance) -> bool {
    matches!(api.optional_string("protocol_type"), Ok(Some(protocol)) if protocol == "WEBSOCKET")
}

/// Tells if a flag names this API or stage.
fn is_called(declared: &Instance, wanted: &str) -> bool {
    declared.address == wanted
        || matches!(declared.optional_string("name"), Ok(Some(name)) if name == wanted)
}

/// Returns the instances whose argument is the id of another instance, which is its address here.
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

fn route(
    module: &Module,
    route: &Instance,
    throttle: Option<Throttle>,
    notices: &mut Vec<String>,
) -> Result<Route> {
    let target = route.string("target")?;
    let integrations = module.resources("aws_apigatewayv2_integration")?;
    let integration = integrations
        .into_iter()
        .find(|candidate| target.strip_prefix("integrations/") == Some(candidate.address.as_str()))
        .ok_or_else(|| {
            anyhow!(
                "{}: the target \"{target}\" of {} is not an integration declared here; it must be \"integrations/ID\"",
                route.place_of("target"),
                route.address
            )
        })?;
    let mut has_response = false;
    for response in referring(module, "aws_apigatewayv2_route_response", "route_id", route)? {
        has_response |= response.string("route_response_key")? == "$default";
    }
    let selection = route.optional_string("route_response_selection_expression")?;
    let is_message = !matches!(
        route.string("route_key")?.as_str(),
        "$connect" | "$disconnect"
    );
    if has_response && selection.is_none() && is_message {
        notices.push(format!(
            "{}: route {} has a route response and no route_response_selection_expression: its answers are not sent. \
             Set it to \"$default\".",
            route.place,
            route.string("route_key")?
        ));
    }
    let two_way = has_response && selection.as_deref() == Some("$default");
    let timeout_ms = integration.optional_u64("timeout_milliseconds")?;
    Ok(Route {
        two_way,
        throttle,
        timeout: Duration::from_millis(timeout_ms.unwrap_or(INTEGRATION_TIMEOUT_MS)),
        integration: match integration.string("integration_type")?.as_str() {
            "AWS_PROXY" => {
                Integration::Lambda(functions::invoked(module, integration, "integration_uri")?)
            }
            "MOCK" => Integration::Mock(mock::read(module, integration, two_way)?),
            other => bail!(
                "{}: integration_type {other} does not run here, and route {} needs it: give the route an integration of type \
                 AWS_PROXY, with a function, or MOCK",
                integration.place_of("integration_type"),
                route.string("route_key")?
            ),
        },
    })
}
