//! One sampling session for several readers.
//!
//! Sampling costs the whole process, and the timers of a thread can be set once: so the first
//! reader starts a session, and readers that come meanwhile read the same samples, each over a
//! window of its own. The session samples at the highest frequency that a reader asked for, and ends
//! with the last reader. A sample stands for a time; a reader that asked for a lower frequency keeps
//! one sample for each period of its own that has added up on a thread, so that the times in its
//! profile are right whatever the others asked for.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use thermograph_profile::{Profile, ValueType};
use thermograph_sampler::{Module, Reason, Session, Thread, Unwinder, monotonic};
use tokio::sync::oneshot;

use super::{
    CaptureError,
    tally::{Seen, Tally},
};

/// A kind of sampling that readers share. There is one of each in a process.
#[derive(Debug)]
pub(super) struct Shared {
    reason: Reason,
    /// Name of the sampling thread.
    thread: &'static str,
    value: ValueType,
    begin: Begin,
    state: Mutex<State>,
}

/// Makes the sampler of a session.
type Begin = fn(Session, Unwinder) -> Box<dyn Sampler>;

/// How samples of one kind are taken.
pub(super) trait Sampler {
    /// Sets the time between two samples of a thread; samples that were taken so far have been
    /// fetched.
    fn set_period(&mut self, period: Duration);

    /// Hands over the samples that were taken, and asks for those that are due.
    fn step(&mut self, readers: &mut Readers);

    /// When the next step is due, in nanoseconds of the monotonic clock.
    fn next_step(&self) -> u64;

    /// Periods whose stack could not be taken since the session began.
    fn dropped(&self) -> u64;

    fn modules(&self) -> &[Module];
}

/// The readers of a session that is on.
#[derive(Debug, Default)]
pub(super) struct Readers(Vec<Reader>);

#[derive(Debug, Default)]
struct State {
    /// The sampling thread, while a session is on.
    sampling: Option<thread::Thread>,
    /// Readers that it has not seen yet.
    joining: Vec<Asked>,
    /// Numbers of all readers, and when their windows end.
    places: Vec<(u64, Instant)>,
    next: u64,
}

/// What a reader asks for.
#[derive(Debug)]
struct Asked {
    period: Duration,
    duration: Duration,
    answer: oneshot::Sender<Result<Taken, CaptureError>>,
}

/// A reader whose window has begun.
#[derive(Debug)]
struct Reader {
    asked: Asked,
    /// First moment of the window, and first moment past it, in nanoseconds of the monotonic clock.
    start: u64,
    end: u64,
    tally: Tally,
    /// By thread: time that has not added up to a period yet, in nanoseconds.
    rests: HashMap<Thread, u64>,
    /// Time of samples that were lost, in nanoseconds.
    dropped: u64,
}

/// The samples of a window that is over, without names.
#[derive(Debug)]
struct Taken {
    tally: Tally,
    dropped: u64,
    modules: Vec<Module>,
}

/// The place of one reader, free again when dropped.
struct Place<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Shared {
    /// Most readers at a time: each keeps stacks of its own.
    pub(super) const MAX_READERS: usize = 16;

    pub(super) const fn new(
        reason: Reason,
        thread: &'static str,
        value: ValueType,
        begin: Begin,
    ) -> Self {
        let state = State { sampling: None, joining: Vec::new(), places: Vec::new(), next: 0 };
        Self { reason, thread, value, begin, state: Mutex::new(state) }
    }

    /// Reads `frequency` samples a second for `duration`. Dropped, it ends this reading, and no
    /// other.
    pub(super) async fn read(
        &'static self,
        frequency: u32,
        duration: Duration,
    ) -> Result<Profile, CaptureError> {
        let (answer, taken) = oneshot::channel();
        let period = Duration::from_secs(1) / frequency;
        let place = self.join(Asked { period, duration, answer })?;
        let taken = taken.await.map_err(|_| CaptureError::Ended)??;
        drop(place);
        let value = self.value;
        Ok(tokio::task::spawn_blocking(move || {
            let Taken { tally, dropped, modules } = taken;
            tally.profile(&modules, value, duration, dropped)
        })
        .await?)
    }

