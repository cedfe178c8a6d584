//! A task that wakes itself while it is polled is polled again at once.
//!
//! Parts of a task that talk by channels wake each other, and so the task wakes itself: hyper's
//! connection and the body that a handler reads of it do, for each request. Tokio takes that for a
//! yield. It puts the task at the end of the queue and wakes another worker, which takes it over:
//! that costs several times what the poll does.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicU8,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

use atomic_waker::AtomicWaker;

/// A future that is polled once more where it woke itself, before its task yields.
pub(super) struct Again<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    /// The bell's.
    waker: Waker,
}

/// Wakes the task, or notes it while that is polled.
#[derive(Debug, Default)]
struct Bell {
    task: AtomicWaker,
    state: AtomicU8,
}

const WAKES: u8 = 0;
const NOTES: u8 = 1;
const NOTED: u8 = 2;

impl<F> Again<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        Self { future: Box::pin(future), bell, waker }
    }
}

impl<F: Future> Future for Again<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, bell, waker } = self.get_mut();
        bell.task.register(context.waker());
        // Once: others want to be polled too.
        for _ in 0..2 {
            bell.state.store(NOTES, Release);
            let polled = future.as_mut().poll(&mut Context::from_waker(waker));
            let was_woken = bell.state.swap(WAKES, AcqRel) == NOTED;
            if polled.is_ready() || !was_woken {
                return polled;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(WAKES) = self.state.compare_exchange(NOTES, NOTED, AcqRel, Acquire) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Polls a future once that wakes itself the first `times`: how often it was polled, how often
    /// its task was woken, and its waker.
    fn poll_once(times: usize) -> (usize, usize, Waker, Arc<Count>) {
        let (mut polls, mut own) = (0, None);
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let mut future = Again::new(poll_fn(|context| {
            polls += 1;
            if polls <= times {
                context.waker().wake_by_ref();
            }
            own = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&task)).is_pending());
        drop(future);
        (polls, count.0.load(Relaxed), own.expect("polled"), count)
    }

    #[test]
    fn who_wakes_himself_is_polled_again_and_then_yields() {
        for (times, expected) in [(0, (1, 0)), (1, (2, 0)), (2, (2, 1)), (9, (2, 1))] {
            let (polls, woken, ..) = poll_once(times);
            assert_eq!((polls, woken), expected, "{times}");
        }
    }

    #[test]
    fn others_wake_the_task() {
        let (_, _, waker, count) = poll_once(0);
        waker.wake();
        assert_eq!(count.0.load(Relaxed), 1);
    }
}
