//! Names of threads, where the system tells them.

/// Name of a thread by its number in the kernel; `None` if it has ended, or the system does not tell.
#[cfg(sampler)]
pub fn thread_name(thread: i32) -> Option<String> {
    crate::procfs::Thread::new(thread).name()
}

/// Name of a thread, which this system does not tell: always `None`.
#[cfg(not(sampler))]
pub fn thread_name(_: i32) -> Option<String> {
    None
}

/// Name of a thread, or `thread` and its number where the name is not known.
pub fn thread_name_or_number(thread: i32) -> String {
    thread_name(thread).unwrap_or_else(|| format!("thread {thread}"))
}
