//! A thread that comes when it is time, also where every processor is busy.

/// Asks the kernel to wake this thread when it is time, and to run it at once: by a short slice of
/// time, which Linux 6.12 prefers among threads that are ready, and no slack in timers. Needs no
/// right. Where it cannot be had, the thread is as good as any other.
pub fn be_prompt() {
    /// `struct sched_attr`, as it was at first: what came later is 0.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    /// The shortest that the kernel takes.
    const SLICE_NS: u64 = 100_000;
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    let size = size_of::<Attributes>() as u32;
    let attributes = Attributes {
        size,
        policy: libc::SCHED_OTHER.cast_unsigned(),
        flags: 0,
        nice,
        priority: 0,
        runtime: SLICE_NS,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads as much of it as it says of itself, and changes this thread only.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}
