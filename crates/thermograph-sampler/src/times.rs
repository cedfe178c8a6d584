//! Times of a thread: on a processor, and waiting for one.

use std::time::Duration;

/// A thread's times since it began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Times {
    /// Time on a processor.
    pub run: Duration,
    /// Time in which it was ready to run and waited for a processor; a wait counts once it is over.
    pub wait: Duration,
    /// Number of times that it gave its processor away to wait for something.
    pub waits: u64,
}

/// Activity of a thread at a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activity {
    /// It runs, or waits for a processor.
    Running,
    /// It waits in a system call, of this name where it has one.
    Waiting(Option<&'static str>),
}

impl Times {
    /// Reads the times of the calling thread, by some system calls that neither wait nor allocate;
    /// `None` if the system does not tell.
    #[cfg(target_os = "linux")]
    pub fn own() -> Option<Self> {
        use rustix::time::{ClockId, clock_gettime};
        let run = clock_gettime(ClockId::ThreadCPUTime);
        let run = Duration::new(run.tv_sec.cast_unsigned(), run.tv_nsec as u32);
        let mut buffer = [0; 4096];
        let wait = waited(read_once(c"/proc/thread-self/schedstat", &mut buffer)?)?;
        let waits = voluntary_waits(read_once(c"/proc/thread-self/status", &mut buffer)?)?;
        Some(Self { run, wait, waits })
    }

    /// Times of the calling thread, which this system does not tell: always `None`.
    #[cfg(not(target_os = "linux"))]
    pub fn own() -> Option<Self> {
        None
    }

    /// Difference from an earlier reading; 0 for a value that has decreased.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            run: self.run.saturating_sub(earlier.run),
            wait: self.wait.saturating_sub(earlier.wait),
            waits: self.waits.saturating_sub(earlier.waits),
        }
    }
}

/// The time waited, of a `schedstat` file: it has the times run and waited, in nanoseconds, and the
/// number of time slices. The first is as old as the kernel's last tick, so it is not used.
#[cfg(target_os = "linux")]
pub(crate) fn waited(schedstat: &str) -> Option<Duration> {
    let nanoseconds = schedstat.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Number of times that a thread waited for something, from a `status` file.
#[cfg(target_os = "linux")]
pub(crate) fn voluntary_waits(status: &str) -> Option<u64> {
    // Near the end of some sixty lines.
    let mut lines = status.lines().rev();
    let line = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line?.trim().parse().ok()
}

/// The text of a file, as much as one call reads into the buffer.
#[cfg(target_os = "linux")]
pub(crate) fn read_once(path: impl rustix::path::Arg, buffer: &mut [u8]) -> Option<&str> {
    read_from_start(&open(path)?, buffer)
}

/// A file to read.
#[cfg(target_os = "linux")]
pub(crate) fn open(path: impl rustix::path::Arg) -> Option<std::os::fd::OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The text of an open file as it is now, as much as one call reads into the buffer.
#[cfg(target_os = "linux")]
pub(crate) fn read_from_start(file: impl std::os::fd::AsFd, buffer: &mut [u8]) -> Option<&str> {
    let length = rustix::io::pread(file, &mut *buffer, 0).ok()?;
    std::str::from_utf8(buffer.get(..length)?).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn running_and_sleeping_are_told_apart() {
        let before = Times::own().expect("told");
        std::thread::sleep(Duration::from_millis(30));
        let slept = Times::own().expect("told").since(before);
        assert!(slept.run < Duration::from_millis(30) && slept.waits > 0, "{slept:?}");
        let busy = before.run + Duration::from_millis(5);
        while Times::own().expect("told").run < busy {}
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(waited("12 3456 7\n"), Some(Duration::from_nanos(3456)));
        assert_eq!(waited("12"), None);
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t42\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(voluntary_waits(status), Some(42));
        assert_eq!(voluntary_waits("Name:\tx\n"), None);
    }
}
