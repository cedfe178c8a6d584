//! The outermost poll of a task that a thread is in: on the thread's slot while it lasts, and a
//! stall when it ends and was too long.

use std::{cell::Cell, ptr};

use thermograph_sampler::{Moment, Outer, Slot};

use super::calls::Calls;
use crate::{
    handlers::{Handler, Waits, clear_ready, nanoseconds, set_ready, track, track::Part},
    task_table::{Line, TASKS},
};

thread_local! {
    static OUTERMOST: Outermost = const {
        Outermost { depth: Cell::new(0), poll: Cell::new(None), calls: Cell::new(ptr::null()) }
    };
}

struct Outermost {
    /// Polls of tasks that have begun on the thread and not ended: a task may run a runtime.
    depth: Cell<u32>,
    /// The first of them; none where it is itself inside of a handler's poll.
    poll: Cell<Option<Poll>>,
    /// The hooks that told of the first of them.
    calls: Cell<*const Calls>,
}

#[derive(Clone, Copy)]
struct Poll {
    handler: &'static Handler,
    start: Moment,
    /// What the thread did before.
    around: Outer,
    /// Where the task is listed.
    place: Option<usize>,
}

/// A task's poll begins; `waited` is how long it was ready before, in nanoseconds, where that is
/// told, and `unlisted` says whose it is where the task is not listed.
#[inline]
pub(super) fn begin(
    task: u64,
    waited: Option<u64>,
    calls: &Calls,
    unlisted: impl FnOnce() -> &'static Handler,
) {
    OUTERMOST.with(|outermost| {
        let depth = outermost.depth.get();
        // No task is polled inside of another one of the same runtime.
        let is_nested = depth == 1 && ptr::eq(outermost.calls.get(), calls);
        if calls.is_endless() || (is_nested && calls.nested()) {
            outermost.abandon();
            return;
        }
        if depth == 0 {
            outermost.calls.set(calls);
        }
        outermost.depth.set(depth + 1);
        let (slot, place) = (Slot::current(), TASKS.find(task));
        slot.set_hooked();
        let line = place.map(|place| TASKS.line(place));
        if depth > 0 || slot.is_polling() {
            let start = Moment::now();
            if let Some(line) = line {
                line.begin(slot, start);
            }
            if let Some(waited) = waited.filter(|waited| *waited >= Waits::LONG) {
                let handler = line.and_then(Line::row).unwrap_or_else(unlisted);
                handler.overruns.waits().ended(handler, start, waited);
            }
            return;
        }
        if let Some(waited) = waited {
            set_ready(waited);
        }
        let handler = line.and_then(Line::row).unwrap_or_else(unlisted);
        slot.set_task(task, place);
        let start = Moment::now();
        if let Some(line) = line {
            line.begin(slot, start);
        }
        let around = slot.enter(handler.number(), None, start);
        outermost.poll.set(Some(Poll { handler, start, around, place }));
    });
}

impl Outermost {
    /// Takes back what was written down of a poll whose end nobody tells: it would last for ever.
    #[cold]
    fn abandon(&self) {
        self.depth.set(0);
        let Some(Poll { start, around, place, .. }) = self.poll.take() else { return };
        let (slot, now) = (Slot::current(), Moment::now());
        slot.leave(around, start, now);
        slot.set_task(0, None);
        if let Some(place) = place {
            TASKS.line(place).end(now);
        }
    }
}

/// The innermost poll that has begun ends, which is this task's.
#[inline]
pub(super) fn end(task: u64) {
    OUTERMOST.with(|outermost| {
        let depth = outermost.depth.get().saturating_sub(1);
        outermost.depth.set(depth);
        let poll = if depth > 0 { None } else { outermost.poll.take() };
        let Some(Poll { handler, start, around, place }) = poll else {
            if let Some(place) = TASKS.find(task) {
                TASKS.line(place).end(Moment::now());
            }
            return;
        };
        let (slot, end) = (Slot::current(), Moment::now());
        // A request that was polled has taken it.
        handler.overruns.waits().ended(handler, start, clear_ready());
        if track::is_on() {
            track::poll(slot, handler, (start, end), Part::default());
        }
        if handler.overruns.is_too_long(end.since(start))
            && let Some((_, length)) = handler.overruns.ended(slot, handler, start, end)
        {
            // Worker time that was taken: a row has no less of it than it has in stalls.
            handler.shard(slot).poll(nanoseconds(length));
        }
        slot.leave(around, start, end);
        slot.set_task(0, None);
        if let Some(place) = place {
            TASKS.line(place).end(end);
        }
    });
}
