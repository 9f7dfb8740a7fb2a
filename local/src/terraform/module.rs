//! Evaluates a Terraform folder and the modules that it calls.
//!
//! Each local, variable, output and resource is evaluated once, at the first reference to it. A value that only AWS
//! knows is kept as unknown, with the reason. It is an error only where the value is needed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Result, anyhow, bail};
use hcl_edit::expr::Expression;
use hcl_edit::structure::Body;

use super::expression::{File, Names, NoNames, Scope, Step, iterate};
use super::functions::clean;
use super::instance::Instance;
use super::problem::{Cause, Place, Problem, problem_of};
use super::source::{Located, Resource, Source, argument, files, parse};
use super::types;
use super::value::{Map, Outcome, Value};

/// A provider is told its Region; without one this is AWS's own default.
const DEFAULT_REGION: &str = "us-east-1";

/// The deepest nesting of module calls: a module that calls itself would never end.
const MAX_DEPTH: usize = 20;

/// Returns the attributes that a provider computes for an instance, given the provider's Region.
pub(crate) type Computed<'a> = &'a dyn Fn(&Instance, &str) -> Vec<(&'static str, Value)>;

/// A Terraform folder with its child modules, evaluated.
pub(crate) struct Module {
    /// The provider's Region.
    pub(crate) region: String,
    /// The folder in which Terraform would run, and from which relative paths start. Absolute.
    pub(crate) directory: PathBuf,
    instances: Vec<Instance>,
    /// The resources whose number is unknown: type, address and reason.
    uncounted: Vec<(String, String, Problem)>,
    /// The module calls that could not be read.
    unread: Vec<Problem>,
}

impl Module {
    /// Reads every `*.tf` file of `directory`, and of the modules that it calls.
    ///
    /// # Errors
    /// Fails if the folder or a file cannot be read or parsed, a `--var` names no variable, or a variable has a value that its
    /// `validation` refuses.
    pub(crate) fn load(
        directory: &Path,
        vars: &[(String, String)],
        computed: Computed<'_>,
    ) -> Result<Module> {
        let directory = std::path::absolute(directory)?;
        let source = Source::read(&directory, Path::new("."))?;
        if let Some((name, _)) = vars
            .iter()
            .find(|(name, _)| !source.variables.contains_key(name))
        {
            bail!("--var {name}: the Terraform folder declares no variable of that name");
        }
        let evaluator = Evaluator {
            given: given(&directory, &source, vars)?,
            fetched: fetched(&directory),
            root: directory.clone(),
            computed,
            region: RefCell::new(DEFAULT_REGION.to_owned()),
            unread: RefCell::default(),
        };
        let root = Rc::new(Node {
            source: Rc::new(source),
            ..Node::default()
        });
        if let Some(region) = evaluator.provider_region(&root)? {
            *evaluator.region.borrow_mut() = region;
        }
        let mut instances = Vec::new();
        let mut uncounted = Vec::new();
        evaluator.collect(&root, &mut instances, &mut uncounted);
        // After the resources: a variable that needs one must not be evaluated first.
        evaluator.validate(&root)?;
        Ok(Module {
            directory,
            region: evaluator.region.into_inner(),
            instances,
            uncounted,
            unread: evaluator.unread.into_inner(),
        })
    }

    /// Every instance of a resource type, in the order of the files and of the `for_each` keys.
    ///
    /// # Errors
    /// Fails if their number is unknown without a provider.
    pub(crate) fn resources(&self, kind: &str) -> Result<Vec<&Instance>> {
        if let Some((_, address, problem)) = self.uncounted.iter().find(|(k, _, _)| k == kind) {
            return Err(problem_of(problem, &format!("the number of {address}")));
        }
        Ok(self.instances(kind).collect())
    }

    /// The known instances of a resource type, for optional resources.
    pub(crate) fn instances(&self, kind: &str) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(move |one| one.kind == kind)
    }

    /// The reasons why the number of resources of a type is unknown, each as a sentence.
    pub(crate) fn uncounted(&self, kind: &str) -> impl Iterator<Item = String> {
        let uncounted = self.uncounted.iter().filter(move |(k, _, _)| k == kind);
        uncounted.map(|(_, address, problem)| {
            problem_of(problem, &format!("the number of {address}")).to_string()
        })
    }

    /// The module calls that could not be read, each with its place and reason in a sentence.
    pub(crate) fn unread(&self) -> impl Iterator<Item = String> {
        self.unread.iter().map(|problem| match &problem.cause {
            Cause::Module(address, why) => match &problem.place {
                Some(place) => format!("{place}: {address} {why}"),
                None => format!("{address} {why}"),
            },
            _ => problem.to_string(),
        })
    }
}

