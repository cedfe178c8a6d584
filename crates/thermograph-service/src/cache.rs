//! The cache: what was asked before is not asked again.
//!
//! ```text
//! question ── key ── memory ── who asks already? ── Redis ── another instance? ── upstream, engine
//! ```
//!
//! Only whole answers with 200 are kept; a question that several have at once is asked once, and
//! all of them are told what came of it. Where Redis is gone, it is done without.

mod answer;
mod config;
mod flight;
mod key;
mod lock;
mod meters;
mod question;
mod recorder;
mod semantic;
mod shelf;
mod vector;
mod wish;

pub use self::config::{Config, Scope};
pub(crate) use self::{
    answer::{Answer, CACHE},
    key::{Key, KeyBuilder},
    question::{Asked, Unread},
    recorder::record,
    semantic::{Alike, Meaning, Semantic},
    shelf::{One, Question, Shelf, Way},
    vector::Vector,
    wish::Wish,
};
use http::StatusCode;
use moka::sync::Cache as Memory;
use thermograph_common::CpuPool;
use thermograph_engine::EmbedError;

use super::{error::ApiError, redis::Redis};

/// What is kept; of each kind none where none is to be.
pub(crate) struct Cache {
    pub(crate) answers: Option<Shelf<Answer>>,
    pub(crate) vectors: Option<Shelf<Vector>>,
    /// None where questions are not compared by what they mean.
    pub(crate) semantic: Option<Semantic>,
    /// Questions that were read over, by their bytes: the same bytes are the same question.
    known: Memory<Key, Key>,
    scope: Scope,
}

/// Why a question has no answer that could be kept: what all are told who have it.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// What the upstream said.
    Answer(Answer),
    /// What we say.
    Error(ApiError),
}

impl Cache {
    /// Most questions that are known by their bytes.
    const KNOWN: u64 = 16 * 1024;

    /// What takes long is done on `cpu`.
    pub(crate) fn new(config: &Config, redis: Option<&Redis>, cpu: &CpuPool) -> Self {
        let redis = redis.filter(|_| config.redis);
        let (answers, vectors) = (config.answers.as_u64(), config.vectors.as_u64());
        Self {
            answers: (answers > 0)
                .then(|| Shelf::new(answers, config, redis.cloned(), cpu.clone())),
            vectors: (vectors > 0)
                .then(|| Shelf::new(vectors, config, redis.cloned(), cpu.clone())),
            semantic: Semantic::new(config, cpu),
            known: Memory::new(Self::KNOWN),
            scope: config.scope,
        }
    }
}

impl Refusal {
    /// Returns whether the request itself is at fault, and would be at any time.
    fn is_of_the_request(&self) -> bool {
        let status = match self {
            Self::Answer(answer) => answer.status(),
            Self::Error(error) => error.status(),
        };
        status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS
    }

    /// As an error, where only we could have refused.
    pub(crate) fn into_error(self) -> ApiError {
        match self {
            Self::Error(error) => error,
            Self::Answer(answer) => ApiError::internal(format!("an answer of {}", answer.status())),
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl From<EmbedError> for Refusal {
    fn from(error: EmbedError) -> Self {
        Self::Error(error.into())
    }
}
