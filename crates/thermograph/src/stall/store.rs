//! All stalls of a ledger's handlers: the newest one by one, and the sums of all.
//!
//! The watchdog, the namer and the door's thread come here; a worker of the app never does.
//!
//! A stall that lasts is part of every sum with the length that it has when the sum is read, so that
//! a worker that is stuck for good shows up everywhere.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use thermograph_profile::{Frame, Location, Profile, Sample, ValueType};
use tokio::sync::broadcast;

use super::{
    Durations, is_in_place,
    lock::{LockPlace, StallLock},
    record::{Facts, RawStack, Record, syscall_at},
};
use crate::{
    class::{Class, NoStack},
    handlers::{ByPlace, Handler, LastingStall as _, Overruns, PollId},
};

/// Where stalls are kept.
#[derive(Debug)]
pub(crate) struct Store {
    kept: usize,
    overruns: &'static Overruns,
    books: Mutex<Books>,
    news: broadcast::Sender<Arc<Record>>,
    next: AtomicU64,
    /// Stalls whose stack was not taken, though it was wanted, by reason.
    without_stack: [AtomicU64; NoStack::ALL.len()],
    /// Stalls whose stack found no room among those that are summed: their time is under the
    /// handler alone.
    without_place: AtomicU64,
    /// Stalls that nobody was told of, and whose stack has no names, since there were too many.
    untold: AtomicU64,
    began: SystemTime,
}

#[derive(Debug, Default)]
struct Books {
    newest: VecDeque<Arc<Record>>,
    /// By number, those that have not ended.
    lasting: HashMap<u64, Lasting>,
    lengths: HashMap<(ByPlace, Class), Durations>,
    stacks: HashMap<Place, Sum>,
    /// Stacks that stand inside of `block_in_place`.
    in_place: HashSet<Arc<RawStack>>,
}

/// A stall that lasts.
#[derive(Debug)]
struct Lasting {
    record: Arc<Record>,
    /// The class and the greatest length that scrapes have been given of it: counters must not go
    /// down, nor one stall be counted in two classes.
    scraped: Option<(Class, Duration)>,
}

/// Where stalls of one kind happened.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Place {
    handler: ByPlace,
    class: Class,
    syscall: Option<&'static str>,
    page_faults: bool,
    thread: String,
    stack: Option<Arc<RawStack>>,
    /// Why there is none.
    no_stack: Option<NoStack>,
    /// The lock that was waited for, and its probable holder.
    lock: Option<LockPlace>,
}

/// How many there were, and how long.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    length: Duration,
}

/// All that happened up to a moment, to be compared with a later one.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    at: SystemTime,
    stacks: HashMap<Place, Sum>,
    lasting: Vec<(Arc<Record>, Place, Duration)>,
    without_place: u64,
    without_stack: [u64; NoStack::ALL.len()],
}

/// What a scrape asks for.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub(crate) lengths: Vec<(&'static Handler, Class, Durations)>,
    /// Locks that stalls wait for which last.
    pub(crate) locks: Vec<(&'static Handler, StallLock)>,
    /// By reason.
    pub(crate) without_stack: [u64; NoStack::ALL.len()],
    pub(crate) dropped: u64,
    pub(crate) without_place: u64,
    pub(crate) untold: u64,
}

impl Store {
    /// Most different stacks that are summed, of 1 KiB as a rule.
    const MAX_PLACES: usize = 2048;
    /// Most locks that a scrape is told of.
    const MAX_LOCKS: usize = 64;
    /// News that wait for a reader that is slow; it is told how many it missed.
    const NEWS: usize = 256;

    pub(crate) fn new(kept: usize, overruns: &'static Overruns) -> Self {
        Self {
            kept,
            overruns,
            books: Mutex::default(),
            news: broadcast::Sender::new(Self::NEWS),
            next: AtomicU64::new(1),
            without_stack: [const { AtomicU64::new(0) }; NoStack::ALL.len()],
            without_place: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            began: SystemTime::now(),
        }
    }