/// The values of the root module's variables: `TF_VAR_NAME`, then the files in Terraform's order, then `--var`.
fn given(
    directory: &Path,
    source: &Source,
    vars: &[(String, String)],
) -> Result<BTreeMap<String, Outcome>> {
    let mut given = BTreeMap::new();
    let names = NoNames(directory);
    for (name, declared) in &source.variables {
        if let Ok(text) = std::env::var(format!("TF_VAR_{name}")) {
            let scope = Scope::new(&names, &declared.file);
            given.insert(name.clone(), Ok(spelled(declared, &text, &scope)?));
        }
    }
    let is_values = |name: &str| {
        let name = name.trim_end_matches(".json");
        name == "terraform.tfvars" || name.ends_with(".auto.tfvars")
    };
    let mut paths = files(directory, is_values)?;
    // `terraform.tfvars` comes first.
    paths.sort_by_key(|path| {
        !path.starts_with("terraform.tfvars") && !path.starts_with("terraform.tfvars.json")
    });
    for path in paths {
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let text = std::fs::read_to_string(directory.join(&path))?;
            let json: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text)
                .map_err(|error| anyhow!("{}: {error}", path.display()))?;
            given.extend(
                json.into_iter()
                    .map(|(name, value)| (name, Ok(value.into()))),
            );
            continue;
        }
        let (file, body) = parse(directory, &path)?;
        for attribute in body.into_attributes() {
            let value = Scope::new(&names, &file).evaluate(&attribute.value);
            given.insert(attribute.key.to_string(), value);
        }
    }
    for (name, text) in vars {
        if let Some(declared) = source.variables.get(name) {
            let scope = Scope::new(&names, &declared.file);
            let value = spelled(declared, text, &scope)
                .map_err(|error| error.context(format!("--var {name}")))?;
            given.insert(name.clone(), Ok(value));
        }
    }
    Ok(given)
}

/// `--var name=text`: text for a variable of type string, an expression for any other type, as with Terraform.
fn spelled(declared: &Located<Body>, text: &str, scope: &Scope<'_>) -> Result<Value> {
    let kind = argument(&declared.item, "type").map(|kind| kind.to_string().trim().to_owned());
    if matches!(
        kind.as_deref(),
        None | Some("string" | "any" | "\"string\"")
    ) {
        return Ok(text.into());
    }
    let parsed = text
        .parse::<Expression>()
        .ok()
        .and_then(|expression| scope.evaluate(&expression).ok())
        // A list with a bare word inside has an unknown element: it is refused, as a bare word alone is.
        .filter(|value| value.unknown().is_none());
    parsed.ok_or_else(|| {
        anyhow!(
            "\"{text}\" is not a value of type {}",
            kind.unwrap_or_default()
        )
    })
}

/// The folders of the modules that `terraform init` has fetched, by the path of their calls.
fn fetched(directory: &Path) -> BTreeMap<String, PathBuf> {
    let manifest = std::fs::read(directory.join(".terraform/modules/modules.json"));
    let manifest: Option<serde_json::Value> = manifest
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let modules = manifest
        .as_ref()
        .and_then(|manifest| manifest["Modules"].as_array());
    let entry = |module: &serde_json::Value| {
        let (key, folder) = (module["Key"].as_str()?, module["Dir"].as_str()?);
        Some((key.to_owned(), PathBuf::from(folder)))
    };
    modules.into_iter().flatten().filter_map(entry).collect()
}

