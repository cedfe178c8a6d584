//! Stacks of threads that run or wait, taken one thread at a time without stopping the others.
//!
//! A real-time signal goes to one thread; its handler copies the registers and the stack to a
//! [`shot`], memory that was set aside beforehand, and does nothing else. Whoever asked for it
//! unwinds the copy by the call frame information of the code ([`unwind`]) and puts names to the
//! addresses ([`names`]), on a thread of its own. There are three [`Reason`]s to take a stack: CPU
//! time ([`timer`]), wall-clock time, and a stall.
//!
//! It does not know what a stack is wanted for, and signals only the threads that it is told to.
//!
//! # Why the handler is safe
//!
//! It may interrupt any instruction of the process: inside `malloc`, inside the dynamic linker,
//! with any lock held. So it calls nothing but the kernel (`process_vm_readv`, `gettid`,
//! `clock_gettime`) and the address of `errno`, which it restores; it writes nothing but statics of
//! its own; what it reads besides are the atomics of its thread's slot, and the request id that the
//! poll it interrupts holds. It cannot fault: the stack is read by the kernel, which says how far it
//! came where nothing is mapped. It runs on the alternate stack where a thread has one, and needs
//! less than 1 KiB of it. A signal that comes late or is for another thread is ignored.

#![expect(
    unsafe_code,
    reason = "signals, timers and a thread's stack are the system's; each block says why it is safe"
)]

#[cfg(target_env = "gnu")]
mod arenas;
#[cfg(tokio_unstable)]
mod awaits;
mod current_task;
mod debug_files;
#[cfg(target_arch = "x86_64")]
mod frame_pointer;
mod handler;
#[cfg(heap)]
mod heap;
mod known;
mod locks;
mod modules;
mod names;
mod page_fault;
mod perf_event;
mod procfs;
mod prompt;
mod received;
mod session;
mod shot;
mod signal;
mod timer;
mod unwind;
mod waiting;

#[cfg(target_env = "gnu")]
pub(crate) use self::arenas::{Arenas, arenas};
#[cfg(tokio_unstable)]
pub(crate) use self::awaits::{Answer, Asking, Why, traced};
#[cfg(heap)]
pub(crate) use self::heap::{HeapEvent, HeapSession};
#[cfg(test)]
pub(crate) use self::locks::LockKind;
pub(crate) use self::{
    current_task::{TaskPlace, places_of, storage, task_at},
    debug_files::DebugInfo,
    handler::now as monotonic,
    known::name_all,
    locks::{LockFunctions, LockWait, Sign},
    modules::Module,
    names::{Names, give_back, truncated, used},
    page_fault::time_of as time_of_page_faults,
    perf_event::perf_events_allowed,
    procfs::{Thread, TimesFiles},
    prompt::be_prompt,
    received::{receive, stamp},
    session::{NotAsked, Reason, Session, SessionError},
    shot::Shot,
    timer::{CpuTimer, timers_spare_system_calls},
    unwind::{Stack, Suspect, Unwinder, WaitingStack},
    waiting::NotCopied,
};

use super::log;

/// The code of the process, as far as it can be read.
pub(crate) fn modules() -> Vec<Module> {
    Module::all()
        .inspect_err(|error| {
            let error = error.to_string();
            log::submit(move || tracing::warn!(error, "stacks have no names"));
        })
        .unwrap_or_default()
}
