//! Room for file descriptors.
//!
//! Linux doubles a process's table of file descriptors when it is full. Where the process has
//! several threads, whoever opened one too many waits then until every processor has switched tasks
//! (`synchronize_rcu` in `fs/file.c`): `accept` and `socket` block a worker, for up to some ten
//! milliseconds, just when many come at once.

use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// Allows this process so many file descriptors, where it may have them, and makes the table that
/// large. It never becomes smaller.
pub(super) fn make_room(wanted: usize) {
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.map_or(wanted, |most| wanted.min(most));
    let current = limit.current.unwrap_or(u64::MAX);
    let room = if current < allowed {
        let raised = Rlimit { current: Some(allowed), ..limit };
        setrlimit(Resource::Nofile, raised).map_or(current, |()| allowed)
    } else {
        wanted.min(current)
    };
    if room < wanted {
        tracing::warn!(wanted, room, "few open files are allowed: raise the limit (ulimit -n)");
    }
    if let Err(error) = grow(room) {
        tracing::debug!(%error, room, "the table of file descriptors grows when it is full");
    }
}

/// Opens the highest of them for a moment.
fn grow(room: u64) -> Result<(), Errno> {
    let highest = i32::try_from(room.saturating_sub(1)).unwrap_or(i32::MAX);
    fcntl_dupfd_cloexec(std::io::stderr(), highest).map(drop)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Size of this process's table.
    fn size() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("read");
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        size.and_then(|size| size.trim().parse().ok()).expect("a size")
    }

    #[test]
    fn the_table_is_as_large_as_is_wanted_and_allowed() {
        let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let wanted = 5000.min(most);
        make_room(wanted as usize);
        assert!(size() >= wanted, "{} of {wanted}", size());
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|current| current >= wanted));
    }
}
