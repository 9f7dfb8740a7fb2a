//! Reads a Terraform root module and evaluates what can be known without a provider.
//!
//! Variables take their defaults (or what `terraform.tfvars`, `*.auto.tfvars` and `--var` say), locals and resources are
//! evaluated until nothing changes any more. What stays unknown, because it hangs on a data source or on an attribute
//! only AWS could compute, is remembered with its reason and only matters when somebody asks for it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use hcl::eval::{Context, Evaluate};
use hcl::structure::Body;
use hcl::{Block, Expression, Map, Value};

/// A provider is told its Region; without one this is AWS's own default.
const DEFAULT_REGION: &str = "us-east-1";

/// Locals may hang on resources and resources on locals: each pass can only settle one more link of such a chain.
const MAX_PASSES: usize = 100;

/// One instance of a resource or one block inside it, evaluated as far as possible.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Instance {
    /// For messages: `aws_lambda_function.this["publish"]`.
    pub(crate) address: String,
    /// The `for_each` key, or the resource's label when it has none.
    pub(crate) key: String,
    attributes: BTreeMap<String, Value>,
    unknown: BTreeMap<String, String>,
    blocks: Vec<(String, Instance)>,
}

impl Instance {
    /// The attribute's value; `None` when it is absent or null.
    ///
    /// # Errors
    /// When it is there and cannot be evaluated without a provider.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&Value>> {
        if let Some(reason) = self.unknown.get(name) {
            bail!(
                "{}: `{name}` cannot be evaluated without AWS: {reason}",
                self.address
            );
        }
        Ok(self.attributes.get(name).filter(|value| !value.is_null()))
    }

    /// A string attribute that must be there.
    pub(crate) fn string(&self, name: &str) -> Result<String> {
        self.optional_string(name)?
            .ok_or_else(|| anyhow!("{}: `{name}` is missing", self.address))
    }

    /// A string attribute.
    pub(crate) fn optional_string(&self, name: &str) -> Result<Option<String>> {
        self.get(name)?
            .map(|value| match value {
                Value::String(text) => Ok(text.clone()),
                other => Err(anyhow!(
                    "{}: `{name}` is {other}, not a string",
                    self.address
                )),
            })
            .transpose()
    }

    /// A whole number.
    pub(crate) fn optional_u64(&self, name: &str) -> Result<Option<u64>> {
        self.get(name)?
            .map(|value| {
                value.as_u64().ok_or_else(|| {
                    anyhow!("{}: `{name}` is {value}, not a whole number", self.address)
                })
            })
            .transpose()
    }

    /// A map of strings; empty when absent. Numbers and booleans become strings, as Terraform makes them.
    pub(crate) fn string_map(&self, name: &str) -> Result<BTreeMap<String, String>> {
        match self.get(name)? {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(map)) => map
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| match value {
                    Value::String(text) => Ok((key.clone(), text.clone())),
                    Value::Number(_) | Value::Bool(_) => Ok((key.clone(), value.to_string())),
                    other => bail!("{}: `{name}.{key}` is {other}, not a string", self.address),
                })
                .collect(),
            Some(other) => bail!("{}: `{name}` is {other}, not a map", self.address),
        }
    }

    /// The nested blocks of that type, those of `dynamic` blocks included.
    pub(crate) fn blocks<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Instance> {
        self.blocks
            .iter()
            .filter(move |(kind, _)| kind == name)
            .map(|(_, block)| block)
    }
}

/// A root module, evaluated.
pub(crate) struct Module {
    /// The provider's Region.
    pub(crate) region: String,
    resources: Vec<(String, Vec<Instance>)>,
}

impl Module {
    /// Reads every `*.tf` file of `directory`.
    ///
    /// # Errors
    /// When the folder or a file cannot be read or parsed, or a `--var` names no variable.
    pub(crate) fn load(directory: &Path, vars: &[(String, String)]) -> Result<Module> {
        let source = Source::read(directory)?;
        let mut scope = Scope::new(directory, &source, vars)?;
        scope.settle(&source);
        let resources = source
            .resources
            .iter()
            .map(|resource| (resource.kind.clone(), scope.instances(resource)))
            .collect();
        Ok(Module {
            region: scope.region,
            resources,
        })
    }

