//! What was recorded: tracks of threads, and what still lasts at the end.

use std::{collections::HashMap, time::SystemTime};

use thermograph_sampler::{Moment, Slot, thread_name_or_number};

use crate::handlers::{
    Polling,
    track::{Asked, Dropped, Part, Polled, Recorder, Track},
};

/// A recording that runs.
#[derive(Debug)]
pub(super) struct Recording {
    recorder: Recorder,
    begun: Moment,
    begun_at: SystemTime,
    /// Names of threads, by the kernel's number of them: those that end have none any more.
    names: HashMap<i32, String>,
}

/// A recording that has ended.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) begun: Moment,
    pub(super) begun_at: SystemTime,
    pub(super) end: Moment,
    pub(super) tracks: Vec<Track>,
    pub(super) dropped: Dropped,
    /// Polls that last.
    pub(super) lasting: Vec<Polled>,
    /// Requests that wait.
    pub(super) waiting: Vec<Asked>,
    pub(super) names: HashMap<i32, String>,
}

impl Recording {
    /// None where somebody else in this process records.
    pub(super) fn begin() -> Option<Self> {
        let recorder = Recorder::begin()?;
        let (begun, begun_at) = (Moment::now(), SystemTime::now());
        let mut new = Self { recorder, begun, begun_at, names: HashMap::new() };
        new.look();
        Some(new)
    }

    /// Looks for threads that have come.
    pub(super) fn look(&mut self) {
        self.recorder.set_aside();
        for thread in Slot::used().filter_map(Slot::thread) {
            self.names.entry(thread).or_insert_with(|| thread_name_or_number(thread));
        }
    }

    pub(super) fn end(mut self) -> Recorded {
        self.look();
        let Self { recorder, begun, begun_at, names } = self;
        let end = Moment::now();
        // Before recording ends: what ends in between is in both, and not in neither.
        let mut lasting = of_slots();
        let (of_tasks, waiting) = of_tasks(end);
        lasting.extend(of_tasks);
        let (tracks, dropped) = recorder.end();
        let has_ended = |lasts: &Polled| {
            let mut polls = tracks.iter().flat_map(|track| &track.polls);
            polls.any(|poll| poll.thread == lasts.thread && poll.is(lasts.handler, lasts.start))
        };
        lasting.retain(|lasts| !has_ended(lasts));
        lasting.sort_by_key(|lasts| (lasts.thread, lasts.start.raw()));
        // A task's own poll is on the slot and in the list.
        lasting.dedup_by(|a, b| a.thread == b.thread && a.is(b.handler, b.start));
        Recorded { begun, begun_at, end, tracks, dropped, lasting, waiting, names }
    }
}

/// Polls that threads are in.
fn of_slots() -> Vec<Polled> {
    let polls = Slot::used().filter_map(Polling::on);
    let lasting = polls.map(|polling| Polled {
        handler: polling.handler,
        thread: polling.thread,
        start: polling.start,
        end: polling.start,
        task: polling.task,
        part: Part::default(),
    });
    lasting.collect()
}

/// Polls of tasks, which requests' polls hide on the slots, and requests that wait.
#[cfg(tokio_unstable)]
fn of_tasks(now: Moment) -> (Vec<Polled>, Vec<Asked>) {
    use crate::{stage::Stage, task_table::TASKS};

    let (mut lasting, mut waiting) = (Vec::new(), Vec::new());
    for task in TASKS.all() {
        let (row, start) = (task.row, task.since);
        if let Some(thread) = task.thread.and_then(Slot::thread) {
            let (task, part) = (task.number, Part::default());
            lasting.push(Polled { handler: row, thread, start, end: start, task, part });
        }
        if let Some(waits) = task.waits.filter(|waits| waits.stage != Stage::Labelled) {
            let handler = task.request.unwrap_or(row);
            let (start, id, outcome) = (waits.began, waits.id, "in flight");
            waiting.push(Asked { handler, thread: 0, start, end: now, id, outcome });
        }
    }
    (lasting, waiting)
}

#[cfg(not(tokio_unstable))]
fn of_tasks(_: Moment) -> (Vec<Polled>, Vec<Asked>) {
    (Vec::new(), Vec::new())
}
