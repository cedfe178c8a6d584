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
    AudioForm, ChatAnswer, ChatRequest, CompletionRequest, CountRequest, EmbeddingsAnswer,
    EmbeddingsBody, Error, ImageForm, ImageRequest, MessagesRequest, Model, Models,
    ModerationRequest, Passed, Refused, RerankAnswer, RerankRequest, ResponsesRequest, Sound,
    SpeechRequest, UsageFormat, Used,
};
use super::{embeddings, health, models, relayed, usage};
use crate::upstream::Endpoint;

/// Everything that is described.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "thermograph",
        description = "An OpenAI-compatible API. Bodies may be JSON, MessagePack or CBOR; answers \
                       are what `accept` says. Every answer has an `x-request-id`.",
    ),
    paths(
        embeddings::embeddings,
        models::list,
        models::one,
        usage::usage,
        health::live,
        health::ready,
        openapi,
    ),
    components(schemas(Error)),
    modifiers(&Bearer),
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

/// Written once; it is the same for all.
static WRITTEN: LazyLock<Bytes> = LazyLock::new(|| {
    let mut api = Api::openapi();
    api.merge(relayed::Described::openapi());
    for endpoint in Endpoint::ALL {
        describe(&mut api, *endpoint);
    }
    // Maps of texts serialize.
    api.to_json().unwrap_or_default().into()
});

/// Describes the media types of an endpoint's bodies, and its other paths.
fn describe(api: &mut utoipa::openapi::OpenApi, endpoint: Endpoint) {
    let [path, others @ ..] = endpoint.paths() else { return };
    let Some(item) = api.paths.paths.get_mut(*path) else { return };
    if let Some(operation) = &mut item.post {
        if endpoint.is_form()
            && let Some(RefOr::T(body)) = &mut operation.request_body
        {
            rename(&mut body.content, "multipart/form-data");
        }
        if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200") {
            if endpoint.answers_bytes() {
                rename(&mut answer.content, "*/*");
            }
            if endpoint.has_streams() {
                let events = Content::default();
                answer.content.insert("text/event-stream".to_owned(), events.into());
            }
        }
    }
    let item = item.clone();
    for (place, other) in others.iter().enumerate() {
        let mut item = item.clone();
        if let Some(id) = item.post.as_mut().and_then(|post| post.operation_id.as_mut()) {
            *id = format!("{id}_{}", place + 2);
        }
        api.paths.paths.insert((*other).to_owned(), item);
    }
}

/// Gives the bodies of a content another media type.
fn rename<C, B>(content: &mut C, media_type: &str)
where
    C: Default + Extend<(String, B)> + IntoIterator<Item = (String, B)>,
{
    let bodies = std::mem::take(content).into_iter();
    content.extend(bodies.map(|(_, body)| (media_type.to_owned(), body)));
}

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
        let relayed = Endpoint::ALL.iter().flat_map(|endpoint| endpoint.paths());
        let relayed = relayed.map(|path| ((*path).to_owned(), "post".to_owned()));
        let routes = PAGE.lines().filter_map(|line| line.trim().strip_prefix(".route(\""));
        let routes: BTreeSet<_> = routes
            .map(|route| {
                let (path, handler) = route.split_once("\", ").expect("a path and a handler");
                let method = handler.split('(').next().expect("a method");
                // OpenAPI knows no path with more than one part at its end.
                (path.replace("{*", "{"), method.to_owned())
            })
            .chain(relayed)
            .collect();
        assert!(routes.len() > 20, "{routes:?}");
        let written: serde_json::Value = serde_json::from_slice(&WRITTEN).expect("JSON");
        let paths = written["paths"].as_object().expect("paths");
        let described = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods");
            methods.keys().map(move |method| (path.clone(), method.clone()))
        });
        assert_eq!(described.collect::<BTreeSet<_>>(), routes);
    }
}
