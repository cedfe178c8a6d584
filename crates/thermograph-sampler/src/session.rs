//! Sessions: the right to take stacks. The signal's handler is installed as long as one lasts.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU32,
            Ordering::{Relaxed, Release},
        },
    },
    time::Duration,
};

use thiserror::Error;

use super::{
    perf_event::PerfEvents,
    procfs::Thread,
    shot::{self, Shot},
    signal::{self, Installed},
    ticket::{PROCESS, Reason, Ticket},
    timer::{CpuTimer, timers_spare_system_calls},
};

/// The sessions that are open.
static NUMBERS: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static NEXT: AtomicU32 = AtomicU32::new(1);

/// The right to take stacks for a reason, until dropped.
///
/// There is one for CPU time at a time, and one for wall-clock time: they cost the whole process.
#[derive(Debug)]
pub struct Session {
    reason: Reason,
    number: u32,
    dropped_before: u64,
    /// Timers of threads that were asked for their stack. Dropped before the handler is: by default
    /// the signal ends the process.
    timers: RefCell<HashMap<i32, CpuTimer>>,
    /// Events of threads that were asked without a signal; `None` if all get a signal.
    events: Option<RefCell<PerfEvents>>,
    installed: Installed,
}

/// The reason why a thread that runs is not asked for its stack.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NotAsked {
    /// The app has installed a handler of its own for the signal.
    #[error("the app replaced the signal's handler")]
    Replaced,
    /// The thread blocks the signal.
    #[error("the thread blocks the signal")]
    Blocked,
    /// The process has as many timers as it may (`RLIMIT_SIGPENDING`).
    #[error("no timer is available (RLIMIT_SIGPENDING)")]
    NoTimer,
    /// The thread has ended.
    #[error("the thread has ended")]
    Ended,
}

/// The reason why no stacks can be taken.
#[derive(Debug, Error)]
pub enum SessionError {
    /// Another part of the program captures the same.
    #[error("already running, for somebody else in this process")]
    Taken,
    /// No real-time signal is free, or the kernel refuses.
    #[error("cannot take stacks: {0}")]
    Signal(#[from] std::io::Error),
}

/// Timers that a session keeps; one more, and all are made again when they are needed.
const TIMERS: usize = 256;

impl NotAsked {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::NoTimer,
            _ => Self::Ended,
        }
    }
}

impl Session {
    /// Installs the signal's handler, if no other session has; fails where the reason is CPU or
    /// wall-clock time and a session for it is open.
    pub fn open(reason: Reason) -> Result<Self, SessionError> {
        let mut numbers = numbers();
        if reason != Reason::Stall && reason.open().load(Relaxed) > 0 {
            return Err(SessionError::Taken);
        }
        let installed = signal::install()?;
        PROCESS.store(rustix::process::getpid().as_raw_nonzero().get(), Release);
        // 24 bits, and never 0: a signal of a session long ago is not taken for one of this.
        let number = (NEXT.fetch_add(1, Relaxed) & 0xff_ffff) | (1 << 23);
        numbers.push(number);
        reason.open().fetch_add(1, Release);
        let dropped_before = shot::dropped(reason);
        let timers = RefCell::default();
        Ok(Self { reason, number, dropped_before, installed, timers, events: None })
    }

    /// Asks threads without a signal from now on, as far as the kernel allows it.
    pub fn use_perf_events(&mut self) {
        self.events = PerfEvents::new().ok().map(RefCell::new);
    }

    /// The value that a signal of this session to a thread carries.
    pub(crate) fn ticket(&self, thread: i32) -> Ticket {
        let (reason, number) = (self.reason as u64, u64::from(self.number));
        Ticket((reason << 56) | (number << 32) | u64::from(thread.cast_unsigned()))
    }

    /// The signal's number.
    pub fn signal(&self) -> i32 {
        self.installed.signal()
    }

