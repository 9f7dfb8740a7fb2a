//! Renders nodes as text.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Inputs;
use super::ast::{Expression, Node, Operator, Reference, Root, Step};
use super::functions::{self, nothing, text};
use super::path;

/// API Gateway's limit for the iterations of a `#foreach`.
const MAX_ROUNDS: usize = 1000;

/// The most steps of one rendering: each node, each copied value, and each 64 bytes of text is one step. A message has at
/// most 128 KB, so a template that needs far more than a few passes over it is wrong.
const MAX_STEPS: usize = 500_000;

/// The reason why a rendering was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenderError {
    #[error("a #foreach of the template runs more than {MAX_ROUNDS} times")]
    TooManyRounds,
    #[error("the template takes too many steps")]
    TooManySteps,
}

pub(super) fn render(nodes: &[Node], inputs: Inputs<'_>) -> Result<String, RenderError> {
    let mut renderer = Renderer {
        inputs,
        // Text that is not JSON has no parts.
        body: serde_json::from_str(inputs.body).unwrap_or(Value::Null),
        variables: BTreeMap::new(),
        steps_left: MAX_STEPS,
    };
    let mut out = String::new();
    renderer.nodes(nodes, &mut out)?;
    Ok(out)
}

struct Renderer<'a> {
    inputs: Inputs<'a>,
    body: Value,
    variables: BTreeMap<String, Value>,
    steps_left: usize,
}

impl Renderer<'_> {
    fn nodes(&mut self, nodes: &[Node], out: &mut String) -> Result<(), RenderError> {
        for node in nodes {
            let before = out.len();
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Reference(reference) => out.push_str(&text(&self.reference(reference)?)),
                Node::Set { name, value } => {
                    let value = self.expression(value)?;
                    self.variables.insert(name.clone(), value);
                }
                Node::If {
                    branches,
                    otherwise,
                } => {
                    let mut chosen = otherwise;
                    for (condition, nodes) in branches {
                        if is_true(&self.expression(condition)?) {
                            chosen = nodes;
                            break;
                        }
                    }
                    self.nodes(chosen, out)?;
                }
                Node::Foreach { name, over, body } => self.foreach(name, over, body, out)?,
            }
            self.spend(1 + out.len().saturating_sub(before) / 64)?;
        }
        Ok(())
    }

    fn foreach(
        &mut self,
        name: &str,
        over: &Expression,
        body: &[Node],
        out: &mut String,
    ) -> Result<(), RenderError> {
        let items = match self.expression(over)? {
            Value::Array(items) => items,
            Value::Object(map) => map.into_iter().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        };
        if items.len() > MAX_ROUNDS {
            return Err(RenderError::TooManyRounds);
        }
        let outer = ["foreach", "velocityCount", name].map(|name| self.variables.remove(name));
        let count = items.len();
        for (index, item) in items.into_iter().enumerate() {
            let round = json!({
                "index": index, "count": index + 1, "hasNext": index + 1 < count,
                "first": index == 0, "last": index + 1 == count,
            });
            self.variables.insert("foreach".to_owned(), round);
            self.variables
                .insert("velocityCount".to_owned(), (index + 1).into());
            self.variables.insert(name.to_owned(), item);
            self.nodes(body, out)?;
        }
        for (name, value) in ["foreach", "velocityCount", name].into_iter().zip(outer) {
            match value {
                Some(value) => self.variables.insert(name.to_owned(), value),
                None => self.variables.remove(name),
            };
        }
        Ok(())
    }

    fn reference(&mut self, reference: &Reference) -> Result<Value, RenderError> {
        let mut value = match &reference.root {
            // Only the requested part is copied.
            root @ (Root::Context | Root::StageVariables) => {
                let all = match root {
                    Root::Context => self.inputs.context,
                    _ => self.inputs.stage_variables,
                };
                match reference.steps.first() {
                    Some(Step::Property(name)) => functions::property(all, name),
                    _ => all.clone(),
                }
            }
            // An empty body is an empty object, as observed on REST APIs.
            Root::InputBody if self.inputs.body.is_empty() => "{}".into(),
            Root::InputBody => self.inputs.body.into(),
            Root::InputJson(path) => {
                let path = text(&self.expression(path)?);
                path::find(&self.body, &path)
                    .map_or_else(|| "\"\"".to_owned(), Value::to_string)
                    .into()
            }
            Root::InputPath(path) => {
                let path = text(&self.expression(path)?);
                path::find(&self.body, &path)
                    .cloned()
                    .unwrap_or_else(nothing)
            }
            Root::Util(function, argument) => {
                let argument = self.expression(argument)?;
                functions::util(*function, &argument)
            }
            Root::Variable(name) => self.variables.get(name).cloned().unwrap_or_else(nothing),
        };
        self.spend(weight(&value))?;
        let is_first_taken = matches!(reference.root, Root::Context | Root::StageVariables)
            && matches!(reference.steps.first(), Some(Step::Property(_)));
        for step in reference.steps.iter().skip(usize::from(is_first_taken)) {
            value = match step {
                Step::Property(name) => functions::property(&value, name),
                Step::Index(at) => functions::index(&value, &self.expression(at)?),
                Step::Call(method, arguments) => {
                    let arguments = self.expressions(arguments)?;
                    functions::method(*method, &value, &arguments)
                }
            };
            self.spend(weight(&value))?;
        }
        Ok(if value.is_null() { nothing() } else { value })
    }

    fn expressions(&mut self, expressions: &[Expression]) -> Result<Vec<Value>, RenderError> {
        expressions
            .iter()
            .map(|expression| self.expression(expression))
            .collect()
    }

    fn expression(&mut self, expression: &Expression) -> Result<Value, RenderError> {
        let value = match expression {
            Expression::Literal(value) => value.clone(),
            Expression::Text(nodes) => {
                let mut out = String::new();
                self.nodes(nodes, &mut out)?;
                out.into()
            }
            Expression::Reference(reference) => return self.reference(reference),
            Expression::List(items) => self.expressions(items)?.into(),
            Expression::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (key, value) in entries {
                    let key = text(&self.expression(key)?);
                    map.insert(key, self.expression(value)?);
                }
                map.into()
            }
            Expression::Range(from, to) => {
                let (from, to) = (self.expression(from)?, self.expression(to)?);
                range(&from, &to)?
            }
            Expression::Not(inner) => (!is_true(&self.expression(inner)?)).into(),
            Expression::Binary(Operator::And, left, right) => {
                (is_true(&self.expression(left)?) && is_true(&self.expression(right)?)).into()
            }
            Expression::Binary(Operator::Or, left, right) => {
                (is_true(&self.expression(left)?) || is_true(&self.expression(right)?)).into()
            }
            Expression::Binary(operator, left, right) => {
                let (left, right) = (self.expression(left)?, self.expression(right)?);
                binary(*operator, &left, &right)
            }
        };
        self.spend(weight(&value))?;
        Ok(value)
    }

    fn spend(&mut self, steps: usize) -> Result<(), RenderError> {
        match self.steps_left.checked_sub(steps) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => Err(RenderError::TooManySteps),
        }
    }
}

