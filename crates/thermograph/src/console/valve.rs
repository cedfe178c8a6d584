//! What gets through to the console's layer: no more than a console can take.
//!
//! A console that is sent more than 4 MiB at once shows nothing at all, and each task takes 50 KiB
//! of its tables. A server of 10,000 requests a second may make as many timers and connections:
//! what is past the bounds here is not shown, and counted.

use std::sync::Arc;

use tracing::{Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

use crate::{gate::Gate, handlers::Budget, watch::Row};

/// A gate that lets through so many a second.
#[derive(Clone, Debug)]
pub(super) struct Valve {
    gate: Gate,
    bounds: Arc<Bounds>,
}

#[derive(Debug)]
struct Bounds {
    tasks: Budget,
    /// Timers, locks, channels.
    resources: Budget,
}

impl Valve {
    /// Most tasks and most resources that are shown a second; so many at once too.
    const PER_SECOND: u32 = 1000;

    pub(super) fn new() -> Self {
        let bound = || Budget::new(Self::PER_SECOND, Budget::SECOND);
        let bounds = Bounds { tasks: bound(), resources: bound() };
        Self { gate: Gate::new(is_runtime, LevelFilter::TRACE), bounds: Arc::new(bounds) }
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Counts a task that is not shown.
    #[cfg(tokio_unstable)]
    pub(super) fn refuse_task(&self) {
        self.bounds.tasks.refuse();
    }

    /// What was not shown, by what it was.
    pub(super) fn refused(&self) -> [(&'static str, u64); 2] {
        let Bounds { tasks, resources } = &*self.bounds;
        [("task", tasks.refused()), ("resource", resources.refused())]
    }

    fn bound(&self, meta: &Metadata<'_>) -> Option<&Budget> {
        match meta.name() {
            // Requests have a bound of their own.
            "runtime.spawn" if !Row::is(meta) => Some(&self.bounds.tasks),
            "runtime.resource" => Some(&self.bounds.resources),
            _ => None,
        }
    }
}

impl<S: Subscriber> Filter<S> for Valve {
    fn enabled(&self, meta: &Metadata<'_>, cx: &Context<'_, S>) -> bool {
        self.gate.enabled(meta, cx) && self.bound(meta).is_none_or(Budget::take)
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        let interest = Filter::<S>::callsite_enabled(&self.gate, meta);
        if interest.is_always() && self.bound(meta).is_some() {
            Interest::sometimes()
        } else {
            interest
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&self.gate)
    }
}

/// What Tokio tells of its tasks and resources, as the console's own filter has it.
fn is_runtime(meta: &Metadata<'_>) -> bool {
    if meta.is_event() {
        return meta.target().starts_with("runtime") || meta.target().starts_with("tokio");
    }
    meta.name().starts_with("runtime.") || meta.target().starts_with("tokio")
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    use tracing::span;
    use tracing_subscriber::{Layer, layer::SubscriberExt as _};

    use super::*;

    /// Counts spans.
    struct Count(Arc<AtomicU64>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_new_span(&self, _: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn what_is_past_the_bounds_is_counted_and_only_while_the_gate_is_open() {
        let (valve, seen) = (Valve::new(), Arc::<AtomicU64>::default());
        let layer = Count(Arc::clone(&seen)).with_filter(valve.clone());
        // Another layer that wants none of it, as the log's: each span is asked for anew.
        let other = Count(Arc::default()).with_filter(LevelFilter::INFO);
        let subscriber = tracing_subscriber::registry().with(other).with(layer);
        let task =
            || drop(tracing::trace_span!(target: "tokio::task", "runtime.spawn", kind = "task"));
        tracing::subscriber::with_default(subscriber, || {
            (0..10).for_each(|_| task());
            assert_eq!((seen.load(Relaxed), valve.refused()[0].1), (0, 0));
            let open = valve.gate().hold();
            (0..5_000).for_each(|_| task());
            let (shown, refused) = (seen.load(Relaxed), valve.refused()[0].1);
            // So many at once, and one more for each millisecond that this took.
            assert!(
                shown >= 1_000 && refused > 0 && shown + refused == 5_000,
                "{shown}, {refused}"
            );
            drop(tracing::trace_span!("runtime.resource"));
            assert_eq!((seen.load(Relaxed), valve.refused()[1].1), (shown + 1, 0));
            drop(open);
            task();
            assert_eq!((seen.load(Relaxed), valve.refused()[0].1), (shown + 1, refused));
        });
    }
}