/// The values of `each` or `count`.
type Own = Vec<(String, Value)>;

type Instances = Result<Rc<Vec<Instance>>, Problem>;

/// An instance of a module.
#[derive(Default)]
struct Node {
    source: Rc<Source>,
    /// `module.a["k"].`, and nothing for the root.
    prefix: String,
    /// The names of the calls that lead here, as `terraform init` writes them: `a.b`.
    calls: Vec<String>,
    /// The folder, relative to the root's.
    path: PathBuf,
    /// The calling module, and the values of `each` and `count` at the call.
    caller: Option<(Rc<Node>, Own)>,
    /// The evaluated values; `None` during the evaluation.
    values: RefCell<HashMap<String, Option<Outcome>>>,
    resources: RefCell<HashMap<String, Instances>>,
    children: RefCell<HashMap<String, Result<Rc<Children>, Problem>>>,
}

/// The instances of a module call or resource.
enum Shape {
    One,
    Counted,
    /// By the keys of `for_each`.
    Keyed,
}

struct Children {
    shape: Shape,
    /// With their keys: a number for `count`.
    nodes: Vec<(Value, Rc<Node>)>,
}

struct Evaluator<'a> {
    root: PathBuf,
    given: BTreeMap<String, Outcome>,
    fetched: BTreeMap<String, PathBuf>,
    computed: Computed<'a>,
    region: RefCell<String>,
    unread: RefCell<Vec<Problem>>,
}

/// The names that a module's expressions can use.
struct View<'a> {
    evaluator: &'a Evaluator<'a>,
    node: &'a Rc<Node>,
}

impl Names for View<'_> {
    fn resolve(&self, root: &str, steps: &[Step]) -> Result<Option<(Value, usize)>, Problem> {
        let View { evaluator, node } = self;
        let name = |index: usize| match steps.get(index) {
            Some(Step::Name(name)) => Ok(name.as_str()),
            _ => Err(Problem::invalid(format!("`{root}` needs a name after it"))),
        };
        let one = |value: Value| Ok(Some((value, 1)));
        match root {
            "var" => one(evaluator.variable(node, name(0)?)?),
            "local" => one(evaluator.local(node, name(0)?)?),
            "path" => one(match name(0)? {
                "module" => clean(&node.path).display().to_string().into(),
                "root" => ".".into(),
                "cwd" => self.evaluator.root.display().to_string().into(),
                other => return Err(Problem::invalid(format!("there is no path.{other}"))),
            }),
            "terraform" => one(match name(0)? {
                "workspace" => "default".into(),
                other => return Err(Problem::invalid(format!("there is no terraform.{other}"))),
            }),
            "module" => evaluator.child(node, name(0)?, &steps[1..]).map(Some),
            "data" => {
                let kind = format!("data.{}", name(0)?);
                Ok(Some((evaluator.resource(node, &kind, name(1)?)?, 2)))
            }
            "each" | "count" | "self" => Err(Problem::invalid(format!(
                "there is no `{root}` outside a block with for_each or count"
            ))),
            kind => match name(0) {
                Ok(name) => one(evaluator.resource(node, kind, name)?),
                Err(_) => Ok(None),
            },
        }
    }

    fn folder(&self) -> &Path {
        &self.evaluator.root
    }
}

