//! Failures where no caller takes an error: passed to a function that the program installs.

use std::{fmt, io, sync::OnceLock};

/// A failure that no caller is told of.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The files of the program cannot be read: stacks have no names.
    NoNames(io::Error),
    /// The disposition that the signal had before cannot be restored.
    SignalNotRestored {
        /// The signal's number.
        signal: i32,
        /// Error of the system.
        error: io::Error,
    },
    /// jemalloc's sampling cannot be turned off.
    SamplingGoesOn,
}

static REPORT: OnceLock<fn(Problem)> = OnceLock::new();

/// Installs the function that is called with every problem from now on, and must not wait. Only the
/// first call has an effect; without one, problems are ignored.
pub fn report_problems_to(report: fn(Problem)) {
    let _ = REPORT.set(report);
}

pub(crate) fn report(problem: Problem) {
    if let Some(report) = REPORT.get() {
        report(problem);
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNames(error) => write!(f, "stacks have no names: {error}"),
            Self::SignalNotRestored { signal, error } => {
                write!(f, "cannot restore the disposition of signal {signal}: {error}")
            }
            Self::SamplingGoesOn => {
                f.write_str("jemalloc goes on sampling: it cannot be turned off")
            }
        }
    }
}
