//! Whose work a thread does that works for many.
//!
//! The engine's threads compute for whichever request comes next. Whoever watches the process from
//! outside [installs](install) what puts the name of the request's handler on such a thread; the
//! service carries it along, and knows no more of it.

use std::sync::{Arc, OnceLock};

/// Puts a name on the thread that calls it.
type PutOn = dyn Fn() + Send + Sync;
/// Says in whose name the caller works now.
type Maker = dyn Fn() -> Arc<PutOn> + Send + Sync;

static MAKER: OnceLock<Box<Maker>> = OnceLock::new();

/// A name that work takes along; made where the work is asked for.
#[derive(Clone)]
pub(crate) struct Badge(Option<Arc<PutOn>>);

/// Installs what names threads, once for the process; a second one is not taken.
///
/// `here` is called where a request asks for work; what it returns is called on every thread that
/// does the work, just before. The name stays until the thread works for another.
pub fn install(here: impl Fn() -> Arc<PutOn> + Send + Sync + 'static) {
    // As documented: the first one stays.
    let _ = MAKER.set(Box::new(here));
}

impl Badge {
    /// Of whoever is at work on this thread.
    pub(crate) fn here() -> Self {
        Self(MAKER.get().map(|here| here()))
    }

    /// From now on this thread works for the badge's owner.
    pub(crate) fn put_on(&self) {
        if let Some(put_on) = &self.0 {
            put_on();
        }
    }
}
