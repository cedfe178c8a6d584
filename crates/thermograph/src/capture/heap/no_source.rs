//! Without jemalloc there are no samples of memory; nobody comes here, since that is told before.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use thermograph_profile::Profile;

use super::{super::CaptureError, Memory};
use crate::{allocator::NoHeap, config::HeapMode};

#[derive(Debug)]
pub(super) struct Source;

impl Source {
    pub(super) fn new(_: HeapMode) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as where there are samples")]
    pub(super) fn over(&self, _: Memory, _: Duration) -> Ready<Result<Profile, CaptureError>> {
        ready(Err(CaptureError::NoHeap(NoHeap::Feature)))
    }

    #[expect(clippy::unused_self, reason = "as where there are samples")]
    pub(super) fn so_far(&self, _: Memory) -> Ready<Result<Profile, CaptureError>> {
        ready(Err(CaptureError::NoHeap(NoHeap::Feature)))
    }
}
