//! Where a future waits: the stack of what it awaits, taken when it says how it wants to be woken.
//!
//! A future that waits is no stack: it is a value somewhere in memory. But before it waits it has
//! cloned its task's waker, deep inside of all that it awaits through. So while somebody asks,
//! watched futures are polled with a waker of ours, whose clone is one of the task's own, and on
//! the way copies the stack from there up to the poll of the watched future.
//!
//! Nothing waits for an answer: a task whose worker is blocked is not polled and does not answer.
//! Nobody asks as a rule; then a poll costs one load.

use std::{
    mem,
    sync::{
        LazyLock, Mutex,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use crossbeam_queue::ArrayQueue;
use rustix::{process::Pid, thread::gettid};

use super::{handler, session::SessionError, shot::Registers};
use crate::slot::Slot;

/// Whether somebody asks.
static ASKED: AtomicBool = AtomicBool::new(false);
/// Stacks that wait to be unwound. What finds no room is counted, and asked for again.
static TAKEN: LazyLock<ArrayQueue<Answer>> = LazyLock::new(|| ArrayQueue::new(ROOM));
static DROPPED: AtomicU64 = AtomicU64::new(0);

const ROOM: usize = 1024;
/// Most places that one poll may wait in: a `join!` has several.
const PLACES: usize = 8;
/// Most bytes of a stack that are copied, from the waker on up to the watched future: of a larger one
/// the outer frames are cut off.
const STACK: u64 = 64 << 10;

/// The right to ask, until dropped; there is one in the process.
#[derive(Debug)]
pub struct Asking {
    dropped_before: u64,
}

/// The outcome of a poll in which a watched future stayed pending.
#[derive(Debug)]
pub enum Answer {
    /// One of the places that it waits in.
    Waits(Await),
    /// No place could be taken.
    Without {
        /// The number of the task.
        task: u64,
        /// Reason why the poll showed no place.
        why: Why,
    },
}

/// The reason why a pending future showed no place that it waits in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// It neither cloned its waker nor woke itself.
    NoWaker,
    /// It woke itself, and waits for nothing but its turn.
    Woken,
    /// It cloned its waker where the stack could not be copied.
    Unread,
}

/// A place that a task waits in.
#[derive(Debug)]
pub struct Await {
    /// The number of the task.
    pub task: u64,
    /// Which of the poll's places, from 0: a new poll begins anew.
    pub place: usize,
    pub(super) registers: Registers,
    /// The address of the first byte.
    pub(super) from: u64,
    pub(super) bytes: Box<[u8]>,
    /// True if the watched future's poll lies beyond the copy.
    pub(super) is_cut: bool,
}

/// What our waker points to: a value on the stack of the watched future's poll.
struct Tracer<'a> {
    waker: &'a Waker,
    /// The thread that polls.
    thread: Pid,
    /// A place in its stack above all that the poll calls.
    top: u64,
    taken: Mutex<Vec<Await>>,
    is_cloned: AtomicBool,
    is_woken: AtomicBool,
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop_nothing);

impl Asking {
    /// Fails where somebody asks already, or the system does not let stacks be read.
    pub fn begin() -> Result<Self, SessionError> {
        handler::check()?;
        if ASKED.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            return Err(SessionError::Taken);
        }
        // Of somebody who asked before.
        while TAKEN.pop().is_some() {}
        Ok(Self { dropped_before: DROPPED.load(Relaxed) })
    }

    /// The next answer of a task; `None` if there is none at the moment.
    pub fn next(&self) -> Option<Answer> {
        // `self` is proof of the right to ask: nobody else takes answers.
        TAKEN.pop()
    }

    /// Places that found no room; their tasks are asked again.
    pub fn dropped(&self) -> u64 {
        DROPPED.load(Relaxed) - self.dropped_before
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKED.store(false, Release);
        while TAKEN.pop().is_some() {}
    }
}

/// Polls a watched future; while somebody asks, so that it is seen where it waits.
///
/// `goes_on` is called where the future was asked and is ready, with the place where its task is
/// [listed](Slot::listed): what waits next is something else.
#[inline]
pub fn traced<T>(
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    goes_on: impl FnOnce(usize),
) -> Poll<T> {
    if ASKED.load(Relaxed) { trace(cx, poll, goes_on) } else { poll(cx) }
}

