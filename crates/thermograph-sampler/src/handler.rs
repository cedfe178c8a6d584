//! The signal handler: all that runs inside of a thread that was interrupted.
//!
//! What it may call is listed in `tests/sampler/handler.rs`, which reads the machine code.

#![expect(
    clippy::inline_always,
    reason = "what is not part of the handler's own code would be a call that it makes"
)]

use std::{io, ptr};

use super::{
    shot::{Blank, Content, PIECE, PIECES, RED_ZONE, Registers, STACK},
    ticket::{self, Ticket},
};
use crate::slot::{MAX_REQUEST_ID, seen_by};

/// `siginfo_t` as Linux lays it out on 64-bit machines, for signals that carry a value.
#[repr(C)]
pub(super) struct Info {
    signal: i32,
    errno: i32,
    pub(super) code: i32,
    pad: i32,
    /// The number of the timer.
    timer: i32,
    /// How often the timer expired besides.
    pub(super) overrun: i32,
    pub(super) value: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<Info>() == size_of::<libc::siginfo_t>());

/// Takes the stack of the thread that it runs on.
///
/// Its name is for the test that reads its machine code.
pub(super) extern "C" fn thermograph_on_signal(
    _signal: libc::c_int,
    info: *mut Info,
    context: *mut libc::ucontext_t,
) {
    // SAFETY: the address of this thread's `errno`; reading it cannot fail.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel calls with both, valid until the handler returns (SA_SIGINFO).
    let (info, registers) = unsafe { (&*info, registers(context)) };
    take(info, registers);
    // SAFETY: as above. What was interrupted must not see what happened here.
    unsafe { *libc::__errno_location() = errno };
}

#[inline(always)]
fn take(info: &Info, registers: Registers) {
    if info.code != libc::SI_TIMER {
        return;
    }
    let (process, ticket) = (ticket::process(), Ticket::from_raw(info.value));
    let extra = info.overrun.max(0);
    let (Some(reason), true) = (ticket.reason(), ticket.is_open()) else { return };
    let thread = thread();
    if thread != ticket.thread() {
        // A forgery: this thread would read what another one may free.
        return;
    }
    let weight = extra.unsigned_abs().saturating_add(1);
    let Some(mut blank) = Blank::claim(reason, weight) else { return };
    let (content, stack) = (blank.content(), blank.stack());
    // SAFETY: the blank is ours alone, so its content is: plain memory that holds a value, however
    // old, of each field.
    let content = unsafe { &mut *content };
    content.ticket = ticket;
    content.weight = weight;
    content.registers = registers;
    content.at = now();
    content.seen = seen_by(thread);
    content.is_certain = true;
    copy_request_id(process, content);
    content.from = registers.sp.saturating_sub(RED_ZONE);
    content.length = copy(process, content.from, length(content.from), &mut content.pieces, stack);
    blank.ready();
}

/// Copies what the client calls the request that is polled, by the kernel: whether it is still there
/// is for the poll to see to.
#[inline(always)]
fn copy_request_id(process: i32, content: &mut Content) {
    let (from, length) = content.seen.request();
    content.request_id_length = if length == 0 || length > MAX_REQUEST_ID {
        0
    } else {
        let to = content.request_id.as_mut_ptr();
        copy(process, from, length, &mut content.pieces, to)
    };
}

/// How far the stack goes up from here, as far as that is known, and at most as far as fits.
///
/// Threads have their thread-local storage at the upper end of their stack (glibc, musl). On the
/// main thread, or on a stack that somebody switched to, it is elsewhere: then as much as fits is
/// asked for, and the kernel stops where nothing is mapped.
#[inline(always)]
fn length(from: u64) -> usize {
    let up_to_storage = thread_pointer().wrapping_sub(from);
    usize::try_from(up_to_storage).map_or(STACK, |length| length.min(STACK))
}

/// Copies memory of this process by the kernel, which does not fault where nothing is mapped: how
/// many bytes it came.
#[inline(always)]
fn copy(
    process: i32,
    from: u64,
    length: usize,
    pieces: &mut [libc::iovec; PIECES],
    to: *mut u8,
) -> usize {
    // Page by page: it stops at the first piece that it cannot read as a whole.
    let (mut at, mut left, mut count) = (from as usize, length, 0_usize);
    for piece in pieces.iter_mut() {
        if left == 0 {
            break;
        }
        let to_page_end = PIECE - at % PIECE;
        let size = if to_page_end < left { to_page_end } else { left };
        *piece = libc::iovec { iov_base: ptr::without_provenance_mut(at), iov_len: size };
        (at, left, count) = (at + size, left - size, count + 1);
    }
    let local = libc::iovec { iov_base: to.cast(), iov_len: length };
    // SAFETY: `to` has room for `length` bytes, and is ours. The other side is only read, by the
    // kernel.
    let copied = unsafe {
        libc::syscall(
            libc::SYS_process_vm_readv,
            process,
            &raw const local,
            1_usize,
            pieces.as_ptr(),
            count,
            0_usize,
        )
    };
    usize::try_from(copied).unwrap_or(0)
}

/// The kernel's number of this thread.
#[inline(always)]
fn thread() -> i32 {
    // SAFETY: the call has no argument and cannot fail.
    (unsafe { libc::syscall(libc::SYS_gettid) }) as i32
}

/// The monotonic clock, in nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a value of ours; the function is async-signal-safe (POSIX).
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn thread_pointer() -> u64 {
    let pointer;
    // SAFETY: reads the thread pointer that the ABI keeps at `fs:0`; touches nothing else.
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags));
    }
    pointer
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(super) fn thread_pointer() -> u64 {
    let pointer;
    // SAFETY: reads the register that holds the thread pointer.
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}

/// The registers of what was interrupted.
///
/// # Safety
///
/// `context` is what the kernel gave the handler.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn registers(context: *const libc::ucontext_t) -> Registers {
    // SAFETY: what the caller answers for.
    let registers = unsafe { &(*context).uc_mcontext.gregs };
    // Constant places in an array of constant length: checked when this is compiled.
    Registers {
        ip: registers[libc::REG_RIP as usize].cast_unsigned(),
        sp: registers[libc::REG_RSP as usize].cast_unsigned(),
        fp: registers[libc::REG_RBP as usize].cast_unsigned(),
    }
}

/// The registers of what was interrupted.
///
/// # Safety
///
/// `context` is what the kernel gave the handler.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn registers(context: *const libc::ucontext_t) -> Registers {
    // SAFETY: what the caller answers for.
    let machine = unsafe { &(*context).uc_mcontext };
    let [.., fp, lr] = machine.regs;
    Registers { ip: machine.pc, sp: machine.sp, fp, lr }
}

/// Whether this system lets a process read its own memory by `process_vm_readv`: some sandboxes do
/// not, and without it the handler could fault.
pub(super) fn check() -> io::Result<()> {
    let (from, mut to) = (0x5eed_u64, 0_u64);
    let local = libc::iovec { iov_base: (&raw mut to).cast(), iov_len: size_of::<u64>() };
    let remote =
        libc::iovec { iov_base: (&raw const from).cast_mut().cast(), iov_len: size_of::<u64>() };
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: reads one value of ours and writes the other.
    let copied =
        unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    match copied {
        8 if to == from => Ok(()),
        _ => Err(io::Error::other("this system forbids process_vm_readv(2) on the process itself")),
    }
}
