//! `format` and `formatlist`, with the verbs of Go's `fmt`.

use bigdecimal::{BigDecimal, RoundingMode, Signed as _, ToPrimitive as _};

use super::{Arguments, Function};
use crate::terraform::value::{Value, json_string, number_text};

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("format", |args| {
        let values = args.values.get(1..).unwrap_or_default();
        format(&args.string(0)?, values).map(Value::from)
    }),
    ("formatlist", formatlist),
];

/// The widest field, so that a format cannot take all memory.
const MAX_WIDTH: usize = 10_000;

fn formatlist(args: &Arguments<'_>) -> Result<Value, String> {
    let template = args.string(0)?;
    let values = args.values.get(1..).unwrap_or_default();
    let lengths: Vec<usize> = values
        .iter()
        .filter_map(|v| v.elements().map(|l| l.len()))
        .collect();
    let length = lengths.first().copied().unwrap_or(1);
    if lengths.iter().any(|other| *other != length) {
        return Err("the lists have different lengths".to_owned());
    }
    let row = |index: usize| {
        let row: Vec<Value> = values
            .iter()
            .map(|value| match value.elements() {
                Some(values) => values.get(index).cloned().unwrap_or(Value::Null),
                None => value.clone(),
            })
            .collect();
        format(&template, &row).map(Value::from)
    };
    (0..length).map(row).collect()
}

/// The flags, width and precision of a verb.
#[derive(Default)]
struct Field {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

fn format(template: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut next = 0;
    let mut highest = 0;
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let mut field = Field::default();
        loop {
            match rest.chars().next() {
                Some('-') => field.minus = true,
                Some('+') => field.plus = true,
                Some(' ') => field.space = true,
                Some('0') => field.zero = true,
                Some('#') => field.sharp = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        let digits = |rest: &mut &str| {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            *rest = after;
            number.parse::<usize>().ok()
        };
        field.width = digits(&mut rest);
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            field.precision = Some(digits(&mut rest).unwrap_or(0));
        }
        if field
            .width
            .max(field.precision)
            .is_some_and(|n| n > MAX_WIDTH)
        {
            return Err(format!("a field of the format is wider than {MAX_WIDTH}"));
        }
        if let Some(after) = rest.strip_prefix('[') {
            rest = after;
            let number = digits(&mut rest).filter(|n| *n > 0);
            let after = rest.strip_prefix(']');
            let (Some(number), Some(after)) = (number, after) else {
                return Err("the format has an argument number that is not valid".to_owned());
            };
            next = number - 1;
            rest = after;
        }
        let verb = rest.chars().next().ok_or("the format ends within a verb")?;
        rest = &rest[verb.len_utf8()..];
        let value = values
            .get(next)
            .ok_or_else(|| format!("the format needs {} arguments", next + 1))?;
        next += 1;
        highest = highest.max(next);
        out.push_str(&pad(&verbatim(verb, &field, value)?, &field));
    }
    out.push_str(rest);
    if highest < values.len() {
        return Err(format!(
            "the format uses {highest} of {} arguments",
            values.len()
        ));
    }
    Ok(out)
}

fn verbatim(verb: char, field: &Field, value: &Value) -> Result<String, String> {
    let number = || {
        value
            .as_number()
            .ok_or_else(|| format!("%{verb} needs a number, and the value is {}", value.kind()))
    };
    let cut = |text: String| match field.precision {
        Some(precision) => super::strings::graphemes(&text).take(precision).collect(),
        None => text,
    };
    Ok(match verb {
        'v' if field.sharp => value.to_json(),
        'v' => match value {
            Value::String(text) => cut(text.clone()),
            Value::Number(number) => signed(&number_text(&number.abs()), number, field),
            other => other.to_json(),
        },
        's' => match value {
            Value::List(_)
            | Value::Set(_)
            | Value::Object(_)
            | Value::Resource { .. }
            | Value::Null => {
                return Err(format!(
                    "%s needs a string, and the value is {}",
                    value.kind()
                ));
            }
            other => cut(other.text()?),
        },
        'q' => json_string(&cut(value.text()?)),
        't' => value
            .as_bool()
            .ok_or_else(|| format!("%t needs a boolean, and the value is {}", value.kind()))?
            .to_string(),
        'd' => {
            let number = number()?.with_scale_round(0, RoundingMode::Down);
            signed(&number_text(&number.abs()), &number, field)
        }
        'b' | 'o' | 'x' | 'X' => {
            let number = number()?;
            let whole = number.abs().to_u128().ok_or("the number is too large")?;
            let digits = match verb {
                'b' => format!("{whole:b}"),
                'o' => format!("{whole:o}"),
                'x' => format!("{whole:x}"),
                _ => format!("{whole:X}"),
            };
            signed(&digits, &number, field)
        }
        'f' | 'F' => {
            let number = number()?;
            let places = i64::try_from(field.precision.unwrap_or(6)).unwrap_or(6);
            let digits = number
                .abs()
                .with_scale_round(places, RoundingMode::HalfEven);
            signed(&digits.to_plain_string(), &number, field)
        }
        'e' | 'E' | 'g' | 'G' => {
            let number = number()?;
            let float = number.abs().to_f64().ok_or("the number is too large")?;
            let text = match verb {
                'e' | 'E' => exponent(format!("{float:.*e}", field.precision.unwrap_or(6))),
                _ => general(float, field.precision),
            };
            let text = if verb.is_uppercase() {
                text.to_uppercase()
            } else {
                text
            };
            signed(&text, &number, field)
        }
        other => return Err(format!("the format has no verb %{other}")),
    })
}

/// Rust's `1.2e4` as Go writes it: `1.2e+04`.
fn exponent(text: String) -> String {
    match text.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = match power.strip_prefix('-') {
                Some(power) => ('-', power),
                None => ('+', power),
            };
            format!("{digits}e{sign}{power:0>2}")
        }
        None => text,
    }
}

/// The shorter of a plain number and one with an exponent.
fn general(float: f64, precision: Option<usize>) -> String {
    let scientific = match precision {
        Some(precision) => format!("{float:.*e}", precision.max(1) - 1),
        None => format!("{float:e}"),
    };
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let limit = precision.map_or(6, |p| i32::try_from(p.max(1)).unwrap_or(6));
    let trimmed = |text: &str| {
        if precision.is_some() && text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if power < -4 || power >= limit {
        exponent(format!("{}e{power}", trimmed(digits)))
    } else {
        match precision {
            Some(precision) => {
                let places = i32::try_from(precision.max(1)).unwrap_or(21) - 1 - power;
                trimmed(&format!("{float:.*}", usize::try_from(places).unwrap_or(0)))
            }
            None => format!("{float}"),
        }
    }
}

fn signed(digits: &str, number: &BigDecimal, field: &Field) -> String {
    let sign = match (number.is_negative(), field.plus, field.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let width = field.width.unwrap_or(0).saturating_sub(sign.len());
    if field.zero && !field.minus {
        format!("{sign}{digits:0>width$}")
    } else {
        format!("{sign}{digits}")
    }
}

fn pad(text: &str, field: &Field) -> String {
    let width = field.width.unwrap_or(0);
    let missing = width.saturating_sub(super::strings::graphemes(text).count());
    if field.minus {
        format!("{text}{}", " ".repeat(missing))
    } else {
        format!("{}{text}", " ".repeat(missing))
    }
}
