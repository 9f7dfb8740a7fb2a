//! The values of Terraform's language.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::str::FromStr as _;

use bigdecimal::{BigDecimal, ToPrimitive as _};

use super::problem::Problem;

/// The entries of a map or object, in the order in which Terraform iterates them.
pub(crate) type Map = BTreeMap<String, Value>;

/// The value of an expression, or the reason why it has none.
pub(crate) type Outcome = Result<Value, Problem>;

/// A value. Lists and tuples are one kind here, and so are maps and objects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(BigDecimal),
    String(String),
    List(Rc<Vec<Value>>),
    /// Sorted, without duplicates.
    Set(Rc<Vec<Value>>),
    Object(Rc<Map>),
    /// The arguments and computed attributes of a resource. An attribute that is not among them is known to AWS alone.
    Resource {
        address: Rc<str>,
        attributes: Rc<Map>,
    },
    /// A value that exists on AWS and is unknown here. An expression that needs it is unknown, too.
    Unknown(Rc<Problem>),
}

impl Value {
    /// A set of these values.
    pub(crate) fn set(mut values: Vec<Value>) -> Value {
        values.sort_by(compare);
        values.dedup();
        Value::Set(Rc::new(values))
    }

    /// The elements of a list or set.
    pub(crate) fn elements(&self) -> Option<&Rc<Vec<Value>>> {
        match self {
            Value::List(values) | Value::Set(values) => Some(values),
            _ => None,
        }
    }

    /// The entries of a map, an object or a resource.
    pub(crate) fn entries(&self) -> Option<&Rc<Map>> {
        match self {
            Value::Object(map)
            | Value::Resource {
                attributes: map, ..
            } => Some(map),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The number, or the number that a string spells: Terraform converts one to the other.
    pub(crate) fn as_number(&self) -> Option<BigDecimal> {
        match self {
            Value::Number(number) => Some(number.clone()),
            Value::String(text) => parse_number(text),
            _ => None,
        }
    }

    pub(crate) fn as_i64(&self) -> Option<i64> {
        self.as_number()
            .filter(BigDecimal::is_integer)
            .and_then(|number| number.to_i64())
    }

    pub(crate) fn as_u64(&self) -> Option<u64> {
        self.as_i64().and_then(|number| u64::try_from(number).ok())
    }

    pub(crate) fn as_f64(&self) -> Option<f64> {
        self.as_number().and_then(|number| number.to_f64())
    }

    /// The text of a string, number or boolean, as Terraform converts it.
    ///
    /// # Errors
    /// For any other value.
    pub(crate) fn text(&self) -> Result<String, String> {
        match self {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number_text(number)),
            Value::Bool(truth) => Ok(truth.to_string()),
            other => Err(format!(
                "expected a string, and the value is {}",
                other.kind()
            )),
        }
    }

    /// The name of the value's kind, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Set(_) => "a set",
            Value::Object(_) => "a map",
            Value::Resource { .. } => "a resource",
            Value::Unknown(_) => "unknown",
        }
    }

    /// The first unknown value inside.
    pub(crate) fn unknown(&self) -> Option<&Rc<Problem>> {
        match self {
            Value::Unknown(problem) => Some(problem),
            Value::List(values) | Value::Set(values) => values.iter().find_map(Value::unknown),
            Value::Object(map)
            | Value::Resource {
                attributes: map, ..
            } => map.values().find_map(Value::unknown),
            _ => None,
        }
    }

    /// The value as JSON in Terraform's form: keys in order, and `<`, `>` and `&` escaped. An unknown value is `null`.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::new();
        write_json(self, &mut out);
        out
    }
}

/// The value, or the reason why it is unknown.
pub(super) fn known(value: Value) -> Outcome {
    match value {
        Value::Unknown(problem) => Err(Problem::clone(&problem)),
        value => Ok(value),
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl From<BigDecimal> for Value {
    fn from(number: BigDecimal) -> Value {
        Value::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(BigDecimal::from(u64::try_from(number).unwrap_or(u64::MAX)))
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Value {
        Value::Object(Rc::new(map))
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Value {
        Value::List(Rc::new(values))
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Value {
        values.into_iter().collect::<Vec<_>>().into()
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(truth) => Value::Bool(truth),
            serde_json::Value::Number(number) => {
                parse_number(&number.to_string()).map_or(Value::Null, Value::Number)
            }
            serde_json::Value::String(text) => Value::String(text),
            serde_json::Value::Array(values) => values.into_iter().map(Value::from).collect(),
            serde_json::Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| (key, value.into()))
                .collect::<Map>()
                .into(),
        }
    }
}

/// The most digits a number may be written with: beyond them an exponent makes one of any size.
const MAX_DIGITS: i64 = 400;

/// The number that a text spells.
pub(crate) fn parse_number(text: &str) -> Option<BigDecimal> {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
        && !text.contains('_');
    let number = BigDecimal::from_str(text).ok().filter(|_| is_number)?;
    let scale = number.fractional_digit_count();
    (-MAX_DIGITS..=MAX_DIGITS)
        .contains(&scale)
        .then(|| number.normalized())
}

/// A number without an exponent, as Terraform writes it.
pub(crate) fn number_text(number: &BigDecimal) -> String {
    number.normalized().to_plain_string()
}

/// The order of the elements of a set.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => (a.kind(), a.to_json()).cmp(&(b.kind(), b.to_json())),
    }
}

fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Unknown(_) => out.push_str("null"),
        Value::Bool(truth) => out.push_str(&truth.to_string()),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => out.push_str(&json_string(text)),
        Value::List(values) | Value::Set(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(value, out);
            }
            out.push(']');
        }
        Value::Object(map)
        | Value::Resource {
            attributes: map, ..
        } => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&json_string(key));
                out.push(':');
                write_json(value, out);
            }
            out.push('}');
        }
    }
}

/// A JSON string with the characters escaped that Go escapes.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
