//! Reads a Terraform root module and evaluates what can be known without a provider.
//!
//! Variables take their defaults (or what `terraform.tfvars`, `*.auto.tfvars` and `--var` say), locals and resources are
//! evaluated until nothing changes any more. What stays unknown, because it hangs on a data source or on an attribute
//! only AWS could compute, is remembered with its reason and only matters when somebody asks for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use hcl::eval::{Context, Evaluate};
use hcl::structure::Body;
use hcl::{Block, Expression, Map, Value};

use super::defaults;
use super::instance::Instance;
use super::references::References;

/// A provider is told its Region; without one this is AWS's own default.
const DEFAULT_REGION: &str = "us-east-1";

/// How often each local and resource is evaluated at most. Terraform itself refuses those that hang on each other.
const MAX_EVALUATIONS: usize = 100;

/// Returns the attributes that a provider computes for an instance, given its type (`data.TYPE` for a data source) and
/// the provider's Region.
type Computed = fn(&str, &Instance, &str) -> Vec<(&'static str, String)>;

/// A root module, evaluated.
pub(crate) struct Module {
    /// The provider's Region.
    pub(crate) region: String,
    /// Where Terraform would run: what relative paths are relative to. Absolute.
    pub(crate) directory: PathBuf,
    resources: Vec<(String, Result<Vec<Instance>, String>)>,
    has_child_modules: bool,
}

impl Module {
    /// Reads every `*.tf` file of `directory`.
    ///
    /// # Errors
    /// When the folder or a file cannot be read or parsed, or a `--var` names no variable.
    pub(crate) fn load(
        directory: &Path,
        vars: &[(String, String)],
        computed: Computed,
    ) -> Result<Module> {
        let source = Source::read(directory)?;
        let mut scope = Scope::new(directory, &source, vars, computed)?;
        scope.settle(&source);
        let resources = source
            .resources
            .iter()
            .map(|resource| (resource.kind.clone(), scope.instances(resource)))
            .collect();
        Ok(Module {
            directory: std::path::absolute(directory)?,
            region: scope.region,
            resources,
            has_child_modules: source.has_child_modules,
        })
    }

    /// Every instance of a resource type, in the order of the files and of the `for_each` keys.
    ///
    /// # Errors
    /// When how many there are cannot be known without a provider.
    pub(crate) fn resources(&self, kind: &str) -> Result<Vec<&Instance>> {
        let mut all = Vec::new();
        for (_, instances) in self.resources.iter().filter(|(k, _)| k == kind) {
            match instances {
                Ok(instances) => all.extend(instances),
                Err(reason) => bail!("{reason}"),
            }
        }
        if all.is_empty() && self.has_child_modules {
            bail!("there is no {kind} in the folder itself, and child modules are not read");
        }
        Ok(all)
    }

    /// The instances of a resource type as far as they are known: for what need not be there.
    pub(crate) fn instances(&self, kind: &str) -> impl Iterator<Item = &Instance> {
        self.resources
            .iter()
            .filter(move |(k, _)| k == kind)
            .filter_map(|(_, instances)| instances.as_ref().ok())
            .flatten()
    }
}

struct Resource {
    kind: String,
    name: String,
    body: Body,
}

/// What the files say, before any evaluation.
#[derive(Default)]
struct Source {
    variables: Vec<(String, Body)>,
    values: Vec<(String, Expression)>,
    locals: Vec<(String, Expression)>,
    region: Option<Expression>,
    resources: Vec<Resource>,
    has_child_modules: bool,
}

impl Source {
    fn read(directory: &Path) -> Result<Source> {
        let mut source = Source::default();
        for path in files(directory, |name| name.ends_with(".tf"))? {
            for block in parse(&path)?.into_blocks() {
                source.add(block);
            }
        }
        for path in files(directory, |name| {
            name == "terraform.tfvars" || name.ends_with(".auto.tfvars")
        })? {
            for attribute in parse(&path)?.into_attributes() {
                source
                    .values
                    .push((attribute.key.to_string(), attribute.expr));
            }
        }
        Ok(source)
    }

    fn add(&mut self, block: Block) {
        let labels: Vec<&str> = block.labels().iter().map(hcl::BlockLabel::as_str).collect();
        match (block.identifier(), labels.as_slice()) {
            ("variable", [name]) => self.variables.push(((*name).to_owned(), block.body)),
            ("locals", []) => self.locals.extend(
                block
                    .body
                    .into_attributes()
                    .map(|attribute| (attribute.key.to_string(), attribute.expr)),
            ),
            ("provider", ["aws"]) => {
                let mut attributes = block.body.into_attributes();
                self.region = attributes.find(|a| a.key() == "region").map(|a| a.expr);
            }
            ("module", _) => self.has_child_modules = true,
            (block_type @ ("resource" | "data"), [kind, name]) => {
                let prefix = if block_type == "data" { "data." } else { "" };
                let (kind, name) = (format!("{prefix}{kind}"), (*name).to_owned());
                self.resources.push(Resource {
                    kind,
                    name,
                    body: block.body,
                });
            }
            _ => {}
        }
    }
}

fn files(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read the Terraform folder {}", directory.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(&wanted)
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn parse(path: &Path) -> Result<Body> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    hcl::parse(&text).map_err(|error| {
        let path = path.display();
        match error {
            // Its own text draws the line with an arrow below it.
            hcl::Error::Parse(error) => {
                let (line, column) = (error.location().line(), error.location().column());
                anyhow!(
                    "{path} is not valid HCL: line {line}, column {column}: {}",
                    error.message()
                )
            }
            other => anyhow!("{path} is not valid HCL: {other}"),
        }
    })
}

/// What expressions can see.
struct Scope {
    context: Context<'static>,
    computed: Computed,
    region: String,
    locals: Map<String, Value>,
    resources: Map<String, Value>,
}

impl Scope {
    fn new(
        directory: &Path,
        source: &Source,
        vars: &[(String, String)],
        computed: Computed,
    ) -> Result<Scope> {
        let mut context = Context::new();
        super::functions::declare(&mut context);
        let directory = std::path::absolute(directory)?.display().to_string();
        let cwd = std::env::current_dir()?.display().to_string();
        context.declare_var(
            "path",
            object([
                ("module", directory.clone()),
                ("root", directory),
                ("cwd", cwd),
            ]),
        );
        context.declare_var("terraform", object([("workspace", "default".to_owned())]));

        let mut values = Map::new();
        for (name, body) in &source.variables {
            let default = body
                .attributes()
                .find(|a| a.key() == "default")
                .map(|a| a.expr());
            if let Some(value) = default.and_then(|expr| expr.evaluate(&context).ok()) {
                values.insert(name.clone(), value);
            }
        }
        for (name, expr) in &source.values {
            let value = expr
                .evaluate(&context)
                .with_context(|| format!("the value of variable \"{name}\""))?;
            values.insert(name.clone(), value);
        }
        for (name, text) in vars {
            let Some((_, body)) = source.variables.iter().find(|(known, _)| known == name) else {
                bail!("--var {name}: the Terraform folder declares no variable of that name");
            };
            values.insert(name.clone(), variable_value(body, text, &context)?);
        }
        for (name, body) in &source.variables {
            if let (Some(kind), Some(value)) = (argument(body, "type"), values.get_mut(name)) {
                *value = defaults::complete(kind, std::mem::take(value), &context);
            }
        }
        context.declare_var("var", Value::Object(values));

        let region = source
            .region
            .as_ref()
            .and_then(|expr| expr.evaluate(&context).ok());
        let region = region
            .and_then(|r| r.as_str().map(str::to_owned))
            .unwrap_or_else(|| DEFAULT_REGION.to_owned());
        Ok(Scope {
            context,
            computed,
            region,
            locals: Map::new(),
            resources: Map::new(),
        })
    }

    /// Evaluates locals and the attributes resources can be asked for, each again when something has changed that it
    /// refers to, until nothing changes any more.
    fn settle(&mut self, source: &Source) {
        let locals = source.locals.len();
        let references = References::new(
            source
                .locals
                .iter()
                .map(|(name, expr)| (format!("local.{name}"), expr.to_string()))
                .chain(source.resources.iter().map(|resource| {
                    let text = hcl::to_string(&resource.body).unwrap_or_default();
                    (format!("{}.{}", resource.kind, resource.name), text)
                })),
        );
        self.context.declare_var("local", Value::Object(Map::new()));
        let all = locals + source.resources.len();
        let mut outdated: BTreeSet<usize> = (0..all).collect();
        for _ in 0..all * MAX_EVALUATIONS {
            let Some(index) = outdated.pop_first() else {
                return;
            };
            let has_changed = match source.locals.get(index) {
                Some((name, expr)) => self.settle_local(name, expr),
                None => self.settle_resource(&source.resources[index - locals]),
            };
            if has_changed {
                outdated.extend(references.to(index));
            }
        }
    }

    fn settle_local(&mut self, name: &str, expr: &Expression) -> bool {
        let Ok(value) = expr.evaluate(&self.context) else {
            return false;
        };
        if self.locals.get(name) == Some(&value) {
            return false;
        }
        self.locals.insert(name.to_owned(), value);
        self.context
            .declare_var("local", Value::Object(self.locals.clone()));
        true
    }

    fn settle_resource(&mut self, resource: &Resource) -> bool {
        // One whose instances are unknown is unknown to others too.
        let Ok(instances) = self.instances(resource) else {
            return false;
        };
        let exported = instances.into_iter().map(|instance| {
            (
                instance.key.clone(),
                self.exported(&resource.kind, &instance),
            )
        });
        let value = if argument(&resource.body, "for_each").is_some() {
            Some(Value::Object(exported.collect()))
        } else if argument(&resource.body, "count").is_some() {
            Some(exported.map(|(_, value)| value).collect())
        } else {
            exported.map(|(_, value)| value).next()
        };
        let path = resource.kind.split('.').chain([resource.name.as_str()]);
        if !insert(&mut self.resources, path, value.unwrap_or(Value::Null)) {
            return false;
        }
        let root = resource.kind.split('.').next().unwrap_or_default();
        if let Some(value) = self.resources.get(root) {
            self.context.declare_var(root, value.clone());
        }
        true
    }

    /// The instances of a resource, or why its `for_each` or `count` is unknown.
    fn instances(&mut self, resource: &Resource) -> Result<Vec<Instance>, String> {
        let address = format!("{}.{}", resource.kind, resource.name);
        let context = &mut self.context;
        if let Some(expr) = argument(&resource.body, "for_each") {
            let unknown =
                |reason| format!("{address}: `for_each` cannot be evaluated without AWS: {reason}");
            let value = evaluate(expr, context).map_err(unknown)?;
            let each = |(key, value): (String, Value)| {
                let address = format!("{address}[\"{key}\"]");
                with_each(context, "each", &key, value, |context| {
                    instance(&resource.body, &address, &key, context)
                })
            };
            Ok(entries(value).into_iter().map(each).collect())
        } else if let Some(expr) = argument(&resource.body, "count") {
            let unknown =
                |reason| format!("{address}: `count` cannot be evaluated without AWS: {reason}");
            let count = evaluate(expr, context).map_err(unknown)?;
            let count = count
                .as_u64()
                .ok_or_else(|| unknown(format!("{count} is no number")))?;
            let each = |index: u64| {
                let value = Map::from_iter([("index".to_owned(), index.into())]);
                let address = format!("{address}[{index}]");
                with(context, "count", Value::Object(value), |context| {
                    instance(&resource.body, &address, &resource.name, context)
                })
            };
            Ok((0..count).map(each).collect())
        } else {
            let instance = instance(&resource.body, &address, &resource.name, context);
            Ok(vec![instance])
        }
    }

    /// What other expressions see of an instance: its arguments and what the provider would compute from them.
    fn exported(&self, kind: &str, instance: &Instance) -> Value {
        let mut all: Map<String, Value> = instance
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for (name, value) in (self.computed)(kind, instance, &self.region) {
            all.insert(name.to_owned(), value.into());
        }
        Value::Object(all)
    }
}

fn argument<'a>(body: &'a Body, name: &str) -> Option<&'a Expression> {
    body.attributes()
        .find(|a| a.key() == name)
        .map(|a| a.expr())
}

