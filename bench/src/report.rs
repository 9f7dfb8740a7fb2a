//! The figures of a run: one table for people, one JSON file for machines.

use serde::Serialize;
use serde_json::{Value, json};

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// `section/what/whose`, by which targets and the plot find it.
    pub(crate) id: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What a reader must know besides.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

/// A promise: the figure `id`, or how many times better it is than another, against a bound.
#[derive(Debug)]
struct Target {
    id: &'static str,
    /// The figure it is compared with; the bound is of the ratio then.
    than: Option<&'static str>,
    better: Better,
    bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Better {
    Higher,
    Lower,
}

const fn times(id: &'static str, than: &'static str, better: Better, bound: f64) -> Target {
    Target {
        id,
        than: Some(than),
        better,
        bound,
    }
}

const fn at_most(id: &'static str, bound: f64) -> Target {
    Target {
        id,
        than: None,
        better: Better::Lower,
        bound,
    }
}

/// What we promise. They are printed and fail no run: a machine may be slow.
const TARGETS: [Target; 13] = [
    times(
        "a/connections/ours",
        "e/connections/serverless-offline",
        Better::Higher,
        5.0,
    ),
    times(
        "a/round-trip-p50/ours",
        "e/round-trip-p50/serverless-offline",
        Better::Lower,
        5.0,
    ),
    times(
        "a/round-trip-p99/ours",
        "e/round-trip-p99/serverless-offline",
        Better::Lower,
        5.0,
    ),
    times(
        "a/deliveries-100/ours",
        "e/deliveries-100/serverless-offline",
        Better::Higher,
        5.0,
    ),
    times(
        "a/deliveries-1000/ours",
        "e/deliveries-1000/serverless-offline",
        Better::Higher,
        3.0,
    ),
    times(
        "a/memory-1000/ours",
        "e/memory-1000/serverless-offline",
        Better::Lower,
        5.0,
    ),
    at_most("a/idle-memory-1000/ours", 20.0),
    at_most("a/idle-memory-10000/ours", 20.0),
    at_most("b/cpu-ratio-1000/ours", 1.1),
    at_most("b/wall-ratio-1000/ours", 1.1),
    at_most("b/memory-10000/ours", 30.0),
    at_most("c/first-answer-128/connect", 60.0),
    at_most("c/first-answer/connect", 15.0),
];

/// All figures of a run, in the order they were taken.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    /// Tables that a section prints as they are: title and lines.
    pub(crate) tables: Vec<(String, Vec<String>)>,
}

impl Report {
    /// Adds a figure and says it at once: a run takes minutes.
    pub(crate) fn add(&mut self, id: &str, value: f64, unit: &'static str, note: &str) {
        eprintln!("  {id:<48} {} {unit} {note}", rounded(value));
        self.figures.push(Figure {
            id: id.to_owned(),
            value,
            unit,
            note: note.to_owned(),
        });
    }

    pub(crate) fn value(&self, id: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|figure| figure.id == id)
            .map(|figure| figure.value)
    }

    /// The table of everything.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<50} {:>12} {:<14} {}",
            "figure", "value", "unit", ""
        )];
        for Figure {
            id,
            value,
            unit,
            note,
        } in &self.figures
        {
            lines.push(format!(
                "{id:<50} {:>12} {unit:<14} {note}",
                rounded(*value)
            ));
        }
        for (title, table) in &self.tables {
            lines.push(format!("\n{title}"));
            lines.extend(table.iter().cloned());
        }
        lines.push(format!(
            "\n{:<36} {:<36} {:>10} {:>10}",
            "target", "beside", "is", "wanted"
        ));
        for target in &TARGETS {
            let Some(is) = self.reached(target) else {
                continue;
            };
            let (sign, unit) = match (target.than, target.better) {
                (None, _) => ("<=", ""),
                (Some(_), _) => (">=", "x"),
            };
            lines.push(format!(
                "{:<36} {:<36} {:>9}{unit:1} {sign} {}{unit} {}",
                target.id,
                target.than.unwrap_or_default(),
                rounded(is),
                target.bound,
                if passes(target, is) { "pass" } else { "FAIL" },
            ));
        }
        lines.join("\n")
    }

    /// Everything, with what is known of the run.
    pub(crate) fn json(&self, run: &Value) -> Value {
        let targets: Vec<Value> = TARGETS
            .iter()
            .filter_map(|target| {
                let is = self.reached(target)?;
                let Target { id, than, bound, .. } = target;
                Some(json!({"id": id, "than": than, "is": is, "bound": bound, "passes": passes(target, is)}))
            })
            .collect();
        json!({"run": run, "figures": self.figures, "targets": targets, "tables": self.tables})
    }

    /// The figure, or how many times better it is than the other; nothing when one was not measured.
    fn reached(&self, target: &Target) -> Option<f64> {
        let value = self.value(target.id)?;
        let Some(than) = target.than else {
            return Some(value);
        };
        let other = self.value(than)?;
        Some(match target.better {
            Better::Higher => value / other,
            Better::Lower => other / value,
        })
    }
}

fn passes(target: &Target, is: f64) -> bool {
    if target.than.is_some() {
        is >= target.bound
    } else {
        is <= target.bound
    }
}

/// Three digits are all that a run can stand for.
pub(crate) fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_judged_in_its_own_direction() {
        let mut report = Report::default();
        report.add("a/connections/ours", 1000.0, "1/s", "");
        report.add("e/connections/serverless-offline", 100.0, "1/s", "");
        report.add("a/round-trip-p50/ours", 2.0, "ms", "");
        report.add("e/round-trip-p50/serverless-offline", 6.0, "ms", "");
        report.add("a/idle-memory-1000/ours", 21.0, "KB", "");
        let table = report.table();
        let line = |id| {
            table
                .lines()
                .find(|line| line.starts_with(id) && line.contains('='))
                .unwrap()
        };
        assert!(
            line("a/connections/ours").contains("10.0x >= 5x pass"),
            "{table}"
        );
        assert!(
            line("a/round-trip-p50/ours").contains("3.00x >= 5x FAIL"),
            "{table}"
        );
        assert!(
            line("a/idle-memory-1000/ours").contains("<= 20 FAIL"),
            "{table}"
        );
        assert_eq!(
            report.json(&json!({}))["targets"].as_array().unwrap().len(),
            3
        );
    }
}
