//! The configuration of the cache.

use std::{collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};
use thermograph_common::Invalid;
use thermograph_engine::ModelConfig;

/// What is kept, how long, and for whom.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Memory for answers in chats, completions and rankings; none are kept where it is 0. Default
    /// is 0.
    pub answers: ByteSize,
    /// Memory for vectors of texts; none are kept where it is 0. Default is 0.
    pub vectors: ByteSize,
    /// How long what is kept may be used. Default is 1 h.
    #[serde(with = "duration")]
    pub ttl: Duration,
    /// Largest answer that is kept. Default is 1 MiB.
    pub largest: ByteSize,
    /// Whose questions are answered with what is kept. Default is `tenant`.
    pub scope: Scope,
    /// Whether Redis, where there is one, keeps it too, for all instances. Default is true.
    pub redis: bool,
    /// How long a question waits for the answer that an equal one gets already; then it is asked
    /// for itself. Default is 10 s.
    #[serde(with = "duration")]
    pub longest_wait: Duration,
    /// How alike what the user says last must be in two chats that are equal otherwise for one
    /// answer to do for both: the cosine of their vectors, 0.5 to 1. Off where it is 0. Default is 0.
    pub semantic_threshold: f64,
    /// The local model that compares them. Default is `all-MiniLM-L6-v2`.
    pub semantic_model: String,
}

/// Whose questions are answered with what is kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those of the one who asked first: by key, or by what `authorization` says.
    #[default]
    Tenant,
    /// Everybody's: how fast an answer comes tells whether somebody has asked that before.
    Shared,
}

impl Config {
    /// Bounds of what one entry and all of them may take.
    const LARGEST: std::ops::RangeInclusive<u64> = 1024..=64 << 20;
    const MOST: u64 = 1 << 40;

    /// Checks what the types cannot say.
    pub(crate) fn validate(&self, models: &BTreeMap<String, ModelConfig>) -> Result<(), Invalid> {
        for (key, size) in [("answers", self.answers), ("vectors", self.vectors)] {
            if size.as_u64() > Self::MOST {
                return Err(Invalid::new(format!("cache.{key}"), size, "0 B to 1 TiB"));
            }
        }
        if !Self::LARGEST.contains(&self.largest.as_u64()) {
            return Err(Invalid::new("cache.largest", self.largest, "1 KiB to 64 MiB"));
        }
        let threshold = self.semantic_threshold;
        if threshold != 0.0 && !(0.5..=1.0).contains(&threshold) {
            return Err(Invalid::new(
                "cache.semantic_threshold",
                threshold,
                "0 for none, or 0.5 to 1",
            ));
        }
        if threshold != 0.0 && !models.contains_key(&self.semantic_model) {
            let names: Vec<_> = models.keys().map(String::as_str).collect();
            let allowed = format!("a local model, which are: {}", names.join(", "));
            return Err(Invalid::new("cache.semantic_model", &self.semantic_model, allowed));
        }
        if threshold != 0.0 && self.answers.as_u64() == 0 {
            let allowed = "0, since no answers are kept (`cache.answers` is 0 B)";
            return Err(Invalid::new("cache.semantic_threshold", threshold, allowed));
        }
        let year = Duration::from_hours(24 * 365);
        Invalid::unless_within("cache.ttl", self.ttl, Duration::from_secs(1)..=year)?;
        let hour = Duration::from_hours(1);
        Invalid::unless_within("cache.longest_wait", self.longest_wait, Duration::ZERO..=hour)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            answers: ByteSize::b(0),
            vectors: ByteSize::b(0),
            ttl: Duration::from_hours(1),
            largest: ByteSize::mib(1),
            scope: Scope::default(),
            redis: true,
            longest_wait: Duration::from_secs(10),
            semantic_threshold: 0.0,
            semantic_model: ModelConfig::DEFAULT_NAME.to_owned(),
        }
    }
}
