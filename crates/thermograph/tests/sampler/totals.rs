//! CPU time: as much as the threads have used, and where they used it.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use axum::Router;

use crate::{
    app::{App, alone, get_bytes, wait},
    captures::Wire,
};

/// CPU time that each busy thread uses.
const BUSY: Duration = Duration::from_millis(1_500);
/// Seconds that are captured: enough of them on a machine that does other things too.
const WINDOW: u64 = 6;

/// A thread that computes when it is told to.
pub(crate) struct Burner {
    pub(crate) thread: i32,
    go: mpsc::Sender<()>,
    done: thread::JoinHandle<(Duration, Instant)>,
}

impl Burner {
    pub(crate) fn start(number: usize) -> Self {
        let (go, told) = mpsc::channel();
        let (tell, thread) = mpsc::channel();
        let run = move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get()).expect("somebody waits");
            told.recv().expect("told");
            let before = used();
            burn_until(before + BUSY);
            (used().saturating_sub(before), Instant::now())
        };
        let name = format!("burner-{number}");
        let done = thread::Builder::new().name(name).spawn(run).expect("spawned");
        Self { thread: thread.recv().expect("told"), go, done }
    }

    pub(crate) fn go(&self) {
        self.go.send(()).expect("it waits");
    }

    /// CPU time that it used, and when it had.
    pub(crate) fn join(self) -> (Duration, Instant) {
        self.done.join().expect("no panic")
    }
}

/// CPU time of this thread, by `getrusage`.
#[expect(unsafe_code, reason = "a call of the system's that has no safe form for one thread")]
fn used() -> Duration {
    // SAFETY: all zero is a value of this type, and the call writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
        usage
    };
    let micros = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.cast_unsigned())
            + Duration::from_micros(time.tv_usec.cast_unsigned())
    };
    micros(usage.ru_utime) + micros(usage.ru_stime)
}

fn burn_until(moment: Duration) {
    while used() < moment {
        leaf();
    }
}

/// Some milliseconds: beside it, looking at the clock is nothing.
#[inline(never)]
fn leaf() {
    let mut hash = 0_u64;
    for number in 0..5_000_000 {
        hash = std::hint::black_box((hash ^ number).wrapping_mul(0x100_0000_01b3));
    }
    std::hint::black_box(hash);
}

/// Whether a sample's time was spent in [`leaf`] itself.
pub(crate) fn is_leaf(stack: &[String]) -> bool {
    let inlined = |name: &str| name.starts_with("core::") || name.starts_with('<');
    let own = stack.iter().find(|name| !inlined(name));
    own.is_some_and(|name| name.ends_with("totals::leaf"))
}

#[test]
fn cpu_time_is_as_much_as_was_used_at_every_frequency() {
    let _alone = alone();
    let app = App::start(Router::new());
    for (frequency, threads) in [(99, 1), (99, 2), (499, 1), (499, 2), (999, 1), (999, 2)] {
        let burners: Vec<_> = (0..threads).map(Burner::start).collect();
        let url = format!("/debug/pprof/profile?seconds={WINDOW}&frequency={frequency}");
        let (profile, end, used) = thread::scope(|scope| {
            let capture = scope.spawn(|| (get_bytes(&app.diagnostics(&url)), Instant::now()));
            wait("every thread has a timer", || {
                let timers = std::fs::read_to_string("/proc/self/timers").expect("readable");
                let has_one =
                    |burner: &Burner| timers.contains(&format!("signal/tid.{}\n", burner.thread));
                burners.iter().all(has_one)
            });
            burners.iter().for_each(Burner::go);
            let ends: Vec<_> = burners.into_iter().map(Burner::join).collect();
            let used: Duration = ends.iter().map(|(used, _)| *used).sum();
            let last = ends.iter().map(|(_, end)| *end).max().expect("a thread");
            let (profile, end) = capture.join().expect("no panic");
            (Wire::decode(&profile), end.duration_since(last), used)
        });
        assert!(end > Duration::ZERO, "the machine is too busy: the threads did not end in time");

        let period = profile.0.period;
        assert_eq!(period, i64::from(1_000_000_000 / frequency));
        let mut samples = profile.samples();
        samples.retain(|sample| sample.label("thread").starts_with("burner-"));
        let count: i64 = samples.iter().map(|sample| sample.count).sum();
        let value: i64 = samples.iter().map(|sample| sample.value).sum();
        assert_eq!(value, count * period);
        let share = value as f64 / used.as_nanos() as f64;
        let at_leaf = samples.iter().filter(|sample| is_leaf(&sample.stack));
        let leaves: i64 = at_leaf.map(|sample| sample.count).sum();
        let of_leaf = leaves as f64 / count as f64;
        println!(
            "{frequency} Hz, {threads} busy: {count} samples, {share:.4} of what getrusage says; \
             leaf in {of_leaf:.4}"
        );
        assert!((share - 1.0).abs() <= 0.05, "{frequency} Hz, {threads} threads: {share}");
        assert!(of_leaf >= 0.99, "{frequency} Hz, {threads} threads: {of_leaf}");
    }
}
