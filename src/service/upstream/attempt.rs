//! One attempt: a request to one upstream, until its answer begins.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::{self, Instant, Sleep};
use tracing::{Instrument as _, Span};

use super::{
    Answer, Answered, Document, Endpoint, Upstream,
    connections::Received,
    content::{Content, Progress, Stage},
    deadline::Deadline,
    failure::{Cause, Failure},
    headers,
    one::Busy,
};

/// What all attempts of a request have in common.
pub(super) struct Task<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) headers: &'a HeaderMap,
    /// The client's own key, for upstreams that want it.
    pub(super) authorization: Option<&'a HeaderValue>,
    pub(super) document: &'a Document,
    pub(super) started: Instant,
}

/// Answers up to this size that are no streams are read whole before they are passed on, so that
/// one that breaks off can be asked for again.
const WHOLE: usize = 1 << 20;

/// A bound on what is awaited, moved on from phase to phase.
struct Clock<'a> {
    deadline: Deadline<&'a mut Sleep>,
    /// When the request must be over.
    end: Instant,
}

/// How the wait for an answer went on.
enum Passed {
    Answered(Result<Response<Received>, Cause>),
    /// The request is further on its way.
    Moved,
    TooLate,
}

/// What came of an answer's content.
enum Gathered {
    Whole(Bytes),
    /// More is to come.
    Begun {
        first: Bytes,
        rest: Received,
        is_events: bool,
    },
}

/// Asks the upstream that was chosen. `name` is what the model is called there, as JSON.
///
/// Dropped, it closes the connection: the upstream sees that nobody waits any more.
pub(super) async fn attempt(
    task: &Task<'_>,
    mut busy: Busy,
    name: Option<&Bytes>,
) -> Result<Answer, Failure> {
    let upstream = Arc::clone(busy.upstream());
    let began = Instant::now();
    let progress = Arc::new(Progress::default());
    let end = task.started + upstream.config.request_timeout;
    let sleep = pin!(time::sleep_until(end.min(began + upstream.config.connect_timeout)));
    let mut clock = Clock { deadline: Deadline::new(sleep), end };
    let received = async {
        let content = Content::new(task.document.pieces(name), Arc::clone(&progress));
        let request = request(task, &upstream, content);
        let response = send(&upstream, request, &progress, &mut clock).await?;
        receive(&upstream, response, &mut clock).await
    };
    let received = received.await;
    let upstream_time = progress.departed_at().map(|at| at.elapsed()).unwrap_or_default();
    let answered = received.and_then(|received| judge(&upstream, received));
    let (status, headers, gathered) = match answered {
        Ok(received) => received,
        Err(cause) => {
            busy.failed(&cause, began.elapsed());
            if let Cause::Status(refusal) = &cause
                && let Some(wait) = headers::retry_after(&refusal.headers)
            {
                upstream.rest(wait);
            }
            let departed = progress.departed_at().is_some();
            return Err(Failure { cause, upstream, departed, upstream_time });
        }
    };
    if status.is_client_error() {
        busy.refused(began.elapsed());
    } else {
        busy.began(began.elapsed());
    }
    let content = match gathered {
        Gathered::Whole(bytes) => {
            busy.ended();
            Answered::Whole(bytes)
        }
        Gathered::Begun { first, rest, is_events } => {
            Answered::Begun { first, rest, is_events, busy }
        }
    };
    Ok(Answer { status, headers, content, upstream, upstream_time })
}

fn request(task: &Task<'_>, upstream: &Upstream, content: Content) -> Request<Content> {
    let mut request = Request::new(content);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = upstream.uri(task.endpoint);
    *request.headers_mut() = task.headers.clone();
    if upstream.config.forward_authorization
        && let Some(authorization) = task.authorization
    {
        request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
    }
    request
}

