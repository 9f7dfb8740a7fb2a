//! The Terraform functions a declaration may use here.
//!
//! Not all of Terraform's: those that shape maps, lists and strings. A function that is missing makes the expression
//! that calls it unknown, and the error names the function.

use std::path::Path;

use hcl::eval::{Context, Func, FuncArgs, FuncDef, ParamType};
use hcl::{Map, Number, Value};

type Outcome = Result<Value, String>;

/// Declares every function in `context`.
pub(super) fn declare(context: &mut Context<'_>) {
    let functions: &[(&str, Func)] = &[
        ("abspath", |args| {
            string(&args, 0).map(|path| absolute(&path))
        }),
        ("basename", |args| {
            let path = string(&args, 0)?;
            let name = Path::new(&path).file_name().unwrap_or_default();
            Ok(name.to_string_lossy().into_owned().into())
        }),
        ("ceil", |args| float(&args, 0).map(|x| number(x.ceil()))),
        ("coalesce", coalesce),
        ("compact", |args| {
            Ok(list(&args, 0)?
                .into_iter()
                .filter(|v| !is_empty(v))
                .collect())
        }),
        ("concat", |args| concat(&args)),
        ("contains", |args| {
            Ok(list(&args, 0)?.contains(argument(&args, 1)?).into())
        }),
        ("dirname", |args| {
            let path = string(&args, 0)?;
            let folder = Path::new(&path).parent().unwrap_or(Path::new("."));
            Ok(folder.display().to_string().into())
        }),
        ("distinct", |args| Ok(distinct(list(&args, 0)?))),
        ("element", |args| element(&args)),
        ("endswith", |args| {
            Ok(string(&args, 0)?.ends_with(&string(&args, 1)?).into())
        }),
        ("file", |args| {
            let path = string(&args, 0)?;
            let text = std::fs::read_to_string(&path);
            text.map(Value::from).map_err(|e| format!("{path}: {e}"))
        }),
        ("flatten", |args| Ok(flatten(list(&args, 0)?).into())),
        ("floor", |args| float(&args, 0).map(|x| number(x.floor()))),
        ("format", |args| format_text(&args)),
        ("join", |args| {
            Ok(strings(&list(&args, 1)?)?.join(&string(&args, 0)?).into())
        }),
        ("jsonencode", |args| {
            serde_json::to_string(argument(&args, 0)?)
                .map(Value::from)
                .map_err(|e| e.to_string())
        }),
        ("keys", |args| {
            Ok(sorted(object(&args, 0)?)
                .into_iter()
                .map(|(key, _)| Value::from(key))
                .collect())
        }),
        ("length", |args| length(&args)),
        ("lookup", |args| lookup(&args)),
        ("lower", |args| Ok(string(&args, 0)?.to_lowercase().into())),
        ("max", |args| extreme(&args, f64::max)),
        ("merge", merge),
        ("min", |args| extreme(&args, f64::min)),
        ("one", |args| one(&args)),
        ("range", |args| range(&args)),
        ("replace", |args| {
            Ok(string(&args, 0)?
                .replace(&string(&args, 1)?, &string(&args, 2)?)
                .into())
        }),
        ("setsubtract", |args| {
            let (from, without) = (list(&args, 0)?, list(&args, 1)?);
            Ok(from.into_iter().filter(|v| !without.contains(v)).collect())
        }),
        ("setunion", |args| {
            Ok(sorted_set(flatten(args.into_values())))
        }),
        ("sort", |args| {
            let mut texts = strings(&list(&args, 0)?)?;
            texts.sort();
            Ok(texts.into())
        }),
        ("split", |args| {
            Ok(string(&args, 1)?
                .split(&string(&args, 0)?)
                .map(Value::from)
                .collect())
        }),
        ("startswith", |args| {
            Ok(string(&args, 0)?.starts_with(&string(&args, 1)?).into())
        }),
        ("substr", |args| substr(&args)),
        ("tolist", |args| Ok(list(&args, 0)?.into())),
        ("tomap", |args| Ok(object(&args, 0)?.into())),
        ("tonumber", |args| match argument(&args, 0)? {
            Value::String(text) => text
                .parse::<f64>()
                .map(number)
                .map_err(|_| format!("\"{text}\" is not a number")),
            other => Ok(other.clone()),
        }),
        ("toset", |args| Ok(sorted_set(list(&args, 0)?))),
        ("tostring", |args| match argument(&args, 0)? {
            Value::Null => Ok(Value::Null),
            other => text(other).map(Value::from),
        }),
        ("trimprefix", |args| {
            let (text, prefix) = (string(&args, 0)?, string(&args, 1)?);
            Ok(text.strip_prefix(&prefix).unwrap_or(&text).into())
        }),
        ("trimspace", |args| Ok(string(&args, 0)?.trim().into())),
        ("trimsuffix", |args| {
            let (text, suffix) = (string(&args, 0)?, string(&args, 1)?);
            Ok(text.strip_suffix(&suffix).unwrap_or(&text).into())
        }),
        ("upper", |args| Ok(string(&args, 0)?.to_uppercase().into())),
        ("values", |args| {
            Ok(sorted(object(&args, 0)?)
                .into_iter()
                .map(|(_, value)| value)
                .collect())
        }),
        ("zipmap", |args| {
            let keys = strings(&list(&args, 0)?)?;
            Ok(Value::Object(
                keys.into_iter().zip(list(&args, 1)?).collect(),
            ))
        }),
    ];
    for (name, function) in functions {
        context.declare_func(
            *name,
            FuncDef::builder()
                .variadic_param(ParamType::Any)
                .build(*function),
        );
    }
}

