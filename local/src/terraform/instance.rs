//! A resource instance or a block, evaluated as far as that goes without a provider.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use hcl::Value;

/// One instance of a resource or one block inside it, evaluated as far as possible.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Instance {
    /// For messages: `aws_lambda_function.this["publish"]`.
    pub(crate) address: String,
    /// The `for_each` key, or the resource's label when it has none.
    pub(crate) key: String,
    pub(super) attributes: BTreeMap<String, Value>,
    /// Attributes and types of dynamic blocks that cannot be evaluated, with the reason.
    pub(super) unknown: BTreeMap<String, String>,
    pub(super) blocks: Vec<(String, Instance)>,
}

impl Instance {
    /// The attribute's value; `None` when it is absent or null.
    ///
    /// # Errors
    /// When it is there and cannot be evaluated without a provider.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&Value>> {
        self.check_known(name)?;
        Ok(self.attributes.get(name).filter(|value| !value.is_null()))
    }

    fn check_known(&self, name: &str) -> Result<()> {
        match self.unknown.get(name) {
            Some(reason) => bail!(
                "{}: `{name}` cannot be evaluated without AWS: {reason}",
                self.address
            ),
            None => Ok(()),
        }
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
                // Terraform takes a number's text for the number.
                let text = value.as_str().and_then(|text| text.parse().ok());
                value.as_u64().or(text).ok_or_else(|| {
                    anyhow!("{}: `{name}` is {value}, not a whole number", self.address)
                })
            })
            .transpose()
    }

    /// A number.
    pub(crate) fn optional_f64(&self, name: &str) -> Result<Option<f64>> {
        self.get(name)?
            .map(|value| {
                let text = value.as_str().and_then(|text| text.parse().ok());
                value
                    .as_f64()
                    .or(text)
                    .ok_or_else(|| anyhow!("{}: `{name}` is {value}, not a number", self.address))
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
    ///
    /// # Errors
    /// When a `dynamic` block's `for_each` cannot be evaluated without a provider.
    pub(crate) fn blocks(&self, name: &str) -> Result<Vec<&Instance>> {
        self.check_known(name)?;
        let of_type = self.blocks.iter().filter(|(kind, _)| kind == name);
        Ok(of_type.map(|(_, block)| block).collect())
    }
}
