//! The body of a request to an upstream, which tells how far it has gone.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU8,
            Ordering::{AcqRel, Acquire},
        },
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};

use super::document::Pieces;

/// The body: pieces, so that a renamed model does not copy it.
#[derive(Debug)]
pub(super) struct Content {
    pieces: Pieces,
    next: usize,
    progress: Arc<Progress>,
}

/// How far a request has gone.
#[derive(Debug, Default)]
pub(super) struct Progress {
    stage: AtomicU8,
    departed: OnceLock<Instant>,
    moved: Notify,
}

/// Where it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// It waits for a connection.
    Waiting,
    /// The connection has asked for the body: from here on the upstream may have seen something.
    Departed,
    /// The connection has all of it.
    Sent,
}

/// Bytes that the connection is given at a time: it asks for more once it has sent most of them.
const AT_ONCE: usize = 64 << 10;

impl Content {
    pub(super) fn new(pieces: Pieces, progress: Arc<Progress>) -> Self {
        Self { pieces, next: 0, progress }
    }

    /// Nothing, of which nobody wants to know how far it has gone.
    pub(super) fn empty() -> Self {
        Self::new(Default::default(), Arc::default())
    }

    fn left(&self) -> &[Bytes] {
        &self.pieces[self.next..]
    }
}

impl Progress {
    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Acquire) {
            0 => Stage::Waiting,
            1 => Stage::Departed,
            _ => Stage::Sent,
        }
    }

    /// When the upstream may first have seen something of the request, if it has departed.
    pub(super) fn departed_at(&self) -> Option<Instant> {
        self.departed.get().copied()
    }

    /// Waits until it is further than this stage.
    pub(super) async fn after(&self, stage: Stage) {
        // One waits at a time, so that a notice that came before is not lost.
        while self.stage() == stage {
            self.moved.notified().await;
        }
    }

    fn advance(&self, stage: Stage) {
        self.departed.get_or_init(Instant::now);
        if self.stage.fetch_max(stage as u8, AcqRel) < stage as u8 {
            self.moved.notify_one();
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.next += self.left().iter().take_while(|piece| piece.is_empty()).count();
        let next = self.next;
        let piece = self.pieces.get_mut(next).map(|piece| piece.split_to(piece.len().min(AT_ONCE)));
        let stage = if self.is_end_stream() { Stage::Sent } else { Stage::Departed };
        self.progress.advance(stage);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left().iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left().iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_large_one_is_given_bit_by_bit() {
        let whole = Bytes::from(vec![b'x'; 2 * AT_ONCE + 1]);
        let pieces = [whole, Bytes::new(), Bytes::new(), Bytes::new(), Bytes::new()];
        let mut content = Content::new(pieces, Arc::default());
        let mut sizes = Vec::new();
        while let Some(frame) = content.frame().await {
            sizes.push(frame.expect("no error").into_data().expect("data").len());
        }
        assert_eq!(sizes, [AT_ONCE, AT_ONCE, 1]);
    }

    #[tokio::test]
    async fn it_tells_when_it_departed_and_when_it_is_sent() {
        let progress = Arc::new(Progress::default());
        let pieces = ["a", "", "bc", "", ""].map(|piece| Bytes::from_static(piece.as_bytes()));
        let mut content = Content::new(pieces, Arc::clone(&progress));
        assert_eq!(content.size_hint().exact(), Some(3));
        assert_eq!((progress.stage(), progress.departed_at()), (Stage::Waiting, None));
        let frame = content.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "a");
        progress.after(Stage::Waiting).await;
        assert!(progress.departed_at().is_some());
        assert!(!content.is_end_stream());
        let frame = content.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "bc");
        progress.after(Stage::Departed).await;
        assert_eq!(progress.stage(), Stage::Sent);
        assert!(content.is_end_stream());
        assert!(content.frame().await.is_none());
    }
}
