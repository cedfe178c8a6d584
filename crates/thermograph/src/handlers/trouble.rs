//! What the watchdog has found out about a handler.
//!
//! It alone writes here, and only readers of the counters come here besides: no worker of the app
//! waits for the lock.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thermograph_sampler::Activity;

use super::{
    in_place::{HandedOver, InPlace},
    timings::bucket_of,
};
use crate::class::Class;

/// Counters of one handler.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    stalls: Mutex<Stalls>,
    /// Of the stalls, those inside of `block_in_place`.
    pub(crate) in_place: InPlace,
    harm_ns: AtomicU64,
    looks: Mutex<Looks>,
    /// The most polls, and nanoseconds in polls, that a reader was given.
    polled: AtomicU64,
    busy_ns: AtomicU64,
}

/// A stall, as far as the statistics of its handler need to know it.
pub(crate) trait LastingStall: fmt::Debug + Send + Sync {
    /// Its number.
    fn id(&self) -> u64;

    /// The length of the poll so far, which never becomes less between two calls.
    fn progress(&self) -> Progress;

    /// Its class, and whether its worker was handed over, which is no matter where the machine did
    /// not run the thread.
    fn class_and_place(&self) -> (Class, bool);
}

/// The length of a stall at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Progress {
    pub(crate) elapsed: Duration,
    /// True if its poll holds the worker now: it has not ended, and no nested poll hides it.
    pub(crate) holds: bool,
}

/// Stalls, each in one of the two: a reader counts none twice.
#[derive(Debug, Default)]
struct Stalls {
    ended: [Tally; CLASSES],
    lengths: Lengths,
    lasting: Vec<Arc<dyn LastingStall>>,
}

/// Stalls of one class.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: u64,
    length: Duration,
}

/// Lengths of stalls that have ended, by the buckets of all timings.
#[derive(Clone, Debug, Default)]
struct Lengths(BTreeMap<usize, Bucket>);

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    count: u64,
    longest: Duration,
}

/// Looks at polls of the handler, by what the thread did.
#[derive(Clone, Debug, Default)]
struct Looks {
    running: u64,
    blocked: u64,
    /// Of `blocked`, by system call.
    waiting: Vec<(&'static str, u64)>,
}

/// The counters at one moment, or what was added in a window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles {
    ended: [Tally; CLASSES],
    lengths: Lengths,
    lasting: Vec<Lasting>,
    in_place: HandedOver,
    pub(crate) harm: Duration,
    looks: Looks,
}

/// A stall that lasts at that moment.
#[derive(Clone, Debug)]
struct Lasting {
    record: Arc<dyn LastingStall>,
    class: Class,
    /// Since its poll began.
    age: Duration,
    /// The part of it that lies in the window.
    length: Duration,
    /// True if it holds a worker: no nested poll hides it, and the worker was not handed over.
    holds: bool,
    is_in_place: bool,
}

/// Stalls by whose fault they are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct StallCounts {
    /// The handler computed.
    pub cpu: u64,
    /// The handler waited in a system call.
    pub blocked: u64,
    /// The machine did not run the thread: not the handler's fault.
    pub preempted: u64,
    /// The system does not say.
    pub unknown: u64,
    /// The handler had handed its worker over with `tokio::task::block_in_place`: of any class but
    /// `preempted`, and not among those above.
    #[serde(default)]
    pub in_place: u64,
}

/// Workers that stalls of a handler hold at the moment of a report.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Holding {
    /// Number of workers.
    pub workers: u64,
    /// Milliseconds for which the longest of these stalls has lasted.
    pub longest_ms: f64,
}

/// A system call that a handler waits in.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Wait {
    /// Name of the system call.
    pub syscall: String,
    /// Workers that wait in it on average.
    pub workers: f64,
}

const CLASSES: usize = Class::ALL.len();

impl Trouble {
    /// A stall was found that lasts.
    pub(crate) fn open(&self, stall: Arc<dyn LastingStall>) {
        self.stalls().lasting.push(stall);
    }

