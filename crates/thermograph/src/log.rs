//! The diagnostics' own lines in the app's log, written by a thread that may wait for it.
//!
//! The app's log may block for as long as it likes: its lock may be held, its pipe full. A thread that
//! looks for stalls, names them or answers requests must not wait for it, so such a thread hands its
//! lines over and goes on. Lines that find the queue full are counted, and the count is logged as soon
//! as the log takes lines again.
//!
//! For the same reason these threads have no subscriber ([`detach`]): libraries that they call, hyper
//! above all, log as well.

use std::{
    mem,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use tracing::subscriber::NoSubscriber;

type Line = Box<dyn FnOnce() + Send>;

/// Lines that wait for the log.
const WAITING: usize = 256;

static QUEUE: OnceLock<Option<SyncSender<Line>>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Has `line` called on the log's thread, with the app's subscriber; never waits.
pub(crate) fn submit(line: impl FnOnce() + Send + 'static) {
    let queue = QUEUE.get_or_init(start);
    let is_queued = queue.as_ref().is_some_and(|queue| queue.try_send(Box::new(line)).is_ok());
    if !is_queued {
        DROPPED.fetch_add(1, Relaxed);
    }
}

/// Lines that were not logged since the process began: the app's log took none for too long.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// From now on nothing that this thread does reaches the app's log.
pub(crate) fn detach() {
    // The guard would attach the thread again.
    mem::forget(tracing::subscriber::set_default(NoSubscriber::default()));
}

/// `None` if the thread could not be started: every line is counted as dropped then.
fn start() -> Option<SyncSender<Line>> {
    let (send, receive) = sync_channel(WAITING);
    let run = move || write(&receive);
    thread::Builder::new().name("thermo-log".to_owned()).spawn(run).is_ok().then_some(send)
}

fn write(lines: &Receiver<Line>) {
    let mut told = 0;
    for line in lines {
        line();
        let dropped = dropped();
        if dropped > told {
            tracing::warn!(
                lines = dropped - told,
                "the log took no lines for a while: lines of the diagnostics were dropped"
            );
            told = dropped;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn blocked_log_holds_up_no_submitter_and_drops_are_counted() {
        let (release, released) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let before = dropped();
        let blocks = tell.clone();
        submit(move || {
            blocks.send(0).expect("the test listens");
            let _ = released.recv();
        });
        assert_eq!(told.recv(), Ok(0));
        for line in 1..=WAITING + 10 {
            let tell = tell.clone();
            submit(move || tell.send(line).expect("the test listens"));
        }
        assert!(dropped() >= before + 10);
        drop((release, tell));
        // Every line that found room is written, in its order.
        let written: Vec<_> = told.iter().collect();
        assert!(written.len() <= WAITING && written.is_sorted(), "{written:?}");
    }
}
