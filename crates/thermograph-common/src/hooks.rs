//! Hooks by which the program around the service attributes work on the service's threads to requests.
//!
//! The engine's threads and those for other long computations work for whichever request comes next.
//! The service captures the context of a request where it asks for work, and attaches that to each
//! thread that does the work; it knows nothing of the context itself.

use std::{fmt, sync::Arc};

/// Attaches a context to the thread that calls it.
type Attach = dyn Fn() + Send + Sync;
/// Captures the context of the caller.
type Capture = dyn Fn() -> Arc<Attach> + Send + Sync;

/// Hooks of the service; cheap to clone. Default is none.
#[derive(Clone, Default)]
pub struct Hooks {
    capture: Option<Arc<Capture>>,
}

/// The context of a request that asks for work; made where it does.
#[derive(Clone, Default)]
pub struct WorkContext(Option<Arc<Attach>>);

impl Hooks {
    /// Captures contexts of requests with `capture`, which is called where a request asks for work; what
    /// it returns is called on every thread that does the work, just before. The context stays attached
    /// until the thread works for another request.
    #[must_use]
    pub fn capturing(capture: impl Fn() -> Arc<Attach> + Send + Sync + 'static) -> Self {
        Self { capture: Some(Arc::new(capture)) }
    }

    /// Captures the context of the caller; without hooks, an empty one.
    pub fn context(&self) -> WorkContext {
        WorkContext(self.capture.as_ref().map(|capture| capture()))
    }
}

impl WorkContext {
    /// Attaches the context to this thread; does nothing if it is empty.
    pub fn attach(&self) {
        if let Some(attach) = &self.0 {
            attach();
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