    /// The number of the next stall.
    pub(crate) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// A stall that was found.
    pub(crate) fn open(&self, record: &Arc<Record>) {
        record.trouble().open(Arc::<Record>::clone(record));
        let mut books = self.books();
        let Books { newest, lasting, .. } = &mut *books;
        if newest.len() >= self.kept {
            // Those that last are kept, as long as there are others.
            let ended = newest.iter().position(|record| !lasting.contains_key(&record.id));
            newest.remove(ended.unwrap_or(0));
        }
        newest.push_back(Arc::clone(record));
        lasting.insert(record.id, Lasting { record: Arc::clone(record), scraped: None });
    }

    /// A stall that has ended: it is counted. Only the watchdog says so.
    pub(crate) fn close(&self, record: &Record) {
        let Facts { class, elapsed, stack, no_stack, .. } = record.facts().clone();
        record.trouble().close(record.id, class, elapsed);
        let handler = ByPlace(record.handler);
        let mut books = self.books();
        let lasting = books.lasting.remove(&record.id);
        let (of_metrics, shown) =
            lasting.and_then(|lasting| lasting.scraped).unwrap_or((class, elapsed));
        let lengths = books.lengths.entry((handler, of_metrics)).or_default();
        lengths.record(elapsed.max(shown));
        if stack.as_ref().is_some_and(|stack| books.in_place.contains(stack)) {
            note_in_place(handler, class, 1, elapsed);
        }
        let mut place = Place::of(record);
        if books.stacks.len() >= Self::MAX_PLACES / 2 && !books.stacks.contains_key(&place) {
            // Of locks there may be any number.
            place.lock = None;
        }
        if books.stacks.len() >= Self::MAX_PLACES && !books.stacks.contains_key(&place) {
            // There are few places without a stack: by handler, class and system call.
            place.no_stack = place.stack.take().map(|_| NoStack::NoRoom).or(no_stack);
            self.without_place.fetch_add(1, Relaxed);
        }
        record.count_at(&place);
        let sum = books.stacks.entry(place).or_default();
        sum.count += 1;
        sum.length += elapsed;
    }

    /// The names of a stall's stack are known: where it stands inside of `block_in_place`, so did all
    /// that had the same.
    pub(crate) fn named(&self, record: &Record) {
        let Facts { in_place: true, stack: Some(stack), .. } = record.facts().clone() else {
            return;
        };
        let mut books = self.books();
        if books.in_place.len() >= Self::MAX_PLACES || !books.in_place.insert(Arc::clone(&stack)) {
            return;
        }
        let of_stack =
            books.stacks.iter().filter(|(place, _)| place.stack.as_ref() == Some(&stack));
        for (place, sum) in of_stack {
            note_in_place(place.handler, place.class, sum.count, sum.length);
        }
    }

    /// Returns whether a stall was made of this poll, and lasts.
    pub(super) fn is_lasting(&self, poll: PollId) -> bool {
        self.books().lasting.values().any(|lasting| lasting.record.poll == poll)
    }

    /// Tells who listens that something is known of a stall.
    pub(crate) fn tell(&self, record: &Arc<Record>) {
        // Nobody may be listening.
        let _ = self.news.send(Arc::clone(record));
    }

    /// A stack was wanted, and not taken.
    pub(crate) fn count_without_stack(&self, reason: NoStack) {
        self.without_stack[reason as usize].fetch_add(1, Relaxed);
    }

    fn without_stack(&self) -> [u64; NoStack::ALL.len()] {
        self.without_stack.each_ref().map(|count| count.load(Relaxed))
    }

    /// A stall is in the books only.
    pub(crate) fn count_untold(&self) {
        self.untold.fetch_add(1, Relaxed);
    }

    /// The newest, the newest first; some may have no names yet.
    pub(crate) fn newest(&self) -> Vec<Arc<Record>> {
        self.books().newest.iter().rev().cloned().collect()
    }

