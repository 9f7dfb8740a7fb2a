//! A resource instance or a block, evaluated as far as that goes without a provider.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use hcl_edit::expr::Expression;
use hcl_edit::structure::Body;

use super::expression::{Scope, iterate};
use super::problem::{Problem, problem_of};
use super::source::{argument, label};
use super::value::{Map, Value};

/// The blocks and arguments that Terraform itself uses.
const TERRAFORMS_OWN: [&str; 7] = [
    "lifecycle",
    "provisioner",
    "connection",
    "depends_on",
    "provider",
    "for_each",
    "count",
];

/// One instance of a resource or one block inside it, evaluated as far as possible.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Instance {
    /// For messages: `module.ws.aws_lambda_function.this["publish"]`.
    pub(crate) address: String,
    /// The resource's type, `data.TYPE` for a data source.
    pub(crate) kind: String,
    /// The file and line on which the block begins.
    pub(crate) place: String,
    /// The `for_each` key, or the resource's label when it has none.
    pub(crate) key: String,
    /// The name of the module call that the resource is part of.
    pub(crate) module: Option<String>,
    /// An attribute that cannot be evaluated is [`Value::Unknown`].
    pub(super) attributes: BTreeMap<String, Value>,
    /// The file and line of each argument.
    pub(super) places: BTreeMap<String, String>,
    pub(super) blocks: Vec<(String, Instance)>,
}

impl Instance {
    /// Evaluates the arguments and blocks of a body.
    pub(super) fn read(&mut self, body: &Body, scope: &Scope<'_>) {
        let own = |name: &str| !TERRAFORMS_OWN.contains(&name);
        for attribute in body.attributes().filter(|a| own(a.key.as_str())) {
            let name = attribute.key.to_string();
            let value = match scope.evaluate(&attribute.value) {
                Ok(value) => value,
                Err(problem) => Value::Unknown(Rc::new(problem)),
            };
            self.places
                .insert(name.clone(), scope.place(&attribute.value).to_string());
            self.attributes.insert(name, value);
        }
        for block in body.blocks().filter(|b| own(b.ident.as_str())) {
            let labels: Vec<String> = block.labels.iter().map(label).collect();
            match (block.ident.as_str(), labels.as_slice()) {
                ("dynamic", [name]) => {
                    if let Err(problem) = self.read_dynamic(name, &block.body, scope) {
                        self.attributes
                            .insert(name.clone(), Value::Unknown(Rc::new(problem)));
                    }
                }
                (name, _) => self.read_block(name, &block.body, scope),
            }
        }
    }

    fn read_block(&mut self, name: &str, body: &Body, scope: &Scope<'_>) {
        let mut block = Instance {
            address: format!("{}.{name}", self.address),
            kind: name.to_owned(),
            place: self.place.clone(),
            key: self.key.clone(),
            ..Instance::default()
        };
        block.read(body, scope);
        self.blocks.push((name.to_owned(), block));
    }

    fn read_dynamic(&mut self, name: &str, body: &Body, scope: &Scope<'_>) -> Result<(), Problem> {
        let iterator = match argument(body, "iterator") {
            Some(Expression::Variable(iterator)) => iterator.to_string(),
            _ => name.to_owned(),
        };
        let each = argument(body, "for_each")
            .ok_or_else(|| Problem::invalid("the dynamic block has no `for_each`"))?;
        let content = body.get_blocks("content").next();
        let content =
            content.ok_or_else(|| Problem::invalid("the dynamic block has no `content`"))?;
        for (key, value) in iterate(&scope.evaluate(each)?)? {
            let own = Map::from([("key".to_owned(), key), ("value".to_owned(), value)]);
            self.read_block(name, &content.body, &scope.with(&iterator, own.into()));
        }
        Ok(())
    }

