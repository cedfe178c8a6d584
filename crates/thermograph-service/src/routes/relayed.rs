//! Requests that an upstream answers: OpenAI's endpoints for models that are not here.

mod keep_alive;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, post},
};
use bytes::Bytes;
use http::HeaderMap;
use tracing::{Instrument as _, Span};
use utoipa::OpenApi;

use super::{
    input::{self, Headers},
    models, openapi,
};
use crate::{
    body::ReadBody,
    cache,
    cache::{
        Alike, Answer, Asked, Key, Meaning, One, Question, Refusal, Semantic, Shelf, Unread, Way,
        Wish,
    },
    call::Call,
    caller::Caller,
    dialect::Dialect,
    error::ApiError,
    request_id::RequestId,
    state::AppState,
    upstream::{Document, Endpoint, Exchange, FormType, Route, endpoints},
};

macro_rules! describe {
    ($($endpoint:ident [$path:tt $($alias:tt)*] $facts:expr
        $(=> $handler:ident($request:ident, $answer:ident))?;)*) => {
        /// OpenAPI's descriptions of the endpoints, on functions that are never called.
        #[expect(dead_code, reason = "utoipa describes functions")]
        mod descriptions {
            use super::openapi;

            $($(
                #[doc = concat!("`POST ", $path, "`.")]
                #[utoipa::path(
                    post, path = $path, tag = "models", request_body = openapi::$request,
                    responses(
                        (status = 200, description = "the answer of an upstream", body = openapi::$answer),
                        openapi::Refused,
                    ),
                )]
                pub(super) fn $handler() {}
            )?)*
        }

        /// Descriptions of them.
        #[derive(OpenApi)]
        #[openapi(paths($($(descriptions::$handler,)?)*))]
        pub(super) struct Described;

        /// The span of a request: its name is a constant of each endpoint.
        fn span(endpoint: Endpoint, id: &RequestId) -> Span {
            match endpoint {
                $(Endpoint::$endpoint => {
                    tracing::debug_span!(concat!("POST ", $path), request_id = id.as_str())
                })*
            }
        }
    };
}

endpoints!(describe);

/// Adds a route for each path of each endpoint that is only passed on.
pub(super) fn add(router: Router<Arc<AppState>>) -> Router<Arc<AppState>> {
    let endpoints = Endpoint::ALL.iter().filter(|endpoint| **endpoint != Endpoint::Embeddings);
    endpoints.fold(router, |router, endpoint| {
        endpoint.paths().iter().fold(router, |router, path| router.route(path, route(*endpoint)))
    })
}

/// The route of an endpoint.
fn route(endpoint: Endpoint) -> MethodRouter<Arc<AppState>> {
    let handler = async move |State(state): State<Arc<AppState>>,
                              caller: Caller,
                              id: RequestId,
                              Headers(headers): Headers,
                              body: Body| {
        let relayed = relay(&state, endpoint, &caller, &id, &headers, body);
        Box::pin(relayed.instrument(span(endpoint, &id))).await
    };
    told_in(endpoint.dialect(), post(handler))
}

/// Has errors told in the form of the endpoint's API.
fn told_in(dialect: Dialect, handler: MethodRouter<Arc<AppState>>) -> MethodRouter<Arc<AppState>> {
    if dialect != Dialect::Messages {
        return handler;
    }
    handler.layer(map_response(async |mut response: Response| {
        if let Some(error) = response.extensions().get::<ApiError>() {
            *response.body_mut() = Dialect::Messages.body(error).into();
        }
        response
    }))
}

/// Lets the request in, reads it, and passes it on. Boxed by those who call it: layers move the
/// handler's future, and this one is large.
async fn relay(
    state: &Arc<AppState>,
    endpoint: Endpoint,
    caller: &Caller,
    id: &RequestId,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let bill = caller.bill(state.store.as_ref(), endpoint.name(), id);
    let answer = async {
        // The body keeps its place in memory until the upstream has answered.
        let (body, document, call) = read(state, endpoint, caller, headers, body).await?;
        let (document, call) = (document?, call.of(caller, &bill));
        // First: a request that is refused has a row that says what it was for.
        bill.asks(document.model());
        caller.must_be_served()?;
        caller.must_see(document.model())?;
        caller.reserve(&state.limits, &bill, document.tokens()).await?;
        let is_stream = endpoint.has_streams() && document.is_stream();
        let keep_alive = is_stream.then(|| state.upstreams.stream_keep_alive()).flatten();
        let Some(every) = keep_alive else {
            return answer(state, endpoint, headers, &document, call).await;
        };
        let (state, headers, bill) = (Arc::clone(state), headers.clone(), call.bill().clone());
        let answering = async move {
            let _body = body;
            answer(&state, endpoint, &headers, &document, call).await
        };
        keep_alive::answer(every, bill, endpoint.dialect(), Box::pin(answering)).await
    };
    let answer = answer.await;
    bill.told(answer.into_response())
}

