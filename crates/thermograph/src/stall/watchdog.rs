//! The thread that looks for polls that last too long.
//!
//! It looks at a poll first when it has lasted three quarters of the threshold, to have something
//! to compare with, and then from the threshold on. In between it sleeps: for three quarters of the
//! threshold where no poll lasts, since none that begins meanwhile is older then.

mod habits;
#[cfg(sampler)]
mod kernel;
#[cfg(not(sampler))]
#[path = "watchdog/no_kernel.rs"]
mod kernel;
#[cfg(sampler)]
mod locks;
#[cfg(sampler)]
mod outside;
mod stacks;
mod watched;

use std::{
    collections::{HashMap, VecDeque},
    io, iter,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use thermograph_sampler::{Activity, Moment, Slot, Times};

#[cfg(sampler)]
use self::outside::Outside;
use self::{habits::Habits, kernel::Kernel, watched::Watched};
use super::{
    Store,
    harm::{Harm, Held, Time},
    namer::Namer,
    record::Record,
    verdict::Spent,
};
use crate::{
    class::Class,
    config::Stacks,
    handlers::{Ended, Ledger, Overruns, PollId, Polling},
    log,
};

/// The watchdog of a ledger's handlers, until dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    overruns: &'static Overruns,
    store: Arc<Store>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Rounds that have begun: to wait for one.
    rounds: AtomicU64,
    /// Workers that are looked at outside of polls, all that are known, and whether their tasks are.
    workers: [AtomicU64; 3],
}