    /// The instance with the attributes that a provider computes.
    pub(super) fn complete(mut self, computed: Vec<(&'static str, Value)>) -> Instance {
        for (name, value) in computed {
            self.attributes.insert(name.to_owned(), value);
        }
        self
    }

    /// The instance's value in other expressions.
    pub(super) fn exported(&self, computed: Vec<(&'static str, Value)>) -> Value {
        let mut all: Map = self.attributes.clone();
        for (name, block) in &self.blocks {
            // Blocks of one type are a list.
            let mut list = match all.get(name) {
                Some(Value::List(values)) => values.to_vec(),
                _ => Vec::new(),
            };
            list.push(block.exported(Vec::new()));
            all.insert(name.clone(), list.into());
        }
        for (name, value) in computed {
            all.insert(name.to_owned(), value);
        }
        Value::Resource {
            address: self.address.as_str().into(),
            attributes: Rc::new(all),
        }
    }

    /// The attribute's value; `None` when it is absent or null.
    ///
    /// # Errors
    /// Fails if the attribute is present and cannot be evaluated without a provider.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&Value>> {
        match self.attributes.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Unknown(problem)) => Err(problem_of(
                problem,
                &format!("`{name}` of {}", self.address),
            )),
            Some(value) => Ok(Some(value)),
        }
    }

    /// The file and line of an argument, or of the block that should have it.
    pub(crate) fn place_of(&self, name: &str) -> &str {
        self.places.get(name).unwrap_or(&self.place)
    }

    fn mismatch(&self, name: &str, value: &Value, wanted: &str) -> anyhow::Error {
        anyhow!(
            "{}: `{name}` of {} is {}, not {wanted}",
            self.place_of(name),
            self.address,
            value.to_json()
        )
    }

    /// A string attribute that must be there.
    pub(crate) fn string(&self, name: &str) -> Result<String> {
        self.optional_string(name)?
            .ok_or_else(|| anyhow!("{}: `{name}` of {} is missing", self.place, self.address))
    }

    /// A string attribute. Numbers and booleans become strings, as Terraform makes them.
    pub(crate) fn optional_string(&self, name: &str) -> Result<Option<String>> {
        self.get(name)?
            .map(|value| {
                value
                    .text()
                    .map_err(|_| self.mismatch(name, value, "a string"))
            })
            .transpose()
    }

    /// A whole number.
    pub(crate) fn optional_u64(&self, name: &str) -> Result<Option<u64>> {
        self.get(name)?
            .map(|value| {
                value
                    .as_u64()
                    .ok_or_else(|| self.mismatch(name, value, "a whole number"))
            })
            .transpose()
    }

    /// A number.
    pub(crate) fn optional_f64(&self, name: &str) -> Result<Option<f64>> {
        self.get(name)?
            .map(|value| {
                value
                    .as_f64()
                    .ok_or_else(|| self.mismatch(name, value, "a number"))
            })
            .transpose()
    }

    /// The elements of a list; empty when absent.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<Value>> {
        match self.get(name)? {
            None => Ok(Vec::new()),
            Some(value) => match value.elements() {
                Some(values) => Ok(values.to_vec()),
                None => Err(self.mismatch(name, value, "a list")),
            },
        }
    }

    /// A map of strings; empty when absent. Numbers and booleans become strings, as Terraform makes them.
    pub(crate) fn string_map(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let entries = self.entries(name)?.into_iter();
        entries
            .map(|(key, value)| match value {
                Ok(value) => Ok((key, value)),
                Err(problem) => Err(problem_of(
                    &problem,
                    &format!("`{name}.{key}` of {}", self.address),
                )),
            })
            .collect()
    }

    /// The entries of a map of strings, each with its text or the reason why there is none.
    ///
    /// # Errors
    /// Fails if the map as a whole is unknown, or is not a map.
    pub(crate) fn entries(&self, name: &str) -> Result<BTreeMap<String, Result<String, Problem>>> {
        let Some(value) = self.get(name)? else {
            return Ok(BTreeMap::new());
        };
        let map = value
            .entries()
            .ok_or_else(|| self.mismatch(name, value, "a map"))?;
        let entry = |(key, value): (&String, &Value)| {
            let text = match value {
                Value::Unknown(problem) => Err(Problem::clone(problem)),
                value => value.text().map_err(Problem::invalid),
            };
            (key.clone(), text)
        };
        Ok(map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(entry)
            .collect())
    }

    /// The reason why an attribute is unknown, if it is.
    pub(crate) fn unknown(&self, name: &str) -> Option<&Rc<Problem>> {
        match self.attributes.get(name) {
            Some(Value::Unknown(problem)) => Some(problem),
            _ => None,
        }
    }

    /// The nested blocks of that type, those of `dynamic` blocks included.
    ///
    /// # Errors
    /// Fails if a `dynamic` block's `for_each` cannot be evaluated without a provider.
    pub(crate) fn blocks(&self, name: &str) -> Result<Vec<&Instance>> {
        if let Some(Value::Unknown(_)) = self.attributes.get(name) {
            self.get(name)?;
        }
        let of_type = self.blocks.iter().filter(|(kind, _)| kind == name);
        Ok(of_type.map(|(_, block)| block).collect())
    }
}
