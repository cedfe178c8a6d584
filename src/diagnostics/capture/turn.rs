//! One capture of a kind at a time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

impl Turn {
    /// Waits for the window to pass, or for somebody to take this capture's place.
    pub(crate) async fn wait(&self) -> Result<(), CaptureError> {
        tokio::select! {
            // Cancel-safe: neither arm holds anything.
            () = tokio::time::sleep(self.duration) => Ok(()),
            () = self.superseded.cancelled() => Err(CaptureError::Superseded),
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
    async fn force_takes_over() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(SHORT).await.expect("free");
        let waiting = tokio::spawn(async move { first.wait().await });
        turns.take(Window { force: true, ..SHORT }).await.expect("takes over");
        let ended = waiting.await.expect("no panic");
        assert!(matches!(ended, Err(CaptureError::Superseded)));
    }
}
