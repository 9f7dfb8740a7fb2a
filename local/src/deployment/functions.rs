//! Lambda functions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::{Api, Authorization, Integration, Package, package};
use crate::terraform::{Instance, Module, Problem, Value, problem_of};

/// Lambda's defaults.
const TIMEOUT_SECONDS: u64 = 3;
const MEMORY_MB: u64 = 128;

/// The qualifier of a function's code as it was deployed last.
pub(crate) const LATEST: &str = "$LATEST";

/// A Lambda function.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// The function's name in the log and the name of its native program: the Terraform map key or label, or its
    /// `function_name` where another function has the same key.
    pub(crate) key: String,
    pub(crate) function_name: String,
    /// The file and line of its block.
    pub(crate) place: String,
    pub(crate) runtime: String,
    pub(crate) handler: String,
    pub(crate) package: Option<Package>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) memory_mb: u64,
    pub(crate) timeout: Duration,
    /// Invocations at once before Lambda throttles; `None` is the account's limit.
    pub(crate) reserved_concurrency: Option<u64>,
    /// True if X-Ray samples its invocations: here each, on AWS some.
    pub(crate) traced: bool,
    pub(crate) environment: BTreeMap<String, String>,
    /// The retries of asynchronous invocations where an `aws_lambda_function_event_invoke_config` sets them, by qualifier.
    pub(crate) retries: BTreeMap<String, Retries>,
    /// Set if a route or authorizer of the served API invokes the function.
    pub(crate) is_served: bool,
}

/// The limits within which the event of an asynchronous invocation is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retries {
    /// The number of retries after the first failure of the function. A throttled attempt does not count.
    pub(crate) attempts: u64,
    /// An event that is older is given up.
    pub(crate) max_age: Duration,
}

impl Default for Retries {
    /// Lambda's defaults, which are its largest values, too.
    fn default() -> Retries {
        Retries {
            attempts: 2,
            max_age: Duration::from_secs(6 * 60 * 60),
        }
    }
}

/// A layer of a function.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) package: Package,
}

/// Reads every function, by its name. A function that no route invokes and that cannot be read is a notice.
///
/// # Errors
/// Fails if a function of the served API needs a value that only AWS knows.
pub(super) fn read(
    module: &Module,
    api: &Api,
    env: &[(String, String)],
    notices: &mut Vec<String>,
) -> Result<BTreeMap<String, Function>> {
    let served = names(api);
    let mut functions = BTreeMap::new();
    for declared in module.instances("aws_lambda_function") {
        let name = declared.string("function_name");
        let is_served = name
            .as_ref()
            .is_ok_and(|name| served.contains(name.as_str()));
        match function(module, declared, is_served, env, notices) {
            Ok(function) => {
                if let Some(other) = functions.insert(function.function_name.clone(), function) {
                    bail!(
                        "{}: {} has the function_name {} of the function at {}",
                        declared.place,
                        declared.address,
                        other.function_name,
                        other.place
                    );
                }
            }
            Err(error) if is_served => return Err(error),
            Err(error) => {
                notices.push(format!(
                    "{} is left out, since no route invokes it: {error:#}",
                    declared.address
                ));
            }
        }
    }
    notices.extend(module.uncounted("aws_lambda_function"));
    for declared in module.instances("aws_lambda_function_event_invoke_config") {
        if let Err(error) = read_retries(declared, &mut functions, notices) {
            notices.push(format!("{} is left out: {error:#}", declared.address));
        }
    }
    name_apart(&mut functions);
    Ok(functions)
}

/// Reads the retries of asynchronous invocations into their function.
fn read_retries(
    declared: &Instance,
    functions: &mut BTreeMap<String, Function>,
    notices: &mut Vec<String>,
) -> Result<()> {
    let named = declared.string("function_name")?;
    let (name, qualifier) = name_of(&named);
    let qualifier = match declared.optional_string("qualifier")? {
        Some(qualifier) => qualifier,
        None => qualifier.unwrap_or(LATEST).to_owned(),
    };
    let mut retries = Retries::default();
    if let Some(seconds) = declared.optional_u64("maximum_event_age_in_seconds")? {
        retries.max_age = Duration::from_secs(seconds);
    }
    if let Some(attempts) = declared.optional_u64("maximum_retry_attempts")? {
        retries.attempts = attempts;
    }
    if !declared.blocks("destination_config")?.is_empty() {
        notices.push(format!(
            "{}: the destinations of {} do not run here; the log names each event that is given up.",
            declared.place, declared.address
        ));
    }
    // A function that is left out has its own notice.
    if let Some(function) = functions.get_mut(name) {
        function.retries.insert(qualifier, retries);
    }
    Ok(())
}

/// The names of the functions that routes and authorizers invoke.
fn names(api: &Api) -> BTreeSet<&str> {
    let routes = api
        .routes
        .values()
        .filter_map(|route| match &route.integration {
            Integration::Lambda(name) => Some(name.as_str()),
            Integration::Mock(_) => None,
        });
    let authorizer = match &api.access.authorization {
        Authorization::Lambda(authorizer) => Some(authorizer.function.as_str()),
        _ => None,
    };
    routes.chain(authorizer).collect()
}

