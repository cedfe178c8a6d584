//! One attempt: a request to one upstream, until its answer begins.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use tokio::time::{self, Instant, Sleep};
use tracing::{Instrument as _, Span};

use super::{
    Answer, Answered, Document, Endpoint, GatewayConfig, Upstream,
    connections::Received,
    content::{Content, Progress, Stage},
    deadline::Deadline,
    document::Name,
    failure::{Cause, Failure},
    headers,
    judge::{Asked, Judged, judge},
    one::Busy,
    receive::{Gathered, receive},
};
use crate::store::Bill;

/// What all attempts of a request have in common.
pub(super) struct Task<'a> {
    pub(super) gateway: &'a GatewayConfig,
    pub(super) endpoint: Endpoint,
    /// The client's headers.
    pub(super) client: &'a HeaderMap,
    /// The client's own key, for upstreams that want it.
    pub(super) authorization: Option<&'a HeaderValue>,
    pub(super) document: &'a Document,
    pub(super) bill: &'a Bill,
    pub(super) started: Instant,
}

/// A bound on what is awaited, moved on from phase to phase.
pub(super) struct Clock<'a> {
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

/// A request in flight. Dropping it before its upstream has answered or failed means that the client
/// has disconnected, and that the upstream has worked on the prompt.
struct Underway<'a> {
    task: &'a Task<'a>,
    progress: Arc<Progress>,
    is_over: bool,
}

/// Asks the upstream that was chosen. `name` is what the model is called there, if not the same.
///
/// Dropped, it closes the connection: the upstream sees that nobody waits any more.
pub(super) async fn attempt(
    task: &Task<'_>,
    mut busy: Busy,
    name: Option<&Name>,
) -> Result<Answer, Failure> {
    let upstream = Arc::clone(busy.upstream());
    let began = busy.since();
    let progress = Arc::new(Progress::default());
    let mut underway = Underway { task, progress: Arc::clone(&progress), is_over: false };
    let asks = task.endpoint.has_stream_options() && upstream.takes_stream_options();
    let usage = asks.then(|| task.document.asking_for_usage()).flatten();
    let hides_usage = usage.is_some();
    let end = task.started + upstream.config.request_timeout;
    let sleep = pin!(time::sleep_until(end.min(began + upstream.config.connect_timeout)));
    let mut clock = Clock { deadline: Deadline::new(sleep), end };
    let received = async {
        let edits = [name.and_then(|name| task.document.renamed(name)), usage];
        let content = Content::new(task.document.pieces(edits), Arc::clone(&progress));
        let request = request(task, &upstream, content);
        let response = send(&upstream, request, &progress, &mut clock).await?;
        let silence = upstream.config.between_bytes_timeout;
        receive(response, silence, &mut clock).await
    };
    let received = received.await;
    let (departed, now) = (progress.departed_at(), Instant::now());
    let upstream_time = departed.map(|at| now - at).unwrap_or_default();
    underway.is_over = true;
    let asked = Asked {
        gateway: task.gateway,
        has_client_key: upstream.config.forward_authorization && task.authorization.is_some(),
        endpoint: task.endpoint,
        prompt_tokens: task.document.prompt_tokens(),
        hides_usage,
        upstream_time,
    };
    let answered = received.and_then(|received| judge(&upstream, received, &asked));
    let Judged { status, headers, gathered, tally } = match answered {
        Ok(judged) => judged,
        Err(cause) => {
            busy.failed(&cause, now - began);
            if let Some(refusal) = cause.answer()
                && let Some(wait) = headers::retry_after(&refusal.headers)
            {
                upstream.rest(wait);
            }
            return Err(Failure { cause, upstream, departed: departed.is_some(), upstream_time });
        }
    };
    if status.is_client_error() {
        busy.refused(now - began);
    } else {
        busy.began(now - began);
    }
    let content = match gathered {
        Gathered::Whole(bytes) => {
            busy.ended();
            Answered::Whole(bytes)
        }
        Gathered::Begun { first, rest, is_events } => {
            let first_by = departed.unwrap_or(began) + upstream.config.first_byte_timeout;
            let first_by = first.is_empty().then_some(first_by);
            Answered::Begun { first, rest, first_by, is_events, busy }
        }
    };
    Ok(Answer { status, headers, content, upstream, tally, hides_usage, upstream_time })
}

/// Builds the request; boxed, because several calls pass it on by value.
fn request(task: &Task<'_>, upstream: &Upstream, content: Content) -> Box<Request<Content>> {
    let mut request = Box::new(Request::new(content));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = upstream.uri(task.endpoint);
    let headers = request.headers_mut();
    *headers = headers::of_request(task.client);
    if let Some(form) = task.document.form() {
        headers.insert(header::CONTENT_TYPE, form.clone());
    }
    headers::forward(task.client, &upstream.forwarded, headers);
    if upstream.config.forward_authorization
        && let Some(authorization) = task.authorization
    {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    upstream.authorize(headers);
    request
}

/// Sends the request and waits for the head of the answer.
async fn send(
    upstream: &Upstream,
    request: Box<Request<Content>>,
    progress: &Progress,
    clock: &mut Clock<'_>,
) -> Result<Response<Received>, Cause> {
    let place = tokio::select! {
        biased;
        // Cancel-safe: a place that is not taken is the next one's.
        place = upstream.connections.place() => place,
        () = clock.passed() => return Err(Cause::Full),
    };
    let config = &upstream.config;
    let now = Instant::now();
    let connected = now + config.connect_timeout;
    // The departure of the request wakes no one: the clock checks for it in time for either bound.
    let step = config.connect_timeout.min(config.first_byte_timeout);
    clock.set_until(now + step);
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
            (Passed::TooLate, None) if clock.is_past(connected) => {
                return Err(Cause::ConnectTimeout);
            }
            (Passed::TooLate, None) => clock.set_until(connected.min(Instant::now() + step)),
            (Passed::TooLate, Some(departed)) => {
                let until = departed + config.first_byte_timeout;
                if clock.is_past(until) {
                    return Err(Cause::Timeout);
                }
                clock.set_until(until);
            }
        }
    };
    // A head may come long before the first byte of a stream.
    let departed = progress.departed_at().unwrap_or_else(Instant::now);
    clock.set_until(departed + config.first_byte_timeout);
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

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.progress.departed_at().is_some() {
            self.task.bill.abandoned(self.task.document.prompt_tokens());
        }
    }
}

impl Clock<'_> {
    pub(super) fn set(&mut self, left: Duration) {
        self.set_until(Instant::now() + left);
    }

    fn set_until(&mut self, until: Instant) {
        self.deadline.set(self.end.min(until));
    }

    /// Lets the time that is left end at `until`, if it would end later.
    pub(super) fn bring_forward(&mut self, until: Instant) {
        self.deadline.bring_forward(until);
    }

    /// Waits until there is no time left.
    pub(super) async fn passed(&mut self) {
        poll_fn(|context| self.deadline.poll(context)).await;
    }

    /// Whether there is no time left until then.
    fn is_past(&self, until: Instant) -> bool {
        self.end.min(until) <= Instant::now()
    }
}
