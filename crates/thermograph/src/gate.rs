//! A tracing filter that is off until somebody looks.
//!
//! Off, it answers `never` for every call site, so that a span costs one cached load; turning it
//! asks all call sites again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tracing::{Metadata, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

/// A filter that lets through what `wanted` says while at least one [`Hold`] lives.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    holders: Arc<AtomicUsize>,
    wanted: fn(&Metadata<'_>) -> bool,
    /// Most verbose level that `wanted` can let through.
    level: LevelFilter,
}

/// Keeps a [`Gate`] open.
#[derive(Debug)]
pub(crate) struct Hold {
    holders: Arc<AtomicUsize>,
}

impl Gate {
    pub(crate) fn new(wanted: fn(&Metadata<'_>) -> bool, level: LevelFilter) -> Self {
        Self { holders: Arc::default(), wanted, level }
    }

    /// Opens the gate until the hold is dropped.
    pub(crate) fn hold(&self) -> Hold {
        if self.holders.fetch_add(1, Ordering::AcqRel) == 0 {
            tracing::callsite::rebuild_interest_cache();
        }
        Hold { holders: Arc::clone(&self.holders) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.holders.load(Ordering::Acquire) > 0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            tracing::callsite::rebuild_interest_cache();
        }
    }
}

impl<S> Filter<S> for Gate {
    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.is_open() && (self.wanted)(meta)
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        if self.is_open() && (self.wanted)(meta) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.is_open() { self.level } else { LevelFilter::OFF })
    }
}
