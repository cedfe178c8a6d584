//! Hooks of a Tokio runtime, in a build without `--cfg tokio_unstable`: Tokio has none.
//!
//! What an app writes to install them compiles here too, and does nothing: tasks are not listed and
//! have no names. The [doctor](crate::doctor) says so.

use tokio::runtime;

/// Hooks for a Tokio runtime; made by [`Thermograph::hooks`](crate::Thermograph::hooks).
#[derive(Debug, Default)]
#[must_use = "hooks do nothing unless installed"]
#[non_exhaustive]
pub struct Hooks;

/// The hooks of the diagnostics, to be called from hooks of the app's own: there are none.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Callbacks;

impl Hooks {
    /// Does nothing: Tokio has hooks with `--cfg tokio_unstable` only.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the signature is that of a build with hooks"
    )]
    pub fn install(self, _: &mut runtime::Builder) -> Callbacks {
        Callbacks
    }
}