/// Calls the functions that share a key, as those made with `count` or by several calls of a module, by their names.
fn name_apart(functions: &mut BTreeMap<String, Function>) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for function in functions.values() {
        *counts.entry(function.key.clone()).or_default() += 1;
    }
    for function in functions.values_mut() {
        if counts.get(&function.key).is_some_and(|count| *count > 1) {
            function.key.clone_from(&function.function_name);
        }
    }
}

fn function(
    module: &Module,
    declared: &Instance,
    is_served: bool,
    env: &[(String, String)],
    notices: &mut Vec<String>,
) -> Result<Function> {
    let name = declared.string("function_name")?;
    let mut environment = environment(declared, &name, env)?;
    // Lambda sets these from the function's logging configuration.
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
    // The size is only shown to the function and in its REPORT lines: the start goes on without it.
    let memory_mb = declared
        .optional_u64("memory_size")
        .unwrap_or_else(|error| {
            notices.push(format!("{error:#}. {MEMORY_MB} MB are assumed."));
            None
        });
    let timeout = declared.optional_u64("timeout")?.unwrap_or(TIMEOUT_SECONDS);
    Ok(Function {
        key: declared.key.clone(),
        place: declared.place.clone(),
        runtime: declared.optional_string("runtime")?.unwrap_or_default(),
        handler: declared.optional_string("handler")?.unwrap_or_default(),
        package: package::of(module, declared)?,
        layers: layers(module, declared, &name, notices)?,
        memory_mb: memory_mb.unwrap_or(MEMORY_MB),
        timeout: Duration::from_secs(timeout),
        // -1 means "unreserved" in Terraform.
        reserved_concurrency: declared
            .get("reserved_concurrent_executions")?
            .and_then(Value::as_u64),
        traced: declared
            .blocks("tracing_config")?
            .first()
            .map(|tracing| tracing.optional_string("mode"))
            .transpose()?
            .flatten()
            .is_some_and(|mode| mode == "Active"),
        environment,
        retries: BTreeMap::new(),
        is_served,
        function_name: name,
    })
}

/// The environment; a variable that `--env` sets need not be known.
fn environment(
    declared: &Instance,
    name: &str,
    env: &[(String, String)],
) -> Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::new();
    let Some(block) = declared.blocks("environment")?.into_iter().next() else {
        return Ok(environment);
    };
    for (key, value) in block.entries("variables")? {
        match value {
            Ok(value) => drop(environment.insert(key, value)),
            Err(_) if env.iter().any(|(given, _)| *given == key) => {}
            Err(problem) => return Err(unknown_variable(&key, name, &problem)),
        }
    }
    Ok(environment)
}

fn unknown_variable(key: &str, function: &str, problem: &Problem) -> anyhow::Error {
    let error = problem_of(problem, &format!("{key} of function {function}"));
    let or = if problem.has_remedy() { "or" } else { "give" };
    anyhow!("{error}; {or} --env {key}=…")
}

/// The layers that the folder makes. Any other is a notice.
fn layers(
    module: &Module,
    declared: &Instance,
    name: &str,
    notices: &mut Vec<String>,
) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    let mut missing = |what: &str| {
        notices.push(format!(
            "{}: the layer {what} of function {name} is not made in this folder and is left out; what it holds must be \
             in the package, in NODE_PATH or in a venv.",
            declared.place_of("layers")
        ));
    };
    let Ok(arns) = declared.list("layers") else {
        missing("list");
        return Ok(layers);
    };
    for arn in arns {
        let made = module
            .instances("aws_lambda_layer_version")
            .find(|layer| matches!(layer.get("arn"), Ok(Some(own)) if *own == arn));
        match made {
            Some(made) => match package::of(module, made)? {
                Some(package) => layers.push(Layer {
                    name: made.string("layer_name")?,
                    package,
                }),
                None => missing(&made.address),
            },
            None => missing(arn.as_str().unwrap_or("that only AWS knows")),
        }
    }
    Ok(layers)
}

/// Splits a function's name, its ARN or a part of the ARN into the name and the qualifier.
pub(crate) fn name_of(named: &str) -> (&str, Option<&str>) {
    let name = named
        .split_once(":function:")
        .map_or(named, |(_, name)| name);
    match name.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (name, None),
    }
}

/// The name of the function whose ARN an argument holds.
pub(super) fn invoked(module: &Module, invoking: &Instance, argument: &str) -> Result<String> {
    let uri = invoking.string(argument)?;
    // The invoke ARN holds the function's own: `…/functions/arn:aws:lambda:…:function:NAME:ALIAS/invocations`.
    let own = uri.split(":function:").nth(1).unwrap_or_default();
    let name = own.split(['/', ':']).next().unwrap_or_default();
    for function in module.instances("aws_lambda_function") {
        if matches!(function.optional_string("function_name"), Ok(Some(own)) if own == name) {
            return Ok(name.to_owned());
        }
    }
    let place = invoking.place_of(argument);
    match module.uncounted("aws_lambda_function").next() {
        Some(reason) => bail!("{place}: {argument} invokes no function known here: {reason}"),
        None => {
            bail!("{place}: {argument} invokes no aws_lambda_function declared here, but \"{uri}\"")
        }
    }
}
