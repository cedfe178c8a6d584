//! Tasks of our own, with names for whoever lists tasks.

use tokio::task::JoinHandle;

/// Spawns a task with a name, where Tokio takes names.
///
/// # Panics
///
/// Panics if it is called outside of a Tokio runtime.
#[cfg(tokio_unstable)]
#[track_caller]
#[expect(clippy::expect_used, reason = "only threads are refused, and a task is none")]
pub fn spawn<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::task::Builder::new().name(name).spawn(future).expect("a task is not refused")
}

/// Spawns work that blocks, with a name, where Tokio takes names.
///
/// # Panics
///
/// Panics if it is called outside of a Tokio runtime, or if no thread can be started.
#[cfg(tokio_unstable)]
#[track_caller]
#[expect(clippy::expect_used, reason = "as Tokio's own, it panics where there is no thread")]
pub fn spawn_blocking<F, R>(name: &str, work: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    tokio::task::Builder::new().name(name).spawn_blocking(work).expect("a thread")
}

/// Spawns work that blocks; without `tokio_unstable` Tokio takes no names.
///
/// # Panics
///
/// Panics if it is called outside of a Tokio runtime, or if no thread can be started.
#[cfg(not(tokio_unstable))]
#[track_caller]
pub fn spawn_blocking<F, R>(_name: &str, work: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    tokio::task::spawn_blocking(work)
}

/// Spawns a task; without `tokio_unstable` Tokio takes no names.
///
/// # Panics
///
/// Panics if it is called outside of a Tokio runtime.
#[cfg(not(tokio_unstable))]
#[track_caller]
pub fn spawn<F>(_name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}

/// Executor that hyper spawns the streams of HTTP/2 connections on, as named tasks.
#[derive(Clone, Copy, Debug)]
pub struct Streams;

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        // It goes on without its handle.
        drop(spawn("http2 stream", stream));
    }
}
