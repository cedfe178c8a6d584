//! What can go wrong in the engine.

use std::path::PathBuf;

use thiserror::Error;

/// Why a model could not be loaded.
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
    #[error("cannot start a thread of the engine: {0}")]
    Thread(#[from] std::io::Error),
}

/// Why inputs were not embedded.
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
    /// A token id is not in the vocabulary.
    #[error("input {index}: token id {id} is not in the vocabulary, which has {vocabulary} ids")]
    UnknownToken {
        /// Place of the input in the request.
        index: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// The engine failed, and has said why in the log.
    #[error("{0}")]
    Failed(&'static str),
    /// The engine was stopped, or a fault of its own, which is in the log, made it let go.
    #[error("the engine let go of the request")]
    Lost,
}
