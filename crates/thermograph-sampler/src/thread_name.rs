//! Names of threads, where the system tells them.

/// What a thread is called; none where it has ended, or the system does not tell.
#[cfg(sampler)]
pub fn thread_name(thread: i32) -> Option<String> {
    crate::procfs::Thread::new(thread).name()
}

/// Not told on this system.
#[cfg(not(sampler))]
pub fn thread_name(_: i32) -> Option<String> {
    None
}

/// What a thread is called, or else its number.
pub fn thread_name_or_number(thread: i32) -> String {
    thread_name(thread).unwrap_or_else(|| format!("thread {thread}"))
}
