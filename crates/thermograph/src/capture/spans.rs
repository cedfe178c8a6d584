//! Time in the spans that the program chose, by `tracing-flame`.
//!
//! `tracing-flame` writes a line for every enter and exit, under a lock of its layer. So it stands
//! behind a [`Gate`] that is open during a capture only, and there is a layer for each worker: one
//! that is preempted while it writes a line would have all others wait. It charges the time since
//! the thread's last event to the span entered next, or to that span's parents, whatever the thread
//! did meanwhile: so a line is dropped when it is written at the first enter of a thread that was in
//! no span. What is shown is time in which a span was entered; awaiting is not.
//!
//! A line is written on the thread that it tells of: so that thread's name, and the handler that
//! it works for, are the sample's labels.

use std::{
    cell::Cell,
    collections::HashMap,
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime},
};

use thermograph_profile::{Frame, Location, Profile, Sample, ValueType};
use thermograph_sampler::Slot;
use tracing::{Metadata, Subscriber, level_filters::LevelFilter, span};
use tracing_flame::FlameLayer;
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{CaptureError, Turns, Window};
use crate::{
    gate::Gate,
    handlers::{ByPlace, Handler},
};

/// The spans of the process.
#[derive(Debug)]
pub(crate) struct Spans {
    turns: Turns,
    gate: Gate,
    shards: Box<[Shard]>,
    has_layer: AtomicBool,
}

/// Threads that record side by side. Past so many, two of them may wait for each other.
const SHARDS: usize = 64;

/// The recording of a shard's threads; none outside of captures.
type Shard = Arc<Mutex<Option<Recording>>>;

/// Nanoseconds by stack and by where it was.
#[derive(Debug, Default)]
struct Recording {
    stacks: HashMap<Place, u64>,
    /// Number of different stacks in all shards.
    kept: Arc<AtomicUsize>,
    /// Lines that were not kept: past the bound on stacks, or not understood.
    dropped: u64,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Place {
    /// Root first, names joined by `;`.
    stack: String,
    thread: Arc<str>,
    /// None where the thread worked for nobody.
    handler: Option<ByPlace>,
}

/// Shard of the next thread.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The thread's shard.
    static SHARD: Cell<usize> = Cell::new(NEXT.fetch_add(1, Relaxed) % SHARDS);
    /// The thread's name: the root of its stacks in a picture.
    static THREAD: Arc<str> = kernel_s(thread::current().name().unwrap_or("(unnamed)")).into();
    /// Spans entered on this thread, of those that the gate let through.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Whether the line that is being written tells of time outside of all spans.
    static OUTSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Spans {
    /// Most different stacks in one capture; what comes past it is counted.
    const MAX_STACKS: usize = 10_000;

    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        self.has_layer.store(true, Relaxed);
        let flame = |shard: &Shard| {
            let lines = Lines { recording: Arc::clone(shard), line: Vec::new() };
            FlameLayer::new(lines)
                .with_empty_samples(false)
                .with_threads_collapsed(true)
                .with_module_path(false)
                .with_file_and_line(false)
        };
        let flames = self.shards.iter().map(flame).collect();
        Honest { flames }.with_filter(self.gate.clone())
    }

    /// Whether the app put the layer on.
    pub(crate) fn has_layer(&self) -> bool {
        self.has_layer.load(Relaxed)
    }

    pub(crate) async fn capture(&self, window: Window) -> Result<Profile, CaptureError> {
        if !self.has_layer() {
            return Err(CaptureError::NoLayer);
        }
        let turn = self.turns.take(window).await?;
        let start = SystemTime::now();
        let stop = Stop { shards: &self.shards };
        let kept = Arc::default();
        for shard in &self.shards {
            let kept = Arc::clone(&kept);
            *lock(shard) = Some(Recording { kept, ..Recording::default() });
        }
        let open = self.gate.hold();
        turn.wait().await?;
        drop(open);
        let recorded = self.shards.iter().filter_map(|shard| lock(shard).take());
        let recording = recorded.fold(Recording::default(), Recording::merge);
        drop(stop);
        Ok(recording.profile(start, window.duration))
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            turns: Turns::default(),
            gate: Gate::new(is_of_the_program, LevelFilter::DEBUG),
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            has_layer: AtomicBool::new(false),
        }
    }
}

/// Ends a recording however its capture ends.
struct Stop<'a> {
    shards: &'a [Shard],
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        for shard in self.shards {
            *lock(shard) = None;
        }
    }
}

