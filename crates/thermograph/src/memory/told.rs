//! The sentence: where the memory is, and what to do about it.

use std::time::Duration;

use super::Memory;

const MIB: u64 = 1 << 20;
/// Growth below this, or below a tenth, is none.
const GROWTH: u64 = 8 * MIB;
/// An excess below this, or below a quarter of the resident set, is not worth a word.
const EXCESS: u64 = 16 * MIB;

/// What it means; `earlier` is a reading, and how long it was before.
pub(super) fn says(now: &Memory, earlier: Option<(Duration, &Memory)>) -> String {
    let Some(allocated) = now.allocated else {
        return "the allocator tells nothing of what it holds: with the feature `jemalloc` and \
                tikv-jemallocator as the allocator it does"
            .to_owned();
    };
    format!("{}; {}", growth(now, allocated, earlier), part(now, allocated))
}

/// Whether what is allocated grows.
fn growth(now: &Memory, allocated: u64, earlier: Option<(Duration, &Memory)>) -> String {
    let Some((since, before)) = earlier else {
        return "asked for the first time in an hour: a later answer says whether it grows"
            .to_owned();
    };
    let minutes = (since.as_secs_f64() / 60.0).round();
    let grown = allocated.saturating_sub(before.allocated.unwrap_or(allocated));
    let rss = now.rss.saturating_sub(before.rss);
    let is_growth = |grown: u64, whole: u64| grown >= GROWTH.max(whole / 10);
    if is_growth(grown, allocated) {
        format!(
            "what the program has allocated grew by {} in {minutes} min: it keeps it, in a leak, a \
             cache or a queue, and /debug/pprof/heap shows where it was allocated",
            bytes(grown)
        )
    } else if is_growth(rss, now.rss) {
        format!(
            "the resident set grew by {} in {minutes} min, and what the program has allocated did \
             not: it is no leak of the program's",
            bytes(rss)
        )
    } else {
        format!("what the program has allocated did not grow in {minutes} min")
    }
}

/// Which part of the resident set is the largest that is not what the program holds.
fn part(now: &Memory, allocated: u64) -> String {
    let rss = now.rss;
    let of_rss = |bytes: u64| bytes.min(rss.saturating_sub(allocated));
    let excess =
        |of: Option<u64>, over: Option<u64>| of.zip(over).map(|(a, b)| a.saturating_sub(b));
    let of_allocator = now.resident.or(now.mapped).unwrap_or(allocated);
    let parts = [
        (
            excess(now.active, Some(allocated)),
            "lies between live allocations, in pages that are in use (fragmentation): fewer sizes and \
             lifetimes side by side, or an allocator with narrower size classes",
        ),
        (
            excess(now.resident, now.active),
            "was freed, and the allocator keeps it for the next peak: jemalloc gives it back as \
             `dirty_decay_ms` and `muzzy_decay_ms` say, in background with `background_thread:true`",
        ),
        (
            now.free,
            "was freed, and the C library keeps it, in pieces or for the next peak: jemalloc, \
             MALLOC_ARENA_MAX, or malloc_trim give it back",
        ),
        (
            Some(rss.saturating_sub(of_allocator)),
            "is not the allocator's: the program and its libraries, files that are mapped, stacks of \
             threads, or another allocator",
        ),
    ];
    let known = parts.into_iter().filter_map(|(bytes, what)| Some((of_rss(bytes?), what)));
    match known.max_by_key(|(bytes, _)| *bytes) {
        Some((much, what)) if much >= EXCESS.max(rss / 4) => {
            format!("of {} resident, {} {what}", bytes(rss), bytes(much))
        }
        _ => format!("of {} resident, the program holds {} itself", bytes(rss), bytes(allocated)),
    }
}

/// `12.3 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of jemalloc in mebibytes: resident set, allocated, active, resident.
    fn jemalloc([rss, allocated, active, resident]: [u64; 4]) -> Memory {
        Memory {
            rss: rss * MIB,
            allocated: Some(allocated * MIB),
            active: Some(active * MIB),
            resident: Some(resident * MIB),
            ..Memory::default()
        }
    }

    #[test]
    fn sentence_names_the_part_that_is_the_largest() {
        for (figures, part) in [
            ([100, 90, 92, 95], "the program holds 90.0 MiB itself"),
            ([200, 60, 180, 190], "120.0 MiB lies between live allocations"),
            ([200, 60, 65, 190], "125.0 MiB was freed, and the allocator keeps it"),
            ([200, 40, 42, 50], "150.0 MiB is not the allocator's"),
            // Too little to be of interest.
            ([30, 10, 12, 20], "the program holds 10.0 MiB itself"),
        ] {
            let told = says(&jemalloc(figures), None);
            assert!(told.contains(part), "{figures:?}: {told}");
        }
        let glibc = Memory {
            rss: 200 * MIB,
            allocated: Some(50 * MIB),
            mapped: Some(195 * MIB),
            free: Some(145 * MIB),
            ..Memory::default()
        };
        let told = says(&glibc, None);
        assert!(told.contains("145.0 MiB was freed, and the C library keeps it"), "{told}");
        let nothing = Memory { rss: 200 * MIB, ..Memory::default() };
        assert!(says(&nothing, None).contains("tells nothing"));
    }

    #[test]
    fn growth_of_what_is_allocated_is_told_from_that_of_the_resident_set() {
        let before = jemalloc([100, 90, 92, 95]);
        let later = |figures| says(&jemalloc(figures), Some((Duration::from_mins(5), &before)));
        assert!(later([160, 150, 152, 155]).contains("grew by 60.0 MiB in 5 min: it keeps it"));
        let kept = later([160, 91, 93, 155]);
        assert!(
            kept.contains("resident set grew by 60.0 MiB") && kept.contains("no leak"),
            "{kept}"
        );
        assert!(
            later([101, 91, 93, 96]).starts_with("what the program has allocated did not grow")
        );
    }
}
