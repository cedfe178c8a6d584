//! The response body, watched.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{request::WatchedRequest, traced};

/// Takes the time of every poll of a response body: a stream works outside the handler's future,
/// and may block there.
pub(crate) struct WatchBody {
    inner: Begun,
    /// None once the body has ended.
    request: Option<WatchedRequest>,
}

/// A body of which something is left to be worked on; its first frame may have been taken already.
pub(crate) struct Begun {
    /// The result of the first poll. Boxed, since few bodies have one.
    first: Option<Box<Polled>>,
    rest: Body,
}

/// What a poll of a body gives: a frame, or none at its end.
type Polled = Option<Result<Frame<Bytes>, axum::Error>>;

impl Begun {
    /// What is left of a body to be watched, if anything is.
    ///
    /// Takes the first frame of a body that knows its length: as a rule it is in memory, and is
    /// all there is, so that it is over with the handler's own poll and needs none of its own.
    #[inline]
    pub(crate) fn begin(body: &mut Body, cx: &mut Context<'_>) -> Option<Self> {
        let first = match body.size_hint().exact() {
            _ if body.is_end_stream() => return None,
            None => None,
            Some(_) => match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => None,
                // Seen once, its end must not be asked for again.
                Poll::Ready(None) => {
                    *body = Body::empty();
                    return None;
                }
                Poll::Ready(Some(Ok(frame))) if body.is_end_stream() => match frame.into_data() {
                    Ok(data) => {
                        *body = data.into();
                        return None;
                    }
                    Err(trailers) => Some(Box::new(Some(Ok(trailers)))),
                },
                Poll::Ready(first) => Some(Box::new(first)),
            },
        };
        Some(Self { first, rest: mem::take(body) })
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        match self.first.take() {
            Some(polled) => Poll::Ready(*polled),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.rest.size_hint();
        if let Some(Some(Ok(frame))) = self.first.as_deref()
            && let Some(data) = frame.data_ref()
        {
            let first = data.len() as u64;
            // The upper bound first: the lower one may not be above it.
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + first);
            }
            hint.set_lower(hint.lower() + first);
        }
        hint
    }
}

impl WatchBody {
    pub(crate) fn new(inner: Begun, request: Option<WatchedRequest>) -> Self {
        Self { inner, request }
    }
}

impl HttpBody for WatchBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        let this = &mut *self;
        let Some(request) = &mut this.request else { return this.inner.poll_frame(cx) };
        let mut frame = Poll::Pending;
        let end = request.poll(None, cx, |cx| frame = traced(cx, |cx| this.inner.poll_frame(cx)));
        // hyper does not poll a body again whose last frame says that it is the last.
        let ended = match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => this.inner.is_end_stream(),
            Poll::Ready(Some(Err(_))) => false,
            Poll::Pending => {
                request.waits(cx.waker());
                false
            }
        };
        if ended {
            request.end(end);
            this.request = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Waker};

    use http_body_util::BodyExt as _;

    use super::*;

    /// A body that gives these polls and then ends, and knows its length or does not.
    struct Script {
        polls: VecDeque<Poll<Polled>>,
        length: Option<u64>,
    }

    impl HttpBody for Script {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Polled> {
            self.polls.pop_front().unwrap_or(Poll::Ready(None))
        }

        fn is_end_stream(&self) -> bool {
            self.polls.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn begin(mut body: Body) -> (Body, Option<Begun>) {
        let begun = Begun::begin(&mut body, &mut Context::from_waker(Waker::noop()));
        (body, begun)
    }

    fn script<const N: usize>(length: Option<u64>, polls: [Poll<Polled>; N]) -> Option<Begun> {
        begin(Body::new(Script { polls: polls.into(), length })).1
    }

    fn data(text: &'static str) -> Poll<Polled> {
        Poll::Ready(Some(Ok(Frame::data(text.into()))))
    }

    async fn collected(begun: Option<Begun>) -> Result<Bytes, axum::Error> {
        let body = WatchBody::new(begun.expect("something is left"), None);
        Ok(body.collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a_body_in_memory_is_over_before_it_is_sent_and_keeps_its_length() {
        for text in ["hello", ""] {
            let (body, None) = begin(Body::from(text)) else { panic!("{text:?} is left") };
            assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
            assert_eq!(body.collect().await.expect("whole").to_bytes(), text);
        }
    }

    #[tokio::test]
    async fn nothing_of_a_longer_body_is_lost() {
        let begun = script(Some(2), [data("a"), data("b")]);
        assert!(begun.as_ref().is_some_and(|begun| !begun.is_end_stream()));
        assert_eq!(collected(begun).await.expect("whole"), "ab");
        let begun = script(Some(1), [Poll::Pending, data("b")]);
        assert!(begun.as_ref().is_some_and(|begun| begun.first.is_none()));
        assert_eq!(collected(begun).await.expect("whole"), "b");
        // A stream is left alone until it is asked for.
        let begun = script(None, [data("a")]);
        assert!(begun.as_ref().is_some_and(|begun| begun.first.is_none()));
        assert_eq!(collected(begun).await.expect("whole"), "a");
    }

    #[tokio::test]
    async fn a_frame_that_was_looked_at_still_counts_in_the_length() {
        let begun = script(Some(1), [data("a"), data("b")]).expect("left");
        // The rest says 1, as a script does whatever it has given.
        assert_eq!(begun.size_hint().exact(), Some(2));
    }

    #[test]
    fn a_body_that_has_ended_keeps_the_length_that_it_tells() {
        // The answer to a HEAD request may be such a body.
        let ended = Script { polls: VecDeque::new(), length: Some(7) };
        let (body, None) = begin(Body::new(ended)) else { panic!("it has ended") };
        assert_eq!(body.size_hint().exact(), Some(7));
    }

    #[tokio::test]
    async fn trailers_an_end_and_an_error_are_kept() {
        let etag = (http::header::ETAG, http::HeaderValue::from_static("1"));
        let trailers = http::HeaderMap::from_iter([etag]);
        let frame = Frame::trailers(trailers.clone());
        let begun = script(Some(0), [Poll::Ready(Some(Ok(frame)))]).expect("left");
        let whole = WatchBody::new(begun, None).collect().await.expect("whole");
        assert_eq!(whole.trailers(), Some(&trailers));
        // Its end was seen: it must not be polled again.
        let ended = Script { polls: [Poll::Ready(None), data("b")].into(), length: Some(1) };
        let (body, None) = begin(Body::new(ended)) else { panic!("it has ended") };
        assert!(body.is_end_stream());
        let broken = script(Some(1), [Poll::Ready(Some(Err(axum::Error::new("broken"))))]);
        assert_eq!(collected(broken).await.expect_err("broken").to_string(), "broken");
    }
}
