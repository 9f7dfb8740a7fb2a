//! Converts a variable's value to the type that the variable declares.
//!
//! <https://developer.hashicorp.com/terraform/language/expressions/type-constraints>

use hcl_edit::expr::{Expression, FuncCall, ObjectKey};

use super::expression::Scope;
use super::value::{Map, Value};

/// Converts a value to the type: adds the defaults of `optional` attributes, and makes strings where the type has them.
/// Unknown values stay unknown.
///
/// # Errors
/// Fails if the value does not fit.
pub(super) fn convert(kind: &Expression, value: Value, scope: &Scope<'_>) -> Result<Value, String> {
    if matches!(value, Value::Null | Value::Unknown(_)) {
        return Ok(value);
    }
    match kind {
        Expression::Variable(name) => match name.as_str() {
            "string" => value.text().map(Value::from),
            "number" => value
                .as_number()
                .map(Value::Number)
                .ok_or_else(|| mismatch("a number", &value)),
            "bool" => value
                .as_bool()
                .map(Value::Bool)
                .ok_or_else(|| mismatch("a boolean", &value)),
            _ => Ok(value),
        },
        // In old configurations types are strings.
        Expression::String(_) => Ok(value),
        Expression::FuncCall(call) => constructed(call, value, scope),
        _ => Ok(value),
    }
}

fn constructed(call: &FuncCall, value: Value, scope: &Scope<'_>) -> Result<Value, String> {
    let inner = call.args.iter().next();
    let element = |value: &Value| match inner {
        Some(inner) => convert(inner, value.clone(), scope),
        None => Ok(value.clone()),
    };
    match (call.name.name.as_str(), inner) {
        ("list" | "set" | "tuple", _) => {
            let values = value.elements().ok_or_else(|| mismatch("a list", &value))?;
            let name = call.name.name.as_str();
            let values = match (name, inner) {
                ("tuple", Some(Expression::Array(kinds))) => kinds
                    .iter()
                    .zip(values.iter())
                    .map(|(kind, value)| convert(kind, value.clone(), scope))
                    .collect::<Result<Vec<_>, _>>()?,
                _ => values.iter().map(element).collect::<Result<Vec<_>, _>>()?,
            };
            Ok(if name == "set" {
                Value::set(values)
            } else {
                values.into()
            })
        }
        ("map", _) => {
            let map = value.entries().ok_or_else(|| mismatch("a map", &value))?;
            let entry = |(key, value): (&String, &Value)| Ok((key.clone(), element(value)?));
            Ok(map
                .iter()
                .map(entry)
                .collect::<Result<Map, String>>()?
                .into())
        }
        ("object", Some(Expression::Object(attributes))) => {
            let map = value
                .entries()
                .ok_or_else(|| mismatch("an object", &value))?;
            let mut object = Map::new();
            for (key, kind) in attributes {
                let kind = kind.expr();
                let name = match key {
                    ObjectKey::Ident(name) => name.to_string(),
                    ObjectKey::Expression(Expression::Variable(name)) => name.to_string(),
                    ObjectKey::Expression(Expression::String(name)) => name.value().clone(),
                    ObjectKey::Expression(_) => continue,
                };
                let given = map.get(&name).filter(|value| !value.is_null());
                let converted = match (given, optional(kind)) {
                    (Some(value), Some((kind, _))) => convert(kind, value.clone(), scope),
                    (Some(value), None) => convert(kind, value.clone(), scope),
                    (None, Some((kind, Some(default)))) => {
                        let default = scope.evaluate(default).map_err(|p| p.to_string())?;
                        convert(kind, default, scope)
                    }
                    (None, Some((_, None))) => Ok(Value::Null),
                    (None, None) if map.contains_key(&name) => Ok(Value::Null),
                    (None, None) => Err("it is missing".to_owned()),
                };
                let converted =
                    converted.map_err(|error| format!("attribute \"{name}\": {error}"))?;
                object.insert(name, converted);
            }
            Ok(object.into())
        }
        _ => Ok(value),
    }
}

fn mismatch(wanted: &str, value: &Value) -> String {
    format!("expected {wanted}, and the value is {}", value.kind())
}

/// The type and the default of `optional(TYPE, DEFAULT)`.
fn optional(kind: &Expression) -> Option<(&Expression, Option<&Expression>)> {
    let Expression::FuncCall(call) = kind else {
        return None;
    };
    let mut arguments = call.args.iter();
    (call.name.name.as_str() == "optional").then(|| Some((arguments.next()?, arguments.next())))?
}

#[cfg(test)]
mod tests {
    use super::super::expression::{File, NoNames};
    use super::*;

    fn check(kind: &str, value: &str, expected: &str) {
        let file = File {
            name: "test".into(),
            text: String::new(),
        };
        let names = NoNames(std::path::Path::new("."));
        let scope = Scope::new(&names, &file);
        let parse = |text: &str| text.parse::<Expression>().unwrap();
        let value = scope.evaluate(&parse(value)).unwrap();
        let converted = match convert(&parse(kind), value, &scope) {
            Ok(value) => value.to_json(),
            Err(error) => error,
        };
        assert_eq!(converted, expected, "{kind}");
    }

    #[test]
    fn attributes_that_are_missing_get_their_defaults() {
        let kind = "map(object({ handler = string, timeout = optional(number, 3), layers = optional(list(string)) }))";
        check(
            kind,
            "{ a = { handler = \"x\" }, b = { handler = \"y\", timeout = 9, layers = [\"z\"] } }",
            r#"{"a":{"handler":"x","layers":null,"timeout":3},"b":{"handler":"y","layers":["z"],"timeout":9}}"#,
        );
        // Defaults within defaults, and null counts as missing.
        check(
            "object({ a = optional(object({ b = optional(string, \"c\") }), {}), d = optional(bool, true) })",
            "{ d = null }",
            r#"{"a":{"b":"c"},"d":true}"#,
        );
        check(
            "list(object({ a = optional(string, \"b\") }))",
            "[{}]",
            r#"[{"a":"b"}]"#,
        );
        check("map(any)", "{ a = 1 }", r#"{"a":1}"#);
    }

    #[test]
    fn a_value_is_converted_to_the_declared_type() {
        check("string", "5", "\"5\"");
        check("number", "\"5\"", "5");
        check("bool", "\"true\"", "true");
        check("set(string)", "[\"b\", \"a\", \"b\"]", r#"["a","b"]"#);
        check("list(string)", "[1, true]", r#"["1","true"]"#);
        check("tuple([string, number])", "[1, \"2\"]", r#"["1",2]"#);
        check("object({ a = string })", "{ a = 1, b = 2 }", r#"{"a":"1"}"#);
        check(
            "number",
            "\"x\"",
            "expected a number, and the value is a string",
        );
        check(
            "object({ a = string })",
            "{}",
            "attribute \"a\": it is missing",
        );
        check(
            "object({ a = string })",
            "\"text\"",
            "expected an object, and the value is a string",
        );
    }
}
