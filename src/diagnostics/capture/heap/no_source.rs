//! Without jemalloc there are no samples of memory; nobody comes here, since that is told before.

use std::future::{Ready, ready};

use super::{
    super::{CaptureError, turn::Turn},
    Memory,
};
use crate::diagnostics::{allocator::NoHeap, config::HeapMode, profile::Profile};

#[derive(Debug)]
pub(super) struct Source;

impl Source {
    pub(super) fn new(_: HeapMode) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as where there are samples")]
    pub(super) fn over(&self, _: Turn, _: Memory) -> Ready<Result<Profile, CaptureError>> {
        ready(Err(CaptureError::NoHeap(NoHeap::Feature)))
    }

    #[expect(clippy::unused_self, reason = "as where there are samples")]
    pub(super) fn since_the_start(&self, _: Memory) -> Ready<Result<Profile, CaptureError>> {
        ready(Err(CaptureError::NoHeap(NoHeap::Feature)))
    }
}