    /// Every stall from now on: when it was found and named, and when it has ended.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Record>> {
        self.news.subscribe()
    }

    /// Names the holders of locks that lasting stalls wait for. Takes as long as it takes to read the
    /// debug information.
    pub(crate) fn name_holders(&self) {
        let lasting: Vec<_> =
            self.books().lasting.values().map(|lasting| Arc::clone(&lasting.record)).collect();
        let waiting = lasting.into_iter().filter(|record| record.facts().lock.is_some());
        super::name(&waiting.take(Self::MAX_LOCKS).collect::<Vec<_>>());
    }

    /// The counters for a scrape, which never go down.
    ///
    /// A stall that lasts is in the count and the sum of its class with its length so far, and in
    /// no bucket but `+Inf`. It stays in the class that it had when it was first scraped, even if
    /// it turns out to be of another one.
    pub(crate) fn totals(&self) -> Totals {
        let mut books = self.books();
        let mut lengths = books.lengths.clone();
        for Lasting { record, scraped } in books.lasting.values_mut() {
            let elapsed = record.progress().elapsed;
            let (class, shown) = scraped.get_or_insert((record.facts().class, elapsed));
            *shown = elapsed.max(*shown);
            lengths.entry((ByPlace(record.handler), *class)).or_default().lasts(*shown);
        }
        let lengths = lengths.into_iter();
        let mut lengths: Vec<_> =
            lengths.map(|((ByPlace(handler), class), lengths)| (handler, class, lengths)).collect();
        lengths.sort_by_key(|(handler, class, _)| (handler.route.clone(), class.name()));
        let lasting = books.lasting.values().map(|lasting| &lasting.record);
        let locks = lasting.filter_map(|record| Some((record.handler, record.facts().lock()?)));
        let locks = locks.take(Self::MAX_LOCKS).collect();
        Totals {
            lengths,
            locks,
            without_stack: self.without_stack(),
            dropped: self.overruns.dropped(),
            without_place: self.without_place.load(Relaxed),
            untold: self.untold.load(Relaxed),
        }
    }

    /// All that has happened so far.
    pub(crate) fn sums(&self) -> Sums {
        let books = self.books();
        let lasting = books.lasting.values().map(|Lasting { record, .. }| {
            (Arc::clone(record), Place::of(record), record.progress().elapsed)
        });
        Sums {
            at: SystemTime::now(),
            stacks: books.stacks.clone(),
            lasting: lasting.collect(),
            without_place: self.without_place.load(Relaxed),
            without_stack: self.without_stack(),
        }
    }

    /// Nothing, as it was at the start.
    pub(crate) fn nothing(&self) -> Sums {
        Sums {
            at: self.began,
            stacks: HashMap::new(),
            lasting: Vec::new(),
            without_place: 0,
            without_stack: [0; NoStack::ALL.len()],
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sums {
    /// A sentence for each reason why stalls since an earlier moment have no stack.
    pub(crate) fn without_stack_since(&self, earlier: &Self) -> Vec<String> {
        let counts = self.without_stack.iter().zip(&earlier.without_stack);
        let counts = counts.map(|(now, before)| now.saturating_sub(*before));
        let reasons = NoStack::ALL.iter().zip(counts).filter(|(_, count)| *count > 0);
        let told = reasons.map(|(reason, count)| {
            let stalls = if count == 1 { "1 stall has" } else { &format!("{count} stalls have") };
            format!("{stalls} no stack: {}", reason.says())
        });
        told.collect()
    }

    /// What was added since an earlier moment, as a profile: stalls that ended or last, and the part
    /// of their time that lies in between.
    pub(crate) fn since(&self, earlier: &Self) -> Profile {
        let added = self.added(earlier);
        let delay = ValueType { kind: "delay", unit: "nanoseconds" };
        Profile {
            values: vec![ValueType { kind: "contentions", unit: "count" }, delay],
            samples: samples(added),
            start: earlier.at,
            duration: self.at.duration_since(earlier.at).unwrap_or_default(),
            period: Some((delay, 1)),
            dropped: self.without_place - earlier.without_place,
        }
    }

    fn added<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = (&'a Place, Sum)> {
        let mut added = HashMap::<&Place, Sum>::new();
        for (place, sum) in &self.stacks {
            let before = earlier.stacks.get(place).copied().unwrap_or_default();
            let count = sum.count.saturating_sub(before.count);
            let length = sum.length.saturating_sub(before.length);
            added.insert(place, Sum { count, length });
        }
        for (_, place, elapsed) in &self.lasting {
            let sum = added.entry(place).or_default();
            sum.count += 1;
            sum.length += *elapsed;
        }
        for (record, _, before) in &earlier.lasting {
            // Its stack, and with it its place, may have become known or changed since.
            let lasting = self.lasting.iter().find(|(lasting, ..)| lasting.id == record.id);
            let place = lasting.map(|(_, place, _)| place).or_else(|| record.counted_at());
            if let Some(sum) = place.and_then(|place| added.get_mut(place)) {
                sum.length = sum.length.saturating_sub(*before);
            }
        }
        added.into_iter().filter(|(_, Sum { count, .. })| *count > 0)
    }
}

/// Stalls that the machine is to blame for stay that.
fn note_in_place(ByPlace(handler): ByPlace, class: Class, count: u64, length: Duration) {
    if class != Class::Preempted {
        handler.trouble().in_place.note(class, count, length);
    }
}

fn samples<'a>(sums: impl Iterator<Item = (&'a Place, Sum)>) -> Vec<Sample> {
    let sums: Vec<_> = sums.collect();
    let stacks = named(sums.iter().map(|(place, _)| place.stack.as_deref()));
    let holders = named(sums.iter().map(|(place, _)| place.holder_stack()));
    let stacks = stacks.into_iter().zip(holders);
    let sample = |((place, Sum { count, length }), (stack, holder)): (&(&Place, Sum), Named)| {
        let nanoseconds = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        let at_leaf = || syscall_at(place.class, stack.as_deref()?);
        let syscall = place.syscall.or_else(at_leaf);
        let in_place = stack.as_ref().is_some_and(is_in_place);
        let mut labels = place.labels(syscall, in_place);
        labels.extend(place.lock.iter().flat_map(|lock| lock.labels(holder.as_deref())));
        Sample {
            stack: stack.unwrap_or_else(|| place.without_stack()),
            values: vec![i64::try_from(*count).unwrap_or(i64::MAX), nanoseconds],
            labels,
        }
    };
    sums.iter().zip(stacks).map(sample).collect()
}