    /// The stall of this number has ended.
    pub(crate) fn close(&self, id: u64, class: Class, length: Duration) {
        let mut stalls = self.stalls();
        stalls.lasting.retain(|lasting| lasting.id() != id);
        stalls.end(class, length);
    }

    /// A stall has ended that was never seen while it lasted.
    #[cfg(test)]
    pub(crate) fn stall(&self, class: Class, length: Duration) {
        self.stalls().end(class, length);
    }

    /// Other tasks waited so long while a stall of the handler held a worker.
    pub(crate) fn harm(&self, waited: Duration) {
        // There is one writer.
        self.harm_ns.store(self.harm_ns.load(Relaxed) + nanoseconds(waited), Relaxed);
    }

    /// A thread was looked at while it polled the handler.
    pub(crate) fn seen(&self, activity: Activity) {
        self.looks().add(activity);
    }

    /// Polls and the time in them, as counters that never go down.
    ///
    /// What is read of polls that last is not exact: while a nested poll hides one, it is not seen.
    pub(crate) fn at_least(&self, polled: u64, busy: Duration) -> (u64, Duration) {
        let most = |counter: &AtomicU64, value: u64| counter.fetch_max(value, Relaxed).max(value);
        let busy = most(&self.busy_ns, nanoseconds(busy));
        (most(&self.polled, polled), Duration::from_nanos(busy))
    }

    pub(crate) fn now(&self) -> Troubles {
        let stalls = self.stalls();
        Troubles {
            ended: stalls.ended,
            lengths: stalls.lengths.clone(),
            lasting: stalls.lasting.iter().map(Lasting::of).collect(),
            in_place: self.in_place.now(),
            harm: Duration::from_nanos(self.harm_ns.load(Relaxed)),
            looks: self.looks().clone(),
        }
    }

    fn stalls(&self) -> MutexGuard<'_, Stalls> {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::ops::AddAssign for Troubles {
    fn add_assign(&mut self, other: Self) {
        let Self { ended, lengths, lasting, in_place, harm, looks } = other;
        for (sum, ended) in self.ended.iter_mut().zip(ended) {
            sum.count += ended.count;
            sum.length += ended.length;
        }
        self.lengths.add_all(&lengths);
        self.lasting.extend(lasting);
        self.in_place += in_place;
        self.harm += harm;
        self.looks.add_all(&looks);
    }
}

impl Troubles {
    /// What was added since an earlier moment: of a stall that lasts over the start or the end of
    /// the window, the part that lies in it.
    pub(crate) fn since(&self, old: &Self) -> Self {
        let mut new = self.clone();
        for (ended, before) in new.ended.iter_mut().zip(&old.ended) {
            *ended = ended.since(before);
        }
        new.lengths = self.lengths.since(&old.lengths);
        new.in_place = self.in_place.since(&old.in_place);
        for before in &old.lasting {
            let same = |lasting: &&mut Lasting| lasting.record.id() == before.record.id();
            let less = |length: &mut Duration| *length = length.saturating_sub(before.age);
            if let Some(lasts) = new.lasting.iter_mut().find(same) {
                less(&mut lasts.length);
                continue;
            }
            // Counted since, by the class that it turned out to be of.
            let (class, is_in_place) = before.record.class_and_place();
            less(&mut new.ended[class as usize].length);
            if is_in_place {
                less(&mut new.in_place.stalled[class as usize]);
            }
        }
        new.harm = self.harm.saturating_sub(old.harm);
        new.looks = self.looks.since(&old.looks);
        new
    }

