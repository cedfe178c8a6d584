//! The times of every thread a short while ago, for what polls did before they were looked at.

use std::{collections::HashMap, time::Duration};

use thermograph_sampler::{Moment, Slot, Times};

use super::{super::verdict::Earlier, kernel::Kernel};
use crate::handlers::Polling;

/// What was noted of threads.
#[derive(Debug)]
pub(super) struct Habits {
    /// By the kernel's number of the thread, not by its slot, which another thread may have next.
    /// The newest last. While a thread is in a poll, these are the last one before it and the first
    /// one in it.
    notes: HashMap<i32, [Option<Note>; 2]>,
    /// When all threads were noted.
    all_at: Moment,
    at: Moment,
    /// Time until the next note.
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    at: Moment,
    times: Times,
}

/// Time between two notes of threads that are not in a poll: most do nothing, and have no new times.
const IDLE: Duration = Duration::from_millis(100);
/// Parts of the time of which notes take one: a fiftieth of a processor.
const REST: u32 = 50;

impl Habits {
    pub(super) fn new() -> Self {
        let now = Moment::now();
        Self { notes: HashMap::new(), all_at: now, at: now, pause: Duration::ZERO }
    }

    /// Notes the times of the threads that are in a poll, and now and then of all, if it is time for
    /// it.
    pub(super) fn note(&mut self, polls: &[Polling]) {
        let now = Moment::now();
        let since = |moment| Duration::from_nanos(now.since(moment));
        if since(self.at) < self.pause {
            return;
        }
        let threads: Vec<_> = if since(self.all_at) >= IDLE || self.notes.is_empty() {
            self.all_at = now;
            let all: Vec<_> = Slot::used().filter_map(Slot::thread).collect();
            self.notes.retain(|thread, _| all.contains(thread));
            all
        } else {
            polls.iter().map(|polling| polling.thread).collect()
        };
        // The first times that were noted in a poll are kept.
        let is_in_it = |thread: i32| {
            let mut polls = polls.iter().filter(|polling| polling.thread == thread);
            polls.any(|polling| self.within(thread, polling.start).is_some())
        };
        let due: Vec<_> = threads.into_iter().filter(|thread| !is_in_it(*thread)).collect();
        if due.is_empty() {
            return;
        }
        let before = Kernel::own_time();
        for thread in due {
            self.note_thread(thread);
        }
        self.at = now;
        // In time of a processor: on a crowded machine it takes much longer.
        self.pause = (Kernel::own_time().saturating_sub(before) * REST).min(IDLE);
    }

    fn note_thread(&mut self, thread: i32) {
        let at = Moment::now();
        let Some(times) = Kernel::times(thread) else { return };
        let notes = self.notes.entry(thread).or_default();
        *notes = [notes[1], Some(Note { at, times })];
    }

    /// The first times of a thread that were noted in a poll that began at `start`, and when; `None`
    /// if none were. The poll must last.
    pub(super) fn within(&self, thread: i32, start: Moment) -> Option<(Moment, Times)> {
        let [_, last] = self.notes.get(&thread)?;
        last.filter(|note| note.at.since(start) > 0).map(|note| (note.at, note.times))
    }

    /// The newest times of a thread from before a poll that began at `start`; `None` if none were
    /// noted.
    pub(super) fn before(&self, thread: i32, start: Moment) -> Option<Earlier> {
        let notes = self.notes.get(&thread)?;
        // Differences of moments are never negative: 0 where it is the later one.
        let is_before = |note: &Note| start.since(note.at) > 0;
        let note = notes.iter().rev().flatten().copied().find(is_before)?;
        Some(Earlier { times: note.times, gap: Duration::from_nanos(start.since(note.at)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poll_is_compared_with_its_own_thread_before_its_start() {
        let first = Moment::now();
        let start = Moment::after(first);
        let second = Moment::after(start);
        let note = |at, run| Some(Note { at, times: Times { run, ..Times::default() } });
        let (early, late) = (Duration::from_secs(1), Duration::from_secs(2));
        let mut habits = Habits::new();
        habits.notes.insert(7, [note(first, early), note(second, late)]);
        habits.notes.insert(8, [None, note(second, late)]);
        let known = |thread, start| habits.before(thread, start).map(|earlier| earlier.times.run);
        assert_eq!(known(7, start), Some(early));
        assert_eq!(known(7, Moment::after(second)), Some(late));
        assert_eq!((known(8, start), known(9, start)), (None, None));
        let within = |start| habits.within(7, start).map(|(_, times)| times.run);
        assert_eq!((within(start), within(Moment::after(second))), (Some(late), None));
    }
}