/// Sends the request and waits for the head of the answer.
async fn send(
    upstream: &Upstream,
    request: Request<Content>,
    progress: &Progress,
    clock: &mut Clock<'_>,
) -> Result<Response<Received>, Cause> {
    let place = tokio::select! {
        biased;
        // Cancel-safe: a place that is not taken is the next one's.
        place = upstream.connections.place() => place,
        () = clock.passed() => return Err(Cause::Full),
    };
    clock.set(upstream.config.connect_timeout);
    let mut response = pin!(upstream.send(place, request));
    let response = loop {
        let stage = progress.stage();
        let span = span(stage, upstream);
        // Who looks at spans wants to know where it is; the clock is told when it asks.
        let is_looked_at = !span.is_disabled();
        let passed = async {
            tokio::select! {
                biased;
                // Cancel-safe: all three are gone on with.
                answered = &mut response => Passed::Answered(answered),
                () = progress.after(stage), if is_looked_at => Passed::Moved,
                () = clock.passed() => Passed::TooLate,
            }
        };
        match (passed.instrument(span).await, progress.departed_at()) {
            (Passed::Answered(answered), _) => break answered?,
            (Passed::Moved, _) => {}
            (Passed::TooLate, None) => return Err(Cause::ConnectTimeout),
            (Passed::TooLate, Some(departed)) => {
                let until = departed + upstream.config.first_byte_timeout;
                if clock.is_past(until) {
                    return Err(Cause::Timeout);
                }
                clock.set_until(until);
            }
        }
    };
    // A head may come long before the first byte of a stream.
    let departed = progress.departed_at().unwrap_or_else(Instant::now);
    clock.set_until(departed + upstream.config.first_byte_timeout);
    Ok(response)
}

/// The span of a stage.
fn span(stage: Stage, upstream: &Upstream) -> Span {
    let upstream = upstream.name();
    match stage {
        Stage::Waiting => tracing::debug_span!("upstream.connect", upstream),
        Stage::Departed => tracing::debug_span!("upstream.send", upstream),
        Stage::Sent => tracing::debug_span!("upstream.first_byte", upstream),
    }
}

type Outcome = (StatusCode, HeaderMap, Gathered);

/// Reads an answer's content: all of it, or the first of a stream.
async fn receive(
    upstream: &Upstream,
    response: Response<Received>,
    clock: &mut Clock<'_>,
) -> Result<Outcome, Cause> {
    let (parts, mut body) = response.into_parts();
    let mut headers = parts.headers;
    let is_events = parts.status.is_success() && is_event_stream(&headers);
    headers::clean(&mut headers);
    let mut so_far = Gathering::default();
    let gathered = loop {
        if body.is_end_stream() {
            break Gathered::Whole(so_far.bytes());
        }
        let frame = tokio::select! {
            biased;
            // Cancel-safe: the clock ends the request.
            frame = body.frame() => frame,
            () = clock.passed() => return Err(Cause::Timeout),
        };
        let Some(frame) = frame else { break Gathered::Whole(so_far.bytes()) };
        let frame = frame.map_err(|error| Cause::Broken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            so_far.add(data);
        }
        if so_far.len() > WHOLE || (is_events && so_far.len() > 0) {
            break Gathered::Begun { first: so_far.bytes(), rest: body, is_events };
        }
        clock.set(upstream.config.between_bytes_timeout);
    };
    Ok((parts.status, headers, gathered))
}

/// Bytes in a row; most answers are one piece, which is not copied.
#[derive(Default)]
struct Gathering {
    first: Bytes,
    all: BytesMut,
}

impl Gathering {
    fn add(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&data);
    }

    fn len(&self) -> usize {
        self.first.len().max(self.all.len())
    }

    fn bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

/// Whether an answer is one.
fn judge(upstream: &Arc<Upstream>, received: Outcome) -> Result<Outcome, Cause> {
    let (status, headers, gathered) = received;
    if status == StatusCode::UNAUTHORIZED && upstream.authorization.is_some() {
        return Err(Cause::Unauthorized);
    }
    if !says_that_it_cannot(status) {
        return Ok((status, headers, gathered));
    }
    let Gathered::Whole(bytes) = gathered else {
        return Err(Cause::Broken(format!("{status} with more than {WHOLE} bytes")));
    };
    let content = Answered::Whole(bytes);
    let upstream = Arc::clone(upstream);
    let upstream_time = Duration::ZERO;
    Err(Cause::Status(Box::new(Answer { status, headers, content, upstream, upstream_time })))
}

/// Whether somebody else might be able to.
fn says_that_it_cannot(status: StatusCode) -> bool {
    let never = [StatusCode::NOT_IMPLEMENTED, StatusCode::HTTP_VERSION_NOT_SUPPORTED];
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() && !never.contains(&status)
}

/// Whether it is a stream of events that can be told apart.
fn is_event_stream(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.to_ascii_lowercase().starts_with(b"text/event-stream"))
}

impl Clock<'_> {
    fn set(&mut self, left: Duration) {
        self.set_until(Instant::now() + left);
    }

    fn set_until(&mut self, until: Instant) {
        self.deadline.set(self.end.min(until));
    }

    /// Waits until there is no time left.
    async fn passed(&mut self) {
        poll_fn(|context| self.deadline.poll(context)).await;
    }

    /// Whether there is no time left until then.
    fn is_past(&self, until: Instant) -> bool {
        self.end.min(until) <= Instant::now()
    }
}