    /// Stalls that ended, or last at the end.
    pub(crate) fn counts(&self) -> StallCounts {
        let lasting = |class| self.lasting.iter().filter(|lasting| lasting.is(class)).count();
        // What is noted late may have been counted before the window began.
        let ended = |class: Class| {
            self.ended[class as usize].count.saturating_sub(self.in_place.stalls[class as usize])
        };
        let of = |class: Class| ended(class) + lasting(class) as u64;
        let in_place = self.lasting.iter().filter(|lasting| lasting.is_in_place).count();
        StallCounts {
            cpu: of(Class::Cpu),
            blocked: of(Class::Blocked),
            preempted: of(Class::Preempted),
            unknown: of(Class::Unknown),
            in_place: self.in_place.count() + in_place as u64,
        }
    }

    /// Time in stalls that held a worker, except those that are the machine's fault.
    pub(crate) fn stalled(&self) -> Duration {
        let own = Class::ALL.into_iter().filter(|class| *class != Class::Preempted);
        own.map(|class| self.stalled_by(class)).sum()
    }

    /// Time in stalls of one class that held a worker.
    pub(crate) fn stalled_by(&self, class: Class) -> Duration {
        let lasting = self.lasting.iter().filter(|lasting| lasting.is(class));
        let in_place = self.in_place.stalled[class as usize];
        let ended = self.ended[class as usize].length.saturating_sub(in_place);
        ended + lasting.map(|lasting| lasting.length).sum::<Duration>()
    }

    /// Time in stalls of one class, whether they held a worker or had handed it over.
    pub(crate) fn stalled_as(&self, class: Class) -> Duration {
        let lasting = self.lasting.iter().filter(|lasting| lasting.class == class);
        self.ended[class as usize].length + lasting.map(|lasting| lasting.length).sum::<Duration>()
    }

    /// The workers that are held at the end.
    pub(crate) fn holding(&self) -> Holding {
        let own = |lasting: &&Lasting| lasting.holds && lasting.class != Class::Preempted;
        let longest = self.lasting.iter().filter(own).map(|lasting| lasting.age).max();
        Holding {
            workers: self.lasting.iter().filter(own).count() as u64,
            longest_ms: longest.unwrap_or_default().as_secs_f64() * 1e3,
        }
    }

    /// The longest stall that lasts at the end, since its poll began.
    pub(crate) fn longest_lasting(&self) -> Duration {
        self.lasting.iter().map(|lasting| lasting.age).max().unwrap_or_default()
    }

    /// The longest stall that has ended, since its poll began. In a window it is right within a
    /// sixteenth.
    pub(crate) fn longest_ended(&self) -> Duration {
        self.lengths.longest()
    }

    /// Shares of the time in polls that the handler ran, and was blocked; `None` if it was seen too
    /// seldom to tell.
    pub(crate) fn shares(&self) -> Option<(f64, f64)> {
        let Looks { running, blocked, .. } = self.looks;
        let share = blocked as f64 / (running + blocked) as f64;
        (running + blocked >= Looks::ENOUGH).then_some((1.0 - share, share))
    }

    /// The system calls that the handler waits in, the one with the most time first; empty if it
    /// was seen too seldom to tell.
    ///
    /// `glances` is how often the watchdog looked at all threads.
    pub(crate) fn waits(&self, glances: u64) -> Vec<Wait> {
        let waiting = &self.looks.waiting;
        let waited: u64 = waiting.iter().map(|(_, count)| count).sum();
        if waited < Looks::ENOUGH_WAITING {
            return Vec::new();
        }
        let mut waiting: Vec<_> = waiting.iter().filter(|(_, count)| *count > 0).collect();
        waiting.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let wait = |(syscall, count): &(&str, u64)| Wait {
            syscall: (*syscall).to_owned(),
            workers: *count as f64 / glances.max(1) as f64,
        };
        waiting.into_iter().map(wait).collect()
    }
}

impl Lasting {
    fn of(record: &Arc<dyn LastingStall>) -> Self {
        let progress = record.progress();
        let (class, is_in_place) = record.class_and_place();
        Self {
            record: Arc::clone(record),
            class,
            age: progress.elapsed,
            length: progress.elapsed,
            holds: progress.holds && !is_in_place,
            is_in_place,
        }
    }

