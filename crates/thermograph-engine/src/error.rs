//! What can go wrong in the engine.

use std::path::PathBuf;

use thiserror::Error;

/// Reason why a model could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file is not there.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// The tokenizer could not be read.
    #[error("{}: not a tokenizer: {reason}", file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// What its reader said.
        reason: String,
    },
    /// The graph could not be read, or does not do what an embedding model does.
    #[error("{}: not a sentence-embedding model: {reason}", file.display())]
    Graph {
        /// The file.
        file: PathBuf,
        /// What its reader said.
        reason: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread of the engine")]
    Thread(#[from] std::io::Error),
}

/// Reason why inputs were not embedded.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum EmbedError {
    /// The queue is full: try again later.
    #[error("{waiting} inputs wait already, and at most {allowed} may")]
    Overloaded {
        /// Inputs that wait or are worked on.
        waiting: usize,
        /// Most that may.
        allowed: usize,
    },
    /// An input is token ids, which the model is configured to refuse.
    #[error(
        "input {index}: token ids are refused, since those of another tokenizer make vectors that \
         mean nothing; send text ({LANGCHAIN}), or set `accept_token_ids` for the model to \
         send ids of its own tokenizer"
    )]
    TokenIds {
        /// Place of the input in the request.
        index: usize,
    },
    /// A token id is not in the vocabulary.
    #[error(
        "input {index}: token id {id} at position {position} is not in the vocabulary of the \
         model's own tokenizer: 0 to {} are allowed; send text if the ids are of another tokenizer \
         ({LANGCHAIN})", vocabulary.saturating_sub(1)
    )]
    UnknownToken {
        /// Place of the input in the request.
        index: usize,
        /// Place of the id in the input.
        position: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// An input is longer than the model reads, and may not be truncated.
    #[error(
        "input {index}: {}{tokens} tokens are too many: at most {allowed} are allowed, special \
         ones included; with `truncate` true, which is the default, only the beginning is read",
        if *is_whole { "" } else { "at least " }
    )]
    TooLong {
        /// Place of the input in the request.
        index: usize,
        /// Tokens of the input, special ones included.
        tokens: usize,
        /// False if only the beginning of the input was tokenized.
        is_whole: bool,
        /// Most tokens that the model reads.
        allowed: usize,
    },
    /// The engine failed, and has said why in the log.
    #[error("{0}")]
    Failed(&'static str),
    /// The engine was stopped, or a fault of its own, which is in the log, made it let go.
    #[error("the engine let go of the request")]
    Lost,
}

/// Advice for the client that sends ids of OpenAI's tokenizer unasked.
const LANGCHAIN: &str = "LangChain's OpenAIEmbeddings does with `check_embedding_ctx_length=False`";

impl EmbedError {
    /// Corrects the place of the input, for inputs that stand at `places` of a larger request.
    #[must_use]
    pub fn at(mut self, places: &[usize]) -> Self {
        match &mut self {
            Self::TokenIds { index }
            | Self::UnknownToken { index, .. }
            | Self::TooLong { index, .. } => *index = places.get(*index).copied().unwrap_or(*index),
            Self::Overloaded { .. } | Self::Failed(_) | Self::Lost => {}
        }
        self
    }
}
