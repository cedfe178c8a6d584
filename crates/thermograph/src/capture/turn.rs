//! One capture of a kind at a time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::{CaptureError, Window};

/// Who may capture.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Held by the capture that is running.
    running: Arc<tokio::sync::Mutex<()>>,
    /// Of that capture: when it ends, and how to end it sooner.
    current: Mutex<Option<(Instant, CancellationToken)>>,
}

/// The right to capture, until dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _running: OwnedMutexGuard<()>,
    superseded: CancellationToken,
    duration: Duration,
}

impl Turns {
    /// Takes the turn; where it is taken, ends the one that has it if the window says so.
    pub(crate) async fn take(&self, window: Window) -> Result<Turn, CaptureError> {
        let running = match Arc::clone(&self.running).try_lock_owned() {
            Ok(running) => running,
            Err(_) if window.force => {
                if let Some((_, superseded)) = &*self.current() {
                    superseded.cancel();
                }
                Arc::clone(&self.running).lock_owned().await
            }
            Err(_) => {
                let until = self.current().as_ref().map(|(until, _)| *until);
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                return Err(CaptureError::Running(left.unwrap_or_default()));
            }
        };
        let superseded = CancellationToken::new();
        *self.current() = Some((Instant::now() + window.duration, superseded.clone()));
        Ok(Turn { _running: running, superseded, duration: window.duration })
    }

    fn current(&self) -> MutexGuard<'_, Option<(Instant, CancellationToken)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of a capture that samples on a thread of its own.
#[derive(Debug)]
pub(crate) struct Pace<'a> {
    turn: &'a Turn,
    began: Instant,
}

impl Turn {
    /// Samples on a blocking thread, as long as the window is and somebody wants the result.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        sample: impl FnOnce(&Self) -> Result<T, CaptureError> + Send + 'static,
    ) -> Result<T, CaptureError> {
        // Dropped with this future, when the client leaves: the thread sees it and ends.
        let _left = self.superseded.clone().drop_guard();
        tokio::task::spawn_blocking(move || sample(&self)).await?
    }

    /// Waits for the window to pass, or for somebody to take this capture's place.
    pub(crate) async fn wait(&self) -> Result<(), CaptureError> {
        tokio::select! {
            // Cancel-safe: neither arm holds anything.
            () = tokio::time::sleep(self.duration) => Ok(()),
            () = self.superseded.cancelled() => Err(CaptureError::Superseded),
        }
    }
}

impl<'a> Pace<'a> {
    pub(crate) fn of(turn: &'a Turn) -> Self {
        Self { turn, began: Instant::now() }
    }

    /// Sleeps for a while: how long the window has lasted, and none where it is over.
    pub(crate) fn wait(&self, pause: Duration) -> Result<Option<Duration>, CaptureError> {
        self.wait_until(self.began.elapsed() + pause)
    }

    /// Sleeps until the window has lasted this long.
    pub(crate) fn wait_until(&self, moment: Duration) -> Result<Option<Duration>, CaptureError> {
        /// Longest sleep between two looks whether the capture is still wanted.
        const LOOK: Duration = Duration::from_millis(50);
        let end = self.turn.duration;
        loop {
            if self.turn.superseded.is_cancelled() {
                return Err(CaptureError::Superseded);
            }
            let passed = self.began.elapsed();
            if passed >= end {
                return Ok(None);
            }
            if passed >= moment {
                return Ok(Some(passed));
            }
            thread::sleep(moment.min(end).saturating_sub(passed).min(LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Window = Window { duration: Duration::from_mins(1), force: false };

    #[tokio::test]
    async fn the_second_is_told_how_long_the_first_still_takes() {
        let turns = Turns::default();
        let first = turns.take(SHORT).await.expect("free");
        let refused = turns.take(SHORT).await.expect_err("taken");
        assert!(matches!(refused, CaptureError::Running(left) if left.as_secs() > 50));
        drop(first);
        assert!(turns.take(SHORT).await.is_ok());
    }

    #[tokio::test]
    async fn sampling_ends_when_nobody_wants_it_any_more() {
        let turns = Turns::default();
        let turn = turns.take(SHORT).await.expect("free");
        let sampling = turn.run(while_wanted);
        let given_up = tokio::time::timeout(Duration::from_millis(20), sampling).await;
        assert!(given_up.is_err());
        // The thread gives the turn back.
        turns.take(Window { force: true, ..SHORT }).await.expect("free again");

        let short = Window { duration: Duration::from_millis(20), force: true };
        let turn = turns.take(short).await.expect("free");
        assert!(turn.run(while_wanted).await.expect("not ended by others") >= 2);
    }

    /// Counts milliseconds.
    fn while_wanted(turn: &Turn) -> Result<u32, CaptureError> {
        let pace = Pace::of(turn);
        let mut count = 0;
        while pace.wait(Duration::from_millis(1))?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    #[tokio::test]
    async fn force_takes_over() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(SHORT).await.expect("free");
        let waiting = tokio::spawn(async move { first.wait().await });
        turns.take(Window { force: true, ..SHORT }).await.expect("takes over");
        let ended = waiting.await.expect("no panic");
        assert!(matches!(ended, Err(CaptureError::Superseded)));
    }
}
