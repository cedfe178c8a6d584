//! What an upstream is asked for.

use crate::service::usage::Form;

/// An endpoint of OpenAI's API that is passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
    Embeddings,
    Rerank,
}

impl Endpoint {
    pub(super) const ALL: [Self; 4] =
        [Self::Chat, Self::Completions, Self::Embeddings, Self::Rerank];

    /// Its path below the base.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Rerank => "/rerank",
        }
    }

    /// Returns whether its streams have their usage at the end if `stream_options` ask for it.
    pub(super) fn has_stream_options(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// The form of an answer in JSON.
    pub(super) fn form(self) -> Form {
        match self {
            Self::Chat | Self::Completions => Form::Text,
            Self::Embeddings | Self::Rerank => Form::Data,
        }
    }

    /// Its name in the ledger.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
        }
    }

    /// `gen_ai.operation.name` of OpenTelemetry's conventions; it has none for reranking.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
        }
    }
}
