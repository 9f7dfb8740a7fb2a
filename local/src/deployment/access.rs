//! The declared access to `$connect`: authorizers and API keys.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::account::API_ID;
use crate::terraform::{Instance, Module, Value};

/// The conditions under which a client may connect.
#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(crate) authorization: Authorization,
    /// Present if the route requires a key.
    pub(crate) api_keys: Option<ApiKeys>,
}

#[derive(Debug, Default)]
pub(crate) enum Authorization {
    #[default]
    None,
    /// The handshake is signed with AWS credentials.
    Iam,
    Lambda(Authorizer),
}

/// A Lambda authorizer of type REQUEST.
#[derive(Debug)]
pub(crate) struct Authorizer {
    /// The function's name.
    pub(crate) function: String,
    /// All must be present and not empty, or the function is not invoked.
    pub(crate) identity_sources: Vec<IdentitySource>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IdentitySource {
    Header(String),
    Query(String),
}

/// The keys that usage plans admit to the stage.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    pub(crate) source: KeySource,
    /// The ids of the keys, by their values.
    pub(crate) ids: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// `$request.header.x-api-key`
    Header,
    /// `$context.authorizer.usageIdentifierKey`
    Authorizer,
}

/// Reads the declared access to `$connect`.
///
/// # Errors
/// Fails if an authorizer is invalid for a WebSocket API, or no client could ever connect.
pub(super) fn read(module: &Module, api: &Instance, stage: &str) -> Result<Access> {
    let mut access = Access::default();
    for route in super::served(module, "aws_apigatewayv2_route")? {
        let kind = route.optional_string("authorization_type")?;
        let authorization = match kind.as_deref() {
            None | Some("NONE") => Authorization::None,
            Some("AWS_IAM") => Authorization::Iam,
            Some("CUSTOM") => Authorization::Lambda(authorizer(module, route)?),
            Some(other) => bail!(
                "{}: authorization_type is {other}, and a WebSocket API has only NONE, AWS_IAM and CUSTOM",
                route.address
            ),
        };
        if route.string("route_key")? == "$connect" {
            access.authorization = authorization;
            if requires_key(route)? {
                access.api_keys = Some(api_keys(module, api, stage)?);
            }
        } else if !matches!(authorization, Authorization::None) {
            bail!(
                "{}: only the route $connect can have an authorization_type",
                route.address
            );
        }
    }
    Ok(access)
}

/// Returns the other routes that require an API key. It is not checked here, because a message has no headers.
pub(super) fn unchecked_keys(module: &Module) -> Result<Vec<String>> {
    let mut unchecked = Vec::new();
    for route in super::served(module, "aws_apigatewayv2_route")? {
        let key = route.string("route_key")?;
        if key != "$connect" && requires_key(route)? {
            unchecked.push(key);
        }
    }
    Ok(unchecked)
}

fn requires_key(route: &Instance) -> Result<bool> {
    let required = route.get("api_key_required")?;
    Ok(required.and_then(Value::as_bool) == Some(true))
}

fn authorizer(module: &Module, route: &Instance) -> Result<Authorizer> {
    let id = route.string("authorizer_id")?;
    let authorizers = module.resources("aws_apigatewayv2_authorizer")?;
    let declared = authorizers
        .into_iter()
        .find(|candidate| candidate.address == id)
        .ok_or_else(|| {
            anyhow!(
                "{}: authorizer_id \"{id}\" is not an aws_apigatewayv2_authorizer declared here",
                route.address
            )
        })?;
    let kind = declared.string("authorizer_type")?;
    if kind != "REQUEST" {
        bail!(
            "{}: authorizer_type is {kind}, and a WebSocket API has only REQUEST",
            declared.address
        );
    }
    let sources = declared.list("identity_sources")?;
    let sources = sources.iter().map(identity_source).collect::<Result<_>>();
    let sources = sources.with_context(|| format!("{}: `identity_sources`", declared.address))?;
    Ok(Authorizer {
        function: super::functions::invoked(module, declared, "authorizer_uri")?,
        identity_sources: sources,
    })
}

fn identity_source(source: &Value) -> Result<IdentitySource> {
    let text = source.as_str().unwrap_or_default();
    let named = |prefix| text.strip_prefix(prefix).filter(|name| !name.is_empty());
    if let Some(name) = named("route.request.header.") {
        Ok(IdentitySource::Header(name.to_owned()))
    } else if let Some(name) = named("route.request.querystring.") {
        Ok(IdentitySource::Query(name.to_owned()))
    } else {
        bail!(
            "{} is neither route.request.header.NAME nor route.request.querystring.NAME",
            source.to_json()
        )
    }
}

/// Reads the keys with a `value` in a usage plan of the stage.
fn api_keys(module: &Module, api: &Instance, stage: &str) -> Result<ApiKeys> {
    let source = match api
        .optional_string("api_key_selection_expression")?
        .as_deref()
    {
        None | Some("$request.header.x-api-key") => KeySource::Header,
        Some("$context.authorizer.usageIdentifierKey") => KeySource::Authorizer,
        Some(other) => bail!(
            "{}: api_key_selection_expression \"{other}\" is not one of API Gateway's",
            api.address
        ),
    };
    let mut plans = Vec::new();
    for plan in module.resources("aws_api_gateway_usage_plan")? {
        for served in plan.blocks("api_stages")? {
            if served.string("api_id")? == API_ID && served.string("stage")? == stage {
                plans.push(plan.address.clone());
            }
        }
    }
    let mut members = Vec::new();
    for member in module.resources("aws_api_gateway_usage_plan_key")? {
        if plans.contains(&member.string("usage_plan_id")?) {
            members.push(member.string("key_id")?);
        }
    }
    let mut ids = BTreeMap::new();
    for key in module.resources("aws_api_gateway_api_key")? {
        let is_enabled = key.get("enabled")?.and_then(Value::as_bool) != Some(false);
        if let Some(value) = key.optional_string("value")?
            && is_enabled
            && members.contains(&key.address)
        {
            ids.insert(value, key.address.clone());
        }
    }
    if ids.is_empty() {
        bail!(
            "the route $connect requires an API key, and no client could connect: declare an aws_api_gateway_api_key with a `value`, in a usage plan of the stage {stage}"
        );
    }
    Ok(ApiKeys { source, ids })
}
