//! Stacks of threads that run or wait, taken one thread at a time without stopping the others.
//!
//! A real-time signal goes to one thread; its handler copies the registers and the stack to a
//! [`Shot`], memory that was set aside beforehand, and does nothing else. Whoever asked for it
//! unwinds the copy by the call frame information of the code ([`Unwinder`]) and puts names to the
//! addresses ([`Names`]), on a thread of its own. There are three [`Reason`]s to take a stack: CPU
//! time ([`CpuTimer`]), wall-clock time, and a stall.
//!
//! It does not know what a stack is wanted for, and signals only the threads that it is told to. What
//! a thread works for is a number to it ([`WorkId`]), which the thread's [`Slot`] publishes.
//!
//! Stacks are taken on Linux, on x86-64 and ARM64. Elsewhere there are slots and clocks only.
//!
//! # Why the handler is safe
//!
//! It may interrupt any instruction of the process: inside `malloc`, inside the dynamic linker,
//! with any lock held. So it calls nothing but the kernel (`process_vm_readv`, `gettid`,
//! `clock_gettime`) and the address of `errno`, which it restores; it writes nothing but statics of
//! its own; what it reads besides are the atomics of its thread's slot. It cannot fault: the stack
//! and the request's name are read by the kernel, which says how far it came where nothing is
//! mapped. It runs on the alternate stack where a thread has one, and needs less than 1 KiB of it. A
//! signal that comes late or is for another thread is ignored.
//!
//! # Modules, from the bottom up
//!
//! - `arenas`, `clock`, `cpu_clock`, `problem`, `prompt`, `received`, `stack`, `static_ref`,
//!   `sync`, `ticket`, `times`: no module of the sampler is below these.
//! - `modules`, `procfs`, `slot`, `timer`: the code of the process, its threads, what each of them
//!   polls, timers on their clocks.
//! - `debug_files`, `heap`, `page_fault`, `shot`, `thread_name`: debug information, sampled memory,
//!   page faults, memory for stacks.
//! - `handler`, `waiting`: the signal handler, and stacks of threads that wait.
//! - `current_task`, `frame_pointer`, `names`, `perf_event`, `signal`: the task of a thread,
//!   unwinding by frame pointers, names, stacks without a signal, the signal.
//! - `known`, `locks`, `session`: names that were looked up before, locks that a thread waits for,
//!   the right to take stacks.
//! - `awaits`: where futures wait.
//! - `unwind`: stacks out of copies.

#![expect(
    unsafe_code,
    reason = "signals, timers and a thread's stack are the system's; each block says why it is safe"
)]

#[cfg(all(sampler, target_env = "gnu"))]
mod arenas;
#[cfg(all(sampler, tokio_unstable))]
mod awaits;
mod clock;
#[cfg(sampler)]
mod cpu_clock;
#[cfg(sampler)]
mod current_task;
#[cfg(sampler)]
mod debug_files;
#[cfg(all(sampler, target_arch = "x86_64"))]
mod frame_pointer;
#[cfg(sampler)]
mod handler;
#[cfg(heap)]
mod heap;
#[cfg(sampler)]
mod known;
#[cfg(sampler)]
mod locks;
#[cfg(sampler)]
mod modules;
#[cfg(sampler)]
mod names;
#[cfg(sampler)]
mod page_fault;
#[cfg(sampler)]
mod perf_event;
#[cfg(sampler)]
mod problem;
#[cfg(sampler)]
mod procfs;
#[cfg(sampler)]
mod prompt;
#[cfg(sampler)]
mod received;
#[cfg(sampler)]
mod session;
#[cfg(sampler)]
mod shot;
#[cfg(sampler)]
mod signal;
mod slot;
#[cfg(sampler)]
mod stack;
mod static_ref;
mod sync;
mod thread_name;
#[cfg(sampler)]
mod ticket;
#[cfg(sampler)]
mod timer;
mod times;
#[cfg(sampler)]
mod unwind;
#[cfg(sampler)]
mod waiting;

#[cfg(all(sampler, target_env = "gnu"))]
pub use self::arenas::{Arenas, arenas};
#[cfg(all(sampler, tokio_unstable))]
pub use self::awaits::{Answer, Asking, Await, Why, traced};
#[cfg(heap)]
pub use self::heap::{HeapEvent, HeapSession, is_jemalloc, is_profiled};
pub use self::{
    clock::Moment,
    slot::{MAX_REQUEST_ID, Outer, Polling, SLOTS, Seen, Slot, WorkId, seen_by},
    static_ref::StaticRef,
    thread_name::{thread_name, thread_name_or_number},
    times::{Activity, Times},
};
#[cfg(sampler)]
pub use self::{
    current_task::{TaskPlace, places_of, storage, task_at},
    debug_files::DebugInfo,
    handler::now as monotonic,
    known::name_all,
    locks::{LockFunctions, LockKind, LockWait, Sign},
    modules::{Module, modules},
    names::{Names, give_back, truncated, used},
    page_fault::time_of as time_of_page_faults,
    perf_event::{NoPerfEvents, perf_events_allowed},
    problem::{Problem, report_problems_to},
    procfs::{Thread, TimesFiles},
    prompt::be_prompt,
    received::{receive, stamp},
    session::{NotAsked, Session, SessionError},
    shot::Shot,
    stack::Stack,
    ticket::{Reason, Ticket},
    timer::{CpuTimer, timers_spare_system_calls},
    unwind::{Suspect, Unwinder, WaitingStack},
    waiting::NotCopied,
};
