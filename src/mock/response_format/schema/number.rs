//! Numbers that fit a schema.

use serde_json::{Map, Value};

use super::{Unsupported, only, unsupported};

/// A number within its bounds: zero where it fits, and else one near a bound.
pub(super) fn number(schema: &Map<String, Value>, is_integer: bool) -> Result<Value, Unsupported> {
    let bounds = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
    only(schema, &[&["type", "format", "multipleOf"][..], &bounds].concat())?;
    let bound = |name: &'static str| match schema.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| unsupported(name, value)),
    };
    let [least, above, most, below] =
        [bound(bounds[0])?, bound(bounds[1])?, bound(bounds[2])?, bound(bounds[3])?];
    let step = bound("multipleOf")?.or(is_integer.then_some(1.0));
    let fits = |number: f64| {
        least.is_none_or(|least| number >= least)
            && above.is_none_or(|above| number > above)
            && most.is_none_or(|most| number <= most)
            && below.is_none_or(|below| number < below)
            && step.is_none_or(|step| (number / step).fract() == 0.0)
            && (!is_integer || number.fract() == 0.0)
    };
    let lower = least.or(above);
    let upper = most.or(below);
    let near = |bound: f64, direction: f64| match step {
        Some(step) => {
            let first = (bound / step * direction).ceil() * direction * step;
            [first, first + direction * step]
        }
        None => [bound, bound + direction],
    };
    let mut candidates = vec![0.0];
    candidates.extend(lower.into_iter().flat_map(|lower| near(lower, 1.0)));
    candidates.extend(upper.into_iter().flat_map(|upper| near(upper, -1.0)));
    candidates.extend(lower.zip(upper).map(|(lower, upper)| f64::midpoint(lower, upper)));
    let number = candidates.into_iter().find(|number| fits(*number));
    let number = number.ok_or(Unsupported::Nothing("number"))?;
    // Integers that a float holds exactly are written as such.
    let is_exact = is_integer && number.abs() < (1_u64 << 53) as f64;
    Ok(if is_exact { Value::from(number as i64) } else { Value::from(number) })
}