#[cold]
#[inline(never)]
fn trace<T>(
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    goes_on: impl FnOnce(usize),
) -> Poll<T> {
    let is_inside = std::ptr::eq(cx.waker().vtable(), &raw const VTABLE);
    let Some((task, place)) = Slot::current().listed().filter(|_| !is_inside) else {
        return poll(cx);
    };
    let mut tracer = Tracer {
        waker: cx.waker(),
        thread: gettid(),
        top: 0,
        taken: Mutex::default(),
        is_cloned: AtomicBool::new(false),
        is_woken: AtomicBool::new(false),
    };
    tracer.top = (&raw const tracer).addr() as u64;
    let raw = RawWaker::new((&raw const tracer).cast(), &VTABLE);
    // SAFETY: the functions of the table keep to what a waker must do: they may be called from any
    // thread (`Tracer` is Sync, which `is_shared` checks), and need `tracer` as long as this waker
    // lives, which is dropped before it. A clone is one of the task's own waker and needs neither.
    let waker = unsafe { Waker::from_raw(raw) };
    let polled = poll(&mut Context::from_waker(&waker));
    drop(waker);
    if polled.is_pending() {
        tracer.send(task);
    } else {
        goes_on(place);
    }
    polled
}

impl Tracer<'_> {
    /// Copies the stack between the waker and the poll of the watched future. A clone on another
    /// thread than the one that polls has no such stack.
    fn take(&self, registers: Registers) {
        if gettid() != self.thread {
            return;
        }
        let Some(whole) = self.top.checked_sub(registers.sp) else { return };
        let length = whole.min(STACK);
        let Ok(mut taken) = self.taken.try_lock() else { return };
        if taken.len() < PLACES
            && let Some(bytes) = read(registers.sp, length as usize)
        {
            let (place, from) = (taken.len(), registers.sp);
            taken.push(Await { task: 0, place, registers, from, bytes, is_cut: whole > STACK });
        }
    }

    fn send(self, task: u64) {
        let taken = self.taken.into_inner().unwrap_or_default();
        if taken.is_empty() {
            let why = match (self.is_cloned.into_inner(), self.is_woken.into_inner()) {
                (true, _) => Why::Unread,
                (false, true) => Why::Woken,
                (false, false) => Why::NoWaker,
            };
            return send(Answer::Without { task, why });
        }
        for place in taken {
            send(Answer::Waits(Await { task, ..place }));
        }
    }
}

fn send(answer: Answer) {
    if TAKEN.push(answer).is_err() {
        DROPPED.fetch_add(1, Relaxed);
    }
}

/// Our waker may be lent to any thread.
const fn is_shared<T: Sync>() {}
const _: () = is_shared::<Tracer<'_>>();

/// The waker's clone: one of the task's own.
///
/// # Safety
///
/// `data` is a [`Tracer`] that lives.
#[inline(never)]
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: what the caller answers for.
    let tracer = unsafe { &*data.cast::<Tracer<'_>>() };
    tracer.is_cloned.store(true, Relaxed);
    tracer.take(registers());
    let own = tracer.waker.clone();
    let raw = RawWaker::new(own.data(), own.vtable());
    // What was cloned lives on in what is given out.
    mem::forget(own);
    raw
}

/// # Safety
///
/// `data` is a [`Tracer`] that lives.
unsafe fn wake(data: *const ()) {
    // SAFETY: what the caller answers for.
    let tracer = unsafe { &*data.cast::<Tracer<'_>>() };
    tracer.is_woken.store(true, Relaxed);
    tracer.waker.wake_by_ref();
}

/// It owns nothing.
unsafe fn drop_nothing(_: *const ()) {}

/// The registers here and now, in the function that this becomes a part of.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::inline_always, reason = "a frame of its own would be gone before it is looked at")]
#[inline(always)]
fn registers() -> Registers {
    let (ip, sp, fp);
    // SAFETY: reads three registers, and touches nothing else.
    unsafe {
        std::arch::asm!(
            "lea {ip}, [rip]", "mov {sp}, rsp", "mov {fp}, rbp",
            ip = out(reg) ip, sp = out(reg) sp, fp = out(reg) fp,
            options(nomem, nostack, preserves_flags),
        );
    }
    Registers { ip, sp, fp }
}

/// The registers here and now, in the function that this becomes a part of.
#[cfg(target_arch = "aarch64")]
#[expect(clippy::inline_always, reason = "a frame of its own would be gone before it is looked at")]
#[inline(always)]
fn registers() -> Registers {
    let (ip, sp, fp, lr);
    // SAFETY: reads four registers, and touches nothing else.
    unsafe {
        std::arch::asm!(
            "adr {ip}, .", "mov {sp}, sp", "mov {fp}, x29", "mov {lr}, x30",
            ip = out(reg) ip, sp = out(reg) sp, fp = out(reg) fp, lr = out(reg) lr,
            options(nomem, nostack, preserves_flags),
        );
    }
    Registers { ip, sp, fp, lr }
}

/// Copies a piece of this process' memory by the kernel, which does not fault, whatever is there.
fn read(from: u64, length: usize) -> Option<Box<[u8]>> {
    let mut bytes = vec![0_u8; length];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(usize::try_from(from).ok()?),
        iov_len: length,
    };
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: writes at most `length` bytes to a buffer of ours that has as many.
    let copied =
        unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    (usize::try_from(copied) == Ok(length)).then(|| bytes.into())
}
