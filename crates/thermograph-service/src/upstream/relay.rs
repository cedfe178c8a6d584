//! The body of an answer that is passed on while it comes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use thermograph_codec::{
    events,
    events::{Events, KEEP_ALIVE, Taken},
};
use thermograph_common::units::micros;
use tokio::time::{Instant, Sleep};
use tracing::Span;

use super::{
    Answer, Answered, Endpoint, Exchanged, Route,
    connections::Received,
    deadline::Deadline,
    failure::Cause,
    headers,
    hide::{self, Remainder},
    meters::OperationMeters,
    one::Busy,
};
use crate::{
    call::Call,
    error::ApiError,
    store::{Bill, Streaming},
    usage::{Facts, Inspector},
};

/// Time of a request until its answer begins, less that of the upstream, in microseconds.
const OVERHEAD: HeaderName = HeaderName::from_static("x-thermograph-overhead-us");
/// Name of the upstream that answered.
const UPSTREAM: HeaderName = HeaderName::from_static("x-thermograph-upstream");

impl Exchanged {
    /// The answer as it is passed on; its body keeps the place of the request until it is over.
    pub(crate) fn pass_on(
        self,
        route: Arc<Route>,
        endpoint: Endpoint,
        call: Call,
    ) -> Response<axum::body::Body> {
        let bill = call.bill().clone();
        self.begin(route, endpoint, call.started(), &bill, Some(call))
    }

