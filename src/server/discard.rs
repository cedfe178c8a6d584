//! Request bodies of HTTP/2 that are answered before they are read.
//!
//! hyper resets the stream of a body that is dropped unread. The reset has the code `NO_ERROR`, as
//! RFC 9113, section 8.1, allows, and still hides the answer from clients that are sending: curl and
//! httpx report a broken stream. Over HTTP/1.1 the whole connection reads on instead
//! ([`lingering`](super::lingering)).

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use thermograph_common::task;
use tokio::{runtime::Handle, time};

use super::lingering::FORGOTTEN;

/// Longest time that is spent on a body. More than on a connection of HTTP/1.1, which is of no use
/// meanwhile: it is enough for 8 MiB at 2.5 Mbit/s.
const LONGEST: Duration = Duration::from_secs(30);

/// A body whose rest is read and discarded once it is dropped, up to the size that a lingering close
/// discards.
pub(super) struct DiscardOnDrop<B: Rest> {
    /// `None` once it is dropped.
    body: Option<B>,
}

/// A body that can be read to its end by a task of its own.
pub(super) trait Rest: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static> Rest for B {}

impl<B: Rest> DiscardOnDrop<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body: Some(body) }
    }
}

impl<B: Rest> Body for DiscardOnDrop<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let body = self.body.as_mut();
        body.map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}

impl<B: Rest> Drop for DiscardOnDrop<B> {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        // Without a runtime the connection is gone as well.
        if let (Some(body), Ok(_)) = (unread, Handle::try_current()) {
            drop(task::spawn("discarded body", discard(body)));
        }
    }
}

async fn discard(mut body: impl Rest) {
    let reading = async {
        let mut discarded = 0;
        while discarded < FORGOTTEN
            && let Some(Ok(frame)) = body.frame().await
        {
            discarded += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Past the bounds the stream is reset.
    let _passed = time::timeout(LONGEST, reading).await;
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
    };

    use tokio::{sync::mpsc, time::Instant};

    use super::*;

    /// Body of pieces whose lengths a test sends; counts the bytes that were read.
    struct Pieces {
        receiver: mpsc::Receiver<usize>,
        read: Arc<AtomicUsize>,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.receiver.poll_recv(context).map(|length| {
                let length = length?;
                self.read.fetch_add(length, Relaxed);
                Some(Ok(Frame::data(vec![0; length].into())))
            })
        }
    }

    /// Drops a body unread; gives its sender, and the count of the bytes that are read of it.
    fn dropped() -> (mpsc::Sender<usize>, Arc<AtomicUsize>) {
        let (sender, receiver) = mpsc::channel(1);
        let read = Arc::default();
        drop(DiscardOnDrop::new(Pieces { receiver, read: Arc::clone(&read) }));
        (sender, read)
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_body_is_read_for_a_bounded_time() {
        let (sender, _) = dropped();
        let begun = Instant::now();
        while sender.send(1).await.is_ok() {
            time::sleep(LONGEST / 10).await;
        }
        assert!((LONGEST..LONGEST * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_body_is_read_up_to_a_bounded_size() {
        let piece = FORGOTTEN / 8;
        let (sender, read) = dropped();
        while sender.send(piece).await.is_ok() {}
        assert_eq!(read.load(Relaxed), FORGOTTEN);
    }

    #[tokio::test]
    async fn dropped_body_is_read_to_its_end() {
        let (sender, read) = dropped();
        for _ in 0..3 {
            sender.send(5).await.expect("it is read");
        }
        drop(sender);
        while read.load(Relaxed) < 15 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn body_dropped_outside_of_a_runtime_is_not_read() {
        let (sender, read) = dropped();
        assert!(sender.is_closed());
        assert_eq!(read.load(Relaxed), 0);
    }
}