/// Lets a request in, and reads it.
async fn read(
    state: &AppState,
    endpoint: Endpoint,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ReadBody, Result<Document, ApiError>, Call), ApiError> {
    if endpoint.is_form() {
        let form = FormType::of(headers)?;
        let (body, call) = input::enter(state, caller, headers, body).await?;
        let read = move |bytes| Document::read_form(endpoint, form, bytes);
        let document = input::parse(state, body.bytes.clone(), read).await;
        return Ok((body, document, call));
    }
    if !endpoint.answers_bytes() {
        input::check_accept(headers)?;
    }
    let (body, call) = input::enter_json(state, caller, headers, body).await?;
    let read = move |bytes| Document::read(endpoint, bytes);
    let document = input::parse(state, body.bytes.clone(), read).await;
    Ok((body, document, call))
}

/// The answer that is kept, or that of an upstream.
pub(super) async fn answer(
    state: &AppState,
    endpoint: Endpoint,
    headers: &HeaderMap,
    document: &Document,
    call: Call,
) -> Result<Response, ApiError> {
    let upstreams = &state.upstreams;
    let model = document.model();
    let Some(route) = upstreams.route(model) else {
        return Err(match state.engine.model(model) {
            Ok(_) => ApiError::wrong_kind_of_model(model),
            Err(why) => models::missing(state, model, why),
        });
    };
    let question = match kept(state, endpoint, call.caller(), headers, document, &route).await? {
        None => None,
        Some(One::Missing(question)) => Some(question),
        Some(One::Had(answer, way)) => {
            call.bill().is_cached(answer.usage());
            return Ok(answer.give(way, call));
        }
    };
    let exchange = Exchange { route: &route, endpoint, headers, document, call: &call };
    // Boxed: it is most of this future, which is moved as a whole, also where it is not come to.
    let exchanged = match (Box::pin(upstreams.exchange(exchange)).await, question) {
        (Ok(exchanged), Some(question)) => {
            let bill = call.bill().clone();
            return Ok(cache::record(question, exchanged.pass_on(route, endpoint, call), bill));
        }
        (Ok(exchanged), None) => exchanged,
        (Err(error), question) => {
            if let Some(question) = question {
                question.refuse(&Refusal::Error(error.clone()));
            }
            return Err(error);
        }
    };
    Ok(exchanged.pass_on(route, endpoint, call))
}

/// What is kept of the answer to a request, if any is to be.
async fn kept(
    state: &AppState,
    endpoint: Endpoint,
    caller: &Caller,
    headers: &HeaderMap,
    document: &Document,
    route: &Route,
) -> Result<Option<One<Answer>>, ApiError> {
    let cache = &state.cache;
    let Some(answers) = &cache.answers else { return Ok(None) };
    let tenant = || cache.tenant_of(caller, headers, route);
    let unread = cache.unread(endpoint, headers, document, tenant)?;
    let Some(unread) = unread else { return Ok(None) };
    let as_it_is = unread.as_it_is(document.bytes());
    if let Some(answer) = cache.at_hand(as_it_is, &unread) {
        return Ok(Some(One::Had(answer, Way::Hit)));
    }
    let looking = look(state, answers, document.bytes().clone(), as_it_is, unread);
    // Boxed for the same reason.
    Box::pin(looking).await
}

/// What is kept of the answer to a question that is not at hand.
async fn look(
    state: &AppState,
    answers: &Shelf<Answer>,
    bytes: Bytes,
    as_it_is: Option<Key>,
    unread: Unread,
) -> Result<Option<One<Answer>>, ApiError> {
    let cache = &state.cache;
    let asked = input::parse(state, bytes, |bytes| Ok(unread.read(&bytes))).await?;
    let Some(Asked { key, wish, meaning }) = asked else { return Ok(None) };
    cache.knows(as_it_is, key);
    match answers.one(key, &wish).await {
        Ok(One::Missing(question)) => {
            let one = match (&cache.semantic, meaning) {
                (Some(semantic), Some(meaning)) => {
                    alike(state, answers, semantic, meaning, &wish, question).await
                }
                _ => One::Missing(question),
            };
            let is_kept = !matches!(one, One::Missing(_));
            if wish.only_kept && !is_kept { Err(ApiError::not_kept()) } else { Ok(Some(one)) }
        }
        Ok(one) => Ok(Some(one)),
        Err(Refusal::Error(error)) => Err(error),
        // What the upstream said to who asked first.
        Err(Refusal::Answer(answer)) => Ok(Some(One::Had(answer, Way::Coalesced))),
    }
}

/// What is kept of a question that means the same.
async fn alike(
    state: &AppState,
    answers: &Shelf<Answer>,
    semantic: &Semantic,
    meaning: Meaning,
    wish: &Wish,
    mut question: Question<Answer>,
) -> One<Answer> {
    let compared = semantic.compare(&state.engine, meaning).await;
    let Some((compared, alike)) = compared else { return One::Missing(question) };
    if let Some(Alike { key, similarity }) = alike {
        if let Some(answer) = answers.kept(key, wish).await {
            return One::Had(answer, Way::Semantic(similarity));
        }
        compared.is_gone(key);
    }
    question.is_compared(compared);
    One::Missing(question)
}
