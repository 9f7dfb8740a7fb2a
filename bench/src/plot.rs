//! The plots. A run has deliveries per second and the time of a fan-out, by the size of the room. The model has the cost
//! of a busy room, by messages a second.

use std::fmt::Write as _;

use serde_json::Value;

use crate::fanout::POST;
use crate::report::{Report, rounded};
use crate::tables::CONCURRENCY;

const SIZES: [usize; 5] = [10, 100, 1000, 5000, 10_000];
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const COLOURS: [&str; 5] = ["#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#999999"];

/// A line of a panel: its name, and its values by the position on the horizontal axis.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A panel: its title and its lines.
pub(crate) type Panel<'a> = (&'a str, Vec<Line>);

/// Renders the plot of a run. A panel without figures has no lines.
pub(crate) fn svg(report: &Report, about: &Value) -> String {
    let measured = |prefix: &str, whose: &str, name: &str| Line {
        name: name.to_owned(),
        points: SIZES
            .iter()
            .filter_map(|size| {
                Some((
                    *size as f64,
                    report.value(&format!("{prefix}-{size}/{whose}"))?,
                ))
            })
            .collect(),
    };
    let deliveries = vec![
        measured("service/deliveries", "ours", "ours"),
        measured(
            "peers/deliveries",
            "serverless-offline",
            "serverless-offline",
        ),
        measured(
            "peers/deliveries",
            "one-scan",
            "our gateway, a scan and unbounded sends",
        ),
        measured(
            "peers/deliveries",
            "one-by-one",
            "our gateway, a query and one send after the other",
        ),
    ];
    let ideal = SIZES.iter().map(|size| {
        let rounds = size.div_ceil(CONCURRENCY) as f64;
        (*size as f64, rounds * POST.as_secs_f64() * 1000.0)
    });
    let times = vec![
        measured("fan-out/wall", "ours", "publish"),
        measured("fan-out/wall", "bare", "a bare loop over the SDK's post"),
        Line {
            name: format!("{CONCURRENCY} posts at a time, {POST:?} each"),
            points: ideal.collect(),
        },
    ];
    let text = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
    let below = format!(
        "{} · {} · {} cores, {}",
        text("date"),
        text("commit"),
        about["machine"]["cores"],
        about["machine"]["processor"].as_str().unwrap_or_default()
    );
    let panels = [
        (
            "Deliveries per second, one message at a time, by members of the room",
            deliveries,
        ),
        ("Fan-out, ms, by members of the room", times),
    ];
    render(&SIZES.map(|size| size as f64), &panels, &below)
}

/// Renders two panels over the same horizontal axis, with a line of text below.
pub(crate) fn render(axis: &[f64], panels: &[Panel<'_>; 2], below: &str) -> String {
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1080 420" font-family="sans-serif" font-size="12">
<rect width="1080" height="420" fill="white"/>"#
    );
    for ((title, lines), left) in panels.iter().zip([70.0, 610.0]) {
        panel(&mut svg, left, title, axis, lines);
    }
    let _ = writeln!(
        svg,
        r##"<text x="70" y="412" fill="#666">{below}</text>
</svg>"##
    );
    svg
}

/// Draws one panel with its corner at `left`. Both axes are logarithmic.
fn panel(svg: &mut String, left: f64, title: &str, axis: &[f64], lines: &[Line]) {
    let top = 40.0;
    let values = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|(_, value)| *value)
    };
    let lowest = values().fold(f64::INFINITY, f64::min).log10().floor();
    let highest = values().fold(0.0, f64::max).log10().ceil();
    let _ = writeln!(
        svg,
        r#"<text x="{left}" y="{}" font-weight="bold">{title}</text>"#,
        top - 16.0
    );
    let (Some(first), Some(last)) = (axis.first(), axis.last()) else {
        return;
    };
    if !lowest.is_finite() || highest <= lowest {
        return;
    }
    let x = |place: f64| left + (place / first).log10() / (last / first).log10() * WIDTH;
    let y = |value: f64| top + HEIGHT * (1.0 - (value.log10() - lowest) / (highest - lowest));
    for power in (lowest as i32)..=(highest as i32) {
        let value = 10_f64.powi(power);
        let _ = writeln!(
            svg,
            r##"<path d="M{left} {0:.1}h{WIDTH}" stroke="#ddd"/><text x="{1}" y="{2:.1}" text-anchor="end">{value}</text>"##,
            y(value),
            left - 6.0,
            y(value) + 4.0
        );
    }
    for place in axis {
        let _ = writeln!(
            svg,
            r##"<text x="{:.1}" y="{}" text-anchor="middle">{place}</text>"##,
            x(*place),
            top + HEIGHT + 16.0
        );
    }
    let drawn = lines.iter().filter(|line| !line.points.is_empty());
    for (number, (line, colour)) in drawn.zip(COLOURS).enumerate() {
        let mut path = String::new();
        for (index, (place, value)) in line.points.iter().enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(*place), y(*value));
            let _ = writeln!(
                svg,
                r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"><title>{place}: {}</title></circle>"#,
                x(*place),
                y(*value),
                rounded(*value)
            );
        }
        let below = top + HEIGHT + 40.0 + 16.0 * number as f64;
        let _ = writeln!(
            svg,
            r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>
<path d="M{left} {below}h20" stroke="{colour}" stroke-width="2"/><text x="{}" y="{}">{}</text>"#,
            left + 26.0,
            below + 4.0,
            line.name
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_value_is_drawn_higher() {
        let mut report = Report::default();
        report.add("service/deliveries-100/ours", 8000.0, "1/s", "");
        report.add("service/deliveries-1000/ours", 9000.0, "1/s", "");
        let svg = svg(&report, &Value::Null);
        let height = |size: usize| -> f64 {
            let circle = svg
                .lines()
                .find(|line| line.contains(&format!("<title>{size}: ")))
                .unwrap();
            circle
                .split("cy=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        assert!(height(1000) < height(100), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
