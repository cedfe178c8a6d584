//! The probable holder of the lock that a stalled thread waits for.

use std::{
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use thermograph_sampler::{
    LockFunctions, LockWait, Moment, Seen, Shot, Sign, Stack, Suspect, Thread, Unwinder, seen_by,
};

use super::{kernel::Kernel, stacks::Wait, watched::Watched};
use crate::{
    handlers::{Handler, PollId},
    stall::lock::{RawHolder, RawLock},
};

/// The functions that wait for locks, and the holders that were searched a moment ago.
#[derive(Debug, Default)]
pub(super) struct Locks {
    /// Read when they are first needed.
    functions: Arc<OnceLock<LockFunctions>>,
    is_wanted: bool,
    searches: Vec<Search>,
}

/// A search for the holder of a lock: its result is that of all who wait for the lock.
#[derive(Debug)]
struct Search {
    lock: LockWait,
    at: Moment,
    holder: Option<RawHolder>,
}

/// Least time between two searches for the holder of a lock, which copy the stacks of all threads.
const AGAIN: Duration = Duration::from_millis(10);
/// Threads that run and are asked for their stacks, for one search.
const ASKED: usize = 16;
/// Threads of the diagnostics.
const OURS: &str = "thermo-";

impl Locks {
    /// The functions, if they are known. Reading them takes too long for the watchdog.
    fn functions(&mut self) -> Option<&LockFunctions> {
        if !self.is_wanted {
            self.is_wanted = true;
            let functions = Arc::clone(&self.functions);
            let read = move || drop(functions.set(LockFunctions::read()));
            // Without that thread, no holder is ever found.
            drop(thread::Builder::new().name("thermo-locks".to_owned()).spawn(read));
        }
        self.functions.get()
    }

    /// The result of a search for the holder of this lock that was made a moment ago, if one was.
    fn searched(&mut self, lock: &LockWait, now: Moment) -> Option<&Search> {
        self.searches.retain(|search| Duration::from_nanos(now.since(search.at)) < AGAIN);
        self.searches.iter().find(|search| search.lock.is_of_same_lock(lock))
    }

    fn remember(&mut self, lock: LockWait, at: Moment, holder: Option<RawHolder>) {
        self.searches.push(Search { lock, at, holder });
    }
}

impl Kernel {
    /// Searches the holder of the lock that a poll waits for, unless it did so recently.
    pub(super) fn search_holder(&mut self, watched: &mut Watched) {
        let (age, waiter) = (watched.age(), watched.polling.thread);
        let Some(wait) = watched.stacks.current_wait() else { return };
        let Some(futex) = wait.futex else { return };
        let is_due = wait.searched.is_zero() || age >= wait.searched * 3 / 2 + AGAIN;
        if !is_due {
            return;
        }
        let Some(functions) = self.locks.functions() else { return };
        wait.searched = age;
        let Some(lock) = functions.wait(futex, &wait.stack.addresses) else {
            // It waits for something else.
            wait.futex = None;
            return;
        };
        let now = Moment::now();
        let holder = if let Some(search) = self.locks.searched(&lock, now) {
            search.holder.clone()
        } else {
            let holder = self.holder(&lock);
            self.locks.remember(lock, now, holder.clone());
            holder
        };
        // A thread that waits for a lock that it holds itself is found by the recorded owner only.
        let is_possible =
            |holder: &RawHolder| holder.sign == Sign::Owner || holder.thread != waiter;
        wait.found(lock, holder.filter(is_possible));
    }

    /// The thread with the best evidence of holding a lock.
    fn holder(&mut self, lock: &LockWait) -> Option<RawHolder> {
        let unwinder = self.unwinder()?;
        if let Some(owner) = lock.owner() {
            let taken = unwinder.waiting(Thread::new(owner));
            let (stack, seen) = if let Ok(taken) = taken {
                (taken.stack, taken.seen)
            } else {
                // Its stack comes later.
                self.ask_all(&[owner]);
                (Stack { addresses: Box::default(), truncated: true }, seen_by(owner))
            };
            let suspect = Suspect { stack, frame: 0, sign: Sign::Owner, seen, futex: None };
            return Some(RawHolder::new(owner, suspect));
        }
        let mut found = Vec::new();
        let mut running = Vec::new();
        for thread in Thread::all() {
            let number = thread.number();
            let is_ours = thread.name().is_none_or(|name| name.starts_with(OURS));
            if is_ours {
                continue;
            }
            match unwinder.suspect(thread, lock) {
                Ok(suspect) => found.extend(suspect.map(|suspect| (number, suspect))),
                Err(_) => running.push(number),
            }
        }
        let best = found.into_iter().min_by_key(|(_, suspect)| rank(suspect));
        if best.is_none() {
            // Their stacks come later.
            self.ask_all(&running);
        }
        best.map(|(thread, suspect)| RawHolder::new(thread, suspect))
    }

    fn ask_all(&self, threads: &[i32]) {
        let Some(session) = &self.session else { return };
        for thread in threads.iter().take(ASKED) {
            // A thread that cannot be asked is never found to be the holder.
            let _ = session.ask(*thread);
        }
    }

    /// The stack of a thread that runs has come: it may be one that holds a lock.
    pub(super) fn offer<'a>(
        unwinder: &mut Unwinder,
        (shot, seen): (&Shot, Seen),
        watched: impl Iterator<Item = (&'a PollId, &'a mut Watched)>,
    ) {
        let thread = shot.ticket().thread();
        for (_, watched) in watched.filter(|(_, other)| other.polling.thread != thread) {
            let Some(wait) = watched.stacks.current_wait() else { continue };
            let Some(lock) = &wait.lock else { continue };
            let suspect = match &lock.holder {
                None => unwinder.suspect_in((shot, seen), &lock.wait),
                Some(owner) if owner.thread == thread && owner.stack.addresses.is_empty() => {
                    let stack = unwinder.unwind(shot);
                    Some(Suspect { stack, frame: 0, sign: Sign::Owner, seen, futex: None })
                }
                Some(_) => None,
            };
            if let Some(suspect) = suspect {
                let lock = lock.wait;
                wait.found(lock, Some(RawHolder::new(thread, suspect)));
            }
        }
    }
}

