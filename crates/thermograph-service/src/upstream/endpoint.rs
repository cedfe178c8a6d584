//! Endpoints that are passed on to upstreams, all on this page.

use crate::{dialect::Dialect, usage::Form};

/// Calls a macro with a line for each endpoint that is passed on. A further endpoint is a line here.
///
/// | in a line | meaning |
/// |---|---|
/// | `Rerank` | variant of [`Endpoint`] |
/// | `["/v1/rerank" "/rerank"]` | its paths; upstreams are asked at the first, less `/v1`, below their base |
/// | `Facts::data("rerank")` | its properties |
/// | `=> rerank(Request, Answer)` | operation and schemas of its bodies in OpenAPI's description; missing where the handler is written out |
macro_rules! endpoints {
    ($with:ident) => {
        $with! {
            Chat ["/v1/chat/completions"] Facts::text("chat").stream_options()
                => chat(ChatRequest, ChatAnswer);
            Completions ["/v1/completions"] Facts::text("completions").operation("text_completion").stream_options()
                => completions(CompletionRequest, ChatAnswer);
            Responses ["/v1/responses"] Facts::text("responses").stored().dialect(Dialect::Responses)
                => responses(ResponsesRequest, Passed);
            Messages ["/v1/messages"] Facts::text("messages").dialect(Dialect::Messages)
                => messages(MessagesRequest, Passed);
            CountTokens ["/v1/messages/count_tokens"] Facts::free("count_tokens").dialect(Dialect::Messages)
                => count_tokens(CountRequest, Passed);
            Embeddings ["/v1/embeddings"] Facts::data("embeddings");
            Rerank ["/v1/rerank" "/rerank" "/v2/rerank"] Facts::data("rerank")
                => rerank(RerankRequest, RerankAnswer);
            Moderations ["/v1/moderations"] Facts::data("moderations").model("omni-moderation-latest")
                => moderations(ModerationRequest, Passed);
            Images ["/v1/images/generations"] Facts::data("images").model("dall-e-2")
                => images(ImageRequest, Passed);
            ImageEdits ["/v1/images/edits"] Facts::data("image_edits").model("dall-e-2").form()
                => image_edits(ImageForm, Passed);
            Speech ["/v1/audio/speech"] Facts::bytes("speech")
                => speech(SpeechRequest, Sound);
            Transcriptions ["/v1/audio/transcriptions"] Facts::text("transcriptions").form()
                => transcriptions(AudioForm, Passed);
            Translations ["/v1/audio/translations"] Facts::text("translations").form()
                => translations(AudioForm, Passed);
        }
    };
}
pub(crate) use endpoints;

/// Properties of an endpoint that is passed on.
#[derive(Clone, Copy, Debug)]
struct Facts {
    name: &'static str,
    operation: &'static str,
    form: Form,
    has_stream_options: bool,
    is_form: bool,
    is_stored: bool,
    model: Option<&'static str>,
    dialect: Dialect,
}

macro_rules! define {
    ($($endpoint:ident [$path:tt $($alias:tt)*] $facts:expr $(=> $handler:ident($($schema:ident),*))?;)*) => {
        /// An endpoint that is passed on.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Endpoint {
            $(#[doc = concat!("`POST ", $path, "`.")] $endpoint,)*
        }

        impl Endpoint {
            pub(crate) const ALL: &[Self] = &[$(Self::$endpoint),*];

            /// Number of endpoints.
            pub(super) const COUNT: usize = Self::ALL.len();

            /// The paths at which it is served; the first is OpenAI's.
            pub(crate) const fn paths(self) -> &'static [&'static str] {
                match self {
                    $(Self::$endpoint => &[$path, $($alias),*],)*
                }
            }

            const fn facts(self) -> Facts {
                match self {
                    $(Self::$endpoint => $facts,)*
                }
            }
        }
    };
}

endpoints!(define);

impl Facts {
    /// Answers with text that a model has made.
    const fn text(name: &'static str) -> Self {
        Self {
            name,
            operation: name,
            form: Form::Text,
            has_stream_options: false,
            is_form: false,
            is_stored: false,
            model: None,
            dialect: Dialect::Chat,
        }
    }

    /// Answers with data: vectors, a ranking, a picture.
    const fn data(name: &'static str) -> Self {
        Self { form: Form::Data, ..Self::text(name) }
    }

    /// Answers with a number of tokens, and uses none.
    const fn free(name: &'static str) -> Self {
        Self { form: Form::Free, ..Self::text(name) }
    }

    /// Answers with bytes of any media type.
    const fn bytes(name: &'static str) -> Self {
        Self { form: Form::Opaque, ..Self::text(name) }
    }

    const fn operation(self, operation: &'static str) -> Self {
        Self { operation, ..self }
    }

    /// Streams have their usage at the end if `stream_options` ask for it.
    const fn stream_options(self) -> Self {
        Self { has_stream_options: true, ..self }
    }

    /// The body is a form with files (`multipart/form-data`).
    const fn form(self) -> Self {
        Self { is_form: true, ..self }
    }

    /// The upstream stores the answer unless `store` is false.
    const fn stored(self) -> Self {
        Self { is_stored: true, ..self }
    }

    /// Model of requests that name none.
    const fn model(self, model: &'static str) -> Self {
        Self { model: Some(model), ..self }
    }

    /// Errors have this form.
    const fn dialect(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }
}

impl Endpoint {
    /// Its path below the base of an upstream.
    pub(super) fn path(self) -> &'static str {
        let path = self.paths()[0];
        path.strip_prefix("/v1").unwrap_or(path)
    }

    /// Returns whether its streams have their usage at the end if `stream_options` ask for it.
    pub(super) fn has_stream_options(self) -> bool {
        self.facts().has_stream_options
    }

    /// Returns whether its requests are forms with files; else they are JSON.
    pub(crate) fn is_form(self) -> bool {
        self.facts().is_form
    }

    /// Returns whether answers are bytes of any media type, so that any `accept` is passed on.
    pub(crate) fn answers_bytes(self) -> bool {
        self.facts().form == Form::Opaque
    }

    /// Returns whether answers may be streams.
    pub(crate) fn has_streams(self) -> bool {
        self.facts().form == Form::Text
    }

    /// Returns whether upstreams store answers unless `store` is false.
    pub(super) fn is_stored(self) -> bool {
        self.facts().is_stored
    }

    /// Model of requests that name none; `None` if they have to name one.
    pub(super) fn model(self) -> Option<&'static str> {
        self.facts().model
    }

    /// The form of its errors.
    pub(crate) fn dialect(self) -> Dialect {
        self.facts().dialect
    }

    /// The form of an answer in JSON.
    pub(super) fn form(self) -> Form {
        self.facts().form
    }

    /// Its name in the ledger.
    pub(crate) fn name(self) -> &'static str {
        self.facts().name
    }

    /// `gen_ai.operation.name` of OpenTelemetry's conventions, as far as they have one.
    pub(crate) fn operation(self) -> &'static str {
        self.facts().operation
    }
}
