//! Terraform's functions that need neither a provider nor a module.
//!
//! `tests/functions/cases.txt` holds the results of the real `terraform console`.

mod collections;
mod encoding;
mod files;
mod format;
mod networks;
mod numbers;
mod strings;
mod times;
mod yaml;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use bigdecimal::BigDecimal;

use super::problem::Problem;
use super::value::{Map, Outcome, Value, known};
pub(crate) use files::clean;

type Function = fn(&Arguments<'_>) -> Result<Value, String>;

/// The functions by name.
const TABLES: [&[(&str, Function)]; 8] = [
    collections::FUNCTIONS,
    encoding::FUNCTIONS,
    files::FUNCTIONS,
    format::FUNCTIONS,
    networks::FUNCTIONS,
    numbers::FUNCTIONS,
    strings::FUNCTIONS,
    times::FUNCTIONS,
];

/// The functions that only move elements: an unknown element may stay unknown.
const MOVE_ELEMENTS: &[&str] = &[
    "chunklist",
    "coalesce",
    "coalescelist",
    "concat",
    "element",
    "ephemeralasnull",
    "flatten",
    "keys",
    "length",
    "lookup",
    "merge",
    "nonsensitive",
    "one",
    "reverse",
    "sensitive",
    "slice",
    "tolist",
    "tomap",
    "values",
    "zipmap",
];

/// Calls a function.
pub(super) fn call(name: &str, arguments: &Arguments<'_>) -> Outcome {
    let found = TABLES
        .iter()
        .flat_map(|table| table.iter())
        .find(|(known, _)| *known == name);
    let Some((_, function)) = found else {
        return Err(Problem::invalid(format!(
            "the function {name} does not run here"
        )));
    };
    if !MOVE_ELEMENTS.contains(&name)
        && let Some(problem) = arguments.values.iter().find_map(Value::unknown)
    {
        return Err(Problem::clone(problem));
    }
    match function(arguments) {
        Ok(value) => known(value),
        Err(error) => Err(Problem::invalid(format!("{name}: {error}"))),
    }
}

/// The arguments of a call.
pub(super) struct Arguments<'a> {
    pub(super) values: Vec<Value>,
    /// The folder that relative paths start from.
    pub(super) folder: &'a Path,
}

impl Arguments<'_> {
    fn get(&self, index: usize) -> Result<&Value, String> {
        self.values
            .get(index)
            .ok_or_else(|| format!("argument {} is missing", index + 1))
    }

    pub(super) fn string(&self, index: usize) -> Result<String, String> {
        self.get(index)?.text()
    }

    fn number(&self, index: usize) -> Result<BigDecimal, String> {
        let value = self.get(index)?;
        value
            .as_number()
            .ok_or_else(|| format!("expected a number, and the value is {}", value.kind()))
    }

    fn float(&self, index: usize) -> Result<f64, String> {
        let value = self.get(index)?;
        value
            .as_f64()
            .ok_or_else(|| format!("expected a number, and the value is {}", value.kind()))
    }

    fn whole(&self, index: usize) -> Result<i64, String> {
        let value = self.get(index)?;
        value
            .as_i64()
            .ok_or_else(|| format!("expected a whole number, and the value is {}", value.kind()))
    }

    /// The elements of a list or set.
    fn list(&self, index: usize) -> Result<Rc<Vec<Value>>, String> {
        elements(self.get(index)?)
    }

    pub(super) fn map(&self, index: usize) -> Result<Rc<Map>, String> {
        let value = self.get(index)?;
        value
            .entries()
            .cloned()
            .ok_or_else(|| format!("expected a map, and the value is {}", value.kind()))
    }

    /// The texts of a list's elements.
    fn strings(&self, index: usize) -> Result<Vec<String>, String> {
        self.list(index)?.iter().map(Value::text).collect()
    }

    /// The path as it is used on this machine.
    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The text of a file.
    pub(super) fn read(&self, path: &str) -> Result<String, String> {
        let bytes = std::fs::read(self.path(path)).map_err(|error| format!("{path}: {error}"))?;
        String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8"))
    }
}

fn elements(value: &Value) -> Result<Rc<Vec<Value>>, String> {
    value
        .elements()
        .cloned()
        .ok_or_else(|| format!("expected a list, and the value is {}", value.kind()))
}

#[cfg(test)]
mod tests {
    use hcl_edit::expr::Expression;

    use super::super::expression::{File, Names, Scope, Step};
    use super::*;

    /// A module without anything in it, in the folder of the cases.
    struct Console;

    impl Names for Console {
        fn resolve(&self, root: &str, _: &[Step]) -> Result<Option<(Value, usize)>, Problem> {
            Ok((root == "path").then(|| (".".into(), 1)))
        }

        fn folder(&self) -> &Path {
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/functions"))
        }
    }

    #[test]
    fn they_answer_as_terraform_does() {
        let file = File {
            name: "case".into(),
            text: String::new(),
        };
        let scope = Scope::new(&Console, &file);
        let cases = include_str!("../../../tests/functions/cases.txt");
        let mut wrong = Vec::new();
        for case in cases.lines() {
            let (text, expected) = case.split_once('\t').unwrap();
            let answer = match text.parse::<Expression>() {
                Ok(expression) => match scope.evaluate(&expression) {
                    Ok(value) => value.to_json(),
                    Err(problem) => problem.to_string(),
                },
                Err(error) => error.to_string(),
            };
            if answer != expected {
                wrong.push(format!(
                    "{text}\n    Terraform: {expected}\n    here:      {answer}"
                ));
            }
        }
        assert!(cases.lines().count() > 200);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
