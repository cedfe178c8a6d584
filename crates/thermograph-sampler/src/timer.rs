//! A timer on the CPU clock of one thread: the only source of the sampler's signal.
//!
//! Such a timer expires while the thread runs, and since Linux 5.11 the kernel sends its signal from
//! the thread itself, on the way back to user mode (`CONFIG_POSIX_CPU_TIMERS_TASK_WORK`,
//! kernel/time/posix-cpu-timers.c). So the signal never interrupts a system call: a call that the
//! thread has begun meanwhile ends first, with its own result. A signal that another thread sends
//! has no such promise, however short before it the thread was seen running: in loops of 20 µs
//! sleeps 2 to 5 in 100 such signals made a sleep fail with `EINTR`; of a CPU timer's, none did.

use std::{io, mem, ptr, time::Duration};

use super::{cpu_clock::cpu_clock, ticket::Ticket};

/// Sends the session's signal to a thread each time it has used so much CPU time.
///
/// The kernel looks at these timers when it ticks (250 times a second as a rule), so that at higher
/// frequencies one signal stands for several periods: it says for how many.
#[derive(Debug)]
pub struct CpuTimer(libc::timer_t);

// SAFETY: a timer's number, good in the whole process.
unsafe impl Send for CpuTimer {}

impl CpuTimer {
    /// A timer that sends this signal with this ticket, and first expires after `first` and then every `period`.
    pub(super) fn start(
        signal: i32,
        ticket: Ticket,
        thread: i32,
        first: Duration,
        period: Duration,
    ) -> io::Result<Self> {
        let timer = Self::stopped(signal, ticket, thread)?;
        timer.set(first, period)?;
        Ok(timer)
    }

    /// A timer that does not run yet.
    pub(super) fn stopped(signal: i32, ticket: Ticket, thread: i32) -> io::Result<Self> {
        // SAFETY: all zero is a value of this type.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_notify_thread_id = thread;
        event.sigev_signo = signal;
        event.sigev_value.sival_ptr = ptr::without_provenance_mut(ticket.raw() as usize);
        let mut timer = ptr::null_mut();
        // SAFETY: both are values of ours, and the event is initialised.
        let made = unsafe { libc::timer_create(cpu_clock(thread), &raw mut event, &raw mut timer) };
        if made != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(timer))
    }

    /// Expires once, at the next tick of the kernel at which the thread runs.
    pub(super) fn expire_next(&self) -> io::Result<()> {
        self.set(Duration::ZERO, Duration::ZERO)
    }

    /// Does not expire any more.
    pub(super) fn stop(&self) -> io::Result<()> {
        self.set_to(Duration::ZERO, Duration::ZERO)
    }

    /// Relative to the thread's CPU time now: an absolute time in the past would have the kernel
    /// send the signal at once, to a thread that may wait.
    fn set(&self, first: Duration, period: Duration) -> io::Result<()> {
        // 0 would stop it.
        self.set_to(first.max(Duration::from_nanos(1)), period)
    }

    fn set_to(&self, first: Duration, period: Duration) -> io::Result<()> {
        let when = libc::itimerspec { it_interval: timespec(period), it_value: timespec(first) };
        // SAFETY: the timer was made by `stopped` and is not deleted yet.
        let set = unsafe { libc::timer_settime(self.0, 0, &raw const when, ptr::null_mut()) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for CpuTimer {
    fn drop(&mut self) {
        // SAFETY: the timer was made by `stopped`, and is deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Returns whether the kernel sends the signals of CPU timers on the way back to user mode: since
/// 5.11 on x86-64 and ARM64 (`CONFIG_POSIX_CPU_TIMERS_TASK_WORK`).
pub fn timers_spare_system_calls() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    timers_of_kernel_spare_system_calls(&release.unwrap_or_default())
}

fn timers_of_kernel_spare_system_calls(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 11),
        // Not known: nothing is claimed.
        _ => true,
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs().cast_signed(),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_task_work_are_told_apart() {
        for (release, spares) in [
            ("6.18.44-fc-v657", true),
            ("5.11.0", true),
            ("5.10.0-28-amd64", false),
            ("4.19", false),
            ("unknown", true),
        ] {
            assert_eq!(timers_of_kernel_spare_system_calls(release), spares, "{release}");
        }
    }
}
