//! Answers in the codec that the client asked for.

mod frames;
#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
    extract::Request,
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use pin_project_lite::pin_project;
use thermograph_codec::{Codec, Vectors};
use thermograph_common::{CpuPool, Quota, Reservation};
use tower_layer::Layer;
use tower_service::Service;

use self::frames::Frames;
use crate::error::ApiError;

/// What is translated on a worker; more than this many bytes would take too long there.
const SMALL: usize = 32 << 10;

/// Translates the answers of the routes inside, which are JSON and events, into what the client
/// takes by `accept`.
///
/// Outside of whatever makes answers, panics caught included: errors are translated, too. An answer
/// that the client takes as it is passes through; streams are translated while they come.
#[derive(Clone, Debug)]
pub struct Codecs {
    cpu: CpuPool,
    /// Bytes of all answers that are held to be translated.
    memory: Quota,
}

/// What [`Codecs`] puts around a service.
#[derive(Clone, Debug)]
pub struct WithCodecs<S> {
    inner: S,
    codecs: Codecs,
}

pin_project! {
    /// The answer of a [`WithCodecs`].
    pub struct Translating<F> {
        #[pin]
        inner: F,
        wanted: Wanted,
        // An answer that is translated whole.
        work: Option<Work>,
    }
}

/// Who wants what.
struct Wanted {
    codec: Codec,
    /// None where nothing is to be translated.
    codecs: Option<Codecs>,
    is_head: bool,
}

type Work = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What an answer is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Sort {
    Json,
    Events,
    /// In another codec already.
    Done,
    Else,
}

impl Codecs {
    /// The largest answer that is translated whole. Streams have no bound.
    pub const LARGEST: usize = 64 << 20;
    /// Answers of the largest size that may be held at a time.
    const AT_A_TIME: usize = 16;

    pub(crate) fn new(cpu: CpuPool) -> Self {
        Self { cpu, memory: Quota::new(Self::LARGEST * Self::AT_A_TIME) }
    }

    /// The answer as the client wants it.
    async fn translate<B: HttpBody<Data = Bytes, Error: Into<BoxError>>>(
        self,
        response: http::Response<B>,
        codec: Codec,
    ) -> Response {
        let (mut head, body) = response.into_parts();
        let vectors = head.extensions.remove::<Vectors>();
        let translated = async {
            let (bytes, _memory) = self.collect(body).await?;
            if bytes.len() <= SMALL {
                return translate(&bytes, codec, vectors);
            }
            self.cpu.run(move || translate(&bytes, codec, vectors)).await?
        };
        match translated.await {
            Ok(bytes) => {
                declare(&mut head.headers, codec, Some(bytes.len()));
                Response::from_parts(head, bytes.into())
            }
            Err(error) => refuse(error, codec),
        }
    }

    /// The whole body, and its place in memory.
    async fn collect<B: HttpBody<Data = Bytes, Error: Into<BoxError>>>(
        &self,
        body: B,
    ) -> Result<(Bytes, Reservation), ApiError> {
        let mut body = std::pin::pin!(body);
        let mut memory = self.memory.reserve(0).ok_or_else(no_memory)?;
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let error: BoxError = error.into();
                let message = format!("the answer broke off: {error}");
                ApiError::upstream(StatusCode::BAD_GATEWAY, "broken", &message)
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > Self::LARGEST {
                return Err(too_large());
            }
            if !memory.grow(length) {
                return Err(no_memory());
            }
            if bytes.is_empty() && body.is_end_stream() {
                return Ok((data, memory));
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.freeze(), memory))
    }
}

fn translate(json: &[u8], codec: Codec, vectors: Option<Vectors>) -> Result<Bytes, ApiError> {
    let mut out = Vec::with_capacity(json.len());
    match Codec::Json.append(json, codec, vectors, Codecs::LARGEST, &mut out) {
        Ok(()) => Ok(out.into()),
        Err(error) if error.is_too_large() => Err(too_large()),
        Err(error) => {
            let message = format!("the answer of the upstream is not understood: {error}");
            Err(ApiError::upstream(StatusCode::BAD_GATEWAY, "bad_answer", &message))
        }
    }
}

