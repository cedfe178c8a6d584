//! Where the memory of the process is: what the program has allocated, and what the allocator keeps
//! of what was freed.
//!
//! The resident set alone does not tell a leak from an allocator that keeps pages for later. With
//! jemalloc there are four figures beside it, which its manual has under `stats.*`: allocated,
//! active, resident and retained. The C library tells what is allocated, and what is free in its
//! arenas.

mod told;

use std::{
    collections::VecDeque,
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// The memory of the process at one moment, in bytes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Memory {
    /// The allocator that the figures are of: `jemalloc` or `glibc`; `None` if it tells nothing.
    pub allocator: Option<String>,
    /// Resident set of the process: memory of the machine that it takes.
    pub rss: u64,
    /// Bytes that the program has allocated and not freed.
    pub allocated: Option<u64>,
    /// Bytes of the pages that hold these.
    pub active: Option<u64>,
    /// Bytes of the allocator's pages that may be in memory.
    pub resident: Option<u64>,
    /// Addresses that the allocator keeps for later, without memory behind them.
    pub retained: Option<u64>,
    /// Bytes that the allocator has mapped.
    pub mapped: Option<u64>,
    /// Bytes that are free in the arenas of the C library, in memory or not.
    pub free: Option<u64>,
    /// What that means, in a sentence.
    pub says: String,
}

/// Readings to compare with.
static READINGS: Mutex<VecDeque<(Instant, Memory)>> = Mutex::new(VecDeque::new());
/// Most readings that are kept, and how long.
const KEPT: usize = 64;
const OLDEST: Duration = Duration::from_hours(1);
/// Time between two readings that are kept, and before one that is compared with.
const APART: Duration = Duration::from_mins(1);

impl Memory {
    /// Reads it.
    ///
    /// The C library adds its figures up behind the locks of its arenas, one after the other, so that
    /// this is read where somebody asks, and not all the time.
    pub(crate) fn now() -> Self {
        let mut memory = Self::read();
        let now = Instant::now();
        let mut readings = READINGS.lock().unwrap_or_else(PoisonError::into_inner);
        readings.retain(|(at, _)| now.duration_since(*at) < OLDEST);
        let earlier = readings.iter().find(|(at, _)| now.duration_since(*at) >= APART);
        let earlier = earlier.map(|(at, earlier)| (now.duration_since(*at), earlier));
        memory.says = told::says(&memory, earlier);
        if readings.back().is_none_or(|(at, _)| now.duration_since(*at) >= APART) {
            readings.push_back((now, memory.clone()));
            if readings.len() > KEPT {
                readings.pop_front();
            }
        }
        memory
    }

    fn read() -> Self {
        let rss = resident_set().unwrap_or(0);
        let figures = jemalloc().or_else(c_library).unwrap_or_default();
        Self { rss, ..figures }
    }

    /// Every figure that is known, with the name that metrics have for it.
    pub(crate) fn figures(&self) -> Vec<(&'static str, &'static str, u64)> {
        let resident_set = (
            "thermograph_resident_set_bytes",
            "Memory of the machine that the process takes.",
            Some(self.rss),
        );
        let figures = [
            resident_set,
            (
                "thermograph_allocator_allocated_bytes",
                "Memory that the program has allocated and not freed.",
                self.allocated,
            ),
            (
                "thermograph_allocator_active_bytes",
                "Memory of the pages that hold what is allocated.",
                self.active,
            ),
            (
                "thermograph_allocator_resident_bytes",
                "Memory of the allocator's pages, used or kept for later.",
                self.resident,
            ),
            (
                "thermograph_allocator_retained_bytes",
                "Addresses that the allocator keeps, without memory behind them.",
                self.retained,
            ),
            (
                "thermograph_allocator_mapped_bytes",
                "Memory that the allocator has mapped.",
                self.mapped,
            ),
            (
                "thermograph_allocator_free_bytes",
                "Memory that was freed and is kept in the C library's arenas.",
                self.free,
            ),
        ];
        let known = figures.into_iter();
        known.filter_map(|(name, help, bytes)| Some((name, help, bytes?))).collect()
    }

    /// As text: a line for each figure, and the sentence.
    pub(crate) fn text(&self) -> String {
        let figure = |(name, _, bytes): (&str, &str, u64)| {
            let name = name.trim_start_matches("thermograph_").trim_end_matches("_bytes");
            format!("{:22} {:>12}\n", name.replace('_', " "), told::bytes(bytes))
        };
        let figures: String = self.figures().into_iter().map(figure).collect();
        format!("{figures}\n{}\n", self.says)
    }
}

/// `statm` has pages: size, resident, shared, ...
fn resident_set() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let text = fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(heap)]
fn jemalloc() -> Option<Memory> {
    use tikv_jemalloc_ctl::{epoch, stats};
    if !thermograph_sampler::is_jemalloc() {
        return None;
    }
    // They are as old as the last advance.
    let _ = epoch::advance();
    let known = |bytes: Result<usize, _>| {
        let bytes: Result<usize, tikv_jemalloc_ctl::Error> = bytes;
        bytes.ok().map(|bytes| bytes as u64)
    };
    Some(Memory {
        allocator: Some("jemalloc".to_owned()),
        allocated: known(stats::allocated::read()),
        active: known(stats::active::read()),
        resident: known(stats::resident::read()),
        retained: known(stats::retained::read()),
        mapped: known(stats::mapped::read()),
        ..Memory::default()
    })
}

#[cfg(not(heap))]
fn jemalloc() -> Option<Memory> {
    None
}

#[cfg(all(sampler, target_env = "gnu"))]
fn c_library() -> Option<Memory> {
    let thermograph_sampler::Arenas { used, free, mapped } = thermograph_sampler::arenas()?;
    Some(Memory {
        allocator: Some("glibc".to_owned()),
        allocated: Some(used),
        mapped: Some(mapped),
        free: Some(free),
        ..Memory::default()
    })
}

#[cfg(not(all(sampler, target_env = "gnu")))]
fn c_library() -> Option<Memory> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_held_is_allocated_and_resident() {
        const MIB: u64 = 1 << 20;
        let before = Memory::read();
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let during = Memory::read();
        assert!(during.rss >= before.rss + 32 * MIB, "{before:?} {during:?}");
        if cfg!(all(sampler, target_env = "gnu")) {
            assert_eq!(during.allocator.as_deref(), Some("glibc"));
            let grown = during.allocated.expect("told") - before.allocated.expect("told");
            assert!(grown >= 32 * MIB, "{before:?} {during:?}");
        }
        drop(held);
    }
}