impl Recording {
    /// Takes a line that tells of this thread.
    fn add(&mut self, line: &[u8]) {
        let parsed = std::str::from_utf8(line).ok().and_then(|line| {
            let (stack, nanoseconds) = line.rsplit_once(' ')?;
            let stack = stack.strip_prefix("all-threads; ")?;
            Some((stack.replace("; ", ";"), nanoseconds.parse::<u64>().ok()?))
        });
        let Some((stack, nanoseconds)) = parsed else {
            self.dropped += 1;
            return;
        };
        // A thread that is ending may have lost its name.
        let thread = THREAD.try_with(Arc::clone).unwrap_or_default();
        let place =
            Place { stack, thread, handler: Handler::at_work_on(Slot::current()).map(ByPlace) };
        if let Some(sum) = self.stacks.get_mut(&place) {
            *sum += nanoseconds;
        } else if self.kept.fetch_add(1, Relaxed) < Spans::MAX_STACKS {
            self.stacks.insert(place, nanoseconds);
        } else {
            self.dropped += 1;
        }
    }

    /// Adds what other threads have recorded.
    fn merge(mut self, other: Self) -> Self {
        self.dropped += other.dropped;
        for (place, nanoseconds) in other.stacks {
            *self.stacks.entry(place).or_default() += nanoseconds;
        }
        self
    }

    fn profile(self, start: SystemTime, duration: Duration) -> Profile {
        let span = |name| Arc::new(Location::named(Frame::named(name)));
        let samples = self.stacks.iter().map(|(place, nanoseconds)| Sample {
            stack: place.stack.rsplit(';').map(span).collect(),
            values: vec![i64::try_from(*nanoseconds).unwrap_or(i64::MAX)],
            labels: place.labels(),
        });
        let samples = samples.collect();
        let wall = ValueType { kind: "wall", unit: "nanoseconds" };
        Profile {
            values: vec![wall],
            samples,
            start,
            duration,
            period: None,
            dropped: self.dropped,
        }
    }
}

impl Place {
    fn labels(&self) -> Vec<(&'static str, String)> {
        let handler = self.handler.map(|ByPlace(handler)| handler.labels());
        let thread = ("thread", self.thread.to_string());
        std::iter::once(thread).chain(handler.into_iter().flatten()).collect()
    }
}

/// `tracing-flame` without the lines that tell of a thread's time outside of all spans.
struct Honest<S> {
    /// By shard.
    flames: Box<[FlameLayer<S, Lines>]>,
}

impl<S> Layer<S> for Honest<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        let depth = DEPTH.get();
        OUTSIDE.set(depth == 0);
        self.flames[SHARD.get()].on_enter(id, context);
        OUTSIDE.set(false);
        DEPTH.set(depth + 1);
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
        self.flames[SHARD.get()].on_exit(id, context);
    }
}

