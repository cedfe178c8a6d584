//! How the mock behaves: flags at the start, and the door's fields while it runs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::{
    bounds::{Share, Whole},
    distribution::Distribution,
    names::Names,
};

/// How the mock behaves. A request fails in one way at most: hung, refused, cut and stalled are
/// tried in this order. Times are kept to the millisecond.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// Models that there are, with commas between them.
    #[arg(long, value_name = "NAMES", default_value = "mock")]
    pub models: Names,
    /// Time until an answer begins: `20ms`, `10ms..50ms` (uniform), `exp:20ms` (by mean) or
    /// `lognormal:20ms:200ms` (by median and p99).
    #[arg(long, value_name = "TIMES", default_value = "0ms")]
    pub latency: Distribution,
    /// Tokens of an answer, a word each.
    #[arg(long, value_name = "N", default_value = "16")]
    pub tokens: Whole<1, 100_000>,
    /// Time between the tokens of a stream, in the forms that --latency has; 0ms: all at once.
    #[arg(long, value_name = "TIMES", default_value = "0ms")]
    pub interval: Distribution,
    /// Share of requests that are refused with --error-status, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub error_rate: Share,
    /// Status of refusals.
    #[arg(long, value_name = "STATUS", default_value = "500")]
    pub error_status: Whole<400, 599>,
    /// Seconds after which refused clients are told to try again; without it they are told nothing.
    #[arg(long, value_name = "SECONDS")]
    pub retry_after: Option<Whole<0, 86_400>>,
    /// Share of requests that are never answered, on a connection that stays open, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub hang_rate: Share,
    /// Share of answers that end with the connection closed in the middle, 0 to 1: a stream after
    /// --cut-after tokens, any other answer after half of its body. Over HTTP/2 only the answer's
    /// own stream is reset.
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub cut_rate: Share,
    /// Tokens before a stream is cut; it is cut before its end in any case.
    #[arg(long, value_name = "N", default_value = "4")]
    pub cut_after: Whole<0, 100_000>,
    /// Share of answers that go silent in the middle for ever, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub stall_rate: Share,
    /// Tokens before a stream goes silent.
    #[arg(long, value_name = "N", default_value = "4")]
    pub stall_after: Whole<0, 100_000>,
    /// Bytes per write, also in the middle of a letter; 0: whole events.
    #[arg(long, value_name = "BYTES", default_value = "0")]
    pub piece: Whole<0, 1_048_576>,
    /// Time between pieces, in the forms that --latency has.
    #[arg(long, value_name = "TIMES", default_value = "0ms")]
    pub piece_interval: Distribution,
    /// Requests that are worked on at a time; further ones wait. Without it, all are.
    #[arg(long, value_name = "N")]
    pub max_in_flight: Option<Whole<1, 1_000_000>>,
    /// Keep the newest request, for `GET /mock/last`.
    #[arg(long)]
    pub record: bool,
}

/// Why a change was refused.
#[derive(Debug, Error, PartialEq)]
pub(super) enum BadChange {
    /// It is JSON, but no object.
    #[error("an object with the fields that change is wanted")]
    NoObject,
    /// A field that there is not, or a value that is not allowed.
    #[error("{message}")]
    Field {
        /// The field, as far as it is one.
        field: Option<String>,
        /// What is wrong with it.
        message: String,
    },
}

impl Behaviour {
    /// The same with the fields that `change` has.
    pub(super) fn changed(&self, change: Value) -> Result<Self, BadChange> {
        let Value::Object(change) = change else { return Err(BadChange::NoObject) };
        let whole = serde_json::to_value(self);
        let unnamed = |message| BadChange::Field { field: None, message };
        let mut whole = whole.map_err(|error| unnamed(error.to_string()))?;
        if let Value::Object(fields) = &mut whole {
            fields.extend(change);
        }
        serde_path_to_error::deserialize(whole).map_err(|error| {
            let field = error.path().to_string();
            let inner = error.inner().to_string();
            // Of a field that there is not, the message has the name.
            if inner.starts_with("unknown field") {
                return unnamed(inner);
            }
            BadChange::Field { message: format!("{field}: {inner}"), field: Some(field) }
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::{Args as _, FromArgMatches as _};
    use serde_json::json;

    use super::*;

    /// The behaviour that these flags ask for.
    pub(crate) fn behaviour(flags: &[&str]) -> Behaviour {
        let command = Behaviour::augment_args(clap::Command::new("mock").no_binary_name(true));
        let matches = command.try_get_matches_from(flags).expect("flags");
        Behaviour::from_arg_matches(&matches).expect("a behaviour")
    }

    #[test]
    fn a_change_has_the_fields_that_change_and_no_others() {
        let old = behaviour(&["--latency=exp:20ms", "--retry-after=3"]);
        let change = json!({ "latency": "5ms", "retry_after": null, "error_rate": 0.5 });
        let new = old.changed(change).expect("changed");
        assert_eq!(new, behaviour(&["--latency=5ms", "--error-rate=0.5"]));
        assert_eq!(old.changed(json!({})), Ok(old));
    }

    #[test]
    fn a_change_that_is_not_allowed_is_named() {
        let old = behaviour(&[]);
        for (change, said) in [
            (json!({ "error_rate": 2 }), "error_rate: `2` is not allowed: a number from 0 to 1"),
            (json!({ "tokens": 0 }), "tokens: `0` is not allowed: a whole number from 1 to 100000"),
            (json!({ "retry_after": "x" }), "retry_after: `\"x\"` is not allowed: a whole number"),
            (json!({ "latency": "soon" }), "latency: `soon` is not allowed: 20ms, "),
            (json!({ "models": [] }), "models: `[]` is not allowed: 1 to 1000"),
            (json!({ "record": 1 }), "record: invalid type: integer `1`, expected a boolean"),
            (json!({ "delay": 1 }), "unknown field `delay`, expected one of `models`, "),
            (json!([]), "an object with the fields that change is wanted"),
        ] {
            let error = old.changed(change).expect_err(said).to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn every_field_is_a_flag() {
        let fields = serde_json::to_value(behaviour(&[])).expect("JSON");
        let command = Behaviour::augment_args(clap::Command::new("mock"));
        let flags: Vec<_> =
            command.get_arguments().map(|flag| flag.get_id().as_str().to_owned()).collect();
        let mut fields: Vec<_> = fields.as_object().expect("an object").keys().cloned().collect();
        fields.sort();
        let mut sorted = flags;
        sorted.sort();
        assert_eq!(sorted, fields);
    }
}
