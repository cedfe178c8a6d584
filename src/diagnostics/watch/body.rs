//! The response body of a watched service.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};
use quanta::Instant;

use super::{poll::Poll as WatchedPoll, request::WatchedRequest};

/// Takes the time of every poll of a response body: a stream works outside the handler's future,
/// and may block there.
pub struct WatchBody<B: Body> {
    inner: Peeked<B>,
    /// None once the body has ended.
    request: Option<WatchedRequest>,
}

/// A body whose first frame may have been taken already.
pub(crate) struct Peeked<B: Body> {
    /// What the first poll gave.
    first: Option<Polled<B>>,
    rest: B,
}

/// What a poll of a body gives: a frame, or none at its end.
type Polled<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

impl<B: Body + Unpin> Peeked<B> {
    /// Takes the first frame of a body that knows its length: as a rule it is in memory, and is
    /// all there is, so that it is over with the handler's own poll and needs none of its own.
    pub(crate) fn new(mut rest: B, cx: &mut Context<'_>) -> Self {
        let mut first = None;
        if rest.size_hint().exact().is_some()
            && !rest.is_end_stream()
            && let Poll::Ready(polled) = Pin::new(&mut rest).poll_frame(cx)
        {
            first = Some(polled);
        }
        Self { first, rest }
    }

    /// Whether nothing is left to be worked on.
    fn is_over(&self) -> bool {
        match &self.first {
            None | Some(Some(Ok(_))) => self.rest.is_end_stream(),
            Some(None) => true,
            Some(Some(Err(_))) => false,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Polled<B>> {
        match self.first.take() {
            Some(polled) => Poll::Ready(polled),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.first {
            None => self.rest.is_end_stream(),
            Some(polled) => polled.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.rest.size_hint();
        if let Some(Some(Ok(frame))) = &self.first
            && let Some(data) = frame.data_ref()
        {
            let first = data.remaining() as u64;
            // The upper bound first: the lower one may not be above it.
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + first);
            }
            hint.set_lower(hint.lower() + first);
        }
        hint
    }
}

impl<B: Body + Unpin> WatchBody<B> {
    /// The body of a request whose head came just now.
    pub(crate) fn new(inner: Peeked<B>, watched: Option<(WatchedRequest, Instant)>) -> Self {
        let request = watched.and_then(|(mut request, now)| {
            if !inner.is_over() {
                return Some(request);
            }
            request.end(now);
            None
        });
        Self { inner, request }
    }
}

impl<B: Body + Unpin> Body for WatchBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = &mut *self;
        let poll = this.request.as_mut().map(WatchedRequest::poll);
        let frame = this.inner.poll_frame(cx);
        let now = poll.map(WatchedPoll::end);
        // hyper does not poll a body again whose last frame says that it is the last.
        let ended = match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => this.inner.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if let (true, Some(now)) = (ended, now)
            && let Some(mut request) = this.request.take()
        {
            request.end(now);
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

// Nothing in it is pinned: the inner body is one that can be moved.
impl<B: Body> Unpin for WatchBody<B> {}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible, task::Waker};

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    /// A body that gives these polls, and knows its length or does not.
    struct Script {
        polls: VecDeque<Poll<Polled<Self>>>,
        length: Option<u64>,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Polled<Self>> {
            self.polls.pop_front().expect("not polled after its end")
        }

        fn size_hint(&self) -> SizeHint {
            self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn peeked(length: Option<u64>, polls: Vec<Poll<Polled<Script>>>) -> Peeked<Script> {
        let mut cx = Context::from_waker(Waker::noop());
        Peeked::new(Script { polls: polls.into(), length }, &mut cx)
    }

    fn data(text: &'static str) -> Poll<Polled<Script>> {
        Poll::Ready(Some(Ok(Frame::data(text.into()))))
    }

    async fn collected<B>(peeked: Peeked<B>) -> Result<Bytes, B::Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        Ok(WatchBody::new(peeked, None).collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a_body_in_memory_is_over_before_it_is_sent_and_keeps_its_length() {
        let mut cx = Context::from_waker(Waker::noop());
        let body = Peeked::new(Full::new(Bytes::from("hello")), &mut cx);
        assert!(body.is_over() && !body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(collected(body).await, Ok::<_, Infallible>("hello".into()));
    }

    #[tokio::test]
    async fn nothing_of_a_longer_body_is_lost() {
        for first in [data("a"), Poll::Pending] {
            let body = peeked(Some(2), vec![first, data("b"), Poll::Ready(None)]);
            assert!(!body.is_over());
            assert!(collected(body).await.expect("whole").ends_with(b"b"));
        }
        // A stream is left alone until it is asked for.
        let body = peeked(None, vec![data("a"), Poll::Ready(None)]);
        assert_eq!((body.first.is_none(), collected(body).await), (true, Ok("a".into())));
    }

    #[tokio::test]
    async fn an_end_and_an_error_are_kept() {
        let empty = peeked(Some(0), vec![Poll::Ready(None)]);
        assert!(empty.is_over() && empty.is_end_stream());
        assert_eq!(collected(empty).await, Ok(Bytes::new()));
        let broken = peeked(Some(1), vec![Poll::Ready(Some(Err("broken")))]);
        assert!(!broken.is_over());
        assert_eq!(collected(broken).await, Err("broken"));
    }
}
