//! Memory for the stacks that signal handlers copy: static, so that a handler that comes late
//! writes where nothing is freed.

use std::{
    cell::UnsafeCell,
    ptr,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::ticket::{Reason, Ticket};
use crate::slot::{MAX_REQUEST_ID, Seen};

/// Stacks that can wait to be unwound.
const SHOTS: usize = 32;
/// Of these, kept for stalls: a capture that is behind must not hide one.
const KEPT_FOR_STALLS: usize = 4;
/// Most bytes of a stack that are copied; what lies deeper is cut off, and said to be.
pub(super) const STACK: usize = 256 << 10;
/// What is below the stack pointer may be in use: the red zone.
pub(super) const RED_ZONE: u64 = 128;
/// Bytes that one entry of [`Content::pieces`] asks for.
pub(super) const PIECE: usize = 4 << 10;
/// One more than fit: the first piece ends at the end of its page.
pub(super) const PIECES: usize = STACK / PIECE + 1;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const READY: u32 = 2;

static STATES: [AtomicU32; SHOTS] = [const { AtomicU32::new(FREE) }; SHOTS];
static CONTENTS: [Cell<Content>; SHOTS] = [const { Cell::new(Content::EMPTY) }; SHOTS];
static STACKS: [Cell<Bytes>; SHOTS] = [const { Cell::new(Bytes([0; STACK])) }; SHOTS];

/// By reason: the time of samples that found no free shot, in periods.
static DROPPED: [AtomicU64; Reason::COUNT] = [const { AtomicU64::new(0) }; Reason::COUNT];

/// A place that whoever holds the shot of the same number has to itself.
#[repr(transparent)]
struct Cell<T>(UnsafeCell<T>);

// SAFETY: a place is reached through `Blank` and `Shot` only, and of these there is one at a time:
// `STATES` goes from FREE to TAKEN by a compare-and-exchange that one thread wins, from TAKEN to
// READY by that one, and from READY to TAKEN by another compare-and-exchange. Acquire and release
// order what is written before what is read.
unsafe impl<T> Sync for Cell<T> {}

/// Pages of their own, so that they can be given back.
#[repr(align(4096))]
struct Bytes([u8; STACK]);

/// Everything of a shot but the stack.
#[derive(Clone, Copy)]
pub(super) struct Content {
    pub(super) ticket: Ticket,
    /// Periods that this sample stands for.
    pub(super) weight: u32,
    pub(super) registers: Registers,
    pub(super) seen: Seen,
    /// True if `seen` is of the moment at which the stack was taken.
    pub(super) is_certain: bool,
    pub(super) request_id: [u8; MAX_REQUEST_ID],
    pub(super) request_id_length: usize,
    /// Where the copy of the stack begins.
    pub(super) from: u64,
    /// How many bytes were copied.
    pub(super) length: usize,
    /// When, by the system's monotonic clock, in nanoseconds.
    pub(super) at: u64,
    pub(super) pieces: [libc::iovec; PIECES],
}

/// What is needed to begin with unwinding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Registers {
    /// Instruction pointer.
    pub(crate) ip: u64,
    /// Stack pointer.
    pub(crate) sp: u64,
    /// Frame pointer.
    pub(crate) fp: u64,
    /// Link register.
    #[cfg(target_arch = "aarch64")]
    pub(crate) lr: u64,
}

/// A shot that a handler fills.
pub(super) struct Blank(usize);

/// A shot that was filled; free again when dropped.
#[derive(Debug)]
pub struct Shot(usize);

impl Content {
    const EMPTY: Self = Self {
        ticket: Ticket::NONE,
        weight: 0,
        registers: Registers {
            ip: 0,
            sp: 0,
            fp: 0,
            #[cfg(target_arch = "aarch64")]
            lr: 0,
        },
        seen: Seen::NOTHING,
        is_certain: true,
        request_id: [0; MAX_REQUEST_ID],
        request_id_length: 0,
        from: 0,
        length: 0,
        at: 0,
        pieces: [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; PIECES],
    };
}

impl Content {
    /// Notes what the client calls the request, as far as it fits.
    pub(super) fn set_request_id(&mut self, id: &str) {
        self.request_id_length = id.len().min(MAX_REQUEST_ID);
        let id = &id.as_bytes()[..self.request_id_length];
        self.request_id[..self.request_id_length].copy_from_slice(id);
    }
}

impl<T> Cell<T> {
    const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }
}

