//! What a watched future leaves on the line of the task that polls it: whose work the task does,
//! and where it waits, how to wake it.

use std::task::Waker;

use http::HeaderValue;
use thermograph_sampler::{Moment, Slot};

use crate::{
    handlers::Handler,
    stage::Stage,
    task_table::{TASKS, Waits},
};

/// A watched future's mark on its task; taken back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Mark(Option<On>);

/// The task that it is on.
#[derive(Debug)]
struct On {
    task: u64,
    /// Index of the task's line in the list.
    place: usize,
    is_request: bool,
    /// What the line says that is waited for.
    told: Option<Stage>,
}

impl Mark {
    /// A request's future is polled on this slot's thread, as a rule always by the same task; at its
    /// first poll notes whether that is in a task that no hook has told of.
    #[inline]
    pub(crate) fn request(&mut self, slot: Slot, handler: &'static Handler, is_first: bool) {
        let Some((task, place)) = slot.listed() else {
            if is_first && !handler.overruns.is_untold() {
                untold(slot, handler);
            }
            return;
        };
        if !self.is_on(task) {
            self.take_back();
            TASKS.work(place).request(handler);
            self.0 = Some(On { task, place, is_request: true, told: None });
        }
    }

    /// A labelled future is polled on this slot's thread; inside of a request it is part of that.
    #[inline]
    pub(crate) fn labelled(&mut self, slot: Slot) {
        let Some((task, place)) = slot.listed() else { return };
        if !self.is_on(task) && !TASKS.work(place).has_request() {
            self.take_back();
            self.0 = Some(On { task, place, is_request: false, told: None });
        }
    }

    /// It waits, and this wakes it.
    #[inline]
    pub(crate) fn waits(
        &mut self,
        stage: Stage,
        id: Option<&HeaderValue>,
        began: Moment,
        waker: &Waker,
    ) {
        if let Some(on) = &mut self.0
            && on.told != Some(stage)
        {
            on.tell(stage, id, began, waker);
        }
    }

    #[inline]
    fn is_on(&self, task: u64) -> bool {
        self.0.as_ref().is_some_and(|on| on.task == task)
    }

    fn take_back(&mut self) {
        if let Some(On { task, place, is_request, told, .. }) = self.0.take() {
            TASKS.work(place).over(task, is_request, told.is_some());
        }
    }
}

#[cold]
fn untold(slot: Slot, handler: &Handler) {
    if slot.is_own() && slot.task() == 0 && tokio::task::try_id().is_some() {
        handler.overruns.untold();
    }
}

impl On {
    /// Once for each stage: a task's waker stays the same.
    #[cold]
    fn tell(&mut self, stage: Stage, id: Option<&HeaderValue>, began: Moment, waker: &Waker) {
        let Self { task, place, .. } = *self;
        let waits = || Waits { task, id: id.cloned(), stage, began, waker: waker.clone() };
        if TASKS.work(place).wait(waits) {
            self.told = Some(stage);
        }
    }
}

impl Drop for Mark {
    #[inline]
    fn drop(&mut self) {
        self.take_back();
    }
}
