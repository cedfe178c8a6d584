//! Handlers by number: what a thread's slot has of them, and the sampler hands through.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use thermograph_sampler::WorkId;

use super::handler::Handler;

/// Handlers of a chunk.
const CHUNK: usize = 256;
/// Most chunks: some 260,000 handlers. A ledger knows a few thousand at most.
const CHUNKS: usize = 1024;

type Chunk = Box<[OnceLock<&'static Handler>]>;

static HANDLERS: [OnceLock<Chunk>; CHUNKS] = [const { OnceLock::new() }; CHUNKS];
/// The next number; 0 stands for nobody.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A number that no handler has; `None` where there are too many.
pub(crate) fn next() -> Option<WorkId> {
    let more = |next: u32| ((next as usize) < CHUNK * CHUNKS).then_some(next + 1);
    NEXT.fetch_update(Relaxed, Relaxed, more).ok().and_then(WorkId::new)
}

/// Says which handler has a number.
pub(crate) fn set(number: WorkId, handler: &'static Handler) {
    if let Some(chunk) = HANDLERS.get(number.get() as usize / CHUNK) {
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        let _ = chunk[number.get() as usize % CHUNK].set(handler);
    }
}

/// The handler of this number; without a lock.
#[inline]
pub(crate) fn get(number: WorkId) -> Option<&'static Handler> {
    let number = number.get() as usize;
    HANDLERS.get(number / CHUNK)?.get()?.get(number % CHUNK)?.get().copied()
}
