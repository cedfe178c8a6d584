//! What the system lets be seen.

#[cfg(target_os = "linux")]
use std::time::Duration;

use crate::{checks::Finding, config::Stacks};

pub(super) fn findings(configured: Stacks) -> Vec<Finding> {
    #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "there is no more to see"))]
    let mut findings = vec![stacks(configured)];
    #[cfg(sampler)]
    findings.push(classes(is_told()));
    #[cfg(target_os = "linux")]
    {
        findings.push(kernel_tick(tick()));
        findings.push(processors(cpu_stat().as_deref()));
        findings.push(perf(read("/proc/sys/kernel/perf_event_paranoid").as_deref()));
    }
    findings
}

#[cfg(sampler)]
fn stacks(configured: Stacks) -> Finding {
    use thermograph_sampler::{
        NotAsked, Reason, Session, Slot, perf_events_allowed, thread_name_or_number,
        timers_spare_system_calls,
    };
    let what = "stacks";
    let session = match Session::open(Reason::Stall) {
        Ok(session) => session,
        Err(error) => {
            return Finding::bad(
                what,
                format!(
                    "{error}: threads that compute have no stacks, and the pprof crate samples CPU time"
                ),
                "in the container's seccomp profile, allow process_vm_readv; leave a real-time signal free",
            );
        }
    };
    let threads: Vec<_> = Slot::used().filter_map(Slot::thread).collect();
    let unreachable: Vec<_> = threads
        .iter()
        .filter_map(|thread| Some((*thread, session.deliverable(*thread).err()?)))
        .collect();
    let effect = || {
        if configured == Stacks::Auto && perf_events_allowed().is_ok() {
            "captures have no samples of theirs while they compute, stalls have"
        } else {
            "no stacks while they compute"
        }
    };
    if unreachable.iter().any(|(_, why)| *why == NotAsked::Replaced) {
        return Finding::bad(
            what,
            format!(
                "{}, number {}, for all threads: {}",
                NotAsked::Replaced,
                session.signal(),
                effect()
            ),
            "use another real-time signal: SIGRTMIN() and the next ones are left to the app",
        );
    }
    let blocking = unreachable.iter().filter(|(_, why)| *why == NotAsked::Blocked);
    let names: Vec<_> = blocking.map(|(thread, _)| thread_name_or_number(*thread)).collect();
    if let Some(first) = names.first() {
        return Finding::warning(
            what,
            format!(
                "the signal is blocked by {} of {} threads that poll handlers, such as `{first}`: {}",
                names.len(),
                threads.len(),
                effect()
            ),
            "leave real-time signals out of the set for pthread_sigmask",
        );
    }
    if !timers_spare_system_calls() {
        return Finding::warning(
            what,
            "this kernel may deliver a timer's signal while the thread enters a system call, which \
             then fails with EINTR",
            "Linux 5.11 or newer, or diagnostics.stacks = \"off\"",
        );
    }
    Finding::good(what, "waiting threads are read, and computing ones asked by a timer of theirs")
}

#[cfg(not(sampler))]
fn stacks(_configured: Stacks) -> Finding {
    Finding::warning(
        "stacks",
        "stalls have no stacks and no class on this system, and the pprof crate samples CPU time",
        "run it on Linux, on x86-64 or ARM64",
    )
}

/// Whether the kernel tells what a thread does and what its times are.
#[cfg(sampler)]
fn is_told() -> [bool; 2] {
    use thermograph_sampler::Thread;
    let own = Thread::new(rustix::thread::gettid().as_raw_nonzero().get());
    [own.times().is_some(), own.activity().is_some()]
}

#[cfg(sampler)]
fn classes([times, activity]: [bool; 2]) -> Finding {
    let what = "classes";
    match (times, activity) {
        (true, true) => Finding::good(what, "the kernel tells times and system calls of threads"),
        (true, false) => Finding::warning(
            what,
            "the kernel does not tell system calls of threads: blocked stalls have none",
            "run it without hidepid and with a kernel that has CONFIG_HAVE_ARCH_TRACEHOOK",
        ),
        (false, _) => Finding::bad(
            what,
            "the kernel does not tell times of threads: stalls are not told apart by class",
            "run it with a kernel that has CONFIG_SCHED_INFO, and with /proc mounted",
        ),
    }
}

/// Time from one tick of the kernel to the next: the coarse clock moves with it.
#[cfg(target_os = "linux")]
fn tick() -> Duration {
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    Duration::new(tick.tv_sec.cast_unsigned(), tick.tv_nsec as u32)
}