    /// Starts a session if none is on.
    fn join(&'static self, asked: Asked) -> Result<Place<'static>, CaptureError> {
        let mut state = self.state();
        if state.places.len() >= Self::MAX_READERS {
            let first = state.places.iter().map(|(_, end)| *end).min();
            let left = first.map(|end| end.saturating_duration_since(Instant::now()));
            return Err(CaptureError::TooMany {
                most: Self::MAX_READERS,
                left: left.unwrap_or_default(),
            });
        }
        let end = Instant::now() + asked.duration;
        if let Some(sampling) = &state.sampling {
            sampling.unpark();
        } else {
            let session = Session::open(self.reason)?;
            let sampling = thread::Builder::new()
                .name(self.thread.to_owned())
                .spawn(move || self.sample(session))
                .map_err(|error| {
                    CaptureError::NoStacks(format!("cannot start a thread: {error}"))
                })?;
            state.sampling = Some(sampling.thread().clone());
        }
        state.joining.push(asked);
        let number = state.next;
        state.next += 1;
        state.places.push((number, end));
        Ok(Place { shared: self, number })
    }

    /// Samples until there is no reader any more.
    fn sample(&self, session: Session) {
        let _lost = Lost { shared: self };
        let unwinder = match Unwinder::new() {
            Ok(unwinder) => unwinder,
            Err(error) => return self.refuse(session, &error),
        };
        let mut sampler = Some((self.begin)(session, unwinder));
        let mut readers = Readers::default();
        let (mut period, mut dropped) = (None, 0);
        while let Some(sampling) = &mut sampler {
            sampling.step(&mut readers);
            let lost = sampling.dropped();
            readers.lose((lost - dropped) * period.map_or(0, nanos));
            dropped = lost;
            readers.finish(&**sampling);
            readers.0.extend(self.take_joining());
            let wanted = readers.period();
            if wanted.is_none() {
                if self.is_over(&mut sampler) {
                    return;
                }
                continue;
            }
            if let Some(shortest) = wanted.filter(|_| wanted != period) {
                sampling.set_period(shortest);
                period = wanted;
            }
            let next = sampling.next_step().min(readers.end());
            thread::park_timeout(Duration::from_nanos(next.saturating_sub(monotonic())).min(LOOK));
        }
    }

    /// Begins the windows of those that came.
    fn take_joining(&self) -> Vec<Reader> {
        let joining = std::mem::take(&mut self.state().joining);
        joining.into_iter().map(Reader::new).collect()
    }

    /// Ends the session, unless a reader came meanwhile: that one finds either this session or none.
    fn is_over(&self, sampler: &mut Option<Box<dyn Sampler>>) -> bool {
        let mut state = self.state();
        let is_over = state.joining.is_empty();
        if is_over {
            *sampler = None;
            state.sampling = None;
        }
        is_over
    }

    fn refuse(&self, session: Session, error: &io::Error) {
        let mut state = self.state();
        drop(session);
        state.sampling = None;
        for asked in state.joining.drain(..) {
            let error = CaptureError::NoStacks(format!("cannot take stacks: {error}"));
            // The reader may be gone.
            let _ = asked.answer.send(Err(error));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest time until a reader that is gone is noticed.
const LOOK: Duration = Duration::from_millis(50);

/// Lets a new session begin where the sampling thread panicked.
struct Lost<'a> {
    shared: &'a Shared,
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut state = self.shared.state();
            state.sampling = None;
            // Their readers are told by the end of the channel.
            state.joining.clear();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.places.retain(|(number, _)| *number != self.number);
        if let Some(sampling) = &state.sampling {
            sampling.unpark();
        }
    }
}

impl Readers {
    /// Hands out a sample that was taken at a moment and stands for `time`. Of a time longer than
    /// `exact`, a reader gets no more than what has passed since its window began.
    pub(super) fn add(&mut self, seen: &Seen, time: u64, exact: u64, at: u64) {
        for reader in &mut self.0 {
            if (reader.start..reader.end).contains(&at) {
                reader.add(seen, time.min(exact.max(at - reader.start)));
            }
        }
    }

    /// Forgets threads that have ended.
    pub(super) fn keep_threads(&mut self, is_there: impl Fn(&Thread) -> bool) {
        for reader in &mut self.0 {
            reader.rests.retain(|thread, _| is_there(thread));
        }
    }

    fn lose(&mut self, time: u64) {
        for reader in &mut self.0 {
            reader.dropped += time;
        }
    }

    /// The shortest period that is asked for; none where there is no reader.
    fn period(&self) -> Option<Duration> {
        self.0.iter().map(|reader| reader.asked.period).min()
    }

    /// When the first window ends.
    fn end(&self) -> u64 {
        self.0.iter().map(|reader| reader.end).min().unwrap_or(0)
    }

    /// Answers those whose window is over, and forgets those that are gone.
    fn finish(&mut self, sampler: &dyn Sampler) {
        let now = monotonic();
        self.0.retain(|reader| !reader.asked.answer.is_closed());
        for reader in self.0.extract_if(.., |reader| reader.end <= now) {
            let Reader { asked: Asked { period, answer, .. }, tally, dropped, .. } = reader;
            let dropped = dropped / nanos(period).max(1);
            // The reader may be gone.
            let _ = answer.send(Ok(Taken { tally, dropped, modules: sampler.modules().to_vec() }));
        }
    }
}

impl Reader {
    /// Its window begins now.
    fn new(asked: Asked) -> Self {
        let start = monotonic();
        Self {
            start,
            end: start.saturating_add(nanos(asked.duration)),
            tally: Tally::new(asked.period),
            rests: HashMap::new(),
            dropped: 0,
            asked,
        }
    }

    fn add(&mut self, seen: &Seen, time: u64) {
        let period = nanos(self.asked.period).max(1);
        // Somewhere in the first period: else a thread that uses less than one would never show.
        let rest = self.rests.entry(seen.thread).or_insert_with(|| random() % period);
        *rest += time;
        let periods = *rest / period;
        *rest %= period;
        if periods > 0 {
            self.tally.add(seen.clone(), periods);
        }
    }
}

/// Between 0 and 1, another each time.
pub(super) fn portion() -> f64 {
    random() as f64 / u64::MAX as f64
}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use thermograph_sampler::Stack;

    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn reader(hertz: u32, start: u64, end: u64) -> Reader {
        let (answer, _) = oneshot::channel();
        let period = Duration::from_secs(1) / hertz;
        let asked = Asked { period, duration: Duration::ZERO, answer };
        Reader { start, end, ..Reader::new(asked) }
    }

    fn seen() -> Seen {
        Seen {
            stack: Stack { addresses: [7].into(), truncated: false },
            thread: Thread::current(),
            handler: None,
            state: None,
            syscall: None,
        }
    }

    /// The time in the profile of a reader, in nanoseconds.
    fn time(reader: Reader) -> i64 {
        let value = ValueType { kind: "cpu", unit: "nanoseconds" };
        let profile = reader.tally.profile(&[], value, Duration::ZERO, 0);
        profile.samples.iter().map(|sample| sample.values[1]).sum()
    }

    #[test]
    fn readers_of_any_frequency_have_the_same_time() {
        let mut readers =
            Readers([1000, 250, 99, 7].map(|hertz| reader(hertz, 0, u64::MAX)).into());
        for at in 0..10_000 {
            readers.add(&seen(), MILLISECOND, MILLISECOND, at * MILLISECOND);
        }
        assert_eq!(readers.period(), Some(Duration::from_millis(1)));
        for reader in readers.0 {
            let period = i64::try_from(reader.asked.period.as_nanos()).expect("short");
            let wrong = (time(reader) - 10_000_000_000).abs();
            assert!(wrong <= period, "{wrong} ns wrong, of a period of {period} ns");
        }
    }

    #[test]
    fn a_reader_has_the_samples_of_its_window_only() {
        let windows = [(0, 10), (3, 7), (9, 20), (10, 20)];
        let windows =
            windows.map(|(start, end)| reader(1000, start * MILLISECOND, end * MILLISECOND));
        let mut readers = Readers(windows.into());
        for at in 0..10 {
            readers.add(&seen(), MILLISECOND, MILLISECOND, at * MILLISECOND);
        }
        let times: Vec<_> = readers.0.into_iter().map(|reader| time(reader) / 1_000_000).collect();
        assert_eq!(times, [10, 4, 1, 0]);
    }

    #[test]
    fn a_late_sample_counts_from_the_start_of_the_window_on() {
        let mut readers =
            Readers(vec![reader(1000, 0, u64::MAX), reader(1000, 70 * MILLISECOND, u64::MAX)]);
        readers.add(&seen(), 100 * MILLISECOND, MILLISECOND, 100 * MILLISECOND);
        let times: Vec<_> = readers.0.into_iter().map(|reader| time(reader) / 1_000_000).collect();
        assert_eq!(times, [100, 30]);
    }
}
