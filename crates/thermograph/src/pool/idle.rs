//! Idle threads of a blocking pool, known by where they wait.
//!
//! All of them wait at the same place in Tokio's code: once one stack is known to be an idle thread's
//! by its names, the addresses tell the others. Until then stacks are named now and then, ever less
//! often, since names take debug information to be read.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use thermograph_sampler::{Stack, name_all};

use super::{Place, Role};

#[derive(Debug)]
pub(super) struct Idle {
    /// `None` until an idle thread was seen.
    stack: Option<Stack>,
    /// Places that are none of an idle thread.
    others: HashSet<Arc<Place>>,
    /// When stacks may be named.
    next: Instant,
    pause: Duration,
}

/// Time from the first naming of stacks to the second.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time between two.
const LONGEST: Duration = Duration::from_mins(5);

impl Default for Idle {
    fn default() -> Self {
        Self { stack: None, others: HashSet::new(), next: Instant::now(), pause: PAUSE }
    }
}

impl Idle {
    /// The number of threads at these places that are idle.
    pub(super) fn count(&mut self, places: &[Arc<Place>]) -> usize {
        if self.stack.is_none() {
            self.find(places);
        }
        places.iter().filter(|place| self.stack.as_ref() == Some(&place.stack)).count()
    }

    fn find(&mut self, places: &[Arc<Place>]) {
        let mut new: Vec<_> = places.iter().filter(|place| !self.others.contains(*place)).collect();
        new.dedup();
        if new.is_empty() || Instant::now() < self.next {
            return;
        }
        let named = name_all(new.iter().map(|place| &place.stack));
        for (place, stack) in new.iter().zip(named) {
            let frames = stack.iter().flat_map(|location| &location.frames);
            if Role::of(&frames.map(|frame| &**frame).collect::<Vec<_>>()) == Role::Idle {
                self.stack = Some(place.stack.clone());
            }
        }
        self.others = new.into_iter().cloned().collect();
        self.pause = (self.pause * 2).min(LONGEST);
        self.next = Instant::now() + self.pause;
    }
}