fn argument(args: &FuncArgs, index: usize) -> Result<&Value, String> {
    args.get(index)
        .ok_or_else(|| format!("argument {} is missing", index + 1))
}

fn string(args: &FuncArgs, index: usize) -> Result<String, String> {
    text(argument(args, index)?)
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(format!("{value} is not a string")),
    }
}

fn strings(values: &[Value]) -> Result<Vec<String>, String> {
    values.iter().map(text).collect()
}

fn float(args: &FuncArgs, index: usize) -> Result<f64, String> {
    let value = argument(args, index)?;
    value
        .as_f64()
        .ok_or_else(|| format!("{value} is not a number"))
}

fn list(args: &FuncArgs, index: usize) -> Result<Vec<Value>, String> {
    match argument(args, index)? {
        Value::Array(values) => Ok(values.clone()),
        other => Err(format!("{other} is not a list")),
    }
}

fn object(args: &FuncArgs, index: usize) -> Result<Map<String, Value>, String> {
    match argument(args, index)? {
        Value::Object(map) => Ok(map.clone()),
        other => Err(format!("{other} is not a map")),
    }
}

/// A whole number stays whole: Terraform prints 3, not 3.0.
fn number(value: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and in range"
    )]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        Value::from(value as i64)
    } else {
        Number::from_f64(value).map_or(Value::Null, Value::from)
    }
}

fn sorted(map: Map<String, Value>) -> Vec<(String, Value)> {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::Null) || value.as_str() == Some("")
}

fn absolute(path: &str) -> Value {
    std::path::absolute(path).map_or_else(|_| path.into(), |p| p.display().to_string().into())
}

fn coalesce(args: FuncArgs) -> Outcome {
    args.into_values()
        .into_iter()
        .find(|v| !is_empty(v))
        .ok_or_else(|| "every argument is null or empty".to_owned())
}

fn concat(args: &FuncArgs) -> Outcome {
    let mut all = Vec::new();
    for index in 0..args.len() {
        all.extend(list(args, index)?);
    }
    Ok(all.into())
}

fn distinct(values: Vec<Value>) -> Value {
    let mut seen: Vec<Value> = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen.into()
}

fn sorted_set(values: Vec<Value>) -> Value {
    let mut values = values;
    values.sort_by_key(ToString::to_string);
    distinct(values)
}

fn element(args: &FuncArgs) -> Outcome {
    let values = list(args, 0)?;
    let index = argument(args, 1)?
        .as_u64()
        .ok_or("the index is not a whole number")?;
    let length = u64::try_from(values.len()).unwrap_or(u64::MAX);
    let index = index.checked_rem(length).ok_or("the list is empty")?;
    Ok(usize::try_from(index)
        .ok()
        .and_then(|i| values.get(i).cloned())
        .unwrap_or(Value::Null))
}

fn flatten(values: Vec<Value>) -> Vec<Value> {
    values
        .into_iter()
        .flat_map(|value| match value {
            Value::Array(inner) => flatten(inner),
            other => vec![other],
        })
        .collect()
}

/// `%s`, `%d`, `%v`, `%q` and `%%`.
fn format_text(args: &FuncArgs) -> Outcome {
    let template = string(args, 0)?;
    let (mut out, mut next, mut chars) = (String::new(), 1, template.chars());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some('s' | 'd' | 'v') => {
                out.push_str(&string(args, next)?);
                next += 1;
            }
            Some('q') => {
                out.push_str(&Value::from(string(args, next)?).to_string());
                next += 1;
            }
            verb => {
                return Err(format!(
                    "format verb %{} is not supported",
                    verb.unwrap_or(' ')
                ));
            }
        }
    }
    Ok(out.into())
}

