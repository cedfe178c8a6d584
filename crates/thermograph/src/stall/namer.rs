//! Puts names to the stacks of stalls, on a thread of its own: the watchdog must not wait for the
//! debug information to be read, and a worker of the app has nothing to do with it.

#[cfg(sampler)]
use std::{collections::HashMap, time::Instant};
use std::{
    io, iter, mem,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

#[cfg(sampler)]
use thermograph_profile::Location;
use thermograph_sampler::Names;

#[cfg(sampler)]
use super::record::RawStack;
use super::{Store, record::Record, warning::Warnings};
use crate::log;

/// Takes stalls to be named, told and warned of; ends when dropped.
#[derive(Clone, Debug)]
pub(crate) struct Namer(SyncSender<Arc<Record>>);

/// A stall that lasts is warned of after this time, and else at its end.
pub(crate) const LONG: Duration = Duration::from_secs(1);
/// How often it is looked whether memory can be given back.
const TIDY: Duration = Duration::from_secs(1);
/// Stalls that can wait to be named.
const WAITING: usize = 512;

impl Namer {
    pub(crate) fn start(store: Arc<Store>) -> io::Result<Self> {
        let (send, receive) = sync_channel(WAITING);
        let worker = Worker { store, warnings: Warnings::default(), waiting: Vec::new() };
        thread::Builder::new()
            .name("thermo-names".to_owned())
            .spawn(move || worker.run(&receive))?;
        Ok(Self(send))
    }

    /// Never waits: what finds no room is counted.
    pub(crate) fn send(&self, record: &Arc<Record>, store: &Store) {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Arc::clone(record)) {
            store.count_untold();
        }
    }
}

/// Stacks of one stall that are named at most for one answer.
#[cfg(sampler)]
const LOOKUPS: usize = 3;

/// Names stalls here and now, those that have no names yet.
pub(crate) fn name(stalls: &[Arc<Record>]) {
    #[cfg(sampler)]
    if stalls.iter().any(|record| {
        let facts = record.facts();
        facts.unnamed().is_some() || facts.unnamed_holder().is_some()
    }) {
        let modules = thermograph_sampler::modules();
        let mut names = Names::new(&modules);
        for record in stalls {
            // Looked up without a lock on the facts: another stack may come meanwhile.
            for _ in 0..LOOKUPS {
                let unnamed = record.facts().unnamed();
                let Some(stack) = unnamed else { break };
                let locations = names.stack(&stack).into();
                record.facts().name_stack(&stack, locations);
            }
            let unnamed = record.facts().unnamed_holder();
            if let Some(stack) = unnamed {
                let holder = names.stack(&stack).into();
                record.facts().name_holder(&stack, holder);
            }
        }
    }
    #[cfg(not(sampler))]
    let _ = stalls;
}

struct Worker {
    store: Arc<Store>,
    warnings: Warnings,
    /// Stalls whose names are not known yet.
    waiting: Vec<Arc<Record>>,
}

/// What has to be looked up to name stalls.
#[cfg(sampler)]
#[derive(Default)]
struct Book {
    known: HashMap<u64, Arc<Location>>,
    /// When the debug information may be read again.
    next: Option<Instant>,
}

/// Nothing is ever looked up.
#[cfg(not(sampler))]
#[derive(Default)]
struct Book;

impl Worker {
    fn run(mut self, stalls: &Receiver<Arc<Record>>) {
        log::detach();
        let mut book = Book::default();
        loop {
            let pause = book.pause(&self.waiting).unwrap_or(TIDY).min(TIDY);
            match stalls.recv_timeout(pause) {
                // What has come meanwhile is named in one go.
                Ok(first) => self.waiting.extend(iter::once(first).chain(stalls.try_iter())),
                #[cfg(sampler)]
                Err(RecvTimeoutError::Timeout) => thermograph_sampler::give_back(),
                #[cfg(not(sampler))]
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            book.read(&self.waiting);
            for record in mem::take(&mut self.waiting) {
                if book.name(&record) {
                    self.store.named(&record);
                    self.tell(&record);
                } else if self.waiting.len() < WAITING {
                    self.waiting.push(record);
                } else {
                    self.store.count_untold();
                }
            }
        }
    }

    fn tell(&mut self, record: &Arc<Record>) {
        self.store.tell(record);
        let (ended, elapsed) = {
            let facts = record.facts();
            (facts.ended, facts.elapsed)
        };
        if ended || elapsed >= LONG {
            self.warnings.warn(record);
        }
    }
}

#[cfg(sampler)]
impl Book {
    /// Most addresses whose names are kept; past it they are looked up anew.
    const MAX_KNOWN: usize = 16_384;
    /// To read the debug information of a big program takes a tenth of a second: after it, this
    /// many times as long passes before it is read again.
    const REST: u32 = 20;

    /// How long stalls that wait for their names have to wait, if any do.
    fn pause(&self, waiting: &[Arc<Record>]) -> Option<Duration> {
        let next = self.next.unwrap_or_else(Instant::now);
        (!waiting.is_empty()).then(|| next.saturating_duration_since(Instant::now()))
    }

    /// Looks up what is not known of these stalls, unless that was done a moment ago.
    fn read(&mut self, stalls: &[Arc<Record>]) {
        let stacks = stalls.iter().flat_map(|record| {
            let facts = record.facts();
            facts.unnamed().into_iter().chain(facts.unnamed_holder())
        });
        let mut unknown: Vec<_> = stacks.flat_map(|stack| stack.addresses.to_vec()).collect();
        unknown.retain(|address| !self.known.contains_key(address));
        let start = Instant::now();
        if unknown.is_empty() || self.next.is_some_and(|next| start < next) {
            return;
        }
        if self.known.len() + unknown.len() > Self::MAX_KNOWN {
            // Those of the stalls at hand are looked up in the next round.
            self.known.clear();
        }
        let modules = thermograph_sampler::modules();
        let mut names = Names::new(&modules);
        self.known.extend(unknown.iter().map(|address| (*address, names.location(*address))));
        drop(names);
        self.next = Some(Instant::now() + start.elapsed() * Self::REST);
    }

    /// Names a stall, if all its names are known.
    fn name(&self, record: &Record) -> bool {
        let mut facts = record.facts();
        if let Some(stack) = facts.unnamed() {
            let Some(named) = self.named(&stack) else { return false };
            facts.name_stack(&stack, named);
        }
        if let Some(stack) = facts.unnamed_holder() {
            let Some(named) = self.named(&stack) else { return false };
            facts.name_holder(&stack, named);
        }
        true
    }

    fn named(&self, stack: &RawStack) -> Option<Arc<[Arc<Location>]>> {
        let known = stack.addresses.iter().map(|address| self.known.get(address).cloned());
        let named = known.collect::<Option<Vec<_>>>()?;
        let cut = stack.truncated.then(thermograph_sampler::truncated);
        Some(named.into_iter().chain(cut).collect())
    }
}

#[cfg(not(sampler))]
impl Book {
    fn pause(&self, _: &[Arc<Record>]) -> Option<Duration> {
        None
    }

    fn read(&mut self, _: &[Arc<Record>]) {}

    fn name(&self, _: &Record) -> bool {
        true
    }
}