    /// Every instance of a resource type, in the order of the files and of the `for_each` keys.
    pub(crate) fn resources<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Instance> {
        self.resources
            .iter()
            .filter(move |(k, _)| k == kind)
            .flat_map(|(_, instances)| instances)
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
            ("resource", [kind, name]) => {
                let (kind, name) = ((*kind).to_owned(), (*name).to_owned());
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
    region: String,
    locals: Map<String, Value>,
    resources: Map<String, Value>,
}

impl Scope {
    fn new(directory: &Path, source: &Source, vars: &[(String, String)]) -> Result<Scope> {
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
            region,
            locals: Map::new(),
            resources: Map::new(),
        })
    }

    /// Evaluates locals and the attributes resources can be asked for, until a pass changes nothing.
    fn settle(&mut self, source: &Source) {
        for _ in 0..MAX_PASSES {
            let before = (self.locals.clone(), self.resources.clone());
            self.context
                .declare_var("local", Value::Object(self.locals.clone()));
            for (name, expr) in &source.locals {
                if let Ok(value) = expr.evaluate(&self.context) {
                    self.locals.insert(name.clone(), value);
                }
            }
            self.context
                .declare_var("local", Value::Object(self.locals.clone()));
            let mut resources: Map<String, Value> = Map::new();
            for resource in &source.resources {
                let instances = self.instances(resource);
                let single = !is_repeated(&resource.body);
                let exported = instances.into_iter().map(|instance| {
                    (
                        instance.key.clone(),
                        Value::Object(self.exported(&resource.kind, &instance)),
                    )
                });
                let value = if single {
                    exported
                        .map(|(_, value)| value)
                        .next()
                        .unwrap_or(Value::Null)
                } else if resource.body.attributes().any(|a| a.key() == "count") {
                    exported.map(|(_, value)| value).collect()
                } else {
                    Value::Object(exported.collect())
                };
                let of_kind = resources
                    .entry(resource.kind.clone())
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(of_kind) = of_kind {
                    of_kind.insert(resource.name.clone(), value);
                }
            }
            for (kind, value) in &resources {
                self.context.declare_var(kind.as_str(), value.clone());
            }
            self.resources = resources;
            if (&self.locals, &self.resources) == (&before.0, &before.1) {
                return;
            }
        }
    }

    /// The instances of a resource; none while its `for_each` or `count` is unknown.
    fn instances(&self, resource: &Resource) -> Vec<Instance> {
        let address = format!("{}.{}", resource.kind, resource.name);
        let argument = |name| {
            resource
                .body
                .attributes()
                .find(|a| a.key() == name)
                .map(|a| a.expr())
        };
        if let Some(expr) = argument("for_each") {
            let entries = expr
                .evaluate(&self.context)
                .map(entries)
                .unwrap_or_default();
            entries
                .into_iter()
                .map(|(key, value)| {
                    let mut context = self.context.clone();
                    let each = Map::from_iter([
                        ("key".to_owned(), key.clone().into()),
                        ("value".to_owned(), value),
                    ]);
                    context.declare_var("each", Value::Object(each));
                    instance(
                        &resource.body,
                        &format!("{address}[\"{key}\"]"),
                        &key,
                        &context,
                    )
                })
                .collect()
        } else if let Some(expr) = argument("count") {
            let count = expr
                .evaluate(&self.context)
                .ok()
                .and_then(|v| v.as_u64())
                .unwrap_or(0);
            (0..count)
                .map(|index| {
                    let mut context = self.context.clone();
                    context.declare_var(
                        "count",
                        Value::Object(Map::from_iter([("index".to_owned(), index.into())])),
                    );
                    instance(
                        &resource.body,
                        &format!("{address}[{index}]"),
                        &resource.name,
                        &context,
                    )
                })
                .collect()
        } else {
            vec![instance(
                &resource.body,
                &address,
                &resource.name,
                &self.context,
            )]
        }
    }

