//! The arguments of `thermograph load`.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;

use super::{Address, BadTraffic, Limit, Mix, Pace, Plan, Target, Traffic};

/// Drive traffic at a service and tell its latencies.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = LOOPS)]
pub struct Args {
    /// Where the service is; plain http only.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: Address,
    /// Connections, each with one request on its way at a time.
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,
    /// How long to measure, such as `10s` or `1m 30s`.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    pub duration: Duration,
    /// Measure this many requests instead of a time.
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Requests a second on a fixed schedule (open loop), latency counted from when each was due.
    /// Without it, each connection sends when its last answer came (closed loop).
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub rate: Option<f64>,
    /// Before measuring: drive for this long and forget it.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub warmup: Duration,
    /// Longest time an answer may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    pub timeout: Duration,
    /// What is asked.
    #[command(flatten)]
    pub traffic: TrafficArgs,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Exit with code 1 when any request failed.
    #[arg(long)]
    pub fail_on_error: bool,
}

/// What is asked of a service.
#[derive(Clone, Debug, clap::Args)]
pub struct TrafficArgs {
    /// Embedding traffic by weight: `short` sentences, `long` paragraphs of about 200 tokens,
    /// `batch` of 8 to 32 short sentences.
    #[arg(long, value_name = "MIX", default_value_t)]
    pub mix: Mix,
    /// Model that embeddings are asked of.
    #[arg(long, value_name = "NAME", default_value = Mix::MODEL)]
    pub model: String,
    /// Drive at this instead of embeddings; may be repeated. The weight is what follows the last
    /// `=`; a JSON body may follow the path: `POST /path {"a":1}=2`.
    #[arg(long = "target", value_name = "METHOD /PATH=WEIGHT", conflicts_with_all = ["mix", "model"])]
    pub targets: Vec<Target>,
}

const LOOPS: &str = "\
A closed loop shows the most that the service can do, and how long it works on a request. It cannot \
show what clients feel: while the service stalls the loop asks for nothing, so that a stall counts \
only once for each connection. For that, give a --rate below the most: latency then counts from the \
moment a request was due, and a stall delays all that fell due meanwhile.";

impl Args {
    /// What is to be driven.
    pub fn plan(self) -> Result<Plan, BadTraffic> {
        Ok(Plan {
            address: self.url,
            traffic: self.traffic.traffic()?,
            connections: usize::from(self.connections),
            limit: self.requests.map_or(Limit::Time(self.duration), Limit::Requests),
            pace: self.rate.map_or(Pace::Closed, |rate| Pace::Open { rate }),
            warmup: self.warmup,
            timeout: self.timeout,
        })
    }
}

impl TrafficArgs {
    /// The targets where there are some, and else embeddings.
    pub(crate) fn traffic(&self) -> Result<Traffic, BadTraffic> {
        if self.targets.is_empty() {
            Traffic::embeddings(self.mix, &self.model)
        } else {
            Traffic::targets(self.targets.iter().cloned())
        }
    }
}

/// A [`duration`] in which something can happen.
fn some_time(text: &str) -> Result<Duration, String> {
    let some = duration(text)?;
    if some.is_zero() { Err("more than nothing is wanted".to_owned()) } else { Ok(some) }
}

/// `10s`, `500ms`, `1m 30s`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let parsed = SpanParser::new().parse_unsigned_duration(text);
    parsed.map_err(|_| "a time such as 10s, 500ms or 1m 30s is wanted".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "a number of requests a second is wanted, 0.001 to 1000000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_people_write_it() {
        for (text, millis) in [("10s", 10_000), ("500ms", 500), ("1m 30s", 90_000), ("2", 2_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "soon", "-1s", "1 fortnight"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_a_positive_number() {
        assert_eq!(rate("2.5"), Ok(2.5));
        for bad in ["0", "-1", "nan", "inf", "x"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
