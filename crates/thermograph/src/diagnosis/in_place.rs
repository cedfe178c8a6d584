//! Stalls inside of `tokio::task::block_in_place`, which are no fault of the handler's.

use super::{Class, Profile, Verdict, evidence::Evidence};
use crate::handlers::HandlerRow;

/// The rows with such stalls counted apart, also those that are not in the counters yet: a stack is
/// known to be one only once it has names, and a diagnosis names them all.
pub(super) fn apart(rows: &[HandlerRow], stalls: &Profile) -> Vec<HandlerRow> {
    rows.iter().map(|row| row_apart(row.clone(), stalls)).collect()
}

fn row_apart(mut row: HandlerRow, stalls: &Profile) -> HandlerRow {
    let shown = Evidence::of(stalls, &row.method, &row.route).without_preempted().in_place();
    let (count, known) = (shown.count(), row.stalls.in_place);
    if count <= known {
        return row;
    }
    let late = count - known;
    row.stalled_ms = (row.stalled_ms - shown.millis() * late as f64 / count as f64).max(0.0);
    row.stalls.in_place = count;
    let mut left = late;
    let of_class = |class| shown.clone().of_class(class).count();
    for (counted, seen) in [
        (&mut row.stalls.cpu, of_class(Class::Cpu)),
        (&mut row.stalls.blocked, of_class(Class::Blocked)),
        (&mut row.stalls.unknown, of_class(Class::Unknown)),
    ] {
        let moved = left.min(seen).min(*counted);
        (*counted, left) = (*counted - moved, left - moved);
    }
    row
}

/// A sentence about them, where there are any.
pub(super) fn note(verdicts: &[Verdict]) -> Option<String> {
    let with = verdicts.iter().filter(|verdict| verdict.numbers.stalls.in_place > 0);
    let told = with.map(|verdict| {
        let Verdict { method, route, numbers, .. } = verdict;
        format!("{} of {method} {route}", numbers.stalls.in_place)
    });
    let told: Vec<_> = told.collect();
    (!told.is_empty()).then(|| {
        format!(
            "long polls that handed their worker over with block_in_place, and make no verdict: {}. \
             It costs a thread of the blocking pool each time, and where that is full \
             (max_blocking_threads) none takes the worker over, so that its tasks wait; so does what \
             the task itself runs beside it, as in join! and select!",
            told.join(", ")
        )
    })
}
