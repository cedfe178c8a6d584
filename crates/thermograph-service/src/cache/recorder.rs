//! An answer that is kept while it passes, if it comes to a good end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Frame, SizeHint};
use thermograph_common::task;

use super::{
    Refusal,
    answer::{Answer, CACHE},
    shelf::Question,
};
use crate::store::Bill;

/// Answers longer than this are looked over off the workers.
const SMALL: usize = 32 << 10;

/// Passes a body on, and keeps it.
struct Recorder {
    inner: Body,
    /// None once it was answered, or cannot be.
    recording: Option<Recording>,
}

struct Recording {
    question: Question<Answer>,
    status: StatusCode,
    headers: HeaderMap,
    /// Has counted the tokens by the end of the answer.
    bill: Bill,
    pieces: Vec<Bytes>,
    length: usize,
}

/// Keeps the answer when it is over, and tells all who wait for it.
///
/// Dropped before, another of those who wait asks.
pub(crate) fn record(question: Question<Answer>, mut response: Response, bill: Bill) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE, HeaderValue::from_static("miss"));
    if headers.contains_key(header::CONTENT_ENCODING) {
        question.leave_alone();
        return response;
    }
    let (headers, status) = (headers.clone(), response.status());
    let recording = Recording { question, status, headers, bill, pieces: Vec::new(), length: 0 };
    response.map(|inner| Body::new(Recorder { inner, recording: Some(recording) }))
}

impl http_body::Body for Recorder {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.keep(data);
                }
                // Who knows the length does not ask for an end.
                if self.inner.is_end_stream() {
                    self.end();
                }
            }
            // Whoever waits does not wait for this again.
            Some(Err(_)) => self.give_up(),
            None => self.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Recorder {
    fn keep(&mut self, data: &Bytes) {
        let Some(recording) = &mut self.recording else { return };
        recording.length += data.len();
        if recording.length > recording.question.largest() {
            self.give_up();
        } else {
            recording.pieces.push(data.clone());
        }
    }

    fn end(&mut self) {
        if let Some(recording) = self.recording.take() {
            recording.end();
        }
    }

    fn give_up(&mut self) {
        if let Some(recording) = self.recording.take() {
            recording.question.leave_alone();
        }
    }
}

impl Recording {
    fn end(self) {
        let Self { question, status, headers, bill, pieces, length } = self;
        let usage = bill.usage();
        let judge = move |mut pieces: Vec<Bytes>| {
            let body = if pieces.len() == 1 { pieces.remove(0) } else { pieces.concat().into() };
            let answer = Answer::new(status, &headers, body, usage);
            (answer.is_good(), answer)
        };
        if length <= SMALL {
            settle(question, judge(pieces));
            return;
        }
        task::spawn("cache record", async move {
            match question.cpu().clone().run(move || judge(pieces)).await {
                Ok(judged) => settle(question, judged),
                Err(_) => question.leave_alone(),
            }
        });
    }
}

/// Keeps the answer, or says why not.
fn settle(question: Question<Answer>, (is_good, answer): (bool, Answer)) {
    if !answer.status().is_success() {
        question.refuse(&Refusal::Answer(answer));
    } else if answer.status() == StatusCode::OK && is_good {
        question.answer(vec![answer]);
    } else {
        question.leave_alone();
    }
}
