//! A system whose kernel says nothing of a thread: stalls have a handler and a length.

use std::{collections::HashMap, time::Duration};

use thermograph_sampler::{Activity, Times};

use super::watched::Watched;
use crate::{
    class::NoStack,
    config::Stacks,
    handlers::{Ended, PollId},
};

/// What can be asked of the kernel.
#[derive(Debug)]
pub(super) struct Kernel;

impl Kernel {
    pub(super) fn new(_stacks: Stacks) -> Self {
        Self
    }

    pub(super) fn start(&mut self) {}

    pub(super) fn own_time() -> Duration {
        Duration::ZERO
    }

    pub(super) fn times(_thread: i32) -> Option<Times> {
        None
    }

    pub(super) fn activity(_thread: i32) -> Option<Activity> {
        None
    }

    pub(super) fn page_faults(_thread: i32) -> Option<u64> {
        None
    }

    pub(super) fn time_of_page_faults(_count: u64) -> Option<Duration> {
        None
    }

    pub(super) fn takes_stacks(&self) -> bool {
        false
    }

    pub(super) fn sample(&mut self, _: &mut Watched, _: Duration, threshold: Duration) -> Duration {
        threshold / 2
    }

    pub(super) fn withdraw(&self, _: &mut Watched) {}

    pub(super) fn is_stack_awaited(&self, _: &Watched, _: Duration) -> bool {
        false
    }

    pub(super) fn why_no_stack(&self, _: &Watched) -> NoStack {
        NoStack::Off
    }

    pub(super) fn settle(&mut self, _: &[Ended], _: &mut HashMap<PollId, Watched>, _: Duration) {}

    pub(super) fn fetch_stacks(&mut self, _: &mut HashMap<PollId, Watched>, _: Duration) {}
}
