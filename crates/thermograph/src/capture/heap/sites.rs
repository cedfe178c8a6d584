//! Where memory was allocated, how much, and what of it still lives.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use thermograph_profile::{Location, Profile, Sample, ValueType, plumbing};
use thermograph_sampler;
use thermograph_sampler::{HeapEvent, Stack, Thread};

use super::Memory;
use crate::handlers::{ByPlace, Handler};

/// Sums over samples, each of which stands for all that was like it.
#[derive(Clone, Debug)]
pub(crate) struct Sites {
    start: SystemTime,
    duration: Option<Duration>,
    /// Bytes from one sample to the next, on average.
    interval: u64,
    sums: HashMap<Arc<Site>, Sums>,
    /// What was sampled and is not freed, by its address.
    live: HashMap<usize, Live>,
    /// By thread, the allocation that its last event resized in place. jemalloc reports the new size
    /// first, and then that the old one is freed.
    resized: HashMap<Thread, Resized>,
    /// Names of threads by their number.
    threads: HashMap<Thread, Arc<str>>,
    dropped: u64,
}

/// A stack, and who stood there.
#[derive(Debug, Eq, Hash, PartialEq)]
struct Site {
    stack: Stack,
    thread: Arc<str>,
    handler: Option<ByPlace>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    allocated: Amount,
    live: Amount,
}

#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    objects: f64,
    bytes: f64,
}

/// A sampled allocation that is there.
#[derive(Clone, Debug)]
struct Live {
    site: Arc<Site>,
    size: usize,
}

/// An allocation at an address where one lives.
#[derive(Clone, Copy, Debug)]
struct Resized {
    address: usize,
    before: usize,
}

impl Sites {
    /// Most different stacks; what comes past it is counted as dropped.
    const MAX_SITES: usize = 20_000;
    /// Most samples that live: at an interval of half a megabyte, those of a hundred gigabytes.
    const MAX_LIVE: usize = 200_000;
    /// Most threads whose names are remembered; past it they are read anew.
    const MAX_THREADS: usize = 4096;

    /// Begins now.
    pub(crate) fn new(interval: u64) -> Self {
        Self {
            start: SystemTime::now(),
            duration: None,
            interval,
            sums: HashMap::new(),
            live: HashMap::new(),
            resized: HashMap::new(),
            threads: HashMap::new(),
            dropped: 0,
        }
    }

    pub(crate) fn add(&mut self, event: HeapEvent) {
        match event {
            HeapEvent::Allocated { address, size, stack, thread, work } => {
                let name = self.thread(thread);
                let before = self.allocated(
                    address,
                    size,
                    Site { stack, thread: name, handler: work.and_then(Handler::of).map(ByPlace) },
                );
                match before {
                    Some(before) => self.resized.insert(thread, Resized { address, before }),
                    None => self.resized.remove(&thread),
                };
            }
            HeapEvent::Freed { address, size, thread } => {
                // If the free of an earlier allocation was dropped, this free is that of the newer
                // allocation, not of an old size.
                let resized = self.resized.remove(&thread);
                let is_old_size = |of: &Resized| of.address == address && of.before == size;
                if !resized.as_ref().is_some_and(is_old_size) {
                    self.freed(address, size);
                }
            }
        }
    }

    /// The window is over; `dropped` are samples that never came here.
    pub(crate) fn end(&mut self, dropped: u64) {
        self.duration = Some(self.start.elapsed().unwrap_or_default());
        self.dropped += dropped;
    }

    /// The size of what was known to live there.
    fn allocated(&mut self, at: usize, size: usize, of: Site) -> Option<usize> {
        let amount = self.amount(size);
        let before = self.live.remove(&at);
        if let Some(live) = &before {
            self.gone(live);
        }
        let before = before.map(|live| live.size);
        let place = match self.sums.get_key_value(&of) {
            Some((known, _)) => Arc::clone(known),
            None if self.sums.len() < Self::MAX_SITES => Arc::new(of),
            None => {
                self.dropped += 1;
                return before;
            }
        };
        self.sums.entry(Arc::clone(&place)).or_default().allocated.add(amount);
        if self.live.len() >= Self::MAX_LIVE {
            self.dropped += 1;
            return before;
        }
        self.sums.entry(Arc::clone(&place)).or_default().live.add(amount);
        self.live.insert(at, Live { site: place, size });
        before
    }

    fn freed(&mut self, at: usize, size: usize) {
        // What was sampled before the window is not known here.
        let Some(live) = self.live.get(&at) else { return };
        // An allocation that was resized in place, and sampled before the window.
        if live.size != size {
            return;
        }
        if let Some(live) = self.live.remove(&at) {
            self.gone(&live);
        }
    }

