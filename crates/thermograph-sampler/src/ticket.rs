//! Tickets: the values that signals carry, which say for which session and thread they are.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};

/// The reason why a stack is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// The thread used a period of CPU time.
    Cpu = 1,
    /// A period of time has passed.
    Wall = 2,
    /// The thread is in a poll that is too long.
    Stall = 3,
}

/// The value that a signal carries: the session that it is for, and the thread that it was sent to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket(pub(crate) u64);

/// Number of open sessions by reason, which the signal handler reads.
static OPEN: [AtomicU32; Reason::COUNT] = [const { AtomicU32::new(0) }; Reason::COUNT];
/// The process, as the kernel numbers it: one that was forked off must not take stacks.
pub(crate) static PROCESS: AtomicI32 = AtomicI32::new(0);

impl Reason {
    pub(crate) const COUNT: usize = 3;

    pub(crate) fn open(self) -> &'static AtomicU32 {
        match self {
            Self::Cpu => &OPEN[0],
            Self::Wall => &OPEN[1],
            Self::Stall => &OPEN[2],
        }
    }
}

impl Ticket {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn reason(self) -> Option<Reason> {
        match self.0 >> 56 {
            1 => Some(Reason::Cpu),
            2 => Some(Reason::Wall),
            3 => Some(Reason::Stall),
            _ => None,
        }
    }

    /// The thread that it was sent to.
    #[inline]
    pub fn thread(self) -> i32 {
        (self.0 as u32).cast_signed()
    }

    #[inline]
    pub(crate) fn session(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }

    /// Whether its session is open. For the signal handler: by the reason's number, since a `match`
    /// may become a jump by a table, which nobody can see the end of.
    #[inline]
    pub(crate) fn is_open(self) -> bool {
        let place = (self.0 >> 56) as usize;
        let open = OPEN.get(place.wrapping_sub(1));
        open.is_some_and(|open| open.load(Relaxed) > 0)
    }
}

/// The process that may take stacks. For the signal handler.
#[inline]
pub(crate) fn process() -> i32 {
    PROCESS.load(Relaxed)
}
