//! Tasks that wait, asked where: each is woken once more, and seen where it waits again.
//!
//! A task is woken once: Tokio loses no wake, so that a task that does not answer has not been
//! polled yet, or its poll did not come to the watched future. Only a task whose answer was dropped
//! is woken again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use thermograph_profile::Location;
use thermograph_sampler::{Answer, Asking, Names, SessionError, Stack, Unwinder, Why};

use super::{
    Tasks,
    seen::{self, Alive, Answers, Silence},
    waits,
};
use crate::{
    capture::{CaptureError, Pace, Turn},
    instance::Instance,
    task_table::{TASKS, Waits},
};

/// Tasks that are woken in a millisecond: a worker polls as many in some microseconds.
const PACE: usize = 6;
const TICK: Duration = Duration::from_millis(1);
/// Time from one look at the whole table, for requests that have come, to the next.
const LOOK: Duration = Duration::from_millis(20);
/// Most times that a task is woken.
const MOST: u32 = 3;

/// Asks until every task has answered, or the time is over.
pub(super) fn ask(
    instance: &Instance,
    route: Option<&str>,
    turn: &Turn,
) -> Result<Tasks, CaptureError> {
    let mut round = Round {
        asking: Asking::begin()?,
        unwinder: Unwinder::new().map_err(SessionError::Signal)?,
        answers: HashMap::new(),
        asked: HashMap::new(),
        has_missed: false,
    };
    let began = Instant::now();
    let pace = Pace::of(turn);
    loop {
        let waiting: Vec<_> = seen::own(instance)
            .into_iter()
            .filter(|task| task.thread.is_none())
            .filter_map(|task| task.waits)
            .collect();
        if !round.wake(waiting, &pace)? || round.is_done() || !round.settle(&pace)? {
            break;
        }
    }
    // Before names are looked up, which takes longer than many a request lasts.
    let alive = Alive::now(instance);
    let answers = round.end(began);
    Ok(seen::look(instance, route, &alive, Some(&answers)))
}

/// What is known so far.
struct Round {
    asking: Asking,
    unwinder: Unwinder,
    /// By task.
    answers: HashMap<u64, Given>,
    /// By task.
    asked: HashMap<u64, Asked>,
    /// Whether one could not be asked, because it was being polled.
    has_missed: bool,
}

/// The answer of a task: the places that it waits in, or the reason why there are none.
#[derive(Debug, Default)]
struct Given {
    stacks: Vec<Stack>,
    without: Option<Why>,
}

/// A task that was woken.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Polls that it had had before.
    polls: u64,
    times: u32,
    /// Answers of any task that had been dropped before.
    dropped: u64,
}

impl Round {
    /// Wakes those that have not answered and were not asked yet, a few at a time. Returns whether
    /// there is time left.
    fn wake(&mut self, waiting: Vec<Waits>, pace: &Pace<'_>) -> Result<bool, CaptureError> {
        self.has_missed = false;
        let mut waiting: Vec<_> = waiting.into_iter().filter(|waits| self.may_ask(waits)).collect();
        while !waiting.is_empty() {
            for waits in waiting.drain(..waiting.len().min(PACE)) {
                self.wake_one(waits);
            }
            self.take();
            if pace.wait(TICK)?.is_none() {
                return Ok(false);
            }
        }
        self.take();
        Ok(true)
    }

    fn may_ask(&self, waits: &Waits) -> bool {
        let asked = self.asked.get(&waits.task);
        let is_lost = |asked: &Asked| self.is_lost(waits.task, *asked);
        !self.answers.contains_key(&waits.task) && asked.is_none_or(is_lost)
    }

    /// Returns whether the answer of a task may have been dropped.
    fn is_lost(&self, task: u64, asked: Asked) -> bool {
        asked.times < MOST
            && self.asking.dropped() > asked.dropped
            && TASKS.polls(task).is_some_and(|polls| polls > asked.polls)
    }

    fn wake_one(&mut self, waits: Waits) {
        // One that is polled at this moment is asked when it waits again.
        let Some(polls) = TASKS.ask(waits.task) else {
            self.has_missed = true;
            return;
        };
        let times = self.asked.get(&waits.task).map_or(0, |asked| asked.times) + 1;
        let dropped = self.asking.dropped();
        self.asked.insert(waits.task, Asked { polls, times, dropped });
        waits.waker.wake();
    }

    /// Waits until those that were asked have answered, or it is time to look who has come. Returns
    /// whether there is time left.
    fn settle(&mut self, pace: &Pace<'_>) -> Result<bool, CaptureError> {
        let began = Instant::now();
        loop {
            let is_over = pace.wait(TICK)?.is_none();
            self.take();
            if is_over || self.is_done() || began.elapsed() >= LOOK {
                return Ok(!is_over);
            }
        }
    }

    /// Returns whether there is nothing left to wait for.
    fn is_done(&self) -> bool {
        !self.has_missed
            && self.asked.iter().all(|(task, asked)| {
                self.answers.contains_key(task)
                    || (TASKS.polls(*task).is_none_or(|polls| polls > asked.polls)
                        && !self.is_lost(*task, *asked))
            })
    }

    fn take(&mut self) {
        while let Some(answer) = self.asking.next() {
            match answer {
                Answer::Waits(place) => {
                    let stack = self.unwinder.awaits(&place);
                    let given = self.answers.entry(place.task).or_default();
                    // Polled again: it may wait for something else now.
                    if place.place == 0 {
                        *given = Given::default();
                    }
                    if !given.stacks.contains(&stack) {
                        given.stacks.push(stack);
                    }
                }
                Answer::Without { task, why } => {
                    let given = Given { stacks: Vec::new(), without: Some(why) };
                    self.answers.insert(task, given);
                }
            }
        }
    }

    /// Stops asking and looks names up.
    fn end(mut self, began: Instant) -> Answers {
        // Of those that were polled meanwhile.
        self.take();
        let silent = self.asked.iter().filter(|(task, _)| !self.answers.contains_key(task));
        let silent = silent
            .filter_map(|(task, asked)| {
                let polls = TASKS.polls(*task)?;
                let may_be_lost = self.asking.dropped() > asked.dropped;
                let why = if polls == asked.polls {
                    Silence::NotPolled
                } else if may_be_lost {
                    Silence::Dropped
                } else {
                    Silence::NotReached
                };
                Some((*task, why))
            })
            .collect();
        let waited = began.elapsed();
        let Self { asking, unwinder, answers, asked, .. } = self;
        let dropped = asking.dropped();
        // Polls of others go without the tracer from here on.
        drop(asking);
        let mut names = Names::new(unwinder.modules());
        let mut without = HashMap::new();
        let mut stacks = HashMap::new();
        for (task, given) in answers {
            without.extend(given.without.map(|why| (task, why)));
            let places = given.stacks.iter().map(|stack| named(&mut names, stack)).collect();
            stacks.insert(task, places);
        }
        Answers { stacks, without, silent, asked: asked.len(), waited, dropped }
    }
}

fn named(names: &mut Names<'_>, stack: &Stack) -> Vec<Arc<Location>> {
    let mut stack = names.stack(stack);
    waits::without_waker(&mut stack);
    stack
}