impl Blank {
    /// A free shot; none is counted as so many dropped periods. For the signal handler.
    #[inline]
    pub(super) fn claim(reason: Reason, weight: u32) -> Option<Self> {
        let end = if matches!(reason, Reason::Stall) { SHOTS } else { SHOTS - KEPT_FOR_STALLS };
        // Without closures, which are called where units are compiled apart.
        let mut index = 0;
        while index < end
            && let Some(state) = STATES.get(index)
        {
            if state.compare_exchange(FREE, TAKEN, Acquire, Relaxed).is_ok() {
                return Some(Self(index));
            }
            index += 1;
        }
        dropped_cell(reason).fetch_add(u64::from(weight), Relaxed);
        None
    }

    /// Where to write everything but the stack.
    #[inline]
    pub(super) fn content(&mut self) -> *mut Content {
        CONTENTS.get(self.0).map_or(ptr::null_mut(), |content| content.0.get())
    }

    /// Where to write the stack.
    #[inline]
    pub(super) fn stack(&mut self) -> *mut u8 {
        STACKS.get(self.0).map_or(ptr::null_mut(), |stack| stack.0.get().cast())
    }

    /// Hands it over to whoever asked for it.
    #[inline]
    pub(super) fn ready(self) {
        if let Some(state) = STATES.get(self.0) {
            state.store(READY, Release);
        }
    }
}

impl Shot {
    /// The next one whose ticket is wanted.
    pub(super) fn next(is_wanted: impl Fn(Ticket) -> bool) -> Option<Self> {
        STATES.iter().enumerate().find_map(|(index, state)| {
            state.compare_exchange(READY, TAKEN, Acquire, Relaxed).ok()?;
            let shot = Self(index);
            if is_wanted(shot.ticket()) {
                return Some(shot);
            }
            // Somebody else's: put back as it was.
            std::mem::forget(shot);
            state.store(READY, Release);
            None
        })
    }

    pub(super) fn content(&self) -> &Content {
        // SAFETY: the shot is TAKEN and this is its only holder; see `Cell`.
        unsafe { &*CONTENTS[self.0].0.get() }
    }

    /// The bytes of the stack that were copied, and the address of the first.
    pub(super) fn stack(&self) -> (u64, &[u8]) {
        let Content { from, length, .. } = *self.content();
        // SAFETY: as above.
        let bytes = unsafe { &*STACKS[self.0].0.get() };
        (from, bytes.0.get(..length).unwrap_or_default())
    }

    /// The session that the stack is for, and the thread that it is of.
    pub fn ticket(&self) -> Ticket {
        self.content().ticket
    }

    /// Number of periods that the stack stands for.
    pub fn weight(&self) -> u32 {
        self.content().weight
    }

    /// The poll that the thread was in.
    pub fn seen(&self) -> Seen {
        self.content().seen
    }

    /// Returns whether the thread polled that when the stack was taken. Otherwise it did so when it
    /// was asked for its stack, and the poll has ended since.
    pub fn is_certain(&self) -> bool {
        self.content().is_certain
    }

    /// When it was taken, by the system's monotonic clock, in nanoseconds.
    pub fn at(&self) -> u64 {
        self.content().at
    }

    /// The name that the client has given the request, as far as it is printable ASCII; `None` if
    /// there is none.
    pub fn request_id(&self) -> Option<String> {
        let Content { request_id, request_id_length, .. } = self.content();
        printable(request_id.get(..*request_id_length)?)
    }
}

/// A request id, as far as it is printable ASCII; `None` if nothing of it is.
pub(super) fn printable(id: &[u8]) -> Option<String> {
    let printable = id.iter().filter(|byte| byte.is_ascii_graphic()).map(|b| char::from(*b));
    Some(printable.collect()).filter(|id: &String| !id.is_empty())
}

impl Drop for Shot {
    fn drop(&mut self) {
        STATES[self.0].store(FREE, Release);
    }
}

/// Periods that were dropped for this reason since the process began.
pub(crate) fn dropped(reason: Reason) -> u64 {
    dropped_cell(reason).load(Relaxed)
}

#[inline]
fn dropped_cell(reason: Reason) -> &'static AtomicU64 {
    match reason {
        Reason::Cpu => &DROPPED[0],
        Reason::Wall => &DROPPED[1],
        Reason::Stall => &DROPPED[2],
    }
}

/// Gives the memory of all shots that nobody holds back to the system.
pub(super) fn give_back() {
    for (index, state) in STATES.iter().enumerate() {
        if state.compare_exchange(FREE, TAKEN, Acquire, Relaxed).is_err() {
            continue;
        }
        let pages = STACKS[index].0.get().cast::<libc::c_void>();
        // SAFETY: whole pages of a static of ours, which is TAKEN: nobody reads or writes them, and
        // zeros are as good as what was there.
        unsafe { libc::madvise(pages, STACK, libc::MADV_DONTNEED) };
        state.store(FREE, Release);
    }
}