/// The value, or in one line why there is none.
fn evaluate(expr: &Expression, context: &Context<'_>) -> Result<Value, String> {
    expr.evaluate(context).map_err(|error| {
        // Below its first line the error draws the expression.
        error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    })
}

/// Puts a value at a path of keys; says whether that has changed anything.
fn insert<'a>(
    map: &mut Map<String, Value>,
    mut path: impl Iterator<Item = &'a str>,
    value: Value,
) -> bool {
    let Some(key) = path.next() else { return false };
    let mut path = path.peekable();
    if path.peek().is_none() {
        let changes = map.get(key) != Some(&value);
        map.insert(key.to_owned(), value);
        return changes;
    }
    let inner = map
        .entry(key.to_owned())
        .or_insert_with(|| Value::Object(Map::new()));
    match inner {
        Value::Object(inner) => insert(inner, path.collect::<Vec<_>>().into_iter(), value),
        _ => false,
    }
}

/// Evaluates something where `name` has a key and a value, as in `for_each`.
fn with_each<T>(
    context: &mut Context<'static>,
    name: &str,
    key: &str,
    value: Value,
    evaluate: impl FnOnce(&mut Context<'static>) -> T,
) -> T {
    let each = Map::from_iter([("key".to_owned(), key.into()), ("value".to_owned(), value)]);
    with(context, name, Value::Object(each), evaluate)
}

/// Evaluates something where `name` has a value, and has none afterwards: to copy the scope each time would cost far
/// more than the evaluation.
fn with<T>(
    context: &mut Context<'static>,
    name: &str,
    value: Value,
    evaluate: impl FnOnce(&mut Context<'static>) -> T,
) -> T {
    context.declare_var(name, value);
    let evaluated = evaluate(context);
    context.declare_var(name, Value::Null);
    evaluated
}

/// What `for_each` runs over: a map's entries or a set's elements, each its own key.
fn entries(value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries
        }
        Value::Array(values) => values
            .into_iter()
            .map(|value| {
                (
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned),
                    value,
                )
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn instance(body: &Body, address: &str, key: &str, context: &mut Context<'static>) -> Instance {
    let mut instance = Instance {
        address: address.to_owned(),
        key: key.to_owned(),
        ..Instance::default()
    };
    for attribute in body.attributes() {
        let name = attribute.key().to_owned();
        match evaluate(attribute.expr(), context) {
            Ok(value) => instance.attributes.insert(name, value).map(|_| ()),
            Err(reason) => instance.unknown.insert(name, reason).map(|_| ()),
        };
    }
    for block in body.blocks() {
        let labels: Vec<&str> = block.labels().iter().map(hcl::BlockLabel::as_str).collect();
        match (block.identifier(), labels.as_slice()) {
            ("dynamic", [name]) => match dynamic_blocks(name, block.body(), address, context) {
                Ok(blocks) => instance
                    .blocks
                    .extend(blocks.into_iter().map(|block| ((*name).to_owned(), block))),
                Err(reason) => {
                    instance.unknown.insert((*name).to_owned(), reason);
                }
            },
            (name, _) => {
                let inner =
                    self::instance(block.body(), &format!("{address}.{name}"), name, context);
                instance.blocks.push((name.to_owned(), inner));
            }
        }
    }
    instance
}

fn dynamic_blocks(
    name: &str,
    body: &Body,
    address: &str,
    context: &mut Context<'static>,
) -> Result<Vec<Instance>, String> {
    let iterator = argument(body, "iterator").map_or_else(|| name.to_owned(), ToString::to_string);
    let each = argument(body, "for_each").ok_or("its `for_each` is missing")?;
    let content = body.blocks().find(|block| block.identifier() == "content");
    let content = content.ok_or("its `content` is missing")?;
    let value = evaluate(each, context)?;
    let block = |(key, value): (String, Value)| {
        let address = format!("{address}.{name}[\"{key}\"]");
        with_each(context, &iterator, &key, value, |context| {
            instance(content.body(), &address, &key, context)
        })
    };
    Ok(entries(value).into_iter().map(block).collect())
}

/// `--var name=text`: text for a variable of type string, an HCL expression for any other type, as with Terraform.
fn variable_value(body: &Body, text: &str, context: &Context<'_>) -> Result<Value> {
    let declared = body
        .attributes()
        .find(|a| a.key() == "type")
        .map(|a| a.expr().to_string());
    if declared.as_deref().is_none_or(|kind| kind == "string") {
        return Ok(text.into());
    }
    let parsed = hcl::parse(&format!("value = {text}\n"))
        .ok()
        .and_then(|body| body.into_attributes().next())
        .and_then(|attribute| attribute.expr.evaluate(context).ok());
    parsed.ok_or_else(|| {
        anyhow!(
            "--var: \"{text}\" is not a value of type {}",
            declared.unwrap_or_default()
        )
    })
}

fn object<const N: usize>(entries: [(&str, String); N]) -> Value {
    Value::Object(
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect(),
    )
}
