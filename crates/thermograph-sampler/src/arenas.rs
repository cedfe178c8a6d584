//! Statistics of the C library's allocator about its arenas.

use std::mem;

/// Bytes of all arenas, and of what was mapped for one allocation each.
#[derive(Clone, Copy, Debug)]
pub struct Arenas {
    /// Bytes that are allocated and not freed.
    pub used: u64,
    /// Bytes that were freed and are kept.
    pub free: u64,
    /// Bytes that were taken from the system.
    pub mapped: u64,
}

/// Reads the statistics of the allocator; `None` if the C library is older than 2.33. `mallinfo2` is
/// looked for in the process, so that programs run there, too.
pub fn arenas() -> Option<Arenas> {
    type MallInfo2 = extern "C" fn() -> libc::mallinfo2;
    // SAFETY: the name ends with 0.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: glibc's function of this name has this type (mallinfo2(3)), no precondition, and is
    // there as long as the process.
    let mallinfo2 = unsafe { mem::transmute::<*mut libc::c_void, MallInfo2>(found) };
    let info = mallinfo2();
    Some(Arenas {
        used: (info.uordblks + info.hblkhd) as u64,
        free: info.fordblks as u64,
        mapped: (info.arena + info.hblkhd) as u64,
    })
}
