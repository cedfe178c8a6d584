//! The note that a connection leaves on its thread for the layer.

use std::cell::Cell;
#[cfg(any(sampler, test))]
use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

use http::Version;
use thermograph_sampler::Moment;
use tokio::task;

thread_local! {
    static NOTE: Cell<Note> = const { Cell::new(Note { task: None, arrived: None, is_taken: false }) };
}

/// When bytes arrived: so many nanoseconds before they were read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Arrived {
    read: Moment,
    before: u64,
}

/// The newest bytes of the connection that read last on the thread.
#[derive(Clone, Copy, Debug)]
struct Note {
    /// The connection's task; `None` if it has none.
    task: Option<task::Id>,
    arrived: Option<Arrived>,
    is_taken: bool,
}

/// How far the two clocks drift apart between two reads at most, unless one is set: they are read
/// one after the other, and the thread may lose its processor in between.
#[cfg(any(sampler, test))]
const DRIFT_NS: u64 = 1_000_000;
/// How much younger than the reading of the clock that follows it a stamp may seem: two processors'
/// counters may disagree by so much at most.
#[cfg(any(sampler, test))]
const YOUNGER_NS: i64 = 100_000;

/// Nanoseconds from `CLOCK_MONOTONIC` to `CLOCK_REALTIME` at the last read; 0 before the first.
#[cfg(sampler)]
static APART: AtomicI64 = AtomicI64::new(0);

impl Arrived {
    /// Bytes that were just read and have this stamp of `CLOCK_REALTIME`; `None` if that clock was
    /// set meanwhile, so that the stamp tells nothing.
    #[cfg(sampler)]
    pub(super) fn at(stamp: Duration) -> Option<Self> {
        let (monotonic, real) = clocks();
        let before = Self::before(stamp, monotonic, real, &APART)?;
        Some(Self { read: Moment::now(), before })
    }

    /// How long ago a stamp is, in nanoseconds; `None` as above.
    #[cfg(any(sampler, test))]
    fn before(stamp: Duration, monotonic: i64, real: i64, apart: &AtomicI64) -> Option<u64> {
        let (now_apart, was_apart) = (real - monotonic, apart.load(Relaxed));
        let is_new = now_apart.abs_diff(was_apart) > DRIFT_NS;
        if is_new {
            // Seldom: every thread reads it.
            apart.store(now_apart, Relaxed);
        }
        let was_set = was_apart != 0 && is_new;
        let age = real.checked_sub(i64::try_from(stamp.as_nanos()).ok()?)?;
        (!was_set && age > -YOUNGER_NS).then_some(age.max(0).unsigned_abs())
    }

    /// Nanoseconds from the arrival until `start`.
    pub(crate) fn until(self, start: Moment) -> u64 {
        self.before + start.since(self.read)
    }
}

/// Leaves a note: the connection of this task has read these bytes last.
#[cfg(sampler)]
#[inline]
pub(super) fn leave(arrived: Option<Arrived>) {
    let task = task::try_id();
    // A thread that is ending takes no requests.
    let _ = NOTE.try_with(|note| {
        let old = note.get();
        let is_same = old.task == task && old.arrived == arrived;
        note.set(Note { task, arrived, is_taken: is_same && old.is_taken });
    });
}

/// Takes the note that this task's connection has left; `None` if there is none. Several requests
/// that were read at once share it with HTTP/2 only: before, the second waits for the first.
#[inline]
pub(crate) fn take(version: Version) -> Option<Arrived> {
    NOTE.try_with(|note| {
        let left = note.get();
        let arrived = left.arrived?;
        let is_shared = left.is_taken && version < Version::HTTP_2;
        if is_shared || left.task.is_none() || left.task != task::try_id() {
            return None;
        }
        note.set(Note { is_taken: true, ..left });
        Some(arrived)
    })
    .ok()
    .flatten()
}

/// Reads the clocks once, so that the first stamp has something to be compared with.
#[cfg(sampler)]
pub(super) fn prepare() {
    let (monotonic, real) = clocks();
    APART.store(real - monotonic, Relaxed);
}

/// `CLOCK_MONOTONIC` and `CLOCK_REALTIME`, in nanoseconds.
#[cfg(sampler)]
#[inline]
fn clocks() -> (i64, i64) {
    use rustix::time::{ClockId, clock_gettime};
    let nanoseconds = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec * 1_000_000_000 + time.tv_nsec
    };
    (nanoseconds(ClockId::Monotonic), nanoseconds(ClockId::Realtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn age_of_a_stamp_is_unknown_where_the_clock_was_set() {
        let apart = AtomicI64::new(0);
        let age = |stamp_ms: i64, monotonic: i64, real: i64| {
            let stamp = Duration::from_millis(stamp_ms.unsigned_abs());
            Arrived::before(stamp, monotonic, real, &apart)
        };
        assert_eq!(age(1_000_000, 5 * S, 1001 * S), Some(1_000_000_000));
        assert_eq!(age(1_001_500, 7 * S, 1003 * S), Some(1_500_000_000));
        // Set forward and backward by an hour, between the stamp and the read.
        assert_eq!(age(1_004_000, 8 * S, 4604 * S), None);
        assert_eq!(age(4_604_500, 9 * S, 4605 * S), Some(500_000_000));
        assert_eq!(age(4_605_500, 10 * S, 1006 * S), None);
        // A stamp of the future is a clock that was set; a little is none.
        assert_eq!(age(1_007_000, 11 * S, 1007 * S - 50_000), Some(0));
        assert_eq!(age(1_009_000, 12 * S, 1008 * S), None);
    }

    #[cfg(sampler)]
    #[tokio::test]
    async fn note_is_for_the_task_that_left_it_and_for_one_request() {
        let arrived = Arrived { read: Moment::now(), before: 7 };
        let left = tokio::spawn(async move {
            leave(Some(arrived));
            let first = take(Version::HTTP_11);
            // Nothing new was read.
            leave(Some(arrived));
            (first, take(Version::HTTP_11), take(Version::HTTP_2))
        });
        assert_eq!(left.await.expect("no panic"), (Some(arrived), None, Some(arrived)));
        // The test runs on one thread, and so finds the note, of another task.
        assert_eq!(take(Version::HTTP_2), None);
        let foreign = tokio::spawn(async { take(Version::HTTP_2) });
        assert_eq!(foreign.await.expect("no panic"), None);
    }
}
