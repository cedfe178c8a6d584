//! The stack of a thread that waits in a system call, copied without disturbing the thread.
//!
//! A signal would interrupt the call, and many calls then return early or fail with `EINTR`,
//! whatever `SA_RESTART` says (signal(7), "Interruption of system calls"). It is not needed: the
//! kernel tells where a waiting thread stands (`/proc/self/task/TID/syscall` has the call, the stack
//! pointer and the program counter), and every thread of the process can read the stack.
//!
//! The copy is of one moment: a thread that was given no processor between two readings of its
//! count of time slices cannot have changed its stack. A copy that fails this check is discarded.

use std::{mem::MaybeUninit, ptr};

use super::{
    procfs::{Standing, Thread},
    shot::{STACK, printable},
};
use crate::slot::{Seen, seen_by};

/// The stack of a waiting thread, as it is in memory.
#[derive(Debug)]
pub(super) struct Copied {
    /// Program counter.
    pub(super) ip: u64,
    /// Stack pointer, which is the address of the first byte.
    pub(super) sp: u64,
    pub(super) bytes: Vec<u8>,
    /// The system call that the thread waits in; `None` if it waits in none, as in a page fault.
    pub(super) syscall: Option<&'static str>,
    /// The first argument of the call; 0 if there is none.
    pub(super) argument: u64,
    /// Number of time slices that the thread was given before the wait.
    pub(super) slices: u64,
    pub(super) seen: Seen,
    pub(super) request_id: Option<String>,
}

/// The reason why a stack was not copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotCopied {
    /// The thread runs or is ready to run.
    Running,
    /// The thread ran while its stack was copied.
    Moved,
    /// The thread has ended, or the kernel does not tell where it stands.
    Unknown,
}

/// Copies at most `room` bytes of the stack of a thread that waits, from the stack pointer upwards.
pub(super) fn copy(thread: Thread, room: usize) -> Result<Copied, NotCopied> {
    let slices = thread.slices().ok_or(NotCopied::Unknown)?;
    let (syscall, argument, sp, ip) = match thread.standing().ok_or(NotCopied::Unknown)? {
        Standing::Running => return Err(NotCopied::Running),
        Standing::Waiting { syscall, argument, sp, ip } => (syscall, argument, sp, ip),
    };
    let is_unmoved = || thread.slices() == Some(slices);
    let bytes = read(sp, room.min(STACK));
    let seen = seen_by(thread.number());
    // A thread that was given no processor goes on with no poll.
    let request_id = request_id(seen, is_unmoved);
    if !is_unmoved() {
        return Err(NotCopied::Moved);
    }
    Ok(Copied { ip, sp, bytes, syscall, argument, slices, seen, request_id })
}

/// The name that the client has given the request of a poll; `None` if it has none. It is that of the
/// request if `lasts` says of the poll of `seen` that it has not ended since `seen` was read.
pub(super) fn request_id(seen: Seen, lasts: impl Fn() -> bool) -> Option<String> {
    let (from, length) = seen.request();
    if !seen.is_polling() || length == 0 {
        return None;
    }
    printable(&read(from, length)).filter(|_| lasts())
}

/// Reads memory of this process through the kernel, up to the first page that is not mapped.
pub(super) fn read(from: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    let copied = read_into(from, bytes.spare_capacity_mut());
    // SAFETY: the kernel has written so many bytes from the start.
    unsafe { bytes.set_len(copied) };
    bytes
}

/// A word of this process' memory; `None` if it is not mapped.
pub(super) fn word(at: u64) -> Option<u64> {
    let mut word = [MaybeUninit::uninit(); 8];
    // SAFETY: the kernel has written all of them.
    (read_into(at, &mut word) == 8)
        .then(|| u64::from_ne_bytes(word.map(|byte| unsafe { byte.assume_init() })))
}

/// The number of bytes that were read: all, or up to the first page that is not mapped.
fn read_into(from: u64, to: &mut [MaybeUninit<u8>]) -> usize {
    const PAGE: u64 = 4096;
    let process = rustix::process::getpid().as_raw_nonzero().get();
    let mut done = 0;
    while done < to.len() {
        // The kernel stops before the first piece that it cannot read as a whole.
        let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; 16];
        let mut planned = done;
        let mut count = 0;
        for piece in &mut pieces {
            if planned == to.len() {
                break;
            }
            let at = from.wrapping_add(planned as u64);
            let length = ((PAGE - at % PAGE) as usize).min(to.len() - planned);
            *piece =
                libc::iovec { iov_base: ptr::without_provenance_mut(at as usize), iov_len: length };
            planned += length;
            count += 1;
        }
        let local =
            libc::iovec { iov_base: to[done..].as_mut_ptr().cast(), iov_len: planned - done };
        // SAFETY: writes at most as many bytes as `local` has room for, which is ours; the other side
        // is only read, by the kernel, which does not fault where nothing is mapped.
        let copied = unsafe {
            libc::process_vm_readv(process, &raw const local, 1, pieces.as_ptr(), count, 0)
        };
        let copied = usize::try_from(copied).unwrap_or(0);
        done += copied;
        if copied == 0 || done < planned {
            break;
        }
    }
    done
}