    /// The answer whole, up to `most` bytes, for who makes another of it.
    pub(crate) async fn read(
        self,
        route: Arc<Route>,
        endpoint: Endpoint,
        call: &Call,
        most: usize,
    ) -> Result<Response<Bytes>, ApiError> {
        let (head, body) =
            self.begin(route, endpoint, call.started(), call.bill(), None).into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|error| {
            let status = StatusCode::BAD_GATEWAY;
            ApiError::upstream(status, "broken", &format!("the upstream: {error}"))
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    fn begin(
        self,
        route: Arc<Route>,
        endpoint: Endpoint,
        started: Instant,
        bill: &Bill,
        call: Option<Call>,
    ) -> Response<axum::body::Body> {
        let Self { answer, upstream_time, request_id, keep_alive } = self;
        let Answer { status, headers, content, upstream, mut tally, hides_usage, .. } = answer;
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        bill.answered_by(upstream.shared_name());
        let took = started.elapsed();
        let meters = route.meters.of(endpoint);
        let overhead = took.saturating_sub(upstream_time);
        meters.overhead.record(overhead);
        let told = response.headers_mut();
        told.insert(OVERHEAD, HeaderValue::from(micros(overhead)));
        if let Some(name) = &upstream.name_header {
            told.insert(UPSTREAM, name.clone());
        }
        let body = match content {
            Answered::Whole(bytes) => {
                if status.is_success() {
                    let usage = tally.ended();
                    meters.answered(took, &usage);
                    bill.used(usage);
                } else {
                    meters.failed(took, status.as_str());
                }
                match call {
                    Some(call) => axum::body::Body::new(call.hold(bytes)),
                    None => bytes.into(),
                }
            }
            Answered::Begun { first, rest, first_by, is_events, busy } => {
                if is_events {
                    events::declare(told);
                }
                let streaming = bill.streams(tally);
                let notes = Notes {
                    hides_usage,
                    ..Notes::begin(route, endpoint, started, call, request_id, streaming)
                };
                let mut relay = Relay::new(first, rest, is_events, busy, notes);
                relay.first_by = first_by;
                relay.keep_alive = keep_alive.filter(|_| is_events).map(KeepAlive::new);
                if is_events && first_by.is_none() {
                    relay.notes.first_byte();
                }
                axum::body::Body::new(relay)
            }
        };
        *response.body_mut() = body;
        response
    }
}

/// Bytes that are taken of an upstream before others have their turn.
pub(super) const AT_ONCE: usize = 128 << 10;

/// What is passed on, and what is noted of it. Where the client reads slowly, it is not asked for
/// more, and so the upstream is not either.
///
/// Dropped before its end, it closes the connection to the upstream.
struct Relay {
    next: Option<Bytes>,
    rest: Received,
    /// Events that are not whole yet; none if the answer is no stream of events.
    events: Option<Events>,
    busy: Busy,
    /// Deadline of the first byte; `None` once it is there.
    first_by: Option<Instant>,
    keep_alive: Option<KeepAlive>,
    /// Deadline of the next bytes.
    silence: Deadline<Box<Sleep>>,
    between_bytes: Duration,
    /// Deadline of the request.
    end: Instant,
    notes: Notes,
    span: Span,
    /// True if the upstream was asked for more and has not given it yet.
    is_waiting: bool,
    /// Bytes that were passed on since it was waited for, or the worker was given to others.
    at_once: usize,
    is_over: bool,
}

/// Comments for a client that hears nothing.
struct KeepAlive {
    every: Duration,
    timer: Deadline<Box<Sleep>>,
}

impl KeepAlive {
    fn new(every: Duration) -> Self {
        let timer = Deadline::new(Box::pin(tokio::time::sleep(every)));
        Self { every, timer }
    }

    /// Something was passed on.
    fn put_off(&mut self) {
        self.timer.set(Instant::now() + self.every);
    }
}

/// Measurements of a request.
struct Notes {
    route: Arc<Route>,
    endpoint: Endpoint,
    started: Instant,
    /// Kept until the request is over.
    _call: Option<Call>,
    first: Instant,
    last: Instant,
    request_id: Option<HeaderValue>,
    /// True if the client is not to know of the usage.
    hides_usage: bool,
    inspector: Inspector,
    /// Number of events so far.
    events: u64,
    /// An error that the upstream has sent as an event.
    error: Option<StatusCode>,
    streaming: Streaming,
}

impl Relay {
    fn new(first: Bytes, rest: Received, is_events: bool, busy: Busy, notes: Notes) -> Self {
        let config = &busy.upstream().config;
        let between_bytes = config.between_bytes_timeout;
        let end = notes.started + config.request_timeout;
        let silence = Deadline::new(Box::pin(tokio::time::sleep_until(end)));
        let span = tracing::debug_span!("upstream.stream", upstream = busy.upstream().name());
        Self {
            next: Some(first),
            rest,
            events: is_events.then(Events::default),
            first_by: None,
            keep_alive: None,
            silence,
            between_bytes,
            end,
            busy,
            notes,
            span,
            is_waiting: false,
            at_once: 0,
            is_over: false,
        }
    }

    /// The next bytes of the upstream, or how it ended.
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cause>>> {
        if let Some(first) = self.next.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        // Between two fast sides there is always more to pass on.
        if self.at_once >= AT_ONCE {
            self.at_once = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            match Pin::new(&mut self.rest).poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.is_waiting = false;
                    self.at_once += data.len();
                    if self.first_by.take().is_some() {
                        self.notes.first_byte();
                    } else {
                        self.notes.piece(Instant::now());
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(Cause::Broken(error.to_string()))));
                }
                Poll::Pending => {
                    self.at_once = 0;
                    // From when it was asked: before, it was the client who took nothing.
                    if !self.is_waiting {
                        self.is_waiting = true;
                        let until =
                            self.first_by.unwrap_or_else(|| Instant::now() + self.between_bytes);
                        self.silence.set(self.end.min(until));
                    }
                    ready!(self.silence.poll(context));
                    return Poll::Ready(Some(Err(Cause::Timeout)));
                }
            }
        }
    }

    /// A comment, where the upstream has been silent for long, and an event is not half passed on.
    fn poll_keep_alive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(keep_alive) = &mut self.keep_alive else { return Poll::Pending };
        if self.events.as_ref().is_none_or(Events::is_amid) {
            return Poll::Pending;
        }
        ready!(keep_alive.timer.poll(context));
        keep_alive.put_off();
        Poll::Ready(Some(Ok(Frame::data(KEEP_ALIVE))))
    }

    /// The upstream has ended in good order; what is left to pass on.
    fn ended(&mut self) -> Option<Bytes> {
        self.is_over = true;
        let rest = self.events.as_mut().map(|events| self.notes.pass(events.rest(), false));
        if let Some(status) = self.notes.error {
            self.failed(&Cause::ErrorEvent(status));
        } else {
            self.busy.ended();
            self.notes.ended();
        }
        rest
    }

    /// The upstream has broken off: a last event says so, where one can be said.
    fn broke(&mut self, cause: &Cause) -> Result<Bytes, BoxError> {
        self.is_over = true;
        self.failed(cause);
        if self.events.as_ref().is_none_or(Events::is_amid) {
            return Err(cause.told().into());
        }
        let error = ApiError::upstream(cause.status(), cause.outcome(), cause.told());
        Ok(self.notes.endpoint.dialect().event(&error, self.notes.events))
    }

    fn failed(&mut self, cause: &Cause) {
        let took = self.notes.started.elapsed();
        self.busy.failed(cause, took);
        self.notes.failed(cause);
        let upstream = self.busy.upstream().name();
        let request_id = headers::text(self.notes.request_id.as_ref());
        tracing::warn!(upstream, %cause, request_id, "upstream response aborted");
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let span = this.span.clone();
        let _entered = span.enter();
        loop {
            if this.is_over {
                return Poll::Ready(None);
            }
            let polled = match this.poll_bytes(context) {
                Poll::Ready(polled) => polled,
                Poll::Pending => return this.poll_keep_alive(context),
            };
            if let Some(keep_alive) = &mut this.keep_alive {
                keep_alive.put_off();
            }
            let passed = match polled {
                Some(Ok(bytes)) => match &mut this.events {
                    None => {
                        this.notes.streaming.piece(&bytes);
                        Ok(bytes)
                    }
                    Some(events) => {
                        let taken = events.take(bytes);
                        Ok(this.notes.pass(taken, events.is_amid()))
                    }
                },
                Some(Err(cause)) => this.broke(&cause),
                None => Ok(this.ended().unwrap_or_default()),
            };
            match passed {
                Ok(bytes) if bytes.is_empty() => {}
                passed => return Poll::Ready(Some(passed.map(Frame::data))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Notes {
    /// The head is there.
    fn begin(
        route: Arc<Route>,
        endpoint: Endpoint,
        started: Instant,
        call: Option<Call>,
        request_id: Option<HeaderValue>,
        streaming: Streaming,
    ) -> Self {
        let first = Instant::now();
        let last = first;
        Self {
            route,
            endpoint,
            started,
            _call: call,
            first,
            last,
            request_id,
            hides_usage: false,
            inspector: Inspector::default(),
            events: 0,
            error: None,
            streaming,
        }
    }

    /// The first byte is there.
    fn first_byte(&mut self) {
        let now = Instant::now();
        (self.first, self.last) = (now, now);
        self.meters().began(now - self.started);
    }

    fn piece(&mut self, now: Instant) {
        self.meters().gap.record(now - self.last);
        self.last = now;
    }

    /// Notes what is passed on; `is_amid` says that it ends in the middle of an event. Returns all that the
    /// client is to have of it.
    fn pass(&mut self, taken: Taken, is_amid: bool) -> Bytes {
        if !taken.long.is_empty()
            && let Some(facts) = self.streaming.piece_of_event(&taken.long, !is_amid)
        {
            self.event(&facts);
        }
        let whole = self.pass_events(&taken.whole);
        Taken { whole, ..taken }.into_bytes()
    }

    fn pass_events(&mut self, events: &Bytes) -> Bytes {
        let mut remainder = Remainder::of(events);
        for event in events::each(events) {
            if event.is_done() {
                self.streaming.done();
                continue;
            }
            let facts = self.inspector.event(&event);
            self.streaming.event(&facts);
            self.event(&facts);
            if self.hides_usage
                && let Some(part) = hide::cut(events, event.place, &facts)
            {
                remainder.leave_out(part);
            }
        }
        remainder.into_bytes()
    }

    fn event(&mut self, facts: &Facts) {
        self.events += 1;
        self.error = self.error.or(facts.error);
    }

    fn ended(&mut self) {
        let usage = self.streaming.ended();
        let meters = self.meters();
        meters.answered(self.started.elapsed(), &usage);
        meters.streamed(self.last - self.first, usage.completion_tokens);
    }

    fn failed(&mut self, cause: &Cause) {
        self.meters().failed(self.started.elapsed(), cause.outcome());
        self.streaming.broke(cause.status());
    }

    fn meters(&self) -> &OperationMeters {
        self.route.meters.of(self.endpoint)
    }
}
