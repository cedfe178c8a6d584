//! Without the runtime's hooks no task is listed, and there is nothing to leave a mark on.

use std::task::Waker;

use http::HeaderValue;
use thermograph_sampler::{Moment, Slot};

use crate::{handlers::Handler, stage::Stage};

/// A watched future's mark on its task.
#[derive(Debug, Default)]
pub(crate) struct Mark;

#[expect(
    clippy::unused_self,
    clippy::needless_pass_by_ref_mut,
    reason = "as where there are hooks"
)]
impl Mark {
    #[inline]
    pub(crate) fn request(&mut self, _: Slot, _: &'static Handler, _: bool) {}

    #[inline]
    pub(crate) fn labelled(&mut self, _: Slot) {}

    #[inline]
    pub(crate) fn waits(&mut self, _: Stage, _: Option<&HeaderValue>, _: Moment, _: &Waker) {}
}