#[cfg(target_os = "linux")]
fn kernel_tick(tick: Duration) -> Finding {
    let what = "kernel_tick";
    let hertz = (1.0 / tick.as_secs_f64()).round();
    let says = format!(
        "{hertz} Hz: up to this frequency each sample of CPU time is one of its own, above it \
         one stands for several; sums are right at any"
    );
    if hertz >= 99.0 {
        return Finding::good(what, says);
    }
    Finding::warning(what, says, "a kernel with CONFIG_HZ=250")
}

/// What the control group says of its use of processors: the container's, or the unit's.
#[cfg(target_os = "linux")]
fn cpu_stat() -> Option<String> {
    let groups = read("/proc/self/cgroup")?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    read(&format!("/sys/fs/cgroup{}/cpu.stat", group.trim_end_matches('/')))
}

/// By `cpu.stat` of the control group, if there is one.
#[cfg(target_os = "linux")]
fn processors(stat: Option<&str>) -> Finding {
    let what = "processors";
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let of = |name: &str| {
        let mut lines = stat?.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    let (Some(throttled), Some(periods)) = (of("nr_throttled "), of("nr_periods ")) else {
        let says = "the kernel does not say whether a quota takes some away";
        return Finding::good(what, format!("{count} processors; {says}"));
    };
    // One period in a hundred is a p99.
    if throttled > 0 && throttled.saturating_mul(100) >= periods {
        return Finding::warning(
            what,
            format!(
                "{count} processors; the container used up its share in {throttled} of {periods} \
                 periods, and stood still: that is no handler's fault, and not in CPU time"
            ),
            "give the container more CPU, or the runtime fewer worker_threads",
        );
    }
    Finding::good(what, format!("{count} processors, and none was taken away by a quota"))
}

/// Good in any case: where there is no perf, threads that compute get a signal.
#[cfg(target_os = "linux")]
fn perf(paranoid: Option<&str>) -> Finding {
    let level = paranoid.and_then(|level| level.trim().parse::<i64>().ok());
    let says = match level {
        None => "the kernel has no perf events; signals do without them".to_owned(),
        Some(level) if level > 2 => {
            format!("perf is for root only (perf_event_paranoid is {level}); signals do without it")
        }
        Some(level) => format!("perf may look at this process (perf_event_paranoid is {level})"),
    };
    let mend = level.filter(|level| *level > 2).map(|_| "sysctl kernel.perf_event_paranoid=2");
    Finding { mend: mend.map(str::to_owned), ..Finding::good("perf", says) }
}

#[cfg(target_os = "linux")]
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::checks::State;

    #[test]
    fn a_slow_tick_is_told_with_its_frequency() {
        for (ms, hertz, state) in
            [(1, "1000 Hz", State::Good), (4, "250 Hz", State::Good), (20, "50 Hz", State::Warning)]
        {
            let finding = kernel_tick(Duration::from_millis(ms));
            assert!(finding.says.starts_with(hertz) && finding.state == state, "{finding:?}");
        }
        assert!((Duration::from_millis(1)..=Duration::from_millis(10)).contains(&tick()));
    }

    #[test]
    fn a_container_that_stands_still_is_a_warning() {
        let stat = |throttled| format!("usage_usec 1\nnr_periods 1000\nnr_throttled {throttled}\n");
        for (throttled, state) in [(0, State::Good), (9, State::Good), (10, State::Warning)] {
            assert_eq!(processors(Some(&stat(throttled))).state, state, "{throttled}");
        }
        assert!(processors(Some(&stat(500))).says.contains("in 500 of 1000 periods"));
        for unknown in [None, Some(""), Some("usage_usec 7\n")] {
            assert!(processors(unknown).says.contains("does not say"), "{unknown:?}");
        }
    }

    #[test]
    fn perf_is_never_needed() {
        for (level, has_mend) in [(None, false), (Some("1\n"), false), (Some("3\n"), true)] {
            let finding = perf(level);
            assert_eq!((finding.state, finding.mend.is_some()), (State::Good, has_mend));
        }
    }

    #[cfg(sampler)]
    #[test]
    fn what_the_kernel_does_not_tell_is_missed() {
        assert_eq!(classes([true, true]).state, State::Good);
        assert_eq!(classes([true, false]).state, State::Warning);
        assert_eq!(classes([false, true]).state, State::Bad);
        assert_eq!(is_told(), [true, true]);
        assert_eq!(stacks(Stacks::default()).state, State::Good);
    }
}