    fn gone(&mut self, live: &Live) {
        let amount = self.amount(live.size);
        if let Some(sums) = self.sums.get_mut(&live.site) {
            sums.live.take(amount);
        }
    }

    /// What a sample of this size stands for: of small allocations few are taken, of those much
    /// larger than the interval all are.
    fn amount(&self, size: usize) -> Amount {
        let size = size as f64;
        let taken = -(-size / self.interval as f64).exp_m1();
        Amount { objects: 1.0 / taken, bytes: size / taken }
    }

    fn thread(&mut self, thread: Thread) -> Arc<str> {
        if self.threads.len() >= Self::MAX_THREADS {
            self.threads.clear();
            self.resized.clear();
        }
        let name = || thread.name().unwrap_or_else(|| thread.number().to_string()).into();
        Arc::clone(self.threads.entry(thread).or_insert_with(name))
    }

    /// How many stacks with their thread and handler there are.
    pub(crate) fn len(&self) -> usize {
        self.sums.len()
    }

    /// All stacks.
    pub(crate) fn stacks(&self) -> Vec<Stack> {
        self.sums.keys().map(|site| site.stack.clone()).collect()
    }

    /// Names everything; the value that is looked at comes last.
    pub(crate) fn profile(self, memory: Memory) -> Profile {
        let stacks = thermograph_sampler::name_all(self.sums.keys().map(|site| &site.stack));
        let samples = self.sums.iter().zip(stacks).map(|((site, sums), stack)| {
            let mut labels = vec![("thread", site.thread.to_string())];
            labels.extend(site.handler.into_iter().flat_map(|ByPlace(handler)| handler.labels()));
            let values = memory.last(sums.allocated.values(), sums.live.values());
            let stack = without_allocator(stack);
            Sample { stack, values, labels }
        });
        let kind = |kind, unit| ValueType { kind, unit };
        let period = i64::try_from(self.interval).unwrap_or(i64::MAX);
        Profile {
            samples: samples.collect(),
            values: memory.last(
                [kind("alloc_objects", "count"), kind("alloc_space", "bytes")],
                [kind("inuse_objects", "count"), kind("inuse_space", "bytes")],
            ),
            start: self.start,
            duration: self.duration.unwrap_or_else(|| self.start.elapsed().unwrap_or_default()),
            period: Some((kind("space", "bytes"), period)),
            dropped: self.dropped,
        }
    }
}

/// A stack from what called the allocator on, so that it is that which stands at the leaf.
fn without_allocator(mut stack: Vec<Arc<Location>>) -> Vec<Arc<Location>> {
    let last_of = |location: &Location| {
        location.frames.iter().rposition(|frame| plumbing::allocates(&frame.name))
    };
    let mut found = stack.iter().enumerate().rev();
    let last = found.find_map(|(place, location)| Some((place, last_of(location)?)));
    let Some((place, frame)) = last else { return stack };
    let Location { address, mapping, frames } = &*stack[place];
    let frames = frames[frame + 1..].to_vec();
    let inlined = (!frames.is_empty())
        .then(|| Arc::new(Location { address: *address, mapping: mapping.clone(), frames }));
    if inlined.is_none() && place + 1 == stack.len() {
        return stack;
    }
    stack.splice(..=place, inlined);
    stack
}

impl Memory {
    /// Values of both, those that are looked at last.
    fn last<T: Copy>(self, allocated: [T; 2], live: [T; 2]) -> Vec<T> {
        match self {
            Self::Live => [allocated, live].concat(),
            Self::Allocated => [live, allocated].concat(),
        }
    }
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }

    fn take(&mut self, other: Self) {
        self.objects -= other.objects;
        self.bytes -= other.bytes;
    }

    fn values(self) -> [i64; 2] {
        [self.objects, self.bytes].map(|value| value.round().max(0.0) as i64)
    }
}

#[cfg(test)]
mod tests {
    use thermograph_profile::Frame;

    use super::*;

    const INTERVAL: u64 = 512 * 1024;
    /// So much that it is taken for sure.
    const GIB: usize = 1 << 30;
    const GIB_BYTES: i64 = 1 << 30;

    fn allocated(address: usize, size: usize, place: u64) -> HeapEvent {
        let stack = Stack { addresses: [place].into(), truncated: false };
        HeapEvent::Allocated { address, size, stack, thread: Thread::current(), work: None }
    }

