//! The nice value of a thread.

/// Lowers the priority of this thread, and of those that it starts, to a nice value; 0 leaves it as
/// it is.
///
/// On Linux a thread has its own nice value; elsewhere it is the process's, and nothing is done.
pub fn lower(nice: u8) {
    #[cfg(target_os = "linux")]
    if nice > 0
        && let Err(error) = rustix::process::setpriority_process(None, i32::from(nice))
    {
        tracing::debug!(%error, nice, "the thread keeps its priority");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}
