//! Whether the program's allocator can say what is allocated: jemalloc with profiling can.

use std::fmt;

/// What a program lacks for profiles of memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoHeap {
    /// The system is not one where stacks can be had.
    System,
    /// The cargo feature `jemalloc` of this crate is not on.
    Feature,
    /// What the program allocates does not come from jemalloc.
    Allocator,
    /// jemalloc was started without profiling.
    Profiling,
}

impl NoHeap {
    /// What is so.
    pub fn says(self) -> &'static str {
        match self {
            Self::System => "this system has no profiles of memory",
            Self::Feature => "built without the feature `jemalloc`: memory has no profiles",
            Self::Allocator => "the program's allocator is not jemalloc: memory has no profiles",
            Self::Profiling => "jemalloc was started without profiling: memory has no profiles",
        }
    }

    /// The lines that mend it.
    pub fn mend(self) -> &'static str {
        match self {
            Self::System => "run it on Linux, on x86-64 or ARM64",
            Self::Feature => {
                "in Cargo.toml: thermograph = { version = \"0.1\", features = [\"jemalloc\"] } and \
                 tikv-jemallocator = { version = \"0.7\", features = [\"profiling\"] }; in main.rs: \
                 #[global_allocator] static ALLOCATOR: tikv_jemallocator::Jemalloc = \
                 tikv_jemallocator::Jemalloc; #[unsafe(export_name = \"_rjem_malloc_conf\")] \
                 static SETTINGS: &[u8; 28] = b\"prof:true,prof_active:false\\0\";"
            }
            Self::Allocator => {
                "in Cargo.toml: tikv-jemallocator = { version = \"0.7\", features = [\"profiling\"] }; \
                 in main.rs: #[global_allocator] static ALLOCATOR: tikv_jemallocator::Jemalloc = \
                 tikv_jemallocator::Jemalloc; #[unsafe(export_name = \"_rjem_malloc_conf\")] \
                 static SETTINGS: &[u8; 28] = b\"prof:true,prof_active:false\\0\";"
            }
            Self::Profiling => {
                "in main.rs: #[unsafe(export_name = \"_rjem_malloc_conf\")] static SETTINGS: \
                 &[u8; 28] = b\"prof:true,prof_active:false\\0\"; or start the program with \
                 _RJEM_MALLOC_CONF=prof:true,prof_active:false"
            }
        }
    }
}

impl fmt::Display for NoHeap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.says(), self.mend())
    }
}

/// What lacks for profiles of memory, if anything does.
#[cfg_attr(not(heap), expect(clippy::unnecessary_wraps, reason = "as where nothing lacks"))]
pub(crate) fn lacks() -> Option<NoHeap> {
    #[cfg(heap)]
    return if !thermograph_sampler::is_jemalloc() {
        Some(NoHeap::Allocator)
    } else if !thermograph_sampler::is_profiled() {
        Some(NoHeap::Profiling)
    } else {
        None
    };
    #[cfg(all(sampler, not(heap)))]
    return Some(NoHeap::Feature);
    #[cfg(not(sampler))]
    Some(NoHeap::System)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_as_long_as_they_say() {
        let settings = "prof:true,prof_active:false\0";
        assert_eq!(settings.len(), 28);
        for lacking in [NoHeap::Feature, NoHeap::Allocator, NoHeap::Profiling] {
            assert!(lacking.mend().contains("&[u8; 28]"), "{lacking:?}");
        }
    }

    #[test]
    fn this_test_has_the_system_s_allocator() {
        assert!(matches!(lacks(), Some(NoHeap::Allocator | NoHeap::Feature | NoHeap::System)));
    }
}
