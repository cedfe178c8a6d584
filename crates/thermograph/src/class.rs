//! Whose fault a stall is, and why one has no stack.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose fault a stall is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The handler computes.
    Cpu,
    /// The handler waits in a system call.
    Blocked,
    /// The kernel did not run the thread: the machine has too much to do, or the container too
    /// little of it. The handler is not at fault.
    Preempted,
    /// The system does not say.
    Unknown,
}

/// Why a stall has no stack.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoStack {
    /// Stacks are off, or the system has none.
    Off,
    /// The poll ended before its stack was taken.
    Ended,
    /// The thread was asked, and its stack did not come.
    Unanswered,
    /// The app has installed its own handler for the sampler's signal.
    SignalReplaced,
    /// The thread blocks the sampler's signal.
    SignalBlocked,
    /// The process has as many timers as it may.
    NoTimer,
    /// There were more different stacks than are kept.
    NoRoom,
}

impl NoStack {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Off,
        Self::Ended,
        Self::Unanswered,
        Self::SignalReplaced,
        Self::SignalBlocked,
        Self::NoTimer,
        Self::NoRoom,
    ];

    /// Its name, as labels have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ended => "ended",
            Self::Unanswered => "unanswered",
            Self::SignalReplaced => "signal_replaced",
            Self::SignalBlocked => "signal_blocked",
            Self::NoTimer => "no_timer",
            Self::NoRoom => "no_room",
        }
    }

    /// The reason of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// What happened, in a few words.
    pub fn says(self) -> &'static str {
        match self {
            Self::Off => "stacks are off, or this system has none",
            Self::Ended => "it ended before its stack was taken",
            Self::Unanswered => {
                "its thread was not run again in time, or no memory was free for it"
            }
            Self::SignalReplaced => "the app replaced the signal's handler",
            Self::SignalBlocked => "the thread blocks the signal",
            Self::NoTimer => "the process has as many timers as it may (`ulimit -i`)",
            Self::NoRoom => "there were more different stacks than are kept",
        }
    }
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Blocked, Self::Preempted, Self::Unknown];

    /// Its name, as labels have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Blocked => "blocked",
            Self::Preempted => "preempted",
            Self::Unknown => "unknown",
        }
    }

    /// The class of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Returns whether the handler is blamed for it: a class that is not known may be the machine's
    /// fault, except on systems that tell no classes at all.
    pub(crate) fn is_blamed(self) -> bool {
        self.is_the_handler_s() || (cfg!(not(sampler)) && self == Self::Unknown)
    }

    /// Whether the handler is at fault.
    pub fn is_the_handler_s(self) -> bool {
        matches!(self, Self::Cpu | Self::Blocked)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
