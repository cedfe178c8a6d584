//! Profiles of every kind, over a window that begins now.

use thermograph_profile::Profile;

use crate::{
    capture::{self, CaptureError, Memory, Window},
    instance::Instance,
};

/// What a profile is of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CaptureKind {
    /// CPU time, by stack and handler.
    Cpu,
    /// Wall-clock time of threads while they poll, waits included.
    Wall,
    /// Polls over the threshold, by where they stood.
    Stalls,
    /// Time in the program's spans.
    Spans,
    /// Memory that was allocated in the window and is still in use at its end.
    Heap,
    /// Memory that was allocated in the window.
    Allocs,
}

/// A profile whose stacks may have to be named yet, which takes its time.
pub(crate) type Unnamed = Box<dyn FnOnce() -> Profile + Send>;

/// Captures over a window; `frequency`, in samples a second, is for what is sampled.
pub(crate) async fn capture(
    instance: &Instance,
    kind: CaptureKind,
    frequency: u32,
    window: Window,
) -> Result<Unnamed, CaptureError> {
    let kind = match kind {
        CaptureKind::Cpu => capture::Kind::Cpu { frequency },
        CaptureKind::Wall => capture::Kind::Wall { frequency },
        CaptureKind::Heap => capture::Kind::Memory(Memory::Live),
        CaptureKind::Allocs => capture::Kind::Memory(Memory::Allocated),
        CaptureKind::Spans => capture::Kind::Spans,
        CaptureKind::Stalls => return Ok(Box::new(stalls(instance, Some(window)).await)),
    };
    let profile = instance.captures.capture(kind, window).await?;
    Ok(Box::new(|| profile))
}

/// Stalls over a window, or since the start; their stacks are named by the function, which takes
/// its time.
pub(crate) async fn stalls(
    instance: &Instance,
    window: Option<Window>,
) -> impl FnOnce() -> Profile + Send + use<> {
    let store = instance.stalls.store();
    let before = match window {
        None => store.nothing(),
        Some(window) => {
            let before = store.sums();
            tokio::time::sleep(window.duration).await;
            before
        }
    };
    let after = store.sums();
    move || after.since(&before)
}

/// Runs work that names stacks on a blocking thread: it takes its time.
pub(crate) async fn named<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CaptureError> {
    let named = tokio::task::spawn_blocking(move || {
        let done = work();
        #[cfg(sampler)]
        thermograph_sampler::used();
        done
    });
    Ok(named.await?)
}
