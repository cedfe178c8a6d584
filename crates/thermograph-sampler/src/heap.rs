//! Memory as jemalloc samples it: which allocation, by which stack, and when it is freed.
//!
//! jemalloc takes an allocation out of so many bytes, and tells of it by a hook, on the thread that
//! allocates and inside of its `malloc`; by another it tells when one that it took is freed. The
//! hooks copy what they are told to a bounded queue. They do not allocate, lock or wait; what finds
//! no room in the queue is counted. There is more room for what is freed than for stacks: a stack
//! that is missing is a sample less, but memory whose end was missed would seem to live for ever.
//!
//! jemalloc's own profile (`prof.dump`) has neither handler nor thread, and knows what was freed
//! only at the price of keeping every stack for ever.

use std::{
    ffi::{c_uint, c_void},
    io, slice,
    sync::{
        OnceLock,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Relaxed, Release},
        },
    },
};

use crossbeam_queue::ArrayQueue;
use tikv_jemalloc_ctl::{Access as _, AsName as _, raw};

use super::{Stack, Thread};
use crate::{
    problem::{self, Problem},
    slot::{WorkId, seen_by},
};

/// Most frames of a stack.
const MAX_FRAMES: usize = 256;
/// What jemalloc tells between two looks at the queue: some 40 bytes each.
const ROOM: usize = 32 * 1024;
/// Stacks between two looks: some 2 KiB each.
const STACKS: usize = 1024;

const ACTIVE: &str = "prof.active\0";
const INTERVAL: &str = "prof.lg_sample\0";
const SAMPLED: &[u8] = b"experimental.hooks.prof_sample\0";
const FREED: &[u8] = b"experimental.hooks.prof_sample_free\0";

/// Called with the address, the size that was asked for, the stack and its length, and the size
/// that was given.
type SampledHook = unsafe extern "C" fn(*const c_void, usize, *const *const c_void, c_uint, usize);
/// Called with the address and the size that was given.
type FreedHook = unsafe extern "C" fn(*const c_void, usize);

static QUEUE: OnceLock<Queue> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Whether a session is open.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Of the session that is open, or was the last.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Events of the hooks, in order.
struct Queue {
    told: ArrayQueue<Told>,
    /// Room for stacks that no event has.
    room: ArrayQueue<Box<Sampled>>,
}

/// What a hook was told.
struct Told {
    session: u32,
    address: usize,
    size: usize,
    thread: i32,
    /// None where it was freed.
    sampled: Option<Box<Sampled>>,
}

struct Sampled {
    work: Option<WorkId>,
    length: usize,
    stack: [usize; MAX_FRAMES],
}

/// Something that happened to memory.
#[derive(Clone, Debug)]
pub enum HeapEvent {
    /// jemalloc made an allocation and sampled it.
    Allocated {
        /// Address of the first byte.
        address: usize,
        /// Bytes that jemalloc gave, at least as many as were asked for.
        size: usize,
        /// Calls that led to the allocation, the leaf first.
        stack: Stack,
        /// The thread that allocated.
        thread: Thread,
        /// Work of the thread at that moment; `None` if it did none, or has no slot of its own.
        work: Option<WorkId>,
    },
    /// An allocation that was sampled before was freed.
    Freed {
        /// Address that the allocation had.
        address: usize,
        /// Bytes that jemalloc had given.
        size: usize,
        /// The thread that freed it, which may be another than the one that allocated.
        thread: Thread,
    },
}

/// Sampling is on until this is dropped; there is one at a time.
#[derive(Debug)]
pub struct HeapSession {
    number: u32,
    dropped_before: u64,
    /// Whether somebody else in the program had turned it on.
    was_active: bool,
    /// Bytes from one sample to the next, on average.
    interval: u64,
    /// Frames that jemalloc goes up, at most.
    frames: usize,
}

