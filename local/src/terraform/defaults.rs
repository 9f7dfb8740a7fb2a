//! What a variable's type adds to its value: the attributes that are `optional(TYPE, DEFAULT)`.
//!
//! <https://developer.hashicorp.com/terraform/language/expressions/type-constraints#optional-object-type-attributes>

use hcl::eval::{Context, Evaluate as _};
use hcl::expr::ObjectKey;
use hcl::{Expression, Value};

/// The value with its missing attributes. One that is not of the type is returned as it is.
pub(super) fn complete(kind: &Expression, value: Value, context: &Context<'_>) -> Value {
    let Expression::FuncCall(call) = kind else {
        return value;
    };
    let inner = call.args.first();
    match (call.name.name.as_str(), inner, value) {
        ("object", Some(Expression::Object(attributes)), Value::Object(mut map)) => {
            for (key, kind) in attributes {
                let name = match key {
                    ObjectKey::Identifier(name) => name.to_string(),
                    ObjectKey::Expression(Expression::String(name)) => name.clone(),
                    _ => continue,
                };
                let given = map.swap_remove(&name).filter(|value| !value.is_null());
                let value = match (given, optional(kind)) {
                    (Some(value), Some([kind, ..])) => complete(kind, value, context),
                    (Some(value), _) => complete(kind, value, context),
                    (None, Some([kind, default, ..])) => match default.evaluate(context) {
                        Ok(default) => complete(kind, default, context),
                        Err(_) => continue,
                    },
                    (None, Some(_)) => Value::Null,
                    (None, None) => continue,
                };
                map.insert(name, value);
            }
            Value::Object(map)
        }
        ("map", Some(kind), Value::Object(map)) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (key, complete(kind, value, context)))
                .collect(),
        ),
        ("list" | "set", Some(kind), Value::Array(values)) => values
            .into_iter()
            .map(|value| complete(kind, value, context))
            .collect(),
        (_, _, value) => value,
    }
}

/// The arguments of `optional(…)`.
fn optional(kind: &Expression) -> Option<&[Expression]> {
    match kind {
        Expression::FuncCall(call) if call.name.name.as_str() == "optional" => Some(&call.args),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, value: &str, expected: &str) {
        let text = format!("kind = {kind}\nvalue = {value}\nexpected = {expected}\n");
        let [kind, value, expected]: [Expression; 3] = hcl::parse(&text)
            .unwrap()
            .into_attributes()
            .map(|attribute| attribute.expr)
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let context = Context::new();
        let value = value.evaluate(&context).unwrap();
        let expected = expected.evaluate(&context).unwrap();
        assert_eq!(complete(&kind, value, &context), expected, "{text}");
    }

    #[test]
    fn attributes_that_are_missing_get_their_defaults() {
        let kind = "map(object({ handler = string, timeout = optional(number, 3), layers = optional(list(string)) }))";
        check(
            kind,
            "{ a = { handler = \"x\" }, b = { handler = \"y\", timeout = 9, layers = [\"z\"] } }",
            "{ a = { handler = \"x\", timeout = 3, layers = null }, b = { handler = \"y\", timeout = 9, layers = [\"z\"] } }",
        );
        // Defaults within defaults, and null as good as missing.
        check(
            "object({ a = optional(object({ b = optional(string, \"c\") }), {}), d = optional(bool, true) })",
            "{ d = null }",
            "{ a = { b = \"c\" }, d = true }",
        );
        check(
            "list(object({ a = optional(string, \"b\") }))",
            "[{}]",
            "[{ a = \"b\" }]",
        );
        check("string", "\"text\"", "\"text\"");
        check("map(any)", "{ a = 1 }", "{ a = 1 }");
        check("object({ a = string })", "\"no object\"", "\"no object\"");
    }
}
