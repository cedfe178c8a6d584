//! The times of every thread some while ago, for polls that were not looked at in time.

use std::{collections::HashMap, time::Duration};

use super::kernel::Kernel;
use crate::diagnostics::watch::{Moment, Slot, Times};

/// What was noted of threads.
#[derive(Debug)]
pub(super) struct Habits {
    /// By the kernel's number of the thread, not by its slot, which another thread may have next.
    times: HashMap<i32, Times>,
    at: Moment,
}

/// How often they are noted.
const PERIOD: Duration = Duration::from_millis(250);

impl Habits {
    pub(super) fn new() -> Self {
        Self { times: HashMap::new(), at: Moment::now() }
    }

    /// Notes the times of all threads now and then.
    pub(super) fn note(&mut self) {
        let now = Moment::now();
        if !self.times.is_empty() && Duration::from_nanos(now.since(self.at)) < PERIOD {
            return;
        }
        self.at = now;
        let threads = Slot::used().filter_map(Slot::thread);
        self.times = threads.filter_map(|thread| Some((thread, Kernel::times(thread)?))).collect();
    }

    /// The times of a thread when they were last noted. One that has come since had done nothing.
    pub(super) fn of(&self, thread: i32) -> Option<Times> {
        (thread != 0).then(|| self.times.get(&thread).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_not_judged_by_what_another_did() {
        let (second, times) = (Duration::from_secs(1), HashMap::new());
        let mut habits = Habits { times, at: Moment::now() };
        let known = Times { run: second, wait: second, waits: 100 };
        habits.times.insert(7, known);
        assert_eq!(habits.of(7), Some(known));
        assert_eq!(habits.of(8), Some(Times::default()));
        assert_eq!(habits.of(0), None);
    }
}
