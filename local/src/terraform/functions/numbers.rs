//! Functions of numbers.

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, FromPrimitive as _, Signed as _, Zero as _};

use super::{Arguments, Function};
use crate::terraform::value::Value;

/// The longest result of `range`, Terraform's own.
const MAX_RANGE: usize = 1024;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("abs", |args| Ok(args.number(0)?.abs().into())),
    ("ceil", |args| {
        Ok(args
            .number(0)?
            .with_scale_round(0, bigdecimal::RoundingMode::Ceiling)
            .into())
    }),
    ("floor", |args| {
        Ok(args
            .number(0)?
            .with_scale_round(0, bigdecimal::RoundingMode::Floor)
            .into())
    }),
    ("log", |args| {
        let (number, base) = (args.float(0)?, args.float(1)?);
        float(number.ln() / base.ln())
    }),
    ("max", |args| extreme(args, |a, b| a > b)),
    ("min", |args| extreme(args, |a, b| a < b)),
    ("parseint", parseint),
    ("pow", |args| float(args.float(0)?.powf(args.float(1)?))),
    ("range", range),
    ("signum", |args| {
        let sign = match args.number(0)?.sign() {
            Sign::Minus => -1,
            Sign::NoSign => 0,
            Sign::Plus => 1,
        };
        Ok(BigDecimal::from(sign).into())
    }),
    ("sum", |args| {
        let values = args.list(0)?;
        if values.is_empty() {
            return Err("the list is empty".to_owned());
        }
        let mut sum = BigDecimal::zero();
        for value in values.iter() {
            sum += value
                .as_number()
                .ok_or_else(|| format!("{} is not a number", value.to_json()))?;
        }
        Ok(sum.into())
    }),
];

fn float(number: f64) -> Result<Value, String> {
    // By its shortest text, so that 0.1 stays 0.1.
    crate::terraform::value::parse_number(&number.to_string())
        .or_else(|| BigDecimal::from_f64(number))
        .map(Value::Number)
        .ok_or_else(|| "the result is not a number".to_owned())
}

fn extreme(
    args: &Arguments<'_>,
    is_better: fn(&BigDecimal, &BigDecimal) -> bool,
) -> Result<Value, String> {
    let mut best = args.number(0)?;
    for index in 1..args.values.len() {
        let next = args.number(index)?;
        if is_better(&next, &best) {
            best = next;
        }
    }
    Ok(best.into())
}

fn parseint(args: &Arguments<'_>) -> Result<Value, String> {
    let text = args.string(0)?;
    let base = args.whole(1)?;
    let radix = u32::try_from(base)
        .ok()
        .filter(|base| (2..=62).contains(base));
    let radix = radix.ok_or_else(|| format!("the base {base} is not from 2 to 62"))?;
    let digits = text.trim_start_matches(['-', '+']);
    if digits.is_empty() || text.len() - digits.len() > 1 {
        return Err(format!("\"{text}\" is not a whole number"));
    }
    let mut number = BigInt::zero();
    for digit in digits.chars() {
        let value = match digit {
            '0'..='9' => u32::from(digit) - u32::from('0'),
            'a'..='z' => u32::from(digit) - u32::from('a') + 10,
            // Up to base 36 the case makes no difference.
            'A'..='Z' if radix <= 36 => u32::from(digit) - u32::from('A') + 10,
            'A'..='Z' => u32::from(digit) - u32::from('A') + 36,
            _ => radix,
        };
        if value >= radix {
            return Err(format!("\"{text}\" is not a whole number of base {radix}"));
        }
        number = number * radix + value;
    }
    if text.starts_with('-') {
        number = -number;
    }
    Ok(BigDecimal::from(number).into())
}

fn range(args: &Arguments<'_>) -> Result<Value, String> {
    let (start, end) = match args.values.len() {
        1 => (BigDecimal::zero(), args.number(0)?),
        _ => (args.number(0)?, args.number(1)?),
    };
    let is_down = end < start;
    let step = match args.values.len() {
        3 => args.number(2)?,
        _ if is_down => BigDecimal::from(-1),
        _ => BigDecimal::from(1),
    };
    if step.is_zero() || step.is_negative() != is_down && start != end {
        return Err(format!("the step leads away from the end {end}"));
    }
    let mut values = Vec::new();
    let mut next = start;
    while if is_down { next > end } else { next < end } {
        if values.len() == MAX_RANGE {
            return Err(format!(
                "the range would have more than {MAX_RANGE} elements"
            ));
        }
        values.push(next.clone().into());
        next += &step;
    }
    Ok(values.into())
}
