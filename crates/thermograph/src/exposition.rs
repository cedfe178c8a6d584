//! Metrics of the app beside those of its handlers.

use std::{fmt, sync::Arc};

/// Metrics of the app, rendered by a function of its own.
#[derive(Clone)]
pub(crate) struct Exposition(Arc<dyn Fn() -> String + Send + Sync>);

impl Exposition {
    pub(crate) fn new(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(render))
    }

    pub(crate) fn render(&self) -> String {
        (self.0)()
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}
