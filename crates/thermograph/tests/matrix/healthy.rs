//! Handlers that are not ill, however long they take.

use std::{hint::black_box, sync::Arc, thread, time::Duration};

use axum::{Router, body::Body, routing::get};
use tokio::{
    sync::{Mutex, Notify, Semaphore, mpsc, oneshot},
    task,
    time::{self, sleep},
};

use crate::specimens::{hash, spend};

/// Their paths.
pub(crate) const ROUTES: [&str; 14] = [
    "/healthy/hello",
    "/healthy/sleep",
    "/healthy/spawn-blocking",
    "/healthy/read-file",
    "/healthy/short-polls",
    "/healthy/chunks",
    "/healthy/lock",
    "/healthy/channel",
    "/healthy/notify",
    "/healthy/permit",
    "/healthy/timeout",
    "/healthy/spawned",
    "/healthy/stream",
    "/healthy/block-in-place",
];

const WHILE: Duration = Duration::from_millis(20);

pub(crate) fn router() -> Router {
    Router::new()
        .route("/healthy/hello", get(async || "hello"))
        .route("/healthy/sleep", get(async || sleep(WHILE).await))
        .route("/healthy/spawn-blocking", get(spawn_blocking))
        .route("/healthy/read-file", get(read_file))
        .route("/healthy/short-polls", get(short_polls))
        .route("/healthy/chunks", get(chunks))
        .route("/healthy/lock", get(lock))
        .route("/healthy/channel", get(channel))
        .route("/healthy/notify", get(notify))
        .route("/healthy/permit", get(permit))
        .route("/healthy/timeout", get(timeout))
        .route("/healthy/spawned", get(spawned))
        .route("/healthy/stream", get(stream))
        .route("/healthy/block-in-place", get(block_in_place))
}

async fn spawn_blocking() {
    task::spawn_blocking(|| thread::sleep(WHILE)).await.expect("no panic");
}

async fn read_file() -> String {
    let status = tokio::fs::read("/proc/self/status").await.expect("read");
    status.len().to_string()
}

/// Computes for 12 ms, a sixth of it in each poll.
async fn short_polls() {
    for _ in 0..6 {
        spend(Duration::from_millis(2), hash);
        task::yield_now().await;
    }
}

/// Sorts much, a little of it at a time.
async fn chunks() {
    let mut numbers: Vec<u32> =
        (0..40_000_u32).map(|number| number.wrapping_mul(0x9E37_79B1)).collect();
    for chunk in numbers.chunks_mut(2000) {
        chunk.sort_unstable();
        task::yield_now().await;
    }
    black_box(numbers);
}

async fn lock() {
    let lock = Arc::new(Mutex::new(0_u64));
    let guard = Arc::clone(&lock).lock_owned().await;
    task::spawn(async {
        let guard = guard;
        sleep(WHILE).await;
        drop(guard);
    });
    *lock.lock().await += 1;
}

async fn channel() {
    let (send, mut receive) = mpsc::channel(1);
    task::spawn(async move {
        for number in 0..5_u64 {
            sleep(WHILE / 5).await;
            send.send(number).await.expect("somebody waits");
        }
    });
    while receive.recv().await.is_some() {}
}

async fn notify() {
    let notify = Arc::new(Notify::new());
    let theirs = Arc::clone(&notify);
    thread::spawn(move || {
        thread::sleep(WHILE);
        theirs.notify_one();
    });
    notify.notified().await;
}

async fn permit() {
    static PERMITS: Semaphore = Semaphore::const_new(1);
    let permit = PERMITS.acquire().await.expect("open");
    sleep(WHILE / 4).await;
    drop(permit);
}

async fn timeout() -> String {
    let (_send, receive) = oneshot::channel::<()>();
    time::timeout(WHILE, receive).await.is_err().to_string()
}

async fn spawned() {
    let short = async {
        spend(Duration::from_millis(1), hash);
        sleep(WHILE / 4).await;
    };
    task::spawn(short).await.expect("no panic");
}

async fn stream() -> Body {
    let (mut send, receive) = tokio::io::duplex(64);
    task::spawn(async move {
        for _ in 0..5 {
            tokio::io::AsyncWriteExt::write_all(&mut send, b"chunk").await.expect("read");
            sleep(WHILE / 10).await;
        }
    });
    Body::from_stream(tokio_util::io::ReaderStream::new(receive))
}

/// Another thread takes the worker over.
async fn block_in_place() {
    task::block_in_place(|| thread::sleep(WHILE));
}