    /// Asks a thread that runs for its stack. A perf event has it within a tenth of a millisecond of
    /// the thread's time; a signal comes at the kernel's next tick at which the thread runs. Neither
    /// interrupts a system call.
    pub fn ask(&self, thread: i32) -> Result<(), NotAsked> {
        if let Some(events) = &self.events
            && events.borrow_mut().ask(thread).is_ok()
        {
            return Ok(());
        }
        self.ask_by_signal(thread)
    }

    /// Asks a thread that no perf event has reached: it computes in a system call, and the signal
    /// comes when that returns. Does nothing where all threads are asked by signals, or where one
    /// might interrupt the call.
    pub fn ask_in_call(&self, thread: i32) {
        let Some(events) = &self.events else { return };
        if timers_spare_system_calls() && self.ask_by_signal(thread).is_ok() {
            // The perf event would expire later, in the signal's handler or after it.
            events.borrow_mut().withdraw(thread);
        }
    }

    fn ask_by_signal(&self, thread: i32) -> Result<(), NotAsked> {
        self.deliverable(thread)?;
        let mut timers = self.timers.borrow_mut();
        // The timer of an earlier thread of this number is of no use to this one.
        if timers.get(&thread).is_some_and(|timer| timer.expire_next().is_ok()) {
            return Ok(());
        }
        if timers.len() >= TIMERS {
            timers.clear();
        }
        let timer = CpuTimer::stopped(self.signal(), self.ticket(thread), thread)
            .map_err(|error| NotAsked::of(&error))?;
        timer.expire_next().map_err(|error| NotAsked::of(&error))?;
        timers.insert(thread, timer);
        Ok(())
    }

    /// Starts a timer that sends the signal to a thread each `period` of its CPU time, at first after
    /// `first`.
    pub fn timer(
        &self,
        thread: i32,
        first: Duration,
        period: Duration,
    ) -> Result<CpuTimer, NotAsked> {
        self.deliverable(thread)?;
        CpuTimer::start(self.signal(), self.ticket(thread), thread, first, period)
            .map_err(|error| NotAsked::of(&error))
    }

    /// Withdraws the request for a thread's stack, unless it was answered.
    pub fn withdraw(&self, thread: i32) {
        if let Some(events) = &self.events {
            events.borrow_mut().withdraw(thread);
        }
        if let Some(timer) = self.timers.borrow().get(&thread) {
            // A thread that has ended answers nothing.
            let _ = timer.stop();
        }
    }

    /// Returns whether the sampler's handler is still that of the signal.
    pub fn is_in_place(&self) -> bool {
        self.installed.is_in_place()
    }

    /// Whether a signal to this thread would reach the sampler's handler.
    ///
    /// A blocked signal would stay pending, and count against the process' limit; one whose handler
    /// was replaced would run the app's code.
    pub fn deliverable(&self, thread: i32) -> Result<(), NotAsked> {
        if !self.is_in_place() {
            return Err(NotAsked::Replaced);
        }
        match Thread::new(thread).blocks(self.signal()) {
            Some(false) => Ok(()),
            Some(true) => Err(NotAsked::Blocked),
            None => Err(NotAsked::Ended),
        }
    }

    /// The next stack that was taken.
    pub fn next(&self) -> Option<Shot> {
        if let Some(events) = &self.events {
            events.borrow_mut().collect(|thread| self.ticket(thread));
        }
        Shot::next(|ticket| ticket.session() == self.number)
    }

    /// Periods whose stack was not taken, for want of room.
    pub fn dropped(&self) -> u64 {
        shot::dropped(self.reason) - self.dropped_before
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut numbers = numbers();
        self.reason.open().fetch_sub(1, Release);
        numbers.retain(|number| *number != self.number);
        // What was taken for nobody makes room for others: of this session, or of an earlier one
        // whose signal came late.
        while Shot::next(|ticket| !numbers.contains(&ticket.session())).is_some() {}
        shot::give_back();
    }
}

fn numbers() -> MutexGuard<'static, Vec<u32>> {
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}
