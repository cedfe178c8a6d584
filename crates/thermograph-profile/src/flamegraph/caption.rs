//! The caption of a flame graph: its subject, when and for how long it was captured, and how much of
//! it.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::{Profile, ValueType};

/// Texts of a flame graph: its title, subtitle and unit.
#[derive(Clone, Debug)]
pub struct Caption {
    /// Title at the top.
    pub title: String,
    /// Line below the title.
    pub subtitle: String,
    /// Unit of the values, such as `ns`.
    pub unit: &'static str,
}

/// Note on the frames that the pictures do not show.
const LEFT_OUT: &str = "frames of library, runtime and framework are left out";

impl Caption {
    /// Caption for CPU time.
    pub fn cpu() -> Self {
        Self::new("CPU time", LEFT_OUT.to_owned())
    }

    /// Caption for CPU time, as `perf` sampled it.
    pub fn perf() -> Self {
        Self::new("CPU time, by perf", format!("the kernel's functions too; {LEFT_OUT}"))
    }

    /// Caption for time in spans.
    pub fn spans() -> Self {
        Self::new("Time in spans", "time in which a span was entered".to_owned())
    }

    /// Caption for wall-clock time in polls.
    pub fn wall() -> Self {
        let subtitle = format!("time in polls, on a processor and off; {LEFT_OUT}");
        Self::new("Wall-clock time in polls", subtitle)
    }

    /// Caption for stalls.
    pub fn stalls() -> Self {
        let subtitle = "time of polls over the threshold, by where they stood".to_owned();
        Self::new("Stalls", subtitle)
    }

    /// Caption for memory that was allocated in a window and not freed.
    pub fn heap() -> Self {
        Self::memory("Memory in use", "what was there before is not in it")
    }

    /// Caption for memory that was allocated since sampling began and not freed.
    pub fn heap_so_far() -> Self {
        Self::memory("Memory in use", "of what was allocated since sampling began")
    }

    /// Caption for memory that was allocated, freed or not.
    pub fn allocs() -> Self {
        Self::memory("Memory allocated", "freed or not")
    }

    /// Caption for the tasks that exist.
    pub fn tasks() -> Self {
        let subtitle = "one each, by where they wait, or else by where they were spawned";
        Self { unit: "tasks", ..Self::new("Tasks", subtitle.to_owned()) }
    }

    /// Caption for the threads that exist, by name.
    pub fn threads() -> Self {
        let subtitle = "by name; the code that created them is not known".to_owned();
        Self { unit: "threads", ..Self::new("Threads", subtitle) }
    }

    fn memory(title: &str, what: &str) -> Self {
        let unit = "bytes";
        Self { unit, ..Self::new(title, format!("{what}; the allocator's frames and {LEFT_OUT}")) }
    }

    fn new(title: &str, subtitle: String) -> Self {
        Self { title: title.to_owned(), subtitle, unit: "ns" }
    }

    /// Adds to the title that only one handler is shown, such as `POST /v1/embeddings`; `None` adds
    /// nothing.
    #[must_use]
    pub fn of(mut self, handler: Option<&str>) -> Self {
        if let Some(handler) = handler {
            self.title = format!("{} · {handler}", self.title);
        }
        self
    }

    /// The same, with when the profiles were captured, for how long, and how much they hold.
    pub(super) fn told(&self, profiles: &[&Profile]) -> Self {
        let facts: Vec<_> = profiles.iter().map(|profile| facts(profile)).collect();
        let told = [facts.join(" → "), self.subtitle.clone()];
        let told: Vec<_> = told.into_iter().filter(|part| !part.is_empty()).collect();
        Self { subtitle: told.join("; "), ..self.clone() }
    }
}

/// Of one profile, what is known: `2026-11-25 14:30:00 UTC, 10 s at 99 Hz, 1843 samples, 2 dropped`.
fn facts(profile: &Profile) -> String {
    let mut facts = Vec::new();
    // Folded stacks do not say when.
    if profile.start > SystemTime::UNIX_EPOCH {
        let start = Timestamp::try_from(profile.start).unwrap_or_default();
        facts.push(start.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    }
    if !profile.duration.is_zero() {
        let rate = hertz(profile).map_or(String::new(), |hertz| format!(" at {hertz} Hz"));
        facts.push(seconds(profile.duration) + &rate);
    }
    let (count, what) = profile.count();
    facts.push(format!("{count} {}", what.replace('_', " ")));
    if profile.dropped > 0 {
        facts.push(format!("{} dropped", profile.dropped));
    }
    facts.join(", ")
}

/// In whole seconds, but for what is shorter than a few.
fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let whole = seconds.round();
    // A window ends some milliseconds late.
    if whole >= 1.0 && (seconds - whole).abs() < 0.05 * whole {
        format!("{whole:.0} s")
    } else {
        format!("{seconds:.1} s")
    }
}

/// Rate at which samples were taken; `None` if nothing was sampled by time.
fn hertz(profile: &Profile) -> Option<u32> {
    let (ValueType { unit, .. }, period) = profile.period?;
    let period =
        u32::try_from(period).ok().filter(|period| unit == "nanoseconds" && *period > 1)?;
    Some((1e9 / f64::from(period)).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sample;

    fn profile(count: i64) -> Profile {
        let cpu = ValueType { kind: "cpu", unit: "nanoseconds" };
        Profile {
            values: vec![ValueType { kind: "samples", unit: "count" }, cpu],
            samples: vec![Sample { stack: Vec::new(), values: vec![count, 0], labels: Vec::new() }],
            start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_617_000_999),
            duration: Duration::from_millis(10_013),
            period: Some((cpu, 10_101_010)),
            dropped: 2,
        }
    }

    #[test]
    fn it_says_what_when_how_long_and_how_much() {
        let Caption { title, subtitle, .. } =
            Caption::cpu().of(Some("POST /v1/embeddings")).told(&[&profile(1843)]);
        assert_eq!(title, "CPU time · POST /v1/embeddings");
        assert_eq!(
            subtitle,
            "2026-11-25 14:30:00 UTC, 10 s at 99 Hz, 1843 samples, 2 dropped; frames of library, \
             runtime and framework are left out"
        );
    }

    #[test]
    fn it_says_nothing_that_is_not_known() {
        let stalls = Profile {
            values: vec![ValueType { kind: "contentions", unit: "count" }],
            period: Some((ValueType { kind: "delay", unit: "nanoseconds" }, 1)),
            duration: Duration::from_millis(1400),
            dropped: 0,
            ..profile(3)
        };
        let told = Caption::stalls().of(None).told(&[&stalls]);
        assert_eq!(told.title, "Stalls");
        assert!(told.subtitle.starts_with("2026-11-25 14:30:00 UTC, 1.4 s, 3 stalls; time of"));
        let folded = Profile {
            values: Vec::new(),
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            ..stalls.clone()
        };
        let both = Caption::spans().told(&[&stalls, &folded]);
        assert!(both.subtitle.contains("3 stalls → 1 stacks; time in"), "{}", both.subtitle);
    }

    #[test]
    fn frequencies_are_read_back_from_their_periods() {
        for hertz in 1..=1000 {
            let mut profile = profile(1);
            let period = Duration::from_secs(1) / hertz;
            profile.period = profile.period.map(|(of, _)| (of, period.as_nanos() as i64));
            assert_eq!(super::hertz(&profile), Some(hertz));
        }
    }
}