/// Orders suspects; the lowest has the best evidence.
fn rank(suspect: &Suspect) -> (bool, bool, bool) {
    (
        suspect.sign != Sign::Address,
        // A thread in an instrumented poll is more likely than others.
        !suspect.seen.is_polling(),
        suspect.futex.is_some(),
    )
}

impl Wait {
    /// A holder that was found once stays, unless another one is found.
    fn found(&mut self, wait: LockWait, holder: Option<RawHolder>) {
        let before = self.lock.as_ref().filter(|lock| lock.wait == wait);
        let before = before.and_then(|lock| lock.holder.clone());
        let is_news = match (&holder, &before) {
            (Some(now), Some(before)) => !now.is_like(before),
            (Some(_), None) => true,
            (None, _) => self.lock.is_none(),
        };
        if is_news {
            self.lock = Some(Arc::new(RawLock { wait, holder: holder.or(before) }));
        }
    }
}

impl RawHolder {
    /// Returns whether both are the same thread at the same place.
    fn is_like(&self, other: &Self) -> bool {
        let of = |holder: &Self| (holder.thread, holder.frame, holder.sign);
        of(self) == of(other) && self.stack == other.stack
    }

    fn new(thread: i32, suspect: Suspect) -> Self {
        let Suspect { stack, frame, sign, seen, .. } = suspect;
        let handler = seen.work().and_then(Handler::of).filter(|_| seen.is_polling());
        let thread_name = Thread::new(thread).name().unwrap_or_default();
        Self { thread, thread_name, handler, stack: Arc::new(stack), frame, sign }
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use thermograph_sampler::LockKind;

    use super::*;

    #[test]
    fn search_is_shared_by_waiters_of_one_lock_until_it_expires() {
        let mut locks = Locks::default();
        let lock = LockWait::new(LockKind::ParkingLotMutex, 0x1000, 0x7000);
        let at = Moment::now();
        locks.remember(lock, at, None);
        for (other, is_known) in [
            (LockWait::new(LockKind::ParkingLotMutex, 0x1000, 0x8000), true),
            (LockWait::new(LockKind::ParkingLotMutex, 0x2000, 0x7000), false),
            (LockWait::new(LockKind::StdMutex, 0x1000, 0x7000), false),
        ] {
            assert_eq!(locks.searched(&other, at).is_some(), is_known, "{other:?}");
        }
        let later = iter::repeat_with(Moment::now)
            .find(|now| Duration::from_nanos(now.since(at)) >= AGAIN)
            .expect("time goes on");
        assert!(locks.searched(&lock, later).is_none() && locks.searches.is_empty());
    }
}