/// Returns the cost of copying a value, in steps.
fn weight(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len() / 64,
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| key.len() / 64 + weight(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Reports whether a value is true: it is present and not `false`. An empty text is true.
fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Bool(false) | Value::Null)
}

fn range(from: &Value, to: &Value) -> Result<Value, RenderError> {
    let (Some(from), Some(to)) = (from.as_i64(), to.as_i64()) else {
        return Ok(Value::Array(Vec::new()));
    };
    if from.abs_diff(to) >= MAX_ROUNDS as u64 {
        return Err(RenderError::TooManyRounds);
    }
    Ok(if from <= to {
        (from..=to).collect()
    } else {
        (to..=from).rev().collect()
    })
}

/// Compares values: those of one kind as such, others by their texts.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Object(_), Value::Object(_)) | (Value::Array(_), Value::Array(_)) => left == right,
        _ => text(left) == text(right),
    }
}

fn binary(operator: Operator, left: &Value, right: &Value) -> Value {
    let order = || match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        _ => None,
    };
    match operator {
        Operator::Equal => equal(left, right).into(),
        Operator::NotEqual => (!equal(left, right)).into(),
        Operator::Less => (order() == Some(Ordering::Less)).into(),
        Operator::Greater => (order() == Some(Ordering::Greater)).into(),
        Operator::LessOrEqual => order().is_some_and(Ordering::is_le).into(),
        Operator::GreaterOrEqual => order().is_some_and(Ordering::is_ge).into(),
        Operator::Add if left.is_string() || right.is_string() => {
            (text(left) + &text(right)).into()
        }
        Operator::And | Operator::Or => nothing(),
        _ => arithmetic(operator, left, right).unwrap_or_else(nothing),
    }
}

/// Calculates; `None` if the result is not a number.
fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Option<Value> {
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        return match operator {
            Operator::Add => left.checked_add(right),
            Operator::Subtract => left.checked_sub(right),
            Operator::Multiply => left.checked_mul(right),
            Operator::Divide => left.checked_div(right),
            _ => left.checked_rem(right),
        }
        .map(Value::from);
    }
    let (left, right) = (left.as_f64()?, right.as_f64()?);
    let result = match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        _ => left % right,
    };
    serde_json::Number::from_f64(result).map(Value::Number)
}
