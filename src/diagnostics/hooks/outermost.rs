//! The outermost poll of a task that a thread is in: on the thread's slot while it lasts, and a
//! stall when it ends and was too long.

use std::cell::Cell;

use crate::diagnostics::watch::{Handler, Moment, Outer, Slot};

thread_local! {
    static OUTERMOST: Outermost = const { Outermost { depth: Cell::new(0), poll: Cell::new(None) } };
}

struct Outermost {
    /// Polls of tasks that have begun on the thread and not ended: a task may run a runtime.
    depth: Cell<u32>,
    /// The first of them; none where it is itself inside of a handler's poll.
    poll: Cell<Option<Poll>>,
}

#[derive(Clone, Copy)]
struct Poll {
    handler: &'static Handler,
    start: Moment,
    /// What the thread did before.
    around: Outer,
}

/// A task's poll begins; `handler` says whose it is.
#[inline]
pub(super) fn begin(task: u64, handler: impl FnOnce(u64) -> &'static Handler) {
    OUTERMOST.with(|outermost| {
        let depth = outermost.depth.get();
        outermost.depth.set(depth + 1);
        let slot = Slot::current();
        if depth > 0 || slot.is_polling() {
            return;
        }
        let handler = handler(task);
        slot.set_task(task);
        let start = Moment::now();
        let around = slot.enter(handler, None, start);
        outermost.poll.set(Some(Poll { handler, start, around }));
    });
}

/// The innermost poll that has begun ends.
#[inline]
pub(super) fn end() {
    OUTERMOST.with(|outermost| {
        let depth = outermost.depth.get().saturating_sub(1);
        outermost.depth.set(depth);
        if depth > 0 {
            return;
        }
        let Some(Poll { handler, start, around }) = outermost.poll.take() else { return };
        let (slot, end) = (Slot::current(), Moment::now());
        if handler.is_too_long(end.since(start)) {
            handler.overruns.ended(slot, handler, start, end);
        }
        slot.leave(around, start, end);
        slot.set_task(0);
    });
}