fn length(args: &FuncArgs) -> Outcome {
    Ok(match argument(args, 0)? {
        Value::Array(values) => values.len(),
        Value::Object(map) => map.len(),
        Value::String(text) => text.chars().count(),
        other => return Err(format!("{other} has no length")),
    }
    .into())
}

fn lookup(args: &FuncArgs) -> Outcome {
    let map = object(args, 0)?;
    let key = string(args, 1)?;
    match (map.get(&key), args.get(2)) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(default)) => Ok(default.clone()),
        (None, None) => Err(format!("there is no key \"{key}\"")),
    }
}

fn extreme(args: &FuncArgs, better: fn(f64, f64) -> f64) -> Outcome {
    let mut best = float(args, 0)?;
    for index in 1..args.len() {
        best = better(best, float(args, index)?);
    }
    Ok(number(best))
}

fn merge(args: FuncArgs) -> Outcome {
    let mut merged = Map::new();
    for value in args.into_values() {
        match value {
            Value::Object(map) => merged.extend(map),
            Value::Null => {}
            other => return Err(format!("{other} is not a map")),
        }
    }
    Ok(merged.into())
}

fn one(args: &FuncArgs) -> Outcome {
    let values = list(args, 0)?;
    match values.as_slice() {
        [] => Ok(Value::Null),
        [value] => Ok(value.clone()),
        more => Err(format!("the list has {} elements, not one", more.len())),
    }
}

fn range(args: &FuncArgs) -> Outcome {
    let whole = |index| {
        argument(args, index)?
            .as_i64()
            .ok_or_else(|| "not a whole number".to_owned())
    };
    let (start, end) = if args.len() == 1 {
        (0, whole(0)?)
    } else {
        (whole(0)?, whole(1)?)
    };
    Ok((start..end).map(Value::from).collect())
}

fn substr(args: &FuncArgs) -> Outcome {
    let text = string(args, 0)?;
    let skip = argument(args, 1)?
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
        .ok_or("offset is not a whole number")?;
    let rest = text.chars().skip(skip);
    Ok(match argument(args, 2)?
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
    {
        Some(length) => rest.take(length).collect::<String>(),
        None => rest.collect(),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hcl::eval::Evaluate;

    /// `expression` gives `expected`, both written in HCL.
    fn check(expression: &str, expected: &str) {
        let mut context = Context::new();
        declare(&mut context);
        let value = |text: &str| {
            let body = hcl::parse(&format!("x = {text}")).unwrap();
            body.attributes()
                .next()
                .unwrap()
                .expr()
                .evaluate(&context)
                .unwrap_or_else(|e| panic!("{text}: {e}"))
        };
        assert_eq!(value(expression), value(expected), "{expression}");
    }

    #[test]
    fn they_answer_as_terraform_does() {
        check(r#"coalesce(null, "", "x")"#, r#""x""#);
        check(r#"compact(["a", "", null, "b"])"#, r#"["a", "b"]"#);
        check("concat([1], [2, 3])", "[1, 2, 3]");
        check(r#"element(["a", "b"], 3)"#, r#""b""#);
        check("flatten([1, [2, [3]]])", "[1, 2, 3]");
        check(r#"format("%s-%d-100%%", "a", 5)"#, r#""a-5-100%""#);
        check(r#"join(",", ["a", "b"])"#, r#""a,b""#);
        check(r#"jsonencode({ a = [1, true] })"#, r#""{\"a\":[1,true]}""#);
        check("keys({ b = 1, a = 2 })", r#"["a", "b"]"#);
        check("values({ b = 1, a = 2 })", "[2, 1]");
        check(r#"length("é1")"#, "2");
        check(r#"lookup({ a = 1 }, "b", 7)"#, "7");
        check(r#"lookup({ a = 1 }, "a", 7)"#, "1");
        check(
            "merge({ a = 1, b = 1 }, null, { b = 2 })",
            "{ a = 1, b = 2 }",
        );
        check("max(1, 5, 2)", "5");
        check("range(1, 3)", "[1, 2]");
        check(r#"replace("a-b", "-", "+")"#, r#""a+b""#);
        check(r#"split(",", "a,b")"#, r#"["a", "b"]"#);
        check(r#"substr("hello", 1, 3)"#, r#""ell""#);
        check(r#"toset(["b", "a", "b"])"#, r#"["a", "b"]"#);
        check(r#"trimprefix("$connect", "$")"#, r#""connect""#);
        check(r#"zipmap(["a"], [1])"#, "{ a = 1 }");
        check(r#"tonumber("29") * 1000"#, "29000");
    }
}
