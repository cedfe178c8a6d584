//! What an upstream is asked for.

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