impl HeapSession {
    /// Turns sampling on; none where somebody else samples.
    pub fn open() -> io::Result<Option<Self>> {
        if TAKEN.swap(true, AcqRel) {
            return Ok(None);
        }
        let opened = Self::start();
        if !matches!(opened, Ok(Some(_))) {
            TAKEN.store(false, Release);
        }
        opened
    }

    fn start() -> io::Result<Option<Self>> {
        // SAFETY: the type of this name in jemalloc 5.3: a pointer to a function, or null.
        let other = unsafe { raw::read::<Option<SampledHook>>(SAMPLED) }.map_err(failed)?;
        if other.is_some() {
            return Ok(None);
        }
        let interval: usize = INTERVAL.name().read().map_err(failed)?;
        let frames: u32 = "opt.prof_bt_max\0".name().read().map_err(failed)?;
        QUEUE.get_or_init(Queue::new);
        let number = NUMBER.fetch_add(1, AcqRel).wrapping_add(1);
        let dropped_before = DROPPED.load(Relaxed);
        set_hooks(Some(sampled), Some(freed))?;
        let was_active = ACTIVE.name().update(true).map_err(failed).inspect_err(|_| {
            // They were set a moment ago, so that they can be taken away.
            let _ = set_hooks(None, None);
        })?;
        let (interval, frames) = (1 << interval.min(62), (frames as usize).min(MAX_FRAMES));
        Ok(Some(Self { number, dropped_before, was_active, interval, frames }))
    }

    /// Events since the last call, in the order in which they were queued.
    pub fn events(&self) -> impl Iterator<Item = HeapEvent> {
        // What came late of an earlier session says nothing any more.
        let told = std::iter::from_fn(|| QUEUE.get()?.told.pop());
        told.filter_map(|told| self.event(told))
    }

    fn event(&self, Told { session, address, size, thread, sampled }: Told) -> Option<HeapEvent> {
        let thread = Thread::new(thread);
        let event = match &sampled {
            None => HeapEvent::Freed { address, size, thread },
            Some(sampled) => {
                // They return to these addresses: the calls are before.
                let called = sampled.stack.iter().take(sampled.length);
                let called = called.map(|address| address.wrapping_sub(1) as u64);
                let truncated = sampled.length >= self.frames;
                let stack = Stack { addresses: called.collect(), truncated };
                HeapEvent::Allocated { address, size, stack, thread, work: sampled.work }
            }
        };
        if let (Some(queue), Some(sampled)) = (QUEUE.get(), sampled) {
            queue.take_back(sampled);
        }
        (session == self.number).then_some(event)
    }

    /// Bytes from one sample to the next, on average.
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// Number of events of this session that were lost, since the queue was full.
    pub fn dropped(&self) -> u64 {
        DROPPED.load(Relaxed) - self.dropped_before
    }
}

impl Drop for HeapSession {
    fn drop(&mut self) {
        let off = if self.was_active { Ok(true) } else { ACTIVE.name().update(false) };
        let hooks = set_hooks(None, None);
        if off.is_err() || hooks.is_err() {
            problem::report(Problem::SamplingGoesOn);
        }
        TAKEN.store(false, Release);
    }
}

/// Whether what this program allocates comes from jemalloc: it counts what each thread allocates.
pub fn is_jemalloc() -> bool {
    use std::{hint::black_box, sync::LazyLock};
    static IS_JEMALLOC: LazyLock<bool> = LazyLock::new(|| {
        let Ok(allocated) = tikv_jemalloc_ctl::thread::allocatedp::read() else { return false };
        let before = allocated.get();
        drop(black_box(Box::new([0_u8; 64])));
        allocated.get() > before
    });
    *IS_JEMALLOC
}

/// Whether jemalloc was started with profiling.
pub fn is_profiled() -> bool {
    tikv_jemalloc_ctl::profiling::prof::read().unwrap_or(false)
}