fn too_large() -> ApiError {
    let largest = bytesize::ByteSize::b(Codecs::LARGEST as u64);
    let message = format!(
        "the answer is larger than {largest}, which is most that is translated: ask for JSON"
    );
    ApiError::upstream(StatusCode::BAD_GATEWAY, "answer_too_large", &message)
}

fn no_memory() -> ApiError {
    ApiError::overloaded("answers to be translated fill the memory that they may take")
}

/// An answer in place of one that cannot be given.
fn refuse(error: ApiError, codec: Codec) -> Response {
    let mut out = Vec::new();
    // An error object has a form in every codec.
    let _ = Codec::Json.append(error.json().as_bytes(), codec, None, usize::MAX, &mut out);
    let (mut head, _) = error.into_response().into_parts();
    declare(&mut head.headers, codec, Some(out.len()));
    Response::from_parts(head, out.into())
}

/// Says what the body is.
fn declare(headers: &mut HeaderMap, codec: Codec, length: Option<usize>) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(codec.media_type()));
    match length {
        Some(length) => headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length)),
        None => headers.remove(header::CONTENT_LENGTH),
    };
    vary(headers);
}

/// For caches: who takes something else is answered otherwise.
fn vary(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("accept"));
}

impl<S> Layer<S> for Codecs {
    type Service = WithCodecs<S>;

    fn layer(&self, inner: S) -> WithCodecs<S> {
        WithCodecs { inner, codecs: self.clone() }
    }
}

impl<S, B> Service<Request> for WithCodecs<S>
where
    S: Service<Request, Response = http::Response<B>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Translating<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // Who takes nothing is told so in JSON.
        let codec = Codec::of_answer(request.headers()).unwrap_or_default();
        let codecs = (codec != Codec::Json).then(|| self.codecs.clone());
        let is_head = request.method() == Method::HEAD;
        let wanted = Wanted { codec, codecs, is_head };
        Translating { inner: self.inner.call(request), wanted, work: None }
    }
}

impl<F, B, E> Future for Translating<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(work) = this.work {
            return work.as_mut().poll(context).map(Ok);
        }
        let mut response = ready!(this.inner.poll(context))?;
        let Wanted { codec, codecs, is_head } = this.wanted;
        let sort = Sort::of(response.headers());
        let Some(codecs) = codecs.take().filter(|_| sort.is_to_be_translated()) else {
            if sort != Sort::Else {
                vary(response.headers_mut());
            }
            return Poll::Ready(Ok(response.map(Body::new)));
        };
        if sort == Sort::Events {
            let headers = response.headers_mut();
            declare(headers, *codec, None);
            let media_type = HeaderValue::from_static(codec.stream_media_type());
            headers.insert(header::CONTENT_TYPE, media_type);
            let frames = |body| Body::new(Frames::new(body, *codec, codecs.cpu));
            return Poll::Ready(Ok(response.map(frames)));
        }
        if *is_head {
            declare(response.headers_mut(), *codec, None);
            return Poll::Ready(Ok(response.map(Body::new)));
        }
        let work = this.work.insert(Box::pin(codecs.translate(response, *codec)));
        work.as_mut().poll(context).map(Ok)
    }
}

impl Sort {
    fn of(headers: &HeaderMap) -> Self {
        let Some(found) = headers.get(header::CONTENT_TYPE) else { return Self::Else };
        let found = found.to_str().unwrap_or_default();
        let essence = found.split(';').next().unwrap_or_default().trim();
        match Codec::of_media_type(essence) {
            Some(Codec::Json) => Self::Json,
            Some(_) => Self::Done,
            None if essence.eq_ignore_ascii_case("text/event-stream") => Self::Events,
            None => Self::Else,
        }
    }

    fn is_to_be_translated(self) -> bool {
        matches!(self, Self::Json | Self::Events)
    }
}
