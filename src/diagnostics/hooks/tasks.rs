//! Which handler each task works for: a bounded table that is read and written without a lock.

use std::{
    ptr,
    sync::atomic::{
        AtomicPtr, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use crate::diagnostics::watch::{Handler, handler_at};

/// Handlers of tasks, by the task's number.
///
/// A task has its place in one bucket or in none: a lookup reads one cache line. What is read of a
/// task was written before the task was first scheduled, and Tokio never uses a number twice; so
/// nobody sees a place of a task while it changes.
#[derive(Debug)]
pub(super) struct Tasks {
    buckets: Box<[Bucket]>,
    /// Tasks that found their bucket full.
    crowded_out: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// 0 where a place is free.
    tasks: [AtomicU64; PLACES],
    handlers: [AtomicPtr<Handler>; PLACES],
}

/// Places of a bucket: the numbers in them fill a cache line.
const PLACES: usize = 8;

/// Buckets, as a power of two: for 4096 tasks in 64 KiB.
const BUCKETS_LOG2: u32 = 9;

impl Tasks {
    pub(super) fn new() -> Self {
        let buckets = (0..1 << BUCKETS_LOG2).map(|_| Bucket::default()).collect();
        Self { buckets, crowded_out: AtomicU64::new(0) }
    }

    /// Remembers whose a task is, unless its bucket is full; that is counted.
    pub(super) fn remember(&self, task: u64, handler: &'static Handler) {
        let bucket = self.bucket(task);
        let free = |place: &AtomicU64| place.compare_exchange(0, task, Relaxed, Relaxed).is_ok();
        match bucket.tasks.iter().position(free) {
            Some(place) => {
                bucket.handlers[place].store(ptr::from_ref(handler).cast_mut(), Release);
            }
            None => {
                self.crowded_out.fetch_add(1, Relaxed);
            }
        }
    }

    #[inline]
    pub(super) fn handler(&self, task: u64) -> Option<&'static Handler> {
        let bucket = self.bucket(task);
        let place = bucket.place(task)?;
        handler_at(bucket.handlers[place].load(Acquire))
    }

    /// The task is over.
    pub(super) fn forget(&self, task: u64) {
        let bucket = self.bucket(task);
        if let Some(place) = bucket.place(task) {
            bucket.tasks[place].store(0, Relaxed);
        }
    }

    /// Tasks that were not remembered since there was no place for them.
    pub(super) fn crowded_out(&self) -> u64 {
        self.crowded_out.load(Relaxed)
    }

    /// Fibonacci hashing: numbers of tasks that are remembered may have a step.
    #[inline]
    fn bucket(&self, task: u64) -> &Bucket {
        let hash = task.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BUCKETS_LOG2);
        &self.buckets[hash as usize]
    }
}

impl Bucket {
    #[inline]
    fn place(&self, task: u64) -> Option<usize> {
        self.tasks.iter().position(|place| place.load(Relaxed) == task)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::diagnostics::watch::Ledger;

    fn handler() -> &'static Handler {
        let ledger = Ledger::leak(1);
        ledger.handler(ledger.hint(), &Method::GET, Some("/a"))
    }

    #[test]
    fn a_task_is_remembered_until_it_is_over() {
        let (tasks, handler) = (Tasks::new(), handler());
        for task in 1..=100 {
            tasks.remember(task, handler);
            assert!(tasks.handler(task).is_some_and(|found| ptr::eq(found, handler)));
            assert!(tasks.handler(task + 1).is_none());
        }
        for task in 1..=100 {
            tasks.forget(task);
            tasks.forget(task);
            assert!(tasks.handler(task).is_none());
        }
        assert_eq!(tasks.crowded_out(), 0);
    }

    #[test]
    fn past_the_bound_tasks_are_counted_and_room_comes_back() {
        let (tasks, handler) = (Tasks::new(), handler());
        let all = 1..=10_000;
        all.clone().for_each(|task| tasks.remember(task, handler));
        let kept = all.clone().filter(|task| tasks.handler(*task).is_some()).count();
        assert!((3_000..=4_096).contains(&kept), "{kept}");
        assert_eq!(tasks.crowded_out(), 10_000 - kept as u64);
        all.for_each(|task| tasks.forget(task));
        tasks.remember(1, handler);
        assert!(tasks.handler(1).is_some());
    }

    #[test]
    fn threads_do_not_lose_each_other_s_tasks() {
        let (tasks, handler) = (Tasks::new(), handler());
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let tasks = &tasks;
                scope.spawn(move || {
                    for task in (thread..4_000).step_by(4) {
                        tasks.remember(task, handler);
                        assert!(tasks.handler(task).is_some());
                        tasks.forget(task);
                    }
                });
            }
        });
        assert!((1..4_000).all(|task| tasks.handler(task).is_none()));
        assert_eq!(tasks.crowded_out(), 0);
    }
}