/// The stack of a place, and that of the holder of the lock that was waited for.
type Named = (Option<Vec<Arc<Location>>>, Option<Vec<Arc<Location>>>);

/// Each stack that there is, with names.
#[cfg(sampler)]
fn named<'a>(
    stacks: impl Iterator<Item = Option<&'a RawStack>> + Clone,
) -> Vec<Option<Vec<Arc<Location>>>> {
    let mut named = thermograph_sampler::name_all(stacks.clone().flatten()).into_iter();
    stacks.map(|stack| stack.and_then(|_| named.next())).collect()
}

#[cfg(not(sampler))]
fn named<'a>(
    stacks: impl Iterator<Item = Option<&'a RawStack>> + Clone,
) -> Vec<Option<Vec<Arc<Location>>>> {
    stacks.map(|_| None).collect()
}

impl Place {
    /// The place of a stall, as far as it is known.
    fn of(record: &Record) -> Self {
        let Facts { class, syscall, page_faults, stack, no_stack, lock, .. } =
            record.facts().clone();
        Self {
            handler: ByPlace(record.handler),
            class,
            syscall,
            page_faults,
            thread: pool(&record.thread).to_owned(),
            stack,
            no_stack,
            lock: lock.as_deref().map(LockPlace::of),
        }
    }

    /// The stack of the holder of the lock that was waited for.
    fn holder_stack(&self) -> Option<&RawStack> {
        Some(&*self.lock.as_ref()?.holder.as_ref()?.stack)
    }

    /// What stands for the stack where none was taken: what the thread did, and for whom.
    fn without_stack(&self) -> Vec<Arc<Location>> {
        let ByPlace(handler) = self.handler;
        let what = self.syscall.unwrap_or(self.class.name());
        let names = [format!("[{what}]"), format!("{handler:?}")];
        names.iter().map(|name| Arc::new(Location::named(Frame::named(name)))).collect()
    }

    /// With the system call as far as it is known.
    fn labels(&self, syscall: Option<&str>, in_place: bool) -> Vec<(&'static str, String)> {
        let ByPlace(handler) = self.handler;
        let mut labels = vec![("thread", self.thread.clone())];
        labels.extend(handler.labels());
        labels.push(("class", self.class.name().to_owned()));
        labels.extend(syscall.map(|syscall| ("syscall", syscall.to_owned())));
        labels.extend(self.page_faults.then(|| ("page_faults", "true".to_owned())));
        labels.extend(in_place.then(|| ("in_place", "true".to_owned())));
        labels.extend(self.no_stack.map(|reason| ("no_stack", reason.name().to_owned())));
        labels
    }
}

/// The pool of a thread, so that its threads are one place.
fn pool(thread: &str) -> &str {
    thermograph_profile::folded::pool(thread)
}
