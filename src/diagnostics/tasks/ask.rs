//! Tasks that wait, asked where: each is woken once more, and seen where it waits again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Tasks,
    seen::{self, Alive, Answers},
    waits,
};
use crate::diagnostics::{
    Thermograph,
    capture::{CaptureError, Pace, Turn},
    profile::Location,
    sampler::{Asking, Names, SessionError, Stack, Unwinder},
};

/// Tasks that are woken in a millisecond: a worker polls as many in some microseconds.
const PACE: usize = 6;
const TICK: Duration = Duration::from_millis(1);
/// After which time a task is asked again that has not answered.
const AGAIN: Duration = Duration::from_millis(200);

/// Asks until every task has answered, or the time is over.
pub(super) fn ask(
    thermograph: &Thermograph,
    route: Option<&str>,
    turn: &Turn,
) -> Result<Tasks, CaptureError> {
    let asking = Asking::begin()?;
    let unwinder = Unwinder::new().map_err(SessionError::Signal)?;
    let began = Instant::now();
    let mut round = Round { asking, unwinder, stacks: HashMap::new() };
    let mut asked = HashSet::new();
    let pace = Pace::of(turn);
    loop {
        let wakers: Vec<_> = seen::own(thermograph)
            .into_iter()
            .filter_map(|task| task.waits)
            .filter(|waits| !round.stacks.contains_key(&waits.task))
            .collect();
        if wakers.is_empty() {
            break;
        }
        asked.extend(wakers.iter().map(|waits| waits.task));
        if !round.wake(wakers.into_iter().map(|waits| waits.waker), &pace)? {
            break;
        }
    }
    // Before names are looked up, which takes longer than many a request lasts.
    let alive = Alive::now(thermograph);
    let (waited, dropped) = (began.elapsed(), round.asking.dropped());
    let Round { unwinder, stacks, .. } = round;
    let mut names = Names::new(unwinder.modules());
    let stacks = stacks
        .into_iter()
        .map(|(task, stacks)| (task, stacks.iter().map(|stack| named(&mut names, stack)).collect()))
        .collect();
    let mut asked: Vec<_> = asked.into_iter().collect();
    asked.sort_unstable();
    let answers = Answers { stacks, asked, waited, dropped };
    Ok(seen::look(thermograph, route, &alive, Some(&answers)))
}

/// What is known so far.
struct Round {
    asking: Asking,
    unwinder: Unwinder,
    /// By task.
    stacks: HashMap<u64, Vec<Stack>>,
}

impl Round {
    /// Wakes them all, a few at a time, and takes what they answer: whether there is time left.
    fn wake(
        &mut self,
        wakers: impl Iterator<Item = std::task::Waker>,
        pace: &Pace<'_>,
    ) -> Result<bool, CaptureError> {
        let mut wakers = wakers.peekable();
        let began = Instant::now();
        let mut woken = 0_usize;
        while wakers.peek().is_some() {
            wakers.by_ref().take(PACE).for_each(|waker| {
                waker.wake();
                woken += 1;
            });
            self.take();
            if pace.wait(TICK)?.is_none() {
                return Ok(false);
            }
        }
        // All have answered, or it is time to look who has not.
        while began.elapsed() < AGAIN {
            self.take();
            if self.stacks.len() >= woken {
                break;
            }
            if pace.wait(TICK)?.is_none() {
                self.take();
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self) {
        while let Some(place) = self.asking.next() {
            let stack = self.unwinder.awaits(&place);
            let stacks = self.stacks.entry(place.task).or_default();
            // Polled again: it may wait for something else now.
            if place.place == 0 {
                stacks.clear();
            }
            if !stacks.contains(&stack) {
                stacks.push(stack);
            }
        }
    }
}

fn named(names: &mut Names<'_>, stack: &Stack) -> Vec<Arc<Location>> {
    let mut stack = names.stack(stack);
    waits::without_waker(&mut stack);
    stack
}