/// Takes the lines that `tracing-flame` writes; it writes each in pieces, under its own lock.
struct Lines {
    recording: Shard,
    line: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if OUTSIDE.get() {
            return Ok(piece.len());
        }
        self.line.extend_from_slice(piece);
        if self.line.last() == Some(&b'\n') {
            if let Some(recording) = &mut *lock(&self.recording) {
                recording.add(self.line.trim_ascii_end());
            }
            self.line.clear();
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's name as the kernel has it, which is what other captures know it by: 15 bytes.
fn kernel_s(name: &str) -> &str {
    &name[..name.floor_char_boundary(15)]
}

/// Spans, but those that Tokio and the HTTP stack make of themselves.
pub(crate) fn is_of_the_program(meta: &Metadata<'_>) -> bool {
    let of_a_library = ["tokio", "runtime", "hyper", "h2", "tower"]
        .iter()
        .any(|name| meta.target().split("::").next() == Some(name));
    meta.is_span() && *meta.level() <= tracing::Level::DEBUG && !of_a_library
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use http::Method;
    use thermograph_profile::folded;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::handlers::Ledger;

    fn stacks(profile: &Profile) -> Vec<String> {
        let names = |sample: &Sample| {
            let names: Vec<_> = sample.frames().map(|frame| frame.name.clone()).collect();
            names.join("<")
        };
        let mut stacks: Vec<_> = profile.samples.iter().map(names).collect();
        stacks.sort();
        stacks
    }

    /// A thread that was idle and enters a span with a parent is not charged for its idleness.
    #[tokio::test]
    async fn idle_time_is_charged_to_nobody() {
        let spans = Spans::default();
        let subscriber = tracing_subscriber::registry().with(spans.layer());
        let _default = tracing::subscriber::set_default(subscriber);

        let before = tracing::info_span!("before");
        let window = Window { duration: Duration::from_millis(100), force: false };
        // Ends before the window: the runtime has one thread, and looks at its timers afterwards.
        let work = async {
            tokio::task::yield_now().await;
            before.in_scope(|| ());
            let request = tracing::info_span!("request");
            std::thread::sleep(Duration::from_millis(20));
            let child = tracing::info_span!(parent: &request, "child");
            child.in_scope(|| std::thread::sleep(Duration::from_millis(1)));
            tracing::info_span!(target: "tokio::task", "task").in_scope(|| ());
        };
        let (profile, ()) = tokio::join!(spans.capture(window), work);
        let profile = profile.expect("captured");
        assert_eq!(stacks(&profile), ["child<request"]);
        // The test's own thread, which works for nobody.
        let thread = kernel_s(thread::current().name().unwrap_or_default()).to_owned();
        assert_eq!(profile.samples[0].labels, [("thread", thread)]);
        assert_eq!(profile.dropped, 0);

        // Off again: nothing is recorded, and nothing is left behind.
        tracing::info_span!("after").in_scope(|| ());
        assert!(spans.shards.iter().all(|shard| lock(shard).is_none()));
        assert!(!spans.gate.is_open());
    }

    #[tokio::test]
    async fn without_the_layer_it_says_what_to_do() {
        let window = Window { duration: Duration::from_secs(1), force: false };
        let error = Spans::default().capture(window).await.expect_err("no layer");
        assert!(error.to_string().contains("tracing_layer()"), "{error}");
    }

    /// A thread may be preempted while it writes a line, for any time.
    #[test]
    fn threads_record_without_waiting_for_others() {
        let spans = Spans::default();
        for shard in &spans.shards {
            *lock(shard) = Some(Recording::default());
        }
        let _open = spans.gate.hold();
        let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(spans.layer()));
        let (shard_of, its_shard) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            shard_of.send(SHARD.get()).expect("sent");
            gone.recv().expect("received");
            tracing::dispatcher::with_default(&dispatch, || {
                tracing::info_span!("request").in_scope(|| ());
            });
            done.send(()).expect("sent");
        });
        let its_shard = its_shard.recv().expect("received");
        let others = spans.shards.iter().enumerate().filter(|(shard, _)| *shard != its_shard);
        let held: Vec<_> = others.map(|(_, shard)| lock(shard)).collect();
        go.send(()).expect("sent");
        is_done.recv_timeout(Duration::from_mins(1)).expect("recorded without any other shard");
        drop(held);
        let recording = lock(&spans.shards[its_shard]).take().expect("a recording");
        assert_eq!((recording.stacks.len(), recording.dropped), (1, 0));
    }

    #[test]
    fn stacks_past_the_bound_are_counted() {
        let mut recording = Recording::default();
        for stack in 0..Spans::MAX_STACKS + 3 {
            recording.add(format!("all-threads; s{stack} 1").as_bytes());
        }
        recording.add(b"all-threads; s0 1");
        assert_eq!((recording.stacks.len(), recording.dropped), (Spans::MAX_STACKS, 3));
        // The bound is that of all threads together.
        let mut other = Recording { kept: Arc::clone(&recording.kept), ..Recording::default() };
        other.add(b"all-threads; s0 1");
        assert_eq!((other.stacks.len(), other.dropped), (0, 1));
        let profile = recording.profile(SystemTime::now(), Duration::ZERO);
        let heavy: Vec<_> = profile.samples.iter().filter(|sample| sample.weight() == 2).collect();
        assert!(matches!(&heavy[..], [s0] if s0.frames().all(|frame| frame.name == "s0")));
    }

    #[test]
    fn the_same_stack_counts_by_thread_and_handler() {
        let ledger = Ledger::leak(4);
        let row = |method, route| ledger.handler(ledger.hint(), &method, Some(route));
        let (ask, put) = (row(Method::GET, "/a"), row(Method::PUT, "/a"));
        let mut recording = Recording::default();
        for thread in ["worker-0", "worker-1"] {
            let record = || {
                let mut add_for = |handler: Option<&Handler>| {
                    let before = Slot::current().lend(handler.and_then(Handler::number));
                    recording.add(b"all-threads; request; child 1");
                    Slot::current().lend(before);
                };
                [None, Some(ask), Some(put), Some(ask)].into_iter().for_each(&mut add_for);
            };
            thread::scope(|scope| {
                let builder = thread::Builder::new().name(thread.to_owned());
                builder.spawn_scoped(scope, record).expect("a thread").join().expect("no panic");
            });
        }
        let profile = recording.profile(SystemTime::now(), Duration::ZERO);
        let labels = |sample: &Sample| {
            let label = |name| sample.label(name).unwrap_or("-");
            let [thread, method, route] = ["thread", "method", "route"].map(label);
            format!("{thread} {method} {route} {}", sample.weight())
        };
        let mut all: Vec<_> = profile.samples.iter().map(labels).collect();
        all.sort();
        let of = |thread| {
            [format!("{thread} - - 1"), format!("{thread} GET /a 2"), format!("{thread} PUT /a 1")]
        };
        assert_eq!(all, [of("worker-0"), of("worker-1")].concat());
        // In a picture the pool stands once, and the handler does not.
        assert_eq!(
            folded::fold(&profile),
            "GET /a;worker;request;child 4\nPUT /a;worker;request;child 2\n\
             worker;request;child 2\n"
        );
    }
}