    /// What other expressions see of an instance: its arguments and what the provider would compute from them.
    fn exported(&self, kind: &str, instance: &Instance) -> Map<String, Value> {
        let mut all: Map<String, Value> = instance
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for (name, value) in self.computed(kind, instance) {
            all.insert(name.to_owned(), value.into());
        }
        all
    }

    fn computed(&self, kind: &str, instance: &Instance) -> Vec<(&'static str, String)> {
        let region = &self.region;
        let account = crate::lambda::ACCOUNT_ID;
        let text = |name| instance.attributes.get(name).and_then(Value::as_str);
        match kind {
            "aws_apigatewayv2_api" => {
                let id = super::API_ID;
                vec![
                    ("id", id.to_owned()),
                    ("arn", format!("arn:aws:apigateway:{region}::/apis/{id}")),
                    (
                        "execution_arn",
                        format!("arn:aws:execute-api:{region}:{account}:{id}"),
                    ),
                    (
                        "api_endpoint",
                        format!("wss://{id}.execute-api.{region}.amazonaws.com"),
                    ),
                ]
            }
            "aws_lambda_function" => text("function_name").map_or_else(Vec::new, |name| {
                let arn = format!("arn:aws:lambda:{region}:{account}:function:{name}");
                let path = format!(
                    "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations"
                );
                vec![("id", name.to_owned()), ("arn", arn), ("invoke_arn", path)]
            }),
            "aws_dynamodb_table" => text("name").map_or_else(Vec::new, |name| {
                let arn = format!("arn:aws:dynamodb:{region}:{account}:table/{name}");
                vec![("id", name.to_owned()), ("arn", arn)]
            }),
            "aws_cloudwatch_log_group" => text("name").map_or_else(Vec::new, |name| {
                vec![
                    ("id", name.to_owned()),
                    (
                        "arn",
                        format!("arn:aws:logs:{region}:{account}:log-group:{name}"),
                    ),
                ]
            }),
            // An identifier only has to be the instance's own.
            _ => vec![("id", instance.address.clone())],
        }
    }
}

fn is_repeated(body: &Body) -> bool {
    body.attributes()
        .any(|a| matches!(a.key(), "for_each" | "count"))
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

fn instance(body: &Body, address: &str, key: &str, context: &Context<'_>) -> Instance {
    let mut instance = Instance {
        address: address.to_owned(),
        key: key.to_owned(),
        ..Instance::default()
    };
    for attribute in body.attributes() {
        match attribute.expr().evaluate(context) {
            Ok(value) => instance
                .attributes
                .insert(attribute.key().to_owned(), value)
                .map(|_| ()),
            Err(error) => instance
                .unknown
                .insert(attribute.key().to_owned(), error.to_string())
                .map(|_| ()),
        };
    }
    for block in body.blocks() {
        let labels: Vec<&str> = block.labels().iter().map(hcl::BlockLabel::as_str).collect();
        match (block.identifier(), labels.as_slice()) {
            ("dynamic", [name]) => {
                for content in dynamic_blocks(name, block.body(), address, context) {
                    instance.blocks.push(((*name).to_owned(), content));
                }
            }
            (name, _) => {
                let inner =
                    self::instance(block.body(), &format!("{address}.{name}"), name, context);
                instance.blocks.push((name.to_owned(), inner));
            }
        }
    }
    instance
}

fn dynamic_blocks(name: &str, body: &Body, address: &str, context: &Context<'_>) -> Vec<Instance> {
    let argument = |key| body.attributes().find(|a| a.key() == key).map(|a| a.expr());
    let each = argument("for_each").and_then(|expr| expr.evaluate(context).ok());
    let iterator = argument("iterator").map_or_else(|| name.to_owned(), ToString::to_string);
    let Some(content) = body.blocks().find(|block| block.identifier() == "content") else {
        return Vec::new();
    };
    each.map(entries)
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| {
            let mut context = context.clone();
            let each = Map::from_iter([
                ("key".to_owned(), key.clone().into()),
                ("value".to_owned(), value),
            ]);
            context.declare_var(iterator.as_str(), Value::Object(each));
            instance(
                content.body(),
                &format!("{address}.{name}[\"{key}\"]"),
                &key,
                &context,
            )
        })
        .collect()
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
