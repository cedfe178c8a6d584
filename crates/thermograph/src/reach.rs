//! What of the app's tracing can reach the layers of the diagnostics.
//!
//! They stand behind filters of their own, which are closed until a capture or a console opens them.
//! A filter of the whole subscriber, a compile-time level of `tracing`, or another subscriber in
//! place of the one with the layers keeps spans from them even then. This asks the subscriber, for
//! spans as Tokio and the app make them: nothing is recorded by any layer.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use tracing::{
    Dispatch, Level, Metadata, Subscriber,
    callsite::{Callsite, Identifier},
    dispatcher::{self, WeakDispatch},
    field::FieldSet,
    level_filters::{LevelFilter, STATIC_MAX_LEVEL},
    metadata::Kind,
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// The place of the diagnostics among the app's layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    has_layer: AtomicBool,
    /// The subscriber that has the layer, once there is one.
    subscriber: Mutex<Option<WeakDispatch>>,
}

/// What reaches the layers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Reach {
    /// True if the app asked for the layer.
    pub(crate) has_layer: bool,
    /// The most verbose level that `tracing` was compiled with.
    pub(crate) compiled: LevelFilter,
    /// True if any subscriber is the global default.
    pub(crate) has_global: bool,
    /// What passes the filters of the global default; nothing if the layers are not in it.
    pub(crate) global: Passed,
    /// What passes the filters of the subscriber that has the layers; `None` if that is not known.
    pub(crate) own: Option<Passed>,
}

/// What passes a subscriber's filters, on the way to the layers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Passed {
    /// The most verbose level of the app's own spans, `DEBUG` at most.
    pub(crate) spans: LevelFilter,
    /// True if Tokio's spans and events of tasks and resources pass.
    pub(crate) runtime: bool,
}

/// A callsite that nothing is recorded at.
struct Asked;

static ASKED: Asked = Asked;

thread_local! {
    /// The probe that looks for itself on this thread, by its address.
    static ASKS: Cell<usize> = const { Cell::new(0) };
    static IS_REACHED: Cell<bool> = const { Cell::new(false) };
}

/// What Tokio records at `TRACE`: kind, name and target.
const RUNTIME: [(Kind, &str, &str); 4] = [
    (Kind::SPAN, "runtime.spawn", "tokio::task"),
    (Kind::EVENT, "event", "tokio::task::waker"),
    (Kind::SPAN, "runtime.resource", "tokio::time::sleep"),
    (Kind::EVENT, "event", "runtime::resource::poll_op"),
];

impl Probe {
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.0.has_layer.store(true, Relaxed);
        Place(self.clone()).with_filter(self.clone())
    }

    /// The subscriber that has the layers, while there is one.
    pub(crate) fn subscriber(&self) -> Option<Dispatch> {
        self.0.subscriber.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.upgrade()
    }

    /// Asks on a thread of its own: there the default is the global one, and what per-layer filters
    /// keep for the event that follows is gone with the thread.
    pub(crate) fn reach(&self) -> Reach {
        let nothing = Passed { spans: LevelFilter::OFF, runtime: false };
        let ask = || {
            let global = dispatcher::get_default(|subscriber| self.passed(subscriber));
            (global, self.subscriber().map(|subscriber| self.passed(&subscriber)))
        };
        // A panic is one of a filter of the app's.
        let (global, own) =
            thread::scope(|scope| scope.spawn(ask).join()).unwrap_or((nothing, None));
        Reach {
            has_layer: self.0.has_layer.load(Relaxed),
            compiled: STATIC_MAX_LEVEL,
            has_global: dispatcher::has_been_set(),
            global,
            own,
        }
    }

    fn passed(&self, subscriber: &Dispatch) -> Passed {
        let app = app();
        let targets = [app.as_str(), "app"];
        let passes = |level: Level| {
            targets
                .iter()
                .any(|target| self.is_reached(subscriber, Kind::SPAN, "span", target, level))
        };
        let levels = [Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
        let spans = levels.into_iter().find(|level| passes(*level));
        let runtime = RUNTIME.iter().all(|(kind, name, target)| {
            self.is_reached(subscriber, kind.clone(), name, target, Level::TRACE)
        });
        Passed { spans: spans.map_or(LevelFilter::OFF, LevelFilter::from_level), runtime }
    }

    fn is_reached(
        &self,
        subscriber: &Dispatch,
        kind: Kind,
        name: &'static str,
        target: &str,
        level: Level,
    ) -> bool {
        let fields = FieldSet::new(&[], Identifier(&ASKED));
        let meta = Metadata::new(name, target, level, None, None, Some(target), fields, kind);
        ASKS.set(self.address());
        IS_REACHED.set(false);
        let is_enabled = subscriber.enabled(&meta);
        ASKS.set(0);
        is_enabled && IS_REACHED.take()
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl Reach {
    /// Returns whether the layers are in the global default, as far as anything reaches them.
    pub(crate) fn is_global(&self) -> bool {
        self.global.runtime || self.global.spans > LevelFilter::OFF
    }
}

#[cfg(test)]
impl Passed {
    /// Everything.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self { spans: LevelFilter::DEBUG, runtime: true };
}

/// The filter of [`Place`]: closed, but for what the probe asks.
impl<S> Filter<S> for Probe {
    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let is_asked = meta.callsite() == Identifier(&ASKED) && ASKS.get() == self.address();
        if is_asked {
            IS_REACHED.set(true);
        }
        is_asked
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::never()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }
}

/// A layer that only knows which subscriber it is in.
struct Place(Probe);

impl<S: Subscriber> Layer<S> for Place {
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        let mut place = self.0.0.subscriber.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(subscriber.downgrade());
    }
}