    fn freed(address: usize, size: usize) -> HeapEvent {
        HeapEvent::Freed { address, size, thread: Thread::current() }
    }

    /// The values of a profile of these events, in the order of [`Memory::Live`].
    fn sums(events: impl IntoIterator<Item = HeapEvent>) -> Vec<Vec<i64>> {
        let mut sites = Sites::new(INTERVAL);
        events.into_iter().for_each(|event| sites.add(event));
        let samples = sites.profile(Memory::Live).samples;
        samples.into_iter().map(|sample| sample.values).collect()
    }

    #[test]
    fn a_sample_stands_for_as_many_as_its_size_was_likely_to_be_taken() {
        // One in 512 allocations of a kilobyte is taken, and a little more than one in two of half
        // a megabyte.
        let [objects, bytes, ..] = *sums([allocated(1, 1024, 7)])[0] else { panic!("no values") };
        assert!((510..=515).contains(&objects), "{objects}");
        assert!((bytes - 1024 * objects).abs() < 1024, "{bytes}");
        assert_eq!(sums([allocated(1, GIB, 7)]), [[1, GIB_BYTES, 1, GIB_BYTES]]);
    }

    #[test]
    fn what_is_freed_was_allocated_and_does_not_live() {
        let sums = sums([
            allocated(1, GIB, 7),
            allocated(2, GIB, 7),
            freed(1, GIB),
            // Sampled before the window.
            freed(3, GIB),
        ]);
        assert_eq!(sums, [[2, 2 * GIB_BYTES, 1, GIB_BYTES]]);
    }

    #[test]
    fn what_grows_in_its_place_lives_on_with_its_new_size() {
        let grows = [allocated(1, 2 * GIB, 7), freed(1, GIB)];
        // One that was sampled before the window.
        assert_eq!(sums(grows.clone()), [[1, 2 * GIB_BYTES, 1, 2 * GIB_BYTES]]);
        let whole = [allocated(1, GIB, 7)].into_iter().chain(grows);
        assert_eq!(sums(whole), [[2, 3 * GIB_BYTES, 1, 2 * GIB_BYTES]]);
    }

    #[test]
    fn what_lives_where_the_end_of_another_was_missed_ends_with_its_own_end() {
        let sums = sums([
            allocated(1, GIB, 7),
            // The free of the first found no room in the queue.
            allocated(1, GIB, 8),
            allocated(2, GIB, 8),
            freed(1, GIB),
        ]);
        let (live, freed) = ([1, GIB_BYTES], [0, 0]);
        assert!(sums.contains(&[[1, GIB_BYTES], freed].concat()), "{sums:?}");
        assert!(sums.contains(&[[2, 2 * GIB_BYTES], live].concat()), "{sums:?}");
    }

    #[test]
    fn the_leaf_is_what_called_the_allocator() {
        let location = |names: &[&str]| {
            let frames = names.iter().map(|name| Arc::new(Frame::named(name))).collect();
            Arc::new(Location { address: 1, mapping: None, frames })
        };
        let names = |stack: &[&[&str]]| {
            let stack = without_allocator(stack.iter().map(|names| location(names)).collect());
            let frames = stack.iter().flat_map(|location| &location.frames);
            frames.map(|frame| frame.name.clone()).collect::<Vec<_>>()
        };
        let jemalloc = ["prof_backtrace_impl", "_rjem_malloc"];
        let inlined = ["alloc::alloc::alloc", "alloc::vec::Vec<T>::push", "app::hoard"];
        let app = ["app::main"];
        assert_eq!(names(&[&jemalloc, &inlined, &app]), [inlined[1], inlined[2], app[0]]);
        assert_eq!(names(&[&jemalloc, &[], &app]), app);
        assert_eq!(names(&[&app]), app);
        // Nothing else is known: better than nothing at all.
        assert_eq!(names(&[&jemalloc]), jemalloc);
    }

    #[test]
    fn stacks_past_the_bound_are_counted() {
        let mut sites = Sites::new(INTERVAL);
        for number in 0..Sites::MAX_SITES + 3 {
            sites.add(allocated(number + 1, 1024, number as u64));
        }
        assert_eq!((sites.sums.len(), sites.dropped), (Sites::MAX_SITES, 3));
    }

    #[test]
    fn the_value_that_is_looked_at_comes_last() {
        let last = |memory| {
            let profile = Sites::new(INTERVAL).profile(memory);
            profile.values.last().map(|value| value.kind)
        };
        assert_eq!(last(Memory::Live), Some("inuse_space"));
        assert_eq!(last(Memory::Allocated), Some("alloc_space"));
    }
}