fn set_hooks(on_sampled: Option<SampledHook>, on_freed: Option<FreedHook>) -> io::Result<()> {
    // SAFETY: the types of these names in jemalloc 5.3: pointers to functions, or null. Ours are
    // there as long as the program is.
    unsafe {
        raw::write(SAMPLED, on_sampled).map_err(failed)?;
        raw::write(FREED, on_freed).map_err(failed)
    }
}

fn failed(error: tikv_jemalloc_ctl::Error) -> io::Error {
    io::Error::other(format!("jemalloc refuses to be asked for samples: {error}"))
}

impl Queue {
    fn new() -> Self {
        let room = ArrayQueue::new(STACKS);
        for _ in 0..STACKS {
            let empty = Sampled { work: None, length: 0, stack: [0; MAX_FRAMES] };
            // There is room for all of them.
            let _ = room.push(Box::new(empty));
        }
        Self { told: ArrayQueue::new(ROOM), room }
    }

    /// What finds no room is counted. It is not freed either: this is called within `free`.
    fn tell(&self, told: Told) {
        if let Err(told) = self.told.push(told) {
            DROPPED.fetch_add(1, Relaxed);
            if let Some(sampled) = told.sampled {
                self.take_back(sampled);
            }
        }
    }

    fn take_back(&self, sampled: Box<Sampled>) {
        // There is room for as many as there are.
        let is_room = self.room.push(sampled).is_ok();
        debug_assert!(is_room);
    }
}

/// An allocation was taken.
unsafe extern "C" fn sampled(
    address: *const c_void,
    _asked: usize,
    backtrace: *const *const c_void,
    length: c_uint,
    size: usize,
) {
    let length = (length as usize).min(MAX_FRAMES);
    let Some(queue) = QUEUE.get().filter(|_| !backtrace.is_null()) else { return };
    let Some(mut sampled) = queue.room.pop() else {
        DROPPED.fetch_add(1, Relaxed);
        return;
    };
    // SAFETY: jemalloc gives its own list of so many addresses, which is there, and not written to,
    // as long as the allocation that it was just made for.
    let backtrace = unsafe { slice::from_raw_parts(backtrace, length) };
    let thread = thread();
    sampled.length = length;
    for (to, from) in sampled.stack.iter_mut().zip(backtrace) {
        *to = from.addr();
    }
    sampled.work = seen_by(thread).work();
    let session = NUMBER.load(Relaxed);
    queue.tell(Told { session, address: address.addr(), size, thread, sampled: Some(sampled) });
}

/// An allocation that was taken is freed.
unsafe extern "C" fn freed(address: *const c_void, size: usize) {
    let Some(queue) = QUEUE.get() else { return };
    let session = NUMBER.load(Relaxed);
    queue.tell(Told { session, address: address.addr(), size, thread: thread(), sampled: None });
}

fn thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let queue = QUEUE.get_or_init(Queue::new);
        let before = DROPPED.load(Relaxed);
        let called = std::ptr::dangling::<c_void>();
        let mut address = (1..).map(std::ptr::without_provenance);
        for address in address.by_ref().take(STACKS + 3) {
            // SAFETY: one address, which is there.
            unsafe { sampled(address, 1, &raw const called, 1, 1) };
        }
        assert_eq!(DROPPED.load(Relaxed) - before, 3, "stacks");
        // What is freed is told nevertheless.
        for address in address.take(ROOM - STACKS + 5) {
            // SAFETY: it is not read.
            unsafe { freed(address, 1) };
        }
        assert_eq!(DROPPED.load(Relaxed) - before, 8, "events");
        let told = std::iter::from_fn(|| queue.told.pop());
        let stacks = told.filter_map(|told| told.sampled.map(|of| queue.take_back(of))).count();
        assert_eq!((stacks, queue.room.len()), (STACKS, STACKS));
    }

    #[test]
    fn without_jemalloc_s_profiling_no_session_opens_and_none_is_left_over() {
        for _ in 0..2 {
            let refused = HeapSession::open().expect_err("it is not the allocator of this test");
            assert!(refused.to_string().contains("jemalloc refuses"), "{refused}");
        }
    }
}
