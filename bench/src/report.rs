//! The figures of a run: a table for people, and JSON for programs.

use serde::Serialize;
use serde_json::{Value, json};

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// `section/quantity/service`, the key for targets and the plot.
    pub(crate) id: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// A remark for the reader.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

/// The bound of a target, by itself or beside another figure of the same run.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    AtMost(f64),
    /// Times more than the other figure.
    TimesMore(f64, &'static str),
    /// Times less than the other figure.
    TimesLess(f64, &'static str),
    /// Not more than so many times the other figure.
    AtMostTimes(f64, &'static str),
}

use Wanted::{AtMost, AtMostTimes, TimesLess, TimesMore};

/// The promises. They are printed and fail no run: a machine may be slow.
///
/// An ack means stored, and the peers store nothing: so the round trip is not held to a multiple of theirs. It takes at
/// most twice as long as that of a handler which promises nothing, and less than that of serverless-offline.
const TARGETS: [(&str, Wanted); 23] = [
    (
        "service/connections/ours",
        TimesMore(5.0, "peers/connections/serverless-offline"),
    ),
    (
        "service/round-trip-p50/ours",
        AtMostTimes(2.0, "peers/round-trip-p50/one-by-one"),
    ),
    (
        "service/round-trip-p99/ours",
        AtMostTimes(2.0, "peers/round-trip-p99/one-by-one"),
    ),
    (
        "service/round-trip-p50/ours",
        TimesLess(1.0, "peers/round-trip-p50/serverless-offline"),
    ),
    (
        "service/round-trip-p99/ours",
        TimesLess(1.0, "peers/round-trip-p99/serverless-offline"),
    ),
    (
        "service/deliveries-100/ours",
        TimesMore(5.0, "peers/deliveries-100/serverless-offline"),
    ),
    (
        "service/deliveries-1000/ours",
        TimesMore(3.0, "peers/deliveries-1000/serverless-offline"),
    ),
    (
        "service/memory-1000/ours",
        TimesLess(5.0, "peers/memory-1000/serverless-offline"),
    ),
    ("service/idle-memory-1000/ours", AtMost(20.0)),
    ("service/idle-memory-10000/ours", AtMost(20.0)),
    ("fan-out/cpu-ratio-1000/ours", AtMost(1.1)),
    ("fan-out/wall-ratio-1000/ours", AtMost(1.1)),
    ("fan-out/memory-10000/ours", AtMost(30.0)),
    ("cold-start/first-answer-128/connect", AtMost(60.0)),
    ("cold-start/first-answer/connect", AtMost(15.0)),
    ("busy/posts-1000/paced", AtMost(10.0)),
    ("busy/lost-1000/paced", AtMost(0.0)),
    ("busy/repairs-1000/paced", AtMost(1.0)),
    ("busy/throttled-1000/paced", AtMost(1.0)),
    ("busy/delivery-p50-1000/paced", AtMost(300.0)),
    ("busy/delivery-p99-1000/paced", AtMost(800.0)),
    ("busy/ack-p99-1000/paced", AtMost(200.0)),
    ("busy/usd-hour-1000/paced", AtMost(20.0)),
];

impl Wanted {
    /// The other figure, the bound, its sign and its unit.
    fn parts(self) -> (Option<&'static str>, f64, &'static str, &'static str) {
        match self {
            AtMost(bound) => (None, bound, "<=", ""),
            TimesMore(bound, than) | TimesLess(bound, than) => (Some(than), bound, ">=", "x"),
            AtMostTimes(bound, than) => (Some(than), bound, "<=", "x"),
        }
    }

    /// Compares the figure `value` with the other one: what the bound is about.
    fn is(self, value: f64, other: f64) -> f64 {
        match self {
            AtMost(_) => value,
            TimesMore(..) | AtMostTimes(..) => value / other,
            TimesLess(..) => other / value,
        }
    }

    fn passes(self, is: f64) -> bool {
        match self {
            AtMost(bound) | AtMostTimes(bound, _) => is <= bound,
            TimesMore(bound, _) | TimesLess(bound, _) => is >= bound,
        }
    }
}

/// All figures of a run, in the order they were taken.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    /// The title and the lines of further tables.
    pub(crate) tables: Vec<(String, Vec<String>)>,
}

impl Report {
    /// Adds a figure and prints it at once, as a run takes minutes.
    pub(crate) fn add(&mut self, id: &str, value: f64, unit: &'static str, note: &str) {
        eprintln!("  {id:<48} {} {unit} {note}", rounded(value));
        self.figures.push(Figure {
            id: id.to_owned(),
            value,
            unit,
            note: note.to_owned(),
        });
    }

    /// Returns the bound of the figure's target, and true if the figure passes it. None for a figure without a target.
    pub(crate) fn verdict(&self, id: &str) -> Option<(f64, bool)> {
        let (_, wanted) = TARGETS.iter().find(|(target, _)| *target == id)?;
        let is = self.reached(id, *wanted)?;
        Some((wanted.parts().1, wanted.passes(is)))
    }

    pub(crate) fn value(&self, id: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|figure| figure.id == id)
            .map(|figure| figure.value)
    }

    /// Renders all figures, tables and targets as text.
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
            "\n{:<36} {:<40} {:>10} {:>10}",
            "target", "beside", "is", "wanted"
        ));
        for (id, wanted) in TARGETS {
            let Some(is) = self.reached(id, wanted) else {
                continue;
            };
            let (than, bound, sign, unit) = wanted.parts();
            lines.push(format!(
                "{id:<36} {:<40} {:>9}{unit:1} {sign} {bound}{unit} {}",
                than.unwrap_or_default(),
                rounded(is),
                if wanted.passes(is) { "pass" } else { "FAIL" },
            ));
        }
        lines.join("\n")
    }

    /// Renders all figures, tables and targets as JSON, with the description of the run.
    pub(crate) fn json(&self, run: &Value) -> Value {
        let targets: Vec<Value> = TARGETS
            .iter()
            .filter_map(|(id, wanted)| {
                let is = self.reached(id, *wanted)?;
                let (than, bound, sign, _) = wanted.parts();
                let passes = wanted.passes(is);
                Some(json!({"id": id, "than": than, "is": is, "sign": sign, "bound": bound, "passes": passes}))
            })
            .collect();
        json!({"run": run, "figures": self.figures, "targets": targets, "tables": self.tables})
    }

    /// The value that a target's bound is about, or nothing when a figure is missing.
    fn reached(&self, id: &str, wanted: Wanted) -> Option<f64> {
        let value = self.value(id)?;
        let other = match wanted.parts().0 {
            Some(than) => self.value(than)?,
            None => value,
        };
        Some(wanted.is(value, other))
    }
}