    /// Returns whether it is counted among those of a class.
    fn is(&self, class: Class) -> bool {
        self.class == class && !self.is_in_place
    }
}

impl Stalls {
    fn end(&mut self, class: Class, length: Duration) {
        self.ended[class as usize].add(length);
        self.lengths.add(1, length);
    }
}

impl Lengths {
    /// Adds `count` stalls of one bucket, the longest of which was `longest`.
    fn add(&mut self, count: u64, longest: Duration) {
        let bucket = self.0.entry(bucket_of(nanoseconds(longest))).or_default();
        bucket.count += count;
        bucket.longest = bucket.longest.max(longest);
    }

    fn add_all(&mut self, other: &Self) {
        other.0.values().for_each(|bucket| self.add(bucket.count, bucket.longest));
    }

    /// Lengths added since `old`. The longest stall of a bucket may be older than that.
    fn since(&self, old: &Self) -> Self {
        let added = self.0.iter().filter_map(|(number, bucket)| {
            let before = old.0.get(number).map_or(0, |before| before.count);
            let count = bucket.count.saturating_sub(before);
            (count > 0).then_some((*number, Bucket { count, ..*bucket }))
        });
        Self(added.collect())
    }

    fn longest(&self) -> Duration {
        self.0.values().next_back().map_or(Duration::ZERO, |bucket| bucket.longest)
    }
}

impl Tally {
    fn add(&mut self, length: Duration) {
        self.count += 1;
        self.length += length;
    }

    fn since(&self, old: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(old.count),
            length: self.length.saturating_sub(old.length),
        }
    }
}

impl Looks {
    /// Looks below which a share is off by a quarter as often as not.
    const ENOUGH: u64 = 8;
    /// Looks at a waiting thread below which the waits may be chance.
    const ENOUGH_WAITING: u64 = 5;
    /// Most system calls that are told apart.
    const CALLS: usize = 16;
    /// Stands for all further ones.
    const OTHER: &'static str = "other";

    fn add(&mut self, activity: Activity) {
        let Activity::Waiting(syscall) = activity else {
            self.running += 1;
            return;
        };
        self.blocked += 1;
        // Without a system call it waits in a page fault, say.
        let Some(syscall) = syscall else { return };
        let place = self.waiting.iter().position(|(known, _)| *known == syscall);
        let syscall = if self.waiting.len() < Self::CALLS { syscall } else { Self::OTHER };
        let place = place.or_else(|| self.waiting.iter().position(|(known, _)| *known == syscall));
        match place {
            Some(place) => self.waiting[place].1 += 1,
            None => self.waiting.push((syscall, 1)),
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.running += other.running;
        self.blocked += other.blocked;
        for (syscall, count) in &other.waiting {
            match self.waiting.iter_mut().find(|(known, _)| known == syscall) {
                Some((_, sum)) => *sum += count,
                None => self.waiting.push((syscall, *count)),
            }
        }
    }

    fn since(&self, old: &Self) -> Self {
        let waiting = |(syscall, count): &(&'static str, u64)| {
            let before = old.waiting.iter().find(|(known, _)| known == syscall);
            (*syscall, count.saturating_sub(before.map_or(0, |(_, count)| *count)))
        };
        Self {
            running: self.running.saturating_sub(old.running),
            blocked: self.blocked.saturating_sub(old.blocked),
            waiting: self.waiting.iter().map(waiting).collect(),
        }
    }
}

impl StallCounts {
    /// Stalls that the machine is not to blame for.
    pub fn own(&self) -> u64 {
        self.cpu + self.blocked + self.unknown
    }

    /// Stalls that the handler is at fault for, by what the system says.
    pub fn at_fault(&self) -> u64 {
        self.cpu + self.blocked
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.own() + self.preempted + self.in_place
    }
}

impl Holding {
    /// True if no worker is held.
    pub fn is_none(&self) -> bool {
        self.workers == 0
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
