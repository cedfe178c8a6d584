//! CPU time of single threads.

use std::time::Duration;

/// CPU time that a thread of this process has used, to the nanosecond; none where it is gone.
pub(crate) fn cpu_time(thread: i32) -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a value of ours.
    let read = unsafe { libc::clock_gettime(cpu_clock(thread), &raw mut time) };
    let time = Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32);
    (read == 0).then_some(time)
}

/// The clock of a thread's CPU time: Linux' own encoding (`MAKE_THREAD_CPUCLOCK`), which is what
/// `pthread_getcpuclockid` gives.
pub(crate) fn cpu_clock(thread: i32) -> libc::clockid_t {
    const SCHEDULED: i32 = 2;
    const PER_THREAD: i32 = 4;
    (!thread << 3) | PER_THREAD | SCHEDULED
}