impl Watch {
    /// Starts; `stacks` says how stacks are taken.
    pub(crate) fn start(ledger: &'static Ledger, kept: usize, stacks: Stacks) -> io::Result<Self> {
        let overruns = ledger.overruns();
        let store = Arc::new(Store::new(kept, overruns));
        let namer = Namer::start(Arc::clone(&store))?;
        let shared = Arc::new(Shared::default());
        let (of_thread, books) = (Arc::clone(&shared), Arc::clone(&store));
        let watchdog = Watchdog {
            overruns,
            threshold: overruns.threshold(),
            store: books,
            namer,
            kernel: Kernel::new(stacks),
            watched: HashMap::new(),
            ended: VecDeque::new(),
            habits: Habits::new(),
            harm: Harm::new(ledger),
            glanced_at: Moment::now(),
            #[cfg(sampler)]
            outside: Outside::new(ledger),
        };
        let run = move || watchdog.run(&of_thread);
        let thread = thread::Builder::new().name("thermo-watch".to_owned()).spawn(run)?;
        Ok(Self { overruns, store, shared, thread: Some(thread) })
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// How many workers are looked at outside of instrumented polls, how many are known, and whether
    /// it is known which tasks they poll (1) or not (0).
    pub(crate) fn workers(&self) -> [u64; 3] {
        self.shared.workers.each_ref().map(|workers| workers.load(Relaxed))
    }

    /// Waits until every poll that has ended is in the books, and every one that lasts and is over
    /// the threshold, as far as it is known whose fault that is.
    pub(crate) fn settle(&self) {
        self.wait_for_rounds();
        // The stack of such a poll may be on its way.
        let give_up = Instant::now() + SHOWN_WITHIN;
        while self.is_one_unshown() && Instant::now() < give_up {
            self.wait_for_rounds();
        }
    }

    /// Returns whether a poll over the threshold lasts that no stall was made of.
    fn is_one_unshown(&self) -> bool {
        let threshold = self.overruns.threshold();
        let mut polls = Slot::used().filter_map(Polling::on);
        polls.any(|polling| {
            polling.handler.is_of(self.overruns)
                && polling.age(Moment::now()) >= threshold
                && !self.store.is_lasting(PollId::new(polling.slot, polling.start))
        })
    }

    fn wait_for_rounds(&self) {
        // A round that begins after this call sees what ended before it; it has ended itself once
        // the next one begins.
        let until = self.shared.rounds.load(Acquire) + 2;
        while self.shared.rounds.load(Acquire) < until {
            let Some(thread) = self.thread.as_ref().filter(|thread| !thread.is_finished()) else {
                return;
            };
            thread.thread().unpark();
            thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.stop.store(true, Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Watchdog {
    overruns: &'static Overruns,
    threshold: Duration,
    store: Arc<Store>,
    namer: Namer,
    kernel: Kernel,
    /// Polls that were looked at, and last or have just ended.
    watched: HashMap<PollId, Watched>,
    /// Stalls that ended a moment ago: the name of their request may still come.
    ended: VecDeque<(PollId, Arc<Record>)>,
    habits: Habits,
    harm: Harm,
    /// When it was last seen what the threads do whose polls are not long.
    glanced_at: Moment,
    /// Workers that are kept outside of polls.
    #[cfg(sampler)]
    outside: Outside,
}

/// How often it is seen whether handlers run or are blocked.
const GLANCES: Duration = Duration::from_millis(50);
/// Stalls that ended and wait for the name of their request.
const UNNAMED: usize = 256;
/// How long a poll is remembered that is over and was no stall.
const FORGET: Duration = Duration::from_secs(1);
/// Longest time that a poll over the threshold has no stall yet, unless the machine did not run it.
const SHOWN_WITHIN: Duration = Duration::from_millis(10);
/// How long the end of a stall is waited for that is not seen any more.
const GIVE_UP: Duration = Duration::from_mins(1);

impl Watchdog {
    fn run(mut self, shared: &Shared) {
        log::detach();
        self.kernel.start();
        while !shared.stop.load(Acquire) {
            shared.rounds.fetch_add(1, Release);
            self.take_ended();
            self.take_names();
            let pause = self.look_at_all();
            #[cfg(sampler)]
            let pause = pause.min(self.look_outside(shared));
            self.charge_harm();
            self.harm.learn();
            thread::park_timeout(pause);
        }
    }

    /// Looks at every poll that lasts: how long until the next look.
    fn look_at_all(&mut self) -> Duration {
        let ours = |polling: &Polling| polling.handler.is_of(self.overruns);
        let polls: Vec<_> = Slot::used().filter_map(Polling::on).filter(ours).collect();
        self.habits.note(&polls);
        self.glance(&polls);
        // A poll that begins from now on is not to be looked at before.
        let idle = self.first_look();
        let looks = polls.into_iter().map(|polling| self.look(polling, None));
        let pause = looks.fold(idle, Duration::min);
        self.forget();
        pause
    }

    /// Notes now and then which handlers run, and which are blocked.
    fn glance(&mut self, polls: &[Polling]) {
        let now = Moment::now();
        if Duration::from_nanos(now.since(self.glanced_at)) < GLANCES {
            return;
        }
        self.glanced_at = now;
        self.overruns.glance();
        for Polling { slot, start, thread, handler, .. } in polls {
            let Some(activity) = Kernel::activity(*thread) else { continue };
            // Over meanwhile, it was too short to have been blocked.
            let lasts = Polling::on(*slot).is_some_and(|polling| polling.start == *start);
            handler.trouble().seen(if lasts { activity } else { Activity::Running });
        }
    }

    /// Charges handlers with how long their stalls made others wait.
    fn charge_harm(&mut self) {
        // By then a poll that lasted meanwhile is known to be a stall, if it is one.
        let settled = self.threshold + GLANCES;
        let watched = &self.watched;
        self.harm.charge(settled, || {
            let stalls = watched.values().filter(|watched| watched.record.is_some());
            // One that a poll inside of it hides does not hold the worker itself now.
            let lasts =
                |at: &Polling| Polling::on(at.slot).is_some_and(|now| now.start == at.start);
            let polls = stalls.map(|watched| watched.polling).filter(lasts);
            let held = |Polling { handler, own_start, .. }| {
                let time = Time::Since(own_start);
                Held { handler, time }
            };
            polls.map(held).collect()
        });
    }

    /// Forgets polls that are over.
    fn forget(&mut self) {
        let now = Moment::now();
        let (store, kernel, closed) = (&self.store, &self.kernel, &mut self.ended);
        self.watched.retain(|poll, watched| {
            let Some(record) = &watched.record else { return watched.was_seen_within(FORGET, now) };
            // Hidden by a poll inside of it, or its end found no room.
            let is_known = watched.was_seen_within(GIVE_UP, now);
            if !is_known {
                {
                    let mut facts = record.facts();
                    facts.ended = true;
                    facts.no_stack = facts.stack.is_none().then(|| kernel.why_no_stack(watched));
                }
                store.close(record);
                remember(closed, *poll, record);
            }
            is_known
        });
    }

    /// How old a poll is when it is looked at first.
    fn first_look(&self) -> Duration {
        self.threshold * 3 / 4
    }

    /// Looks at a poll that lasts: how long until the next look. `noted` are times of its thread that
    /// were noted in the poll.
    fn look(&mut self, polling: Polling, noted: Option<(Moment, Times)>) -> Duration {
        let now = Moment::now();
        let age = polling.age(now);
        if age < self.first_look() {
            return self.first_look().saturating_sub(age);
        }
        let id = PollId::new(polling.slot, polling.start);
        // The thread tells of the end before it clears its slot, and may lose its processor in between.
        let is_over = || self.ended.iter().rev().any(|(ended, _)| *ended == id);
        if !self.watched.contains_key(&id) && is_over() {
            return self.first_look();
        }
        let earlier = self.habits.before(polling.thread, polling.start);
        let early = noted.or_else(|| self.habits.within(polling.thread, polling.start));
        let watched = self.watched.entry(id).or_insert_with(|| Watched::new(polling, now));
        let before = watched.age();
        watched.look(polling, now, (earlier, early), age >= self.threshold);
        // Also of one that is not a stall yet: the signal of a thread that runs comes with the next
        // tick of the kernel.
        let since = watched.age().saturating_sub(before);
        let pause = self.kernel.sample(watched, since, self.threshold);
        if age < self.threshold {
            return self.threshold.saturating_sub(age);
        }
        self.kernel.fetch_stacks(&mut self.watched, self.threshold);
        self.show(id, age);
        pause
    }

    /// Makes a stall of a poll that is too old, as soon as it is known to be the handler's fault.
    fn show(&mut self, id: PollId, age: Duration) {
        let Some(watched) = self.watched.get_mut(&id) else { return };
        let class = watched.class(age, self.threshold);
        // Work outside of polls is known by signs alone: without a class it is not blamed.
        let is_doubtful = class == Class::Unknown && !watched.polling.slot.is_of_thread();
        if class == Class::Preempted || is_doubtful {
            return;
        }
        let is_new = watched.record.is_none();
        let overdue = age.saturating_sub(self.threshold);
        if is_new && self.kernel.is_stack_awaited(watched, overdue) {
            return;
        }
        let record = watched.record(&self.store, age, self.threshold);
        if is_new {
            self.store.open(&record);
        }
        // One after the other: each notes what it has seen.
        let is_long_now = watched.is_long_now(age);
        if watched.has_new_stack(&record) || is_new || is_long_now {
            self.namer.send(&record, &self.store);
        }
    }

    fn take_ended(&mut self) {
        // In this order: a poll whose slot has changed is in the queue by now.
        self.kernel.fetch_stacks(&mut self.watched, self.threshold);
        let ended: Vec<_> = iter::from_fn(|| self.overruns.next_ended()).collect();
        self.kernel.settle(&ended, &mut self.watched, self.threshold);
        for ended in &ended {
            self.end(ended);
        }
    }

    fn end(&mut self, ended: &Ended) {
        if self.ended.iter().any(|(poll, _)| *poll == ended.poll) {
            // Given up, and so counted already.
            return;
        }
        let polling = Polling {
            slot: ended.poll.slot(),
            thread: ended.thread,
            start: ended.poll.start(),
            own_start: ended.poll.start(),
            handler: ended.handler,
            task: ended.task,
        };
        let watched = self.watched.remove(&ended.poll);
        let mut watched = watched.unwrap_or_else(|| Watched::new(polling, ended.end));
        if watched.is_asked {
            self.kernel.withdraw(&mut watched);
        }
        let earlier = self.habits.before(polling.thread, polling.start);
        watched.close(ended.elapsed, ended.times, ended.nested, earlier);
        self.tell_outer_polls(ended, watched.spent());
        let is_new = watched.record.is_none();
        let record = watched.record(&self.store, ended.elapsed, self.threshold);
        let (class, no_stack) = {
            let mut facts = record.facts();
            facts.no_stack = facts.stack.is_none().then(|| self.kernel.why_no_stack(&watched));
            (facts.class, facts.no_stack)
        };
        if is_new {
            self.store.open(&record);
        }
        if class != Class::Preempted
            && let Some(reason) = no_stack.filter(|_| self.kernel.takes_stacks())
        {
            self.store.count_without_stack(reason);
        }
        if class != Class::Preempted {
            let Ended { handler, end, elapsed, .. } = *ended;
            self.harm.ended(Held { handler, time: Time::Ended(end, elapsed) });
        }
        self.store.close(&record);
        self.namer.send(&record, &self.store);
        remember(&mut self.ended, ended.poll, &record);
    }

    /// The times of the thread that a poll has used are not those of the polls around it.
    fn tell_outer_polls(&mut self, ended: &Ended, spent: Option<Spent>) {
        let Ended { poll, elapsed, end, .. } = *ended;
        let around = self.watched.values_mut().filter(|watched| {
            let Polling { slot, start, .. } = watched.polling;
            slot == poll.slot() && poll.start().since(start) > 0
        });
        around.for_each(|watched| watched.nested_ended(end, elapsed, spent));
    }

    fn take_names(&mut self) {
        while let Some((poll, name)) = self.overruns.next_named() {
            let record = self.ended.iter().rev().find(|(ended, _)| *ended == poll);
            let (Some((_, record)), Ok(name)) = (record, name.to_str()) else { continue };
            let mut facts = record.facts();
            facts.request_id.get_or_insert_with(|| name.chars().take(64).collect());
        }
    }
}

/// Keeps a stall that has been counted for a while.
fn remember(closed: &mut VecDeque<(PollId, Arc<Record>)>, poll: PollId, record: &Arc<Record>) {
    closed.push_back((poll, Arc::clone(record)));
    if closed.len() > UNNAMED {
        closed.pop_front();
    }
}
