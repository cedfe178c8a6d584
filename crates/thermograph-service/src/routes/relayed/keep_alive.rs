//! Streams that begin before their upstream answers, so that no proxy on the way takes the silence for
//! a failure: comments keep the connection alive.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http_body::Frame;
use thermograph_codec::{events, events::KEEP_ALIVE};
use tokio::time::{self, Instant, Sleep};

use crate::{dialect::Dialect, error::ApiError, store::Bill};

/// The answer of an upstream, to come.
type Answering = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;

/// The body of a stream whose upstream has not answered yet.
struct KeptAlive {
    every: Duration,
    bill: Bill,
    dialect: Dialect,
    state: State,
}

enum State {
    Asking(Answering, Pin<Box<Sleep>>),
    /// An answer that is no stream: an error, or one that was made whole.
    Reading(Pin<Box<dyn Future<Output = Bytes> + Send>>),
    Passing(Body),
    Over,
}

/// Largest answer that becomes an event.
const LARGEST: usize = 16 << 20;

/// Waits for an answer; where that takes longer than `every`, the stream begins without it. An error is
/// its last event then.
pub(super) async fn answer(
    every: Duration,
    bill: Bill,
    dialect: Dialect,
    mut answering: Answering,
) -> Result<Response, ApiError> {
    if let Ok(answer) = time::timeout(every, &mut answering).await {
        return answer;
    }
    // The first comment goes with the head.
    let timer = Box::pin(time::sleep(Duration::ZERO));
    let body = KeptAlive { every, bill, dialect, state: State::Asking(answering, timer) };
    let mut response = Response::new(Body::new(body));
    events::declare(response.headers_mut());
    Ok(response)
}

impl State {
    fn of(answer: Response, dialect: Dialect) -> Self {
        let status = answer.status();
        if events::is_declared(answer.headers()) && status.is_success() {
            return Self::Passing(answer.into_body());
        }
        Self::Reading(Box::pin(async move {
            match to_bytes(answer.into_body(), LARGEST).await {
                Ok(bytes) if status.is_success() => events::event("", &bytes),
                Ok(bytes) => dialect.event_of(status, &bytes, 0),
                Err(error) => dialect.event(&ApiError::internal(error.to_string()), 0),
            }
        }))
    }
}

impl http_body::Body for KeptAlive {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Asking(answering, timer) => match answering.as_mut().poll(context) {
                    Poll::Ready(answer) => {
                        let answer = this.bill.told(answer.into_response());
                        this.state = State::of(answer, this.dialect);
                    }
                    Poll::Pending => {
                        ready!(timer.as_mut().poll(context));
                        timer.as_mut().reset(Instant::now() + this.every);
                        return Poll::Ready(Some(Ok(Frame::data(KEEP_ALIVE))));
                    }
                },
                State::Reading(reading) => {
                    let event = ready!(reading.as_mut().poll(context));
                    this.state = State::Over;
                    return Poll::Ready(Some(Ok(Frame::data(event))));
                }
                State::Passing(body) => return Pin::new(body).poll_frame(context),
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for KeptAlive {
    fn drop(&mut self) {
        if let State::Asking(..) = self.state {
            self.bill.left();
        }
    }
}
