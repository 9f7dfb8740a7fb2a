//! Functions of lists, sets and maps.

use std::rc::Rc;

use super::{Arguments, Function, elements};
use crate::terraform::value::{Map, Value};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("alltrue", |args| {
        Ok((!truths(args)?.contains(&false)).into())
    }),
    ("anytrue", |args| Ok(truths(args)?.contains(&true).into())),
    ("chunklist", chunklist),
    ("coalesce", coalesce),
    ("coalescelist", |args| {
        for value in &args.values {
            if value.elements().is_some_and(|values| !values.is_empty()) {
                return Ok(value.clone());
            }
        }
        Err("every list is empty".to_owned())
    }),
    ("compact", |args| {
        let values = args.list(0)?;
        let kept = values
            .iter()
            .filter(|v| !v.is_null() && v.as_str() != Some(""));
        kept.map(|value| value.text().map(Value::from)).collect()
    }),
    ("concat", |args| {
        let mut all = Vec::new();
        for index in 0..args.values.len() {
            all.extend(args.list(index)?.iter().cloned());
        }
        Ok(all.into())
    }),
    ("contains", |args| {
        let wanted = args.get(1)?;
        Ok(args.list(0)?.contains(wanted).into())
    }),
    ("distinct", |args| {
        let mut seen: Vec<Value> = Vec::new();
        for value in same_type(&args.list(0)?).iter() {
            if !seen.contains(value) {
                seen.push(value.clone());
            }
        }
        Ok(seen.into())
    }),
    ("element", |args| {
        let values = args.list(0)?;
        let length = i64::try_from(values.len()).unwrap_or(i64::MAX);
        let index = args.whole(1)?;
        if index < 0 {
            return Err(format!("the index {index} is negative"));
        }
        let index = index.checked_rem(length).ok_or("the list is empty")?;
        at(&values, index)
    }),
    // Ephemeral and sensitive values are ordinary values here.
    ("ephemeralasnull", |args| args.get(0).cloned()),
    ("flatten", |args| {
        let mut flat = Vec::new();
        flatten(&args.list(0)?, &mut flat);
        Ok(flat.into())
    }),
    ("index", |args| {
        let (values, wanted) = (args.list(0)?, args.get(1)?);
        let found = values.iter().position(|value| value == wanted);
        found
            .map(Value::from)
            .ok_or_else(|| "the list has no such element".to_owned())
    }),
    ("keys", |args| {
        Ok(args
            .map(0)?
            .keys()
            .map(|key| Value::from(key.as_str()))
            .collect())
    }),
    ("length", |args| {
        let value = args.get(0)?;
        Ok(match (value, value.elements(), value.entries()) {
            (Value::String(text), _, _) => super::strings::graphemes(text).count(),
            (_, Some(values), _) => values.len(),
            (_, _, Some(map)) => map.len(),
            _ => return Err(format!("{} has no length", value.kind())),
        }
        .into())
    }),
    // A function of old configurations: a list of its arguments.
    ("list", |args| Ok(args.values.clone().into())),
    ("lookup", |args| {
        let (map, key) = (args.map(0)?, args.string(1)?);
        match (map.get(&key), args.values.get(2)) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(default)) => Ok(default.clone()),
            (None, None) => Err(format!("there is no key \"{key}\"")),
        }
    }),
    ("matchkeys", |args| {
        let (values, keys, wanted) = (args.list(0)?, args.list(1)?, args.list(2)?);
        if values.len() != keys.len() {
            return Err("the first two lists must have the same length".to_owned());
        }
        let pairs = values.iter().zip(keys.iter());
        let kept = pairs.filter(|(_, key)| wanted.contains(key));
        Ok(kept.map(|(value, _)| value.clone()).collect())
    }),
    ("merge", |args| {
        let mut merged = Map::new();
        for (index, value) in args.values.iter().enumerate() {
            if !value.is_null() {
                let map = args.map(index)?;
                merged.extend(map.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        Ok(merged.into())
    }),
    ("nonsensitive", |args| args.get(0).cloned()),
    ("one", |args| match args.list(0)?.as_slice() {
        [] => Ok(Value::Null),
        [value] => Ok(value.clone()),
        more => Err(format!("the list has {} elements, not one", more.len())),
    }),
    ("reverse", |args| {
        Ok(args.list(0)?.iter().rev().cloned().collect())
    }),
    ("sensitive", |args| args.get(0).cloned()),
    ("setintersection", |args| {
        sets(args, |all, next| all.retain(|value| next.contains(value)))
    }),
    ("setproduct", setproduct),
    ("setsubtract", |args| {
        sets(args, |all, next| all.retain(|value| !next.contains(value)))
    }),
    ("setunion", |args| {
        sets(args, |all, next| all.extend(next.iter().cloned()))
    }),
    ("slice", |args| {
        let (values, start, end) = (args.list(0)?, args.whole(1)?, args.whole(2)?);
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let found = range.and_then(|(start, end)| values.get(start..end));
        let found = found.ok_or_else(|| {
            format!(
                "the list of {} elements has no range from {start} to {end}",
                values.len()
            )
        })?;
        Ok(found.to_vec().into())
    }),
    ("sort", |args| {
        let mut texts = args.strings(0)?;
        texts.sort();
        Ok(texts.into_iter().map(Value::from).collect())
    }),
    ("tobool", |args| match args.get(0)? {
        Value::Null => Ok(Value::Null),
        Value::Number(_) => Err("a number is not a boolean".to_owned()),
        value => value
            .as_bool()
            .map(Value::Bool)
            .ok_or_else(|| format!("{} is not a boolean", value.to_json())),
    }),
    ("tolist", |args| match args.get(0)? {
        Value::Null => Ok(Value::Null),
        value => Ok(Value::List(same_type(&elements(value)?))),
    }),
    ("tomap", |args| {
        if args.get(0)?.is_null() {
            return Ok(Value::Null);
        }
        let map = args.map(0)?;
        let values: Vec<Value> = map.values().cloned().collect();
        let values = same_type(&Rc::new(values));
        let entries = map.keys().cloned().zip(values.iter().cloned());
        Ok(entries.collect::<Map>().into())
    }),
    ("tonumber", |args| match args.get(0)? {
        Value::Null => Ok(Value::Null),
        value => value
            .as_number()
            .map(Value::Number)
            .ok_or_else(|| format!("{} is not a number", value.to_json())),
    }),
    ("toset", |args| match args.get(0)? {
        Value::Null => Ok(Value::Null),
        value => Ok(Value::set(same_type(&elements(value)?).to_vec())),
    }),
    ("tostring", |args| match args.get(0)? {
        Value::Null => Ok(Value::Null),
        value => value.text().map(Value::from),
    }),
    ("transpose", |args| {
        let mut groups: std::collections::BTreeMap<String, Vec<Value>> = Default::default();
        for (key, values) in args.map(0)?.iter() {
            for value in elements(values)?.iter() {
                groups
                    .entry(value.text()?)
                    .or_default()
                    .push(key.as_str().into());
            }
        }
        let entries = groups.into_iter().map(|(key, values)| (key, values.into()));
        Ok(entries.collect::<Map>().into())
    }),
    ("values", |args| {
        Ok(args.map(0)?.values().cloned().collect())
    }),
    ("zipmap", |args| {
        let (keys, values) = (args.strings(0)?, args.list(1)?);
        if keys.len() != values.len() {
            return Err(format!("{} keys for {} values", keys.len(), values.len()));
        }
        Ok(keys
            .into_iter()
            .zip(values.iter().cloned())
            .collect::<Map>()
            .into())
    }),
];

fn at(values: &[Value], index: i64) -> Result<Value, String> {
    let found = usize::try_from(index)
        .ok()
        .and_then(|index| values.get(index));
    found
        .cloned()
        .ok_or_else(|| format!("there is no element {index}"))
}

/// The booleans of a list; null counts as false.
fn truths(args: &Arguments<'_>) -> Result<Vec<bool>, String> {
    let truth = |value: &Value| {
        let truth = if value.is_null() {
            Some(false)
        } else {
            value.as_bool()
        };
        truth.ok_or_else(|| format!("{} is not a boolean", value.to_json()))
    };
    args.list(0)?.iter().map(truth).collect()
}

fn chunklist(args: &Arguments<'_>) -> Result<Value, String> {
    let values = args.list(0)?;
    let size = usize::try_from(args.whole(1)?).map_err(|_| "the size is negative")?;
    if size == 0 {
        return Ok(vec![Value::List(values)].into());
    }
    Ok(values
        .chunks(size)
        .map(|chunk| Value::from(chunk.to_vec()))
        .collect())
}

fn coalesce(args: &Arguments<'_>) -> Result<Value, String> {
    let values = same_type(&Rc::new(args.values.clone()));
    let found = values
        .iter()
        .find(|v| !v.is_null() && v.as_str() != Some(""));
    found
        .cloned()
        .ok_or_else(|| "every argument is null or empty".to_owned())
}

fn flatten(values: &[Value], flat: &mut Vec<Value>) {
    for value in values {
        match value.elements() {
            Some(inner) => flatten(inner, flat),
            None => flat.push(value.clone()),
        }
    }
}

fn sets(args: &Arguments<'_>, combine: fn(&mut Vec<Value>, &[Value])) -> Result<Value, String> {
    let mut all = Vec::new();
    for index in 0..args.values.len() {
        // The elements of all sets have one type.
        all.push(args.list(index)?);
    }
    let joined: Vec<Value> = all
        .iter()
        .flat_map(|values| values.iter().cloned())
        .collect();
    let joined = same_type(&Rc::new(joined));
    let mut rest = joined.as_slice();
    let mut result: Option<Vec<Value>> = None;
    for values in all {
        let (own, others) = rest.split_at(values.len().min(rest.len()));
        rest = others;
        match &mut result {
            None => result = Some(own.to_vec()),
            Some(result) => combine(result, own),
        }
    }
    Ok(Value::set(result.ok_or("it has no arguments")?))
}

fn setproduct(args: &Arguments<'_>) -> Result<Value, String> {
    const MOST: usize = 1_000_000;
    let mut product: Vec<Vec<Value>> = vec![Vec::new()];
    let mut are_sets = true;
    for (index, value) in args.values.iter().enumerate() {
        are_sets &= matches!(value, Value::Set(_));
        let next = args.list(index)?;
        if product.len().saturating_mul(next.len()) > MOST {
            return Err("the product is too large".to_owned());
        }
        let with = |before: &Vec<Value>, value: &Value| {
            before.iter().chain([value]).cloned().collect::<Vec<_>>()
        };
        product = product
            .iter()
            .flat_map(|before| next.iter().map(move |value| with(before, value)))
            .collect();
    }
    let product: Vec<Value> = product.into_iter().map(Value::from).collect();
    Ok(if are_sets {
        Value::set(product)
    } else {
        product.into()
    })
}

/// Values of different simple types become strings, as the elements of a list must have one type.
fn same_type(values: &Rc<Vec<Value>>) -> Rc<Vec<Value>> {
    let kind = |v: &Value| match v {
        Value::Null => None,
        value => Some(value.kind()),
    };
    let mut kinds = values.iter().filter_map(kind);
    let first = kinds.next();
    let simple = |v: &Value| v.is_null() || v.text().is_ok();
    if kinds.all(|kind| Some(kind) == first) || !values.iter().all(simple) {
        return Rc::clone(values);
    }
    let text = |v: &Value| v.text().map_or(Value::Null, Value::from);
    Rc::new(values.iter().map(text).collect())
}
