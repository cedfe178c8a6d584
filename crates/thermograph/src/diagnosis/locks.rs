//! Locks that handlers wait for, their probable holders, and deadlocks.

use std::collections::BTreeMap;

use thermograph_profile::Sample;

use super::{HeldBy, Verdict};
use crate::stall::lock::{self, HELD_AT, HELD_BY, HELD_EVIDENCE, LOCK};

/// Holders that are told of one cause.
const HOLDERS: usize = 3;

/// The locks that these samples wait for, the one with the most time first.
pub(super) fn held_by(samples: &[&Sample]) -> Vec<HeldBy> {
    let mut holders = BTreeMap::<[Option<&str>; 4], i64>::new();
    for sample in samples.iter().filter(|sample| sample.label(LOCK).is_some()) {
        let labels = [LOCK, HELD_BY, HELD_AT, HELD_EVIDENCE].map(|label| sample.label(label));
        *holders.entry(labels).or_default() += sample.weight();
    }
    let whole = samples.iter().map(|sample| sample.weight()).sum::<i64>().max(1) as f64;
    let mut holders: Vec<_> = holders.into_iter().collect();
    holders.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    let told = holders.into_iter().take(HOLDERS).map(|([lock, holder, at, evidence], weight)| {
        let owned = |label: Option<&str>| label.map(str::to_owned);
        HeldBy {
            lock: lock.unwrap_or_default().to_owned(),
            holder: owned(holder),
            at: owned(at),
            evidence: owned(evidence),
            share: weight as f64 / whole,
        }
    });
    told.collect()
}

impl HeldBy {
    /// Describes the lock and its holder in a sentence.
    pub(super) fn told(&self) -> String {
        let Self { lock, holder, at, evidence, share } = self;
        let evidence = evidence.as_deref().unwrap_or("unknown");
        let known_by = format!("{:.0} %; evidence: {evidence}", share * 100.0);
        let holder = holder.as_deref().map(|holder| (holder, at.as_deref(), &*known_by));
        format!("waits for {}", lock::held_by(lock, holder))
    }
}

/// A sentence for each pair of handlers that hold a worker now and wait for each other's lock.
pub(super) fn deadlocks(verdicts: &[Verdict]) -> Vec<String> {
    let name = |verdict: &Verdict| format!("{} {}", verdict.method, verdict.route);
    let waits_for = |verdict: &Verdict, other: &Verdict| {
        let held_by = verdict.causes.iter().flat_map(|cause| &cause.held_by);
        let other = name(other);
        held_by.clone().find(|held_by| held_by.holder.as_deref() == Some(&*other)).cloned()
    };
    let stuck: Vec<_> =
        verdicts.iter().filter(|verdict| verdict.numbers.holding.workers > 0).collect();
    let mut told = Vec::new();
    for (place, one) in stuck.iter().enumerate() {
        for other in &stuck[place..] {
            // Two requests of one handler may wait for each other.
            let Some((first, second)) = waits_for(one, other).zip(waits_for(other, one)) else {
                continue;
            };
            if first.lock == second.lock {
                continue;
            }
            told.push(format!(
                "probable deadlock: {} {}, and {} {}",
                name(one),
                first.told(),
                name(other),
                second.told()
            ));
        }
    }
    told
}
