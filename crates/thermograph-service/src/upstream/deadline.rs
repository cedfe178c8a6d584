//! A time that is waited for, and put off again and again.
//!
//! Tokio's timers lie in a wheel under a lock, and a request puts its deadline off with every phase
//! that it comes to. So the timer is only told of a deadline that is earlier than the one it has;
//! where it fires too early, it is set to the true one.

use std::{
    ops::DerefMut,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep};

/// A deadline, over a timer that is pinned somewhere.
pub(super) struct Deadline<P> {
    sleep: Pin<P>,
    until: Instant,
}

impl<P: DerefMut<Target = Sleep>> Deadline<P> {
    /// As the timer has it.
    pub(super) fn new(sleep: Pin<P>) -> Self {
        let until = sleep.deadline();
        Self { sleep, until }
    }

    pub(super) fn set(&mut self, until: Instant) {
        self.until = until;
        if until < self.sleep.deadline() {
            self.sleep.as_mut().reset(until);
        }
    }

    /// Sets it, if it is later.
    pub(super) fn bring_forward(&mut self, until: Instant) {
        self.set(self.until.min(until));
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(context));
            if self.until <= self.sleep.deadline() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_one_that_was_set_is_kept() {
        let second = Duration::from_secs(1);
        for set in [&[5, 9][..], &[9, 5], &[1, 9, 3, 20], &[2], &[]] {
            let began = Instant::now();
            let mut deadline = Deadline::new(Box::pin(sleep(4 * second)));
            for seconds in set {
                deadline.set(began + *seconds * second);
            }
            poll_fn(|context| deadline.poll(context)).await;
            let expected = set.last().copied().unwrap_or(4);
            assert_eq!(began.elapsed(), expected * second, "{set:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_put_off_while_it_is_waited_for() {
        let began = Instant::now();
        let mut deadline = Deadline::new(Box::pin(sleep(Duration::from_secs(2))));
        let wait = async |deadline: &mut Deadline<_>| {
            let passed = poll_fn(|context| deadline.poll(context));
            tokio::time::timeout(Duration::from_secs(1), passed).await.is_ok()
        };
        assert!(!wait(&mut deadline).await);
        deadline.set(began + Duration::from_secs(3));
        assert!(!wait(&mut deadline).await);
        assert!(wait(&mut deadline).await);
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }
}