impl Callsite for Asked {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        static NOTHING: Metadata<'static> = Metadata::new(
            "asked",
            module_path!(),
            Level::TRACE,
            None,
            None,
            None,
            FieldSet::new(&[], Identifier(&ASKED)),
            Kind::SPAN,
        );
        &NOTHING
    }
}

/// The target of the app's own spans: its crate, which has the program's name as a rule.
fn app() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let name = program.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
    // A test's program has a hash behind its name.
    match name.rsplit_once('_') {
        Some((name, hash)) if hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, registry};

    use super::*;

    fn own(probe: &Probe, subscriber: impl Into<Dispatch>) -> Option<Passed> {
        // It lives while it is asked.
        let _subscriber: Dispatch = subscriber.into();
        probe.reach().own
    }

    #[test]
    fn without_a_filter_everything_reaches_the_layers() {
        let probe = Probe::default();
        assert_eq!((probe.reach().has_layer, probe.reach().own), (false, None));
        let subscriber = registry().with(probe.layer());
        assert_eq!(own(&probe, subscriber), Some(Passed::ALL));
        // The subscriber is gone.
        assert_eq!((probe.reach().has_layer, probe.reach().own), (true, None));
    }

    #[test]
    fn a_filter_of_another_layer_keeps_nothing_back() {
        let probe = Probe::default();
        let log = tracing_subscriber::fmt::layer().with_filter(LevelFilter::INFO);
        assert_eq!(own(&probe, registry().with(log).with(probe.layer())), Some(Passed::ALL));
        let log = tracing_subscriber::fmt::layer().with_filter(LevelFilter::INFO);
        assert_eq!(own(&probe, registry().with(probe.layer()).with(log)), Some(Passed::ALL));
    }

    #[test]
    fn a_filter_of_the_whole_subscriber_is_found_on_either_side() {
        for (level, passed) in [
            (LevelFilter::INFO, Passed { spans: LevelFilter::INFO, runtime: false }),
            (LevelFilter::DEBUG, Passed { spans: LevelFilter::DEBUG, runtime: false }),
            (LevelFilter::OFF, Passed { spans: LevelFilter::OFF, runtime: false }),
            (LevelFilter::TRACE, Passed::ALL),
        ] {
            let probe = Probe::default();
            assert_eq!(own(&probe, registry().with(probe.layer()).with(level)), Some(passed));
            assert_eq!(own(&probe, registry().with(level).with(probe.layer())), Some(passed));
        }
    }

    #[test]
    fn a_filter_by_target_keeps_back_what_it_does_not_name() {
        let targets = |app: LevelFilter, tokio: LevelFilter| {
            let probe = Probe::default();
            let targets = [("app", app), ("tokio", tokio), ("runtime", tokio)];
            let targets: Targets = targets.into_iter().collect();
            own(&probe, registry().with(probe.layer()).with(targets))
        };
        let passed = |spans, runtime| Some(Passed { spans, runtime });
        let (off, debug) = (LevelFilter::OFF, LevelFilter::DEBUG);
        assert_eq!(targets(debug, off), passed(debug, false));
        assert_eq!(targets(off, LevelFilter::TRACE), passed(off, true));
        assert_eq!(targets(debug, debug), passed(debug, false));
    }

    #[test]
    fn what_is_asked_is_recorded_by_no_layer() {
        struct Refuses;
        impl<S: Subscriber> Layer<S> for Refuses {
            fn on_new_span(
                &self,
                _: &tracing::span::Attributes<'_>,
                _: &tracing::span::Id,
                _: Context<'_, S>,
            ) {
                panic!("a span");
            }

            fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
                panic!("an event");
            }
        }
        let probe = Probe::default();
        let subscriber = registry().with(Refuses).with(probe.layer());
        assert_eq!(own(&probe, subscriber), Some(Passed::ALL));
    }

    #[test]
    fn the_app_is_known_by_its_program() {
        assert_eq!(app(), "thermograph");
    }
}
