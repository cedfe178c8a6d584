//! Who takes stacks now: as long as a session lasts, the signal's handler is there.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{
        AtomicI32, AtomicU32,
        Ordering::{Relaxed, Release},
    },
};

use thiserror::Error;

use super::{
    shot::{self, Shot},
    signal::{self, Installed},
};

/// Why a stack is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// The thread used a period of CPU time.
    Cpu = 1,
    /// A period of time has passed.
    Wall = 2,
    /// The thread is in a poll that is too long.
    Stall = 3,
}

/// How many sessions are open, by reason: what the signal handler looks at.
static OPEN: [AtomicU32; Reason::COUNT] = [const { AtomicU32::new(0) }; Reason::COUNT];
/// The sessions that are open.
static NUMBERS: Mutex<Vec<u32>> = Mutex::new(Vec::new());
/// The process, as the kernel numbers it: one that was forked off must not take stacks.
static PROCESS: AtomicI32 = AtomicI32::new(0);
static NEXT: AtomicU32 = AtomicU32::new(1);

/// What a signal carries: for which session it is, and to which thread it was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ticket(u64);

/// The right to take stacks for a reason, until dropped.
///
/// There is one for CPU time at a time, and one for wall-clock time: they cost the whole process.
#[derive(Debug)]
pub(crate) struct Session {
    reason: Reason,
    number: u32,
    dropped_before: u64,
    installed: Installed,
}

/// Why no stacks can be taken.
#[derive(Debug, Error)]
pub(crate) enum SessionError {
    /// Another part of the program captures the same.
    #[error("already running, for somebody else in this process")]
    Taken,
    /// No real-time signal is free, or the kernel refuses.
    #[error("cannot take stacks: {0}")]
    Signal(#[from] std::io::Error),
}

impl Reason {
    pub(super) const COUNT: usize = 3;

    fn open(self) -> &'static AtomicU32 {
        match self {
            Self::Cpu => &OPEN[0],
            Self::Wall => &OPEN[1],
            Self::Stall => &OPEN[2],
        }
    }
}

impl Session {
    pub(crate) fn open(reason: Reason) -> Result<Self, SessionError> {
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
        Ok(Self { reason, number, dropped_before: shot::dropped(reason), installed })
    }

    /// What a signal to this thread carries.
    pub(crate) fn ticket(&self, thread: i32) -> Ticket {
        let (reason, number) = (self.reason as u64, u64::from(self.number));
        Ticket((reason << 56) | (number << 32) | u64::from(thread.cast_unsigned()))
    }

    /// The signal's number.
    pub(super) fn signal(&self) -> i32 {
        self.installed.signal()
    }

    /// Asks a thread for its stack. It is there some 50 µs later, and for a thread that is not
    /// scheduled, once it is.
    pub(crate) fn ask(&self, thread: i32) -> std::io::Result<()> {
        signal::send(self.signal(), thread, self.ticket(thread))
    }

    /// The next stack that was taken.
    pub(crate) fn next(&self) -> Option<Shot> {
        Shot::next(|ticket| ticket.session() == self.number)
    }

    /// Periods whose stack was not taken, for want of room.
    pub(crate) fn dropped(&self) -> u64 {
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

impl Ticket {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(super) fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn reason(self) -> Option<Reason> {
        match self.0 >> 56 {
            1 => Some(Reason::Cpu),
            2 => Some(Reason::Wall),
            3 => Some(Reason::Stall),
            _ => None,
        }
    }

    /// The thread that it was sent to.
    #[inline]
    pub(crate) fn thread(self) -> i32 {
        (self.0 as u32).cast_signed()
    }

    #[inline]
    fn session(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }

    /// Whether its session is open. For the signal handler: by the reason's number, since a `match`
    /// may become a jump by a table, which nobody can see the end of.
    #[inline]
    pub(super) fn is_open(self) -> bool {
        let place = (self.0 >> 56) as usize;
        let open = OPEN.get(place.wrapping_sub(1));
        open.is_some_and(|open| open.load(Relaxed) > 0)
    }
}

fn numbers() -> MutexGuard<'static, Vec<u32>> {
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process that may take stacks. For the signal handler.
#[inline]
pub(super) fn process() -> i32 {
    PROCESS.load(Relaxed)
}
