//! The allocator of a program whose memory can be captured.

/// What the macro names.
#[cfg(heap)]
pub use tikv_jemallocator::Jemalloc;

/// Makes jemalloc, with profiling, the allocator of the program: put it into `main.rs`.
///
/// Sampling is ready and not on: until memory is captured, an allocation costs what it costs without
/// it. With the feature `jemalloc`, on Linux on x86-64 and ARM64; elsewhere it does nothing, and the
/// program keeps the system's allocator.
///
/// ```
/// thermograph::jemalloc!();
///
/// fn main() {}
/// ```
#[cfg(heap)]
#[macro_export]
macro_rules! jemalloc {
    () => {
        #[global_allocator]
        static THERMOGRAPH_ALLOCATOR: $crate::jemalloc::Jemalloc = $crate::jemalloc::Jemalloc;

        // SAFETY: jemalloc declares `const char *_rjem_malloc_conf`, weak, so that a program may
        // define it, and only reads it: a text that ends with 0. A reference to an array is a plain
        // pointer to its first byte, and this one is good for ever. Nothing else has this name.
        #[allow(unsafe_code, reason = "jemalloc looks for its settings under a symbol")]
        #[unsafe(export_name = "_rjem_malloc_conf")]
        static THERMOGRAPH_MALLOC_CONF: &[u8; 62] =
            b"prof:true,prof_active:false,lg_prof_sample:19,prof_bt_max:256\0";
    };
}

/// Does nothing: this build has no profiles of memory.
#[cfg(not(heap))]
#[macro_export]
macro_rules! jemalloc {
    () => {};
}