impl<'a> Evaluator<'a> {
    /// Evaluates an expression of a module in the module's scope.
    fn scoped<T>(
        &self,
        node: &Rc<Node>,
        file: &File,
        own: &[(String, Value)],
        evaluate: impl FnOnce(&Scope<'_>) -> T,
    ) -> T {
        let view = View {
            evaluator: self,
            node,
        };
        let mut scope = Scope::new(&view, file);
        scope.own = own.to_vec();
        evaluate(&scope)
    }

    /// Evaluates a name of a module once.
    fn once(&self, node: &Rc<Node>, name: String, evaluate: impl FnOnce() -> Outcome) -> Outcome {
        match node.values.borrow().get(&name) {
            Some(Some(outcome)) => return outcome.clone(),
            Some(None) => {
                let text = format!("{}{name} depends on itself", node.prefix);
                return Err(Problem::invalid(text));
            }
            None => {}
        }
        node.values.borrow_mut().insert(name.clone(), None);
        let outcome = evaluate();
        node.values.borrow_mut().insert(name, Some(outcome.clone()));
        outcome
    }

    fn local(&self, node: &Rc<Node>, name: &str) -> Outcome {
        let Some(local) = node.source.locals.get(name) else {
            return Err(Problem::invalid(format!("there is no local.{name}")));
        };
        self.once(node, format!("local.{name}"), || {
            self.scoped(node, &local.file, &[], |scope| scope.evaluate(&local.item))
        })
    }

    fn variable(&self, node: &Rc<Node>, name: &str) -> Outcome {
        let Some(declared) = node.source.variables.get(name) else {
            return Err(Problem::invalid(format!("there is no variable \"{name}\"")));
        };
        self.once(node, format!("var.{name}"), || {
            let mut value = self.input(node, name)?;
            let is_nullable = !matches!(
                argument(&declared.item, "nullable"),
                Some(Expression::Bool(truth)) if !*truth.value()
            );
            if !is_nullable && value.as_ref().is_some_and(Value::is_null) {
                value = None;
            }
            self.scoped(node, &declared.file, &[], |scope| {
                let value = match (value, argument(&declared.item, "default")) {
                    (Some(value), _) => value,
                    (None, Some(default)) => scope.evaluate(default)?,
                    (None, None) if node.caller.is_none() => {
                        return Err(Problem::new(Cause::Variable(name.to_owned())));
                    }
                    (None, None) => {
                        let text = format!(
                            "the call of {} gives no \"{name}\"",
                            node.prefix.trim_end_matches('.')
                        );
                        return Err(Problem::invalid(text));
                    }
                };
                let Some(kind) = argument(&declared.item, "type") else {
                    return Ok(value);
                };
                types::convert(kind, value, scope).map_err(|error| {
                    Problem::invalid(format!("variable \"{name}\": {error}"))
                        .at(|| scope.place(kind))
                })
            })
        })
    }

    /// Checks the variables of a module, and of those that it calls, by their `validation` blocks. A condition that cannot be
    /// evaluated here is left to Terraform.
    fn validate(&self, node: &Rc<Node>) -> Result<()> {
        for (name, declared) in &node.source.variables {
            // A variable without a value is an error where the value is needed.
            if self.variable(node, name).is_err() {
                continue;
            }
            for block in declared.item.get_blocks("validation") {
                let Some(condition) = argument(&block.body, "condition") else {
                    continue;
                };
                self.scoped(node, &declared.file, &[], |scope| {
                    if !matches!(scope.evaluate(condition), Ok(Value::Bool(false))) {
                        return Ok(());
                    }
                    let message = argument(&block.body, "error_message")
                        .and_then(|message| scope.evaluate(message).ok()?.text().ok())
                        .unwrap_or_else(|| "the value is refused".to_owned());
                    let place = scope.place(condition);
                    Err(anyhow!(
                        "{place}: variable \"{}{name}\": {message}",
                        node.prefix
                    ))
                })?;
            }
        }
        for name in node.source.calls.keys() {
            if let Ok(children) = self.children(node, name) {
                for (_, child) in &children.nodes {
                    self.validate(child)?;
                }
            }
        }
        Ok(())
    }

    /// The value that the call gives to a module's variable.
    fn input(&self, node: &Node, name: &str) -> Result<Option<Value>, Problem> {
        let Some((caller, own)) = &node.caller else {
            return self.given.get(name).cloned().transpose();
        };
        let call = node
            .calls
            .last()
            .and_then(|call| caller.source.calls.get(call));
        let Some((call, expression)) =
            call.and_then(|call| Some((call, argument(&call.item, name)?)))
        else {
            return Ok(None);
        };
        self.scoped(caller, &call.file, own, |scope| scope.evaluate(expression))
            .map(Some)
    }

    /// The value of `module.NAME` and the steps after it, and the number of steps used.
    fn child(
        &self,
        node: &Rc<Node>,
        name: &str,
        steps: &[Step],
    ) -> Result<(Value, usize), Problem> {
        let children = self.children(node, name)?;
        // One output is evaluated alone: two modules may each use an output of the other.
        let (found, output) = match (&children.shape, steps) {
            (Shape::One, [Step::Name(output), ..]) => (children.nodes.first(), Some((output, 2))),
            (Shape::Counted | Shape::Keyed, [Step::Key(key), Step::Name(output), ..]) => {
                let key = key.text().unwrap_or_default();
                let mut nodes = children.nodes.iter();
                let found = nodes.find(|(own, _)| own.text().is_ok_and(|own| own == key));
                (found, Some((output, 3)))
            }
            _ => (None, None),
        };
        match (found, output) {
            (Some((_, child)), Some((output, used))) => Ok((self.output(child, output)?, used)),
            (None, Some(_)) => Err(Problem::invalid(format!(
                "module.{name} has no such instance"
            ))),
            _ => {
                let outputs = |child: &Rc<Node>| {
                    let names = child.source.outputs.keys();
                    let value = |name: &String| match self.output(child, name) {
                        Ok(value) => value,
                        Err(problem) => Value::Unknown(Rc::new(problem)),
                    };
                    Value::from(
                        names
                            .map(|name| (name.clone(), value(name)))
                            .collect::<Map>(),
                    )
                };
                let nodes = children.nodes.iter();
                let all = nodes.map(|(key, child)| (key.clone(), outputs(child)));
                Ok((shaped(&children.shape, all), 1))
            }
        }
    }

    fn output(&self, node: &Rc<Node>, name: &str) -> Outcome {
        let output = node.source.outputs.get(name);
        let Some((output, value)) =
            output.and_then(|output| Some((output, argument(&output.item, "value")?)))
        else {
            let module = node.prefix.trim_end_matches('.');
            return Err(Problem::invalid(format!(
                "{module} has no output \"{name}\""
            )));
        };
        self.once(node, format!("output.{name}"), || {
            self.scoped(node, &output.file, &[], |scope| scope.evaluate(value))
        })
    }

    /// The instances of a module call.
    fn children(&self, node: &Rc<Node>, name: &str) -> Result<Rc<Children>, Problem> {
        if let Some(children) = node.children.borrow().get(name) {
            return children.clone();
        }
        let children = match node.source.calls.get(name) {
            Some(call) => self.call(node, name, call).map(Rc::new),
            None => Err(Problem::invalid(format!("there is no module \"{name}\""))),
        };
        if let Err(problem) = &children
            && matches!(problem.cause, Cause::Module(..))
        {
            self.unread.borrow_mut().push(problem.clone());
        }
        node.children
            .borrow_mut()
            .insert(name.to_owned(), children.clone());
        children
    }

    fn call(&self, node: &Rc<Node>, name: &str, call: &Located<Body>) -> Result<Children, Problem> {
        let address = format!("{}module.{name}", node.prefix);
        let mut calls = node.calls.clone();
        calls.push(name.to_owned());
        let unread = |why: String| {
            Problem::new(Cause::Module(address.clone(), why)).at(|| Place {
                file: Rc::clone(&call.file.name),
                line: call.line,
                expression: format!("module \"{name}\""),
            })
        };
        if calls.len() > MAX_DEPTH {
            return Err(unread("calls itself".to_owned()));
        }
        let path = self.folder_of(node, &calls, &call.item).map_err(&unread)?;
        let source = Source::read(&self.root, &path)
            .map_err(|error| unread(format!("cannot be read: {error:#}")))?;
        let source = Rc::new(source);
        let (shape, each) = self.scoped(node, &call.file, &[], |scope| {
            repeated(&call.item, &address, scope)
        })?;
        let child = |(key, own): (Value, Own)| {
            let index = index_text(&shape, &key);
            let child = Rc::new(Node {
                source: Rc::clone(&source),
                prefix: format!("{address}{index}."),
                calls: calls.clone(),
                path: path.clone(),
                caller: Some((Rc::clone(node), own)),
                ..Node::default()
            });
            (key, child)
        };
        let nodes = each.into_iter().map(child).collect();
        Ok(Children { shape, nodes })
    }

    /// The folder of a called module, relative to the root's.
    fn folder_of(&self, node: &Node, calls: &[String], call: &Body) -> Result<PathBuf, String> {
        let source = match argument(call, "source") {
            Some(Expression::String(source)) => source.value().as_str(),
            _ => return Err("has no `source`".to_owned()),
        };
        if let Some(folder) = self.fetched.get(&calls.join(".")) {
            return Ok(folder.clone());
        }
        if source.starts_with("./") || source.starts_with("../") || source.starts_with('/') {
            let path = clean(&node.path.join(source));
            return match self.root.join(&path).is_dir() {
                true => Ok(path),
                false => Err(format!(
                    "cannot be read: there is no folder {}",
                    path.display()
                )),
            };
        }
        Err(format!(
            "is not here: run `terraform init`, which fetches {source}"
        ))
    }

    /// The value of a resource for the expressions of its module.
    fn resource(&self, node: &Rc<Node>, kind: &str, name: &str) -> Outcome {
        let found = node
            .source
            .resources
            .iter()
            .find(|r| r.kind == kind && r.name == name);
        let Some(resource) = found else {
            return Err(Problem::invalid(format!("there is no {kind}.{name}")));
        };
        self.once(node, resource.address(), || {
            let instances = self.instances(node, resource)?;
            let body = &resource.body.item;
            let shape = if argument(body, "for_each").is_some() {
                Shape::Keyed
            } else if argument(body, "count").is_some() {
                Shape::Counted
            } else {
                Shape::One
            };
            let all = instances.iter().map(|instance| {
                let region = self.region.borrow();
                let computed = (self.computed)(instance, region.as_str());
                (instance.key.as_str().into(), instance.exported(computed))
            });
            Ok(shaped(&shape, all))
        })
    }

    /// The instances of a resource, or the reason why their number is unknown.
    fn instances(&self, node: &Rc<Node>, resource: &Resource) -> Instances {
        let name = resource.address();
        if let Some(instances) = node.resources.borrow().get(&name) {
            return instances.clone();
        }
        let address = format!("{}{name}", node.prefix);
        let file = &resource.body.file;
        let instances = self.scoped(node, file, &[], |scope| {
            let (shape, each) = repeated(&resource.body.item, &address, scope)?;
            let instance = |(key, own): (Value, Own)| {
                let mut scope = Scope::new(scope.names, scope.file);
                scope.own = own;
                let label = match shape {
                    Shape::Keyed => key.text().unwrap_or_default(),
                    Shape::One | Shape::Counted => resource.name.clone(),
                };
                let mut instance = Instance {
                    address: format!("{address}{}", index_text(&shape, &key)),
                    kind: resource.kind.clone(),
                    place: format!("{}:{}", file.name, resource.body.line),
                    key: label,
                    module: node.calls.last().cloned(),
                    ..Instance::default()
                };
                instance.read(&resource.body.item, &scope);
                instance
            };
            Ok(Rc::new(each.into_iter().map(instance).collect::<Vec<_>>()))
        });
        node.resources.borrow_mut().insert(name, instances.clone());
        instances
    }

    /// The Region of the provider without an alias, or of the first one.
    fn provider_region(&self, root: &Rc<Node>) -> Result<Option<String>> {
        let providers = &root.source.providers;
        let plain = providers
            .iter()
            .find(|p| argument(&p.item, "alias").is_none());
        let Some(provider) = plain.or(providers.first()) else {
            return Ok(None);
        };
        let Some(expression) = argument(&provider.item, "region") else {
            return Ok(None);
        };
        self.scoped(root, &provider.file, &[], |scope| {
            match scope.evaluate(expression) {
                Ok(Value::String(region)) => Ok(Some(region)),
                Ok(_) => Ok(None),
                Err(problem) => Err(problem_of(&problem, "the provider's `region`")),
            }
        })
    }

    /// Gathers the resources of a module and of those that it calls.
    fn collect(
        &self,
        node: &Rc<Node>,
        instances: &mut Vec<Instance>,
        uncounted: &mut Vec<(String, String, Problem)>,
    ) {
        for resource in &node.source.resources {
            match self.instances(node, resource) {
                Ok(own) => instances.extend(own.iter().cloned().map(|instance| {
                    let computed = (self.computed)(&instance, &self.region.borrow());
                    instance.complete(computed)
                })),
                Err(problem) => {
                    let address = format!("{}{}", node.prefix, resource.address());
                    uncounted.push((resource.kind.clone(), address, problem));
                }
            }
        }
        for name in node.source.calls.keys() {
            if let Ok(children) = self.children(node, name) {
                for (_, child) in &children.nodes {
                    self.collect(child, instances, uncounted);
                }
            }
        }
    }
}

type Repeated = Vec<(Value, Own)>;

/// The keys of a block with `for_each` or `count`, each with the values of `each` or `count`.
fn repeated(body: &Body, address: &str, scope: &Scope<'_>) -> Result<(Shape, Repeated), Problem> {
    if let Some(expression) = argument(body, "for_each") {
        let entries = iterate(&scope.evaluate(expression)?)
            .map_err(|problem| problem.at(|| scope.place(expression)))?;
        let each = |(key, value): (Value, Value)| {
            // A list counts as a set here.
            let key = match &key {
                Value::Number(_) => value.clone(),
                _ => key,
            };
            let own = Map::from([("key".to_owned(), key.clone()), ("value".to_owned(), value)]);
            (key, vec![("each".to_owned(), own.into())])
        };
        return Ok((Shape::Keyed, entries.into_iter().map(each).collect()));
    }
    let Some(expression) = argument(body, "count") else {
        return Ok((Shape::One, vec![(Value::Null, Vec::new())]));
    };
    const MOST: usize = 100_000;
    let count = scope.evaluate(expression)?;
    let number = count.as_u64().and_then(|count| usize::try_from(count).ok());
    let number = number.filter(|number| *number <= MOST).ok_or_else(|| {
        let text = format!("the `count` of {address} is {}", count.to_json());
        Problem::invalid(text).at(|| scope.place(expression))
    })?;
    let each = |index: usize| {
        let own = Map::from([("index".to_owned(), index.into())]);
        (Value::from(index), vec![("count".to_owned(), own.into())])
    };
    Ok((Shape::Counted, (0..number).map(each).collect()))
}

/// One value, a list, or a map of values, by the shape.
fn shaped(shape: &Shape, values: impl Iterator<Item = (Value, Value)>) -> Value {
    let mut values = values;
    match shape {
        Shape::One => values.next().map_or(Value::Null, |(_, value)| value),
        Shape::Counted => values.map(|(_, value)| value).collect(),
        Shape::Keyed => values
            .map(|(key, value)| (key.text().unwrap_or_default(), value))
            .collect::<Map>()
            .into(),
    }
}

/// `["key"]`, `[0]`, or nothing.
fn index_text(shape: &Shape, key: &Value) -> String {
    match shape {
        Shape::One => String::new(),
        Shape::Counted | Shape::Keyed => format!("[{}]", key.to_json()),
    }
}
