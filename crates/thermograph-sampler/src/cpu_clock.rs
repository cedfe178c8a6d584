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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_s_cpu_time_goes_while_it_computes() {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let start = Instant::now();
        let before = cpu_time(thread).expect("it is there");
        while cpu_time(thread).expect("it is there") < before + Duration::from_millis(5) {
            std::hint::black_box(start.elapsed());
        }
        // Two clocks of the kernel's, which agree within a tick.
        assert!(start.elapsed() >= Duration::from_millis(1));
        assert_eq!(cpu_time(i32::MAX / 16), None);
    }
}
