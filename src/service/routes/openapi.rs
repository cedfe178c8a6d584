//! `GET /openapi.json`: this API in OpenAPI's words, for whoever makes clients of it.

mod bodies;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, RefOr,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

pub(super) use self::bodies::{
    ChatAnswer, ChatRequest, CompletionRequest, EmbeddingsAnswer, EmbeddingsBody, Error, Model,
    Models, Refused, RerankAnswer, RerankRequest, UsageFormat, Used,
};
use super::{embeddings, health, models, relayed, usage};

/// Everything that is described.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "thermograph",
        description = "An OpenAI-compatible API. Bodies may be JSON, MessagePack or CBOR; answers \
                       are what `accept` says. Every answer has an `x-request-id`.",
    ),
    paths(
        relayed::chat,
        relayed::completions,
        embeddings::embeddings,
        relayed::rerank,
        models::list,
        models::one,
        usage::usage,
        health::live,
        health::ready,
        openapi,
    ),
    components(schemas(Error)),
    modifiers(&Bearer, &Streams),
    security((), ("key" = [])),
)]
struct Api;

/// Keys, where there are any.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(key));
    }
}

/// Streams, which are the other form of an answer whose request has `stream`.
struct Streams;

impl Modify for Streams {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for path in ["/v1/chat/completions", "/v1/completions"] {
            let operation = api.paths.paths.get_mut(path).and_then(|item| item.post.as_mut());
            let responses = operation.map(|operation| &mut operation.responses.responses);
            let answer = responses.and_then(|responses| responses.get_mut("200"));
            if let Some(RefOr::T(answer)) = answer {
                let events = Content::default();
                answer.content.insert("text/event-stream".to_owned(), events.into());
            }
        }
    }
}

/// Written once; it is the same for all.
static WRITTEN: LazyLock<Bytes> = LazyLock::new(|| {
    // Maps of texts serialize.
    Api::openapi().to_json().unwrap_or_default().into()
});

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "about",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")),
)]
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], WRITTEN.clone()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The page on which all routes are.
    const PAGE: &str = include_str!("../routes.rs");

    #[test]
    fn every_route_is_described_and_nothing_else_is() {
        let routes = PAGE.lines().filter_map(|line| line.trim().strip_prefix(".route(\""));
        let routes: BTreeSet<_> = routes
            .map(|route| {
                let (path, handler) = route.split_once("\", ").expect("a path and a handler");
                let method = handler.split('(').next().expect("a method");
                // OpenAPI knows no path with more than one part at its end.
                (path.replace("{*", "{"), method.to_owned())
            })
            .collect();
        assert!(routes.len() > 8, "{routes:?}");
        let written: serde_json::Value = serde_json::from_slice(&WRITTEN).expect("JSON");
        let paths = written["paths"].as_object().expect("paths");
        let described = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods");
            methods.keys().map(move |method| (path.clone(), method.clone()))
        });
        assert_eq!(described.collect::<BTreeSet<_>>(), routes);
    }
}