/// Rounds to about three digits: a run is not more exact.
pub(crate) fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_judged_in_its_own_direction() {
        let mut report = Report::default();
        report.add("service/connections/ours", 1000.0, "1/s", "");
        report.add("peers/connections/serverless-offline", 100.0, "1/s", "");
        report.add("service/round-trip-p50/ours", 2.0, "ms", "");
        report.add("peers/round-trip-p50/one-by-one", 0.8, "ms", "");
        report.add("peers/round-trip-p50/serverless-offline", 6.0, "ms", "");
        report.add("service/idle-memory-1000/ours", 21.0, "KB", "");
        let table = report.table();
        let line = |id, than| {
            table
                .lines()
                .find(|line| line.starts_with(id) && line.contains('=') && line.contains(than))
                .unwrap()
        };
        for (id, than, verdict) in [
            (
                "service/connections/ours",
                "serverless-offline",
                "10.0x >= 5x pass",
            ),
            (
                "service/round-trip-p50/ours",
                "one-by-one",
                "2.50x <= 2x FAIL",
            ),
            (
                "service/round-trip-p50/ours",
                "serverless-offline",
                "3.00x >= 1x pass",
            ),
            ("service/idle-memory-1000/ours", "", "<= 20 FAIL"),
        ] {
            assert!(line(id, than).contains(verdict), "{id}: {table}");
        }
        assert_eq!(
            report.json(&json!({}))["targets"].as_array().unwrap().len(),
            4
        );
    }
}
