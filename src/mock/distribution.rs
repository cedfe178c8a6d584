//! How long something takes, which need not always be as long.

use std::{fmt, str::FromStr, time::Duration};

use jiff::fmt::friendly::{Designator, Spacing, SpanParser, SpanPrinter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bounds::NotAllowed;

/// A distribution of times.
///
/// Written as `20ms`, `10ms..50ms` (each as likely), `exp:20ms` (exponential, by its mean) or
/// `lognormal:20ms:200ms` (by its median and 99th percentile).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "Value", into = "String")]
pub struct Distribution(Shape);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Fixed(Duration),
    Uniform { least: Duration, most: Duration },
    Exponential { mean: Duration },
    LogNormal { median: Duration, p99: Duration },
}

/// Longest time that can be given or drawn.
const LONGEST: Duration = Duration::from_mins(10);
/// By how many standard deviations the 99th percentile of a normal distribution is above its mean.
const P99: f64 = 2.326_347_874;
const ALLOWED: &str = "20ms, 10ms..50ms (uniform), exp:20ms (by mean) or lognormal:20ms:200ms (by \
                       median and p99), up to 10m";

impl Distribution {
    /// Whether it never takes any time.
    pub(super) fn is_zero(self) -> bool {
        self.0 == Shape::Fixed(Duration::ZERO)
    }

    /// Draws a time, never longer than ten minutes.
    pub(super) fn draw(self) -> Duration {
        let seconds = match self.0 {
            Shape::Fixed(time) => return time,
            Shape::Uniform { least, most } => {
                return least + most.saturating_sub(least).mul_f64(fastrand::f64());
            }
            Shape::Exponential { mean } => mean.as_secs_f64() * -open().ln(),
            Shape::LogNormal { median, p99 } => {
                let deviation = p99.div_duration_f64(median).ln() / P99;
                median.as_secs_f64() * (deviation * normal()).exp()
            }
        };
        Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))
    }
}

/// Above 0, where there is a logarithm, and up to 1.
fn open() -> f64 {
    1.0 - fastrand::f64()
}

/// Normally distributed around 0 with a deviation of 1, by Box and Muller.
fn normal() -> f64 {
    (-2.0 * open().ln()).sqrt() * (std::f64::consts::TAU * fastrand::f64()).cos()
}

fn parse(text: &str) -> Option<Shape> {
    if let Some(mean) = text.strip_prefix("exp:") {
        let mean = time(mean).filter(|mean| !mean.is_zero())?;
        return Some(Shape::Exponential { mean });
    }
    if let Some(both) = text.strip_prefix("lognormal:") {
        let (median, p99) = both.split_once(':')?;
        let (median, p99) = (time(median)?, time(p99)?);
        let allowed = !median.is_zero() && median <= p99;
        return allowed.then_some(Shape::LogNormal { median, p99 });
    }
    if let Some((least, most)) = text.split_once("..") {
        let (least, most) = (time(least)?, time(most)?);
        return (least <= most).then_some(Shape::Uniform { least, most });
    }
    time(text).map(Shape::Fixed)
}

fn time(text: &str) -> Option<Duration> {
    let parsed = SpanParser::new().parse_unsigned_duration(text.trim()).ok();
    parsed.filter(|time| *time <= LONGEST)
}

impl FromStr for Distribution {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        parse(text).map(Self).ok_or_else(|| NotAllowed::new(text, ALLOWED))
    }
}

impl TryFrom<Value> for Distribution {
    type Error = NotAllowed;

    fn try_from(value: Value) -> Result<Self, NotAllowed> {
        match &value {
            Value::String(text) => text.parse(),
            other => Err(NotAllowed::new(other, ALLOWED)),
        }
    }
}

impl From<Distribution> for String {
    fn from(distribution: Distribution) -> Self {
        distribution.to_string()
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printer = SpanPrinter::new().designator(Designator::Compact).spacing(Spacing::None);
        let text = |time| printer.unsigned_duration_to_string(&time);
        match self.0 {
            Shape::Fixed(time) => f.write_str(&text(time)),
            Shape::Uniform { least, most } => write!(f, "{}..{}", text(least), text(most)),
            Shape::Exponential { mean } => write!(f, "exp:{}", text(mean)),
            Shape::LogNormal { median, p99 } => {
                write!(f, "lognormal:{}:{}", text(median), text(p99))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Distribution {
        text.parse().expect(text)
    }

    /// Many draws, in order, in seconds.
    fn drawn(text: &str) -> Vec<f64> {
        let distribution = read(text);
        let mut times: Vec<_> = (0..20_000).map(|_| distribution.draw().as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    fn assert_near(found: f64, wanted: f64) {
        assert!((found / wanted - 1.0).abs() < 0.15, "{found} is not near {wanted}");
    }

    #[test]
    fn reads_what_it_writes() {
        for text in ["0s", "20ms", "1s500ms", "10ms..50ms", "exp:20ms", "lognormal:20ms:200ms"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert!(read("0ms").is_zero() && !read("1us").is_zero());
    }

    #[test]
    fn names_what_is_allowed() {
        let bad = [
            "",
            "soon",
            "20",
            "-1ms",
            "11m",
            "50ms..10ms",
            "exp:0ms",
            "exp:",
            "lognormal:20ms",
            "lognormal:20ms:10ms",
            "lognormal:0ms:1ms",
            "1ms..",
            "1ms..2ms..3ms",
        ];
        for text in bad {
            assert_eq!(text.parse::<Distribution>(), Err(NotAllowed::new(text, ALLOWED)));
        }
        let error = serde_json::from_str::<Distribution>("20").expect_err("a number");
        assert!(error.to_string().starts_with("`20` is not allowed: 20ms, "), "{error}");
    }

    #[test]
    fn draws_as_it_says() {
        assert_eq!(read("20ms").draw(), Duration::from_millis(20));
        let uniform = drawn("10ms..50ms");
        assert!(uniform.iter().all(|time| (0.01..=0.05).contains(time)));
        assert_near(uniform[10_000], 0.03);
        let exponential = drawn("exp:20ms");
        assert_near(exponential.iter().sum::<f64>() / 20_000.0, 0.02);
        assert_near(exponential[10_000], 0.02 * std::f64::consts::LN_2);
        let normal = drawn("lognormal:20ms:200ms");
        assert_near(normal[10_000], 0.02);
        assert_near(normal[19_800], 0.2);
        assert!(drawn("exp:10m").iter().all(|time| *time <= LONGEST.as_secs_f64()));
    }
}
